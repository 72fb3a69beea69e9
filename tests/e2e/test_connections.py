"""Connections over real sockets, with minutes turned into tenths of a second: who may stay, and who gives way."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.abc
import pytest
import uvicorn

from avm_mcp.mcp_server.http import connections
from avm_mcp.mcp_server.http.bodies import BodyLimit
from avm_mcp.mcp_server.http.connections import ConnectionLimit, Server, build_connection_class, descriptors
from tests.e2e.workspace import until

pytestmark = pytest.mark.process

GET = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n"
HALF_HEAD = b"GET /quick HTTP/1.1\r\nHos"
HALF_BODY = b"POST /quick HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"


@dataclass
class Site:
    """A server whose calls are quick, wait until they are released, or answer with a lot."""

    port: int = 0
    server: Server | None = None
    release: anyio.Event = field(default_factory=anyio.Event)
    waiting: int = 0
    streams: list[anyio.abc.SocketStream] = field(default_factory=list)

    async def __call__(self, scope, receive, send) -> None:
        body = b"quick"
        if scope["path"] == "/wait":
            self.waiting += 1
            await self.release.wait()
        elif scope["path"] == "/large":
            body = bytes(40_000_000)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def says(self, request: bytes) -> anyio.abc.SocketStream:
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        self.streams.append(stream)
        await stream.send(request)
        return stream


async def answer(stream: anyio.abc.SocketStream, seconds: float = 10) -> bytes:
    """Return what came until the connection was closed, or a whole short answer was there."""
    reply = b""
    with anyio.fail_after(seconds):
        try:
            while not reply.endswith((b"quick", b"seconds")):
                reply += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    return reply


async def trickled(stream: anyio.abc.SocketStream, piece: bytes) -> float:
    """Send on, a little at a time, until the connection is gone; return how many seconds that took."""
    began = anyio.current_time()
    with anyio.fail_after(10), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await stream.send(piece)
            await anyio.sleep(0.1)
    return anyio.current_time() - began


@pytest.fixture
def shorter(monkeypatch):
    for name, value in {"HEADER_TIMEOUT": 0.4, "READ_TIMEOUT": 0.4}.items():
        monkeypatch.setattr(connections, name, value)


@asynccontextmanager
async def site(most: int = 100) -> AsyncGenerator[Site]:
    made = Site()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]
        config = uvicorn.Config(
            BodyLimit(made),
            http=build_connection_class(ConnectionLimit(most)),
            lifespan="off",
            log_config=None,
            backlog=16,
            timeout_keep_alive=1,
        )
        made.server = server = Server(config)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            await until(lambda: server.started, "a server")
            yield made
            made.release.set()
            server.should_exit = True
        for stream in made.streams:
            await anyio.aclose_forcefully(stream)


@pytest.mark.parametrize(
    "request_", [b"", HALF_HEAD, GET % b"quick" + HALF_HEAD], ids=["none", "half", "half a second"]
)
async def test_headers_that_do_not_come_whole_are_not_waited_for(shorter, request_):
    """Issue 10 S: they were waited for without end. Bytes that trickle in do not lengthen it."""
    async with site() as made:
        stream = await made.says(request_)
        assert 0.2 < await trickled(stream, b"x" if request_ else b"\r\n") < 3


async def test_a_body_that_trickles_on_after_its_answer_is_not_waited_for(shorter):
    """A refused request need not be sent to its end, but its connection is not kept by it."""
    async with site() as made:
        stream = await made.says(b"POST /quick HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
        assert b" 413 " in await stream.receive()
        assert 0.2 < await trickled(stream, b"x") < 3


async def test_a_call_that_waits_is_cut_by_nothing(shorter):
    """P4: a call may wait for an hour, and be the oldest of all connections."""
    async with site(most=20) as made:
        waiting = [await made.says(GET % b"wait") for _ in range(5)]
        await until(lambda: made.waiting == 5, "calls that wait")
        for _ in range(30):
            await made.says(HALF_BODY)
        await anyio.sleep(1.5)
        made.release.set()
        for stream in waiting:
            assert (await answer(stream)).endswith(b"quick")


@pytest.mark.parametrize("half", [b"", HALF_HEAD, HALF_BODY], ids=["none", "head", "body"])
async def test_half_sent_requests_keep_no_call_out(half):
    """Issue 10 S: where all places are taken by requests that are not whole, the oldest gives way to the newest."""
    async with site(most=20) as made:
        for _ in range(60):
            await made.says(half)
        assert made.server is not None
        await until(lambda: len(made.server.server_state.connections) <= 20, "no more than there are places")
        for _ in range(30):
            assert (await answer(await made.says(GET % b"quick"))).endswith(b"quick")
        assert len(made.server.server_state.connections) <= 20


async def test_where_every_place_is_a_call_that_waits_the_next_is_told_so():
    async with site(most=5) as made:
        waiting = [await made.says(GET % b"wait") for _ in range(5)]
        await until(lambda: made.waiting == 5, "calls that wait")
        reply = await answer(await made.says(b""))
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in reply
        assert reply.endswith(b"There are too many connections. Try again in some seconds")
        made.release.set()
        for stream in waiting:
            assert (await answer(stream)).endswith(b"quick")
        assert (await answer(await made.says(GET % b"quick"))).endswith(b"quick")


async def test_a_client_that_never_reads_its_answer_is_cut_off(shorter):
    """Its 40 MB are memory of ours for as long as it stays."""
    async with site() as made:
        assert made.server is not None
        stream = await made.says(GET % b"large")
        await until(lambda: not made.server.server_state.connections, "a connection that is cut off", seconds=5)
        assert len(await answer(stream)) < 40_000_000


async def test_a_client_that_reads_slowly_gets_all_of_it(monkeypatch, shorter):
    """At some megabytes in each interval, beyond all other time-outs."""
    monkeypatch.setattr(connections, "MIN_READ", 100_000)
    async with site() as made:
        stream = await made.says(GET % b"large")
        size = 0
        with anyio.fail_after(30):
            while size < 40_000_000:
                size += len(await stream.receive(1_000_000))
                await anyio.sleep(0.02)
        assert size > 40_000_000


async def test_it_ends_at_once_with_half_sent_requests_open():
    async with site() as made:
        for half in (b"", HALF_HEAD, HALF_BODY) * 5:
            await made.says(half)
        assert made.server is not None
        await until(lambda: len(made.server.server_state.connections) == 15, "all of them")
        began = anyio.current_time()
    assert anyio.current_time() - began < 2


def test_descriptors_are_kept_for_what_is_no_connection():
    """P3: downloads and the state have theirs, whatever the limit of the process is."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        most, backlog = descriptors()
        now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert now == min(hard, connections.MAX_CONNECTIONS + connections.RESERVED_DESCRIPTORS)
        assert most + 5 * backlog < now
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
