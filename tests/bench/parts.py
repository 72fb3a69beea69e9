"""What the benches share: the sandbox as a process, a bare server to compare with, an aged state, and raw MCP."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio

from avm_mcp.sandbox.faults import QUERIES
from avm_mcp.store import FILE_NAME, open_store

ROOT = Path(__file__).parents[2]
KEY = "ak_bench_0123456789"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
SERVER = [sys.executable, "-c", "import sys; from avm_mcp.cli import server_main; sys.exit(server_main())"]
PERMITTED = 55
"""Queries in any 60 s."""


def environ(base_url: str, folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a server of ours that saves nothing and keeps nobody awake."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVM_")}
    ours = {
        "AVM_API_KEY": KEY,
        "AVM_BASE_URL": base_url,
        "AVM_STATE_DIR": str(folder / "state"),
        "AVM_OUTPUT_DIR": str(folder / "videos"),
        "AVM_WORKER": "off",
        "AVM_SAVE": "off",
        "AVM_LOG_LEVEL": "ERROR",
    }
    return {**clean, **ours, **more}


def aged(folder: Path) -> None:
    """Begin a state two days ago, so that no guard has to look at the service's list before a video is paid for.

    The clock of a state is the machine's, so that only the date in the file can be changed.
    """

    async def begin() -> None:
        (await open_store(folder / "state", now=time.time())).close()

    anyio.run(begin)
    with closing(sqlite3.connect(folder / "state" / FILE_NAME)) as state, state:
        state.execute("UPDATE facts SET value = value - ? WHERE name = 'born'", [2 * 24 * 3600])


@contextmanager
def upstream(**options: Any) -> Iterator[str]:
    """Run a sandbox in a process of its own, and give its base URL; see `tests/bench/upstream.py`."""
    with started([sys.executable, "-m", "tests.bench.upstream", json.dumps(options)], None) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()


@contextmanager
def started(command: Sequence[str], env: Mapping[str, str] | None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def asked(base_url: str) -> tuple[list[float], int]:
    """Return when the sandbox was asked a question that counts, and how often it answered 429."""
    with urllib.request.urlopen(f"{base_url}/_control/requests") as answer:
        seen = json.load(answer)["requests"]
    times = [datetime.fromisoformat(row["at"]).timestamp() for row in seen if row["endpoint"] in QUERIES]
    return sorted(times), sum(row["status"] == 429 for row in seen)


def busiest(times: Sequence[float]) -> int:
    """Return the most of these times in any 60 s."""
    most, window = 0, deque[float]()
    for at in times:
        window.append(at)
        while window[0] <= at - 60:
            window.popleft()
        most = max(most, len(window))
    return most


class Stdio:
    """A host that speaks JSON-RPC with a server over its pipes, one request at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._number = 0
        who = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.request("initialize", who)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _write(self, message: dict[str, Any]) -> None:
        self._in.write(json.dumps(message).encode() + b"\n")
        self._in.flush()

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        while True:
            line = self._out.readline()
            assert line, "the server ended"
            answer = json.loads(line)
            if answer.get("id") == self._number and "method" not in answer:
                assert "error" not in answer, answer
                return answer["result"]

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        return result


class Call:
    """One `tools/call` over HTTP with a progress token: when it was told something, and what it was told last."""

    def __init__(self, port: int, tool: str, arguments: dict[str, Any], version: str) -> None:
        self._port = port
        meta: dict[str, Any] = {"progressToken": 1}
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
            "Connection": "close",
        }
        if version == MODERN:
            meta |= {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._request = f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body
        self.beats: list[float] = []
        self.result: dict[str, Any] | None = None
        self.waiting = asyncio.Event()

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._request)
            self.beats.append(time.monotonic())
            status = await reader.readline()
            assert b" 200 " in status, status + await reader.read(2000)
            while self.result is None:
                line = await reader.readline()
                assert line, "the server hung up"
                text = line.removeprefix(b"data:").strip()
                if text.startswith(b"{"):  # an event, or the whole answer
                    self._received(json.loads(text))
        finally:
            self.waiting.set()
            writer.close()

    def _received(self, message: dict[str, Any]) -> None:
        if message.get("method") == "notifications/progress":
            self.beats.append(time.monotonic())
            self.waiting.set()
        elif message.get("id") == 1:
            self.beats.append(time.monotonic())
            assert "result" in message, message
            self.result = message["result"]

    @property
    def intervals(self) -> list[float]:
        return [after - before for before, after in pairwise(self.beats)]


def rss(pid: int) -> int:
    """Return the bytes of memory that a process holds (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
