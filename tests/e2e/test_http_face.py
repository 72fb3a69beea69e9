"""`avm-mcp serve` as people start it, over real sockets: whom it answers, and what a crowd of bad clients does."""

import http.client
import json
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.workspace import FAST, KEY, Workspace, alive, names, open_workspace, output, program, until
from tests.stack import LEGACY, MODERN, fields

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="has neither Unix sockets nor limits on descriptors"),
]

TOKEN = "tk_0123456789abcdefghij"
PAGE = "http://localhost:5173"
SERVE = [sys.executable, "-m", "avm_mcp", "serve"]
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "page", "version": "1"}},
}
SLOW = replace(FAST, durations={"t2v": 100_000.0})
FULL = os.environ.get("AVM_FULL")
HALVES, LIMIT = (1500, 1024) if FULL else (300, 256)
"""Half-sent requests, and the descriptors that the process may have."""


@dataclass
class Serving:
    """A server that was started, and its settings."""

    workspace: Workspace
    reply: dict[str, Any]
    pid: int

    @property
    def port(self) -> int:
        return int(self.reply["url"].split(":")[2].split("/")[0])

    @property
    def err(self) -> str:
        return (self.workspace.folder / "serve.err").read_text()

    def asked(
        self, method: str, path: str, headers: Mapping[str, str] = {}, body: Any = None, seconds: float = 10
    ) -> tuple[int, Mapping[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), dict(headers))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()


@asynccontextmanager
async def serving(
    workspace: Workspace, *argv: str, descriptors: int | None = None, **more: str
) -> AsyncGenerator[Serving]:
    command = [*SERVE, *(argv or ("--port", "0")), "--json"]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    async with program(command, workspace.environ(**more), err=workspace.folder / "serve.err") as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            reply = json.loads(await process.stdout.receive())
        made = Serving(workspace, reply, process.pid)
        if "socket" not in reply:
            with anyio.fail_after(30):
                assert (await anyio.to_thread.run_sync(made.asked, "GET", "/healthz"))[0] == 200
        yield made
        process.terminate()
        began = time.monotonic()
        with anyio.fail_after(30):
            assert await process.wait() == 0, made.err
        assert time.monotonic() - began < 10, "it ends within the time that docker stop gives"
        assert "Traceback" not in made.err


async def test_half_sent_requests_hang_no_call_stop_no_download_and_fill_no_log(tmp_path):
    """Issue 10 S, P3, P4. Before: no call of four was answered, no video was saved, 101 MB of stderr in 24 s."""
    half = (
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.",
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 13400000\r\n\r\n{",
        b"",
    )
    async with open_workspace(tmp_path) as workspace, serving(workspace, descriptors=LIMIT) as made:
        async with Client(made.reply["url"]) as client:
            await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 0})
        with ExitStack() as held:
            for number in range(HALVES):
                stream = held.enter_context(socket.create_connection(("127.0.0.1", made.port), timeout=5))
                stream.sendall(half[number % len(half)])
            took = []
            for _ in range(5):
                began = time.monotonic()
                async with Client(made.reply["url"]) as client:
                    reply = fields(await client.call_tool("get_account", {}))
                assert reply["balance"]
                took.append(time.monotonic() - began)
            assert max(took) < 10, took
            await until(lambda: len(names(workspace.videos)) == 1, "a video that is saved meanwhile")
            workspace.only_whole_videos(1)
            assert len(made.err) < 5_000, made.err[:5000]


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_with_a_token_it_answers_whoever_brings_it_and_no_page_without(tmp_path, mode):
    """P5, P9: real clients of both eras, with the header that they all can send; and what a browser would see."""
    async with (
        open_workspace(tmp_path) as workspace,
        serving(workspace, AVM_HTTP_TOKEN=TOKEN, AVM_LOG_LEVEL="DEBUG") as made,
    ):
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(headers=bearer, trust_env=False) as http_client:
            transport = streamable_http_client(made.reply["url"], http_client=http_client)
            async with Client(transport, mode=mode) as client:
                reply = fields(await client.call_tool("text_to_video", {"prompt": "a kite", "wait_seconds": 30}))
        assert reply["status"] == "COMPLETED"

        def page(method: str, **headers: str):
            return made.asked(method, "/mcp", {"Origin": PAGE, **headers}, HELLO if method == "POST" else None)

        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,mcp-method"}
        status, headers, _ = page("OPTIONS", **asks)
        assert (status, headers["access-control-allow-origin"]) == (204, PAGE)
        status, headers, body = page("POST", **JSON, **bearer)
        assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
        assert "serverInfo" in body
        for status, more in ((401, JSON), (401, {**JSON, "Authorization": "Bearer wrong"}), (400, {**bearer})):
            got, headers, body = page("POST", **more)
            assert (got, headers["access-control-allow-origin"]) == (status, PAGE), body
        assert made.asked("GET", "/healthz")[0] == 200
        assert made.asked("GET", "/readyz")[0] == 401
        assert TOKEN not in made.err
        assert KEY not in made.err
        assert "Every user" not in made.err


