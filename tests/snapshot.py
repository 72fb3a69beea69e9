"""The packaged snapshot of the fast start: `make snapshot` writes it from the real server, `--check` compares.

`answered` asks the real server over its own stdio transport, as text, so that the tests can ask it too.
"""

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from mcp.server.stdio import stdio_server
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from avm_mcp import fast_start
from avm_mcp.app import Runtime
from avm_mcp.fast_start import reading
from avm_mcp.mcp_server.server import build_server
from avm_mcp.settings import Settings

FILE = Path(fast_start.SNAPSHOT)
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
SAVE = {"saved": "mine", "linked": "off"}
UNKNOWN = "1999-12-31"
ABOVE = "987654"
"""What stands for AVM_APPROVE_ABOVE in the snapshot, and nowhere else in it."""


def initialize(revision: str, **more: Any) -> dict[str, Any]:
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}} | more
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def envelope(revision: str, **more: Any) -> dict[str, Any]:
    return {"_meta": {reading.VERSION: revision, reading.CAPABILITIES: {}} | more}


class _Lines:
    """A stdin whose lines are there, and that ends when as many answers have come as are wanted."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = list(lines)
        self.done = anyio.Event()

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        if self._lines:
            return self._lines.pop(0)
        with anyio.move_on_after(5):
            await self.done.wait()
        raise StopAsyncIteration


class _Reply:
    def __init__(self, stdin: _Lines, wanted: int) -> None:
        self.lines: list[str] = []
        self._stdin, self._wanted = stdin, wanted

    async def write(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) >= self._wanted:
            self._stdin.done.set()

    async def flush(self) -> None:
        pass


async def answered(lines: Sequence[str], wanted: int, save: str = "mine", above: str = "") -> list[str]:
    """Return what the real server writes when it reads these lines, until it has written so many."""
    with TemporaryDirectory() as state:
        settings = Settings.from_env(
            {"AVM_STATE_DIR": state, "AVM_SAVE": save, "AVM_APPROVE_ABOVE": above, "AVM_WORKER": "off"}
        )
        low = build_server(Runtime(settings))._lowlevel_server
        stdin: Any = _Lines(lines)
        stdout: Any = _Reply(stdin, wanted)
        async with stdio_server(stdin, stdout) as streams:
            await low.run(*streams, low.create_initialization_options())
    return stdout.lines


async def _results(requests: Sequence[dict[str, Any]], save: str) -> list[Any]:
    """One at a time in one connection, so that each has its answer."""
    reply = await answered(
        [json.dumps(request | {"id": at}) for at, request in enumerate(requests)], len(requests), save, ABOVE
    )
    by_id = {answer["id"]: answer["result"] for answer in map(json.loads, reply)}
    return [by_id[at] for at in range(len(requests))]


async def made() -> dict[str, Any]:
    results: dict[str, Any] = {}
    answers: dict[str, dict[str, dict[str, str]]] = {}
    handshake: dict[str, str] = {}

    def label(name: str, result: Any) -> str:
        same = [known for known, other in results.items() if json.dumps(other) == json.dumps(result)]
        results.setdefault(same[0] if same else name, result)
        return same[0] if same else name

    for variant, save in SAVE.items():
        answers[variant] = {}
        for revision in (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS):
            if revision in HANDSHAKE_PROTOCOL_VERSIONS:
                methods = ("initialize", "ping", *LISTS)
                asked = [initialize(revision), *({"jsonrpc": "2.0", "method": name} for name in methods[1:])]
            else:
                methods = ("server/discover", *LISTS)
                asked = [{"jsonrpc": "2.0", "method": name, "params": envelope(revision)} for name in methods]
            reply = await _results(asked, save)
            answers[variant][revision] = {
                name: label(f"{name} {revision} {variant}", result) for name, result in zip(methods, reply, strict=True)
            }
        for offered in (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS, UNKNOWN):
            (result,) = await _results([initialize(offered)], save)
            handshake["*" if offered == UNKNOWN else offered] = result["protocolVersion"]
    return {
        "sdk": version("mcp"),
        "above": {"placeholder": ABOVE, "default": str(Settings.model_fields["AVM_APPROVE_ABOVE"].default)},
        "modern": list(MODERN_PROTOCOL_VERSIONS),
        "handshake": handshake,
        "answers": answers,
        "results": results,
    }


def text() -> str:
    return json.dumps(anyio.run(made), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") != text():
            sys.exit(f"{FILE.name} is not what the server says: make snapshot")
    else:
        FILE.write_text(text(), encoding="utf-8")
