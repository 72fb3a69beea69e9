"""The sandbox on a socket: uvicorn, quiet, on a loopback address unless told otherwise.

async with running(SandboxOptions(speed=60)) as base_url: ...
await serve(SandboxOptions(), port=8765, ready=print)
"""

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, cast

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from avm_mcp.sandbox.app import DROP, SandboxApp, build_sandbox
from avm_mcp.sandbox.options import SandboxOptions

SHUTDOWN_SECONDS = 1


class _DroppableProtocol(H11Protocol):
    """Gives the app a way to kill its connection, and the server a way to end a request that hangs, quietly."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = cast("SandboxApp", self.app)
        self._request: anyio.CancelScope | None = None
        self._stopping = False

        def drop(reset: bool) -> None:
            if reset:  # closing with a linger of 0 seconds sends RST
                linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()

        async def droppable(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[DROP] = drop
            with anyio.CancelScope() as self._request:
                await app(scope, receive, send)

        self.app = droppable

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._stopping and self._request is not None:
            self._request.cancel()

    def stop(self) -> None:
        """End the request in flight, if there is one, and its connection."""
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._stopping = True
            self.transport.abort()


class _EmbeddedServer(uvicorn.Server):
    """A server that says when it has started, and leaves the signals to the process it lives in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self.is_up.set()

    def stop(self) -> None:
        """End everything, now."""
        for connection in tuple(self.server_state.connections):
            cast("_DroppableProtocol", connection).stop()
        self.should_exit = True


def _listening(host: str, port: int, *, allow_remote: bool) -> socket.socket:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address; the sandbox listens on 127.0.0.1 or ::1") from None
    if not (address.is_loopback or allow_remote):
        raise ValueError(f"{host} is not a loopback address; the sandbox has no real keys, so it stays local")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Connections inherit the protocol, and asyncio sets TCP_NODELAY only where it is named: with 0 each answer, being
    # two writes, may wait 40 ms for the delayed acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share a port that is taken
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def running(
    options: SandboxOptions | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    now: Callable[[], float] | None = None,
    *,
    app: SandboxApp | None = None,
    allow_remote: bool = False,
) -> AsyncGenerator[str]:
    """A sandbox in this event loop (asyncio); gives its base URL, and is down when the block is left.

    Args:
        options: How it behaves.
        host: A loopback address.
        port: 0 takes a free one.
        now: The wall clock.
        app: Serve this app instead of a new one, to keep its `sandbox` in hand; options and now are its own.
        allow_remote: Listen beyond loopback.

    Raises:
        ValueError: The host is not a loopback address.
        OSError: The port is taken.
    """
    listener = _listening(host, port, allow_remote=allow_remote)
    config = uvicorn.Config(
        cast("Any", app or build_sandbox(options, now=now)),
        http=_DroppableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _EmbeddedServer(config)
    with listener:
        # A task of asyncio's, not a group: what is raised in the block comes out as it is. uvicorn is asyncio only.
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await server.is_up.wait()
            if serving.done():
                serving.result()
            host, port = listener.getsockname()[:2]
            yield f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
        finally:
            server.stop()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([serving])


async def serve(
    options: SandboxOptions | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ready: Callable[[str], object] | None = None,
    allow_remote: bool = False,
) -> None:
    """Run until cancelled; `ready` is called with the base URL once it answers."""
    async with running(options, host, port, allow_remote=allow_remote) as base_url:
        if ready is not None:
            ready(base_url)
        await anyio.sleep_forever()