async def test_without_a_token_it_says_where_it_starts_who_else_can_spend_the_credits(tmp_path):
    """Issue 10 S: one line on stderr; and names that a refusal tells are the settings' own."""
    async with (
        open_workspace(tmp_path) as workspace,
        serving(workspace, AVM_ALLOWED_HOSTS="host.docker.internal") as made,
    ):
        assert made.err.startswith("Every user of this machine can reach this port and spend the credits of your key.")
        assert made.err.count("\n") == 1
        for path in ("/mcp", "/healthz", "/readyz"):
            status, _, body = made.asked("GET", path, {"Host": "evil.example"})
            assert status == 421
            assert "AVM_ALLOWED_HOSTS" in json.loads(body)["error"]["message"]
            assert made.asked("GET", path, {"Origin": "https://evil.example"})[0] == 403
        status, _, body = made.asked("POST", "/mcp", {**JSON, "Host": "host.docker.internal:8765"}, HELLO)
        assert (status, "serverInfo" in body) == (200, True)


async def test_a_socket_of_its_own_is_its_owners_alone(tmp_path):
    """Issue 10 S: 0600 from its first moment; a left one is replaced, a living one and other files are not."""
    async with open_workspace(tmp_path) as workspace:
        path = workspace.folder / "avm.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        async with serving(workspace, "--socket", str(path)) as made:
            assert made.reply == {"socket": str(path), "url": "http://localhost/mcp"}
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            unix = httpx2.AsyncHTTPTransport(uds=str(path))
            async with (
                httpx2.AsyncClient(transport=unix) as http_client,
                Client(streamable_http_client(made.reply["url"], http_client=http_client)) as client,
            ):
                reply = fields(await client.call_tool("text_to_video", {"prompt": "a kite", "wait_seconds": 30}))
            assert reply["status"] == "COMPLETED"
            code, out, err = await output([*SERVE, "--socket", str(path)], workspace.environ())
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert "another process listens there" in err
            assert alive(made.pid)
            assert made.err == ""
        assert not path.exists()
        path.write_text("something of the user's")
        code, _, err = await output([*SERVE, "--socket", str(path)], workspace.environ())
        assert (code, "something else is there" in err) == (2, True)
        assert path.read_text() == "something of the user's"


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_it_ends_in_time_with_a_call_that_waits_and_pictures_in_line(tmp_path, mode):
    """P2, P4: what waits is ended; its task is in the state, and nothing else was begun."""
    params: dict[str, Any] = {"name": "text_to_video", "arguments": {"prompt": "a kite", "wait_seconds": 600}}
    headers = dict(JSON)
    if mode == MODERN:
        meta = {"protocolVersion": MODERN, "clientCapabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        params["_meta"] = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "text_to_video"}
    body = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    with ExitStack() as held:
        async with open_workspace(tmp_path, SLOW) as workspace, serving(workspace) as made:
            for text, length in ((body, len(body)), *[("{", 13_400_000)] * 30):
                stream = held.enter_context(socket.create_connection(("127.0.0.1", made.port), timeout=5))
                head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": length}.items())
                stream.sendall(f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{text}".encode())
            await until(lambda: workspace.posts, "the call that waits")
        assert len(workspace.tasks) == 1


async def test_clients_that_hang_up_leave_no_place_in_line(tmp_path):
    """A hundred pictures that are announced and never sent do not keep out the one that is."""
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON['Content-Type']}\r\nContent-Length: 13400000"
    call = {"name": "image_to_video", "arguments": {"image": "data:image/png;base64," + "A" * 100_000}}
    async with open_workspace(tmp_path) as workspace, serving(workspace) as made:
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", made.port), timeout=5) as stream:
                stream.sendall(f"{head}\r\n\r\n{{".encode())
        began = time.monotonic()
        printed = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
        status, _, body = await anyio.to_thread.run_sync(made.asked, "POST", "/mcp", JSON, printed, 30)
        assert (status, "nothing was started" in body) == (200, True), body[:600]
        assert time.monotonic() - began < 10
