"""The limits on request bodies: size, time to arrive, and the memory of all large ones together.

A body is read whole before the request is handed on. A picture of 10 MB is a body of 13 MB and takes about 40 MB of
memory until its call is answered, so large bodies wait in a queue, unread, until there is memory. Small bodies do not
wait.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avm_mcp.mcp_server.http.connections import ON_DISCONNECT
from avm_mcp.mcp_server.http.refusals import refuse
from avm_mcp.mcp_server.pace import Pace

MAX_BODY = 16_000_000
"""Bytes of one request: a picture of 10 MB as a data URI fits."""

MAX_SMALL = 65_536
"""Bytes up to which a body is read at once; uvicorn reads that many ahead in any case."""

MAX_TOTAL = 128_000_000
"""Bytes of all large bodies whose calls are not answered yet: nine of the largest pictures, or sixty of 1.5 MB."""

MAX_RATE = 16_000_000
"""Bytes of large bodies that are admitted per second: reading a picture blocks the event loop."""

QUEUE_TIMEOUT = 60.0
"""Seconds that a large body waits in the queue before it is refused."""

ARRIVAL_TIMEOUT = 60.0
"""Seconds for a body to arrive, from its first byte to its last: 16 MB at 2 Mbit/s."""

STALL_TIMEOUT = 5.0
"""Seconds without any byte after which a large body is cut off if another one waits."""


class BodyLimit:
    """ASGI middleware that hands on requests whose body is whole. If the client hangs up first, nothing is sent."""

    def __init__(self, app: ASGIApp, *, most: int = MAX_BODY, arrival_timeout: float = ARRIVAL_TIMEOUT) -> None:
        self._app = app
        self._most = most
        self._arrival_timeout = arrival_timeout
        self._memory = _Memory()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # h11 has checked that the length is one number. With chunks the number has no meaning.
        declared = 0 if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
        chunks: deque[bytes] = deque()
        try:
            if declared > self._most:
                raise _TooLarge
            if declared <= MAX_SMALL and await self._read(receive, chunks, limit=MAX_SMALL):
                await self._app(scope, _replay(chunks, receive), send)
                return
            # A body without a length may still become the largest.
            on_disconnect: list[Callable[[], None]] = scope.get("state", {}).get(ON_DISCONNECT, [])
            async with self._memory.reserve(declared or self._most, on_disconnect):
                with self._memory.watch(receive) as watched:
                    await self._read(watched, chunks, limit=self._most)
                await self._app(scope, _replay(chunks, receive), send)
        except _HungUp:
            pass
        except _TooLarge:
            megabytes = self._most // 1_000_000
            await refuse(
                413,
                f"The request is larger than {megabytes} MB, so it was not read and nothing was started. A picture may"
                " have 10 MB; a larger one can be made smaller, or given as a public https link.",
            )(scope, receive, send)
        except _NoMemory:
            await refuse(
                503,
                "Too many large pictures are being taken in at once, so this one was not read and nothing was started."
                " Wait a minute and repeat the call, or give the picture as a public https link.",
                {"Retry-After": "60"},
            )(scope, receive, send)
        except TimeoutError:
            await refuse(
                408,
                "The request did not arrive whole in time, so nothing was started. Repeat the call; a large picture"
                " arrives sooner as a public https link.",
            )(scope, receive, send)

    async def _read(self, receive: Receive, chunks: deque[bytes], *, limit: int) -> bool:
        """Read on; return True when the body is whole, and False when it passes `limit` but not the largest size.

        Raises:
            TimeoutError: It did not arrive in time.
            _HungUp: The client has gone.
            _TooLarge: It is larger than the largest size.
        """
        size = sum(map(len, chunks))
        with anyio.fail_after(self._arrival_timeout):
            while size <= limit:
                message = await receive()
                if message["type"] != "http.request":
                    raise _HungUp
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if not message.get("more_body", False) and size <= self._most:
                    return True
        if size > self._most:
            raise _TooLarge
        return False


class _HungUp(Exception):
    """The client has gone."""


class _TooLarge(Exception):
    """The body is larger than the largest size."""


class _NoMemory(Exception):
    """There was no memory for the body in time."""


class _Memory:
    """The memory for large bodies. It is reserved in the order of arrival, until the call is answered."""

    def __init__(self) -> None:
        self._queue = anyio.Lock()  # first come, first served
        self._reserved = 0
        self._pace = Pace(MAX_RATE)
        self._released = anyio.Event()
        self._arriving: dict[anyio.CancelScope, float] = {}  # the time of the last byte of each

    @asynccontextmanager
    async def reserve(self, size: int, on_disconnect: list[Callable[[], None]]) -> AsyncGenerator[None]:
        """Reserve memory for a body of this many bytes.

        Raises:
            _NoMemory: Others held all of it for `QUEUE_TIMEOUT`.
            _HungUp: The client has gone; `on_disconnect` is called then.
        """
        with anyio.move_on_after(QUEUE_TIMEOUT) as timeout:
            on_disconnect.append(timeout.cancel)
            async with self._queue:
                while self._reserved + size > MAX_TOTAL:
                    await self._wait_for_release()
                await self._pace.turn(size)
                self._reserved += size
        on_disconnect.clear()
        if timeout.cancelled_caught:
            raise _NoMemory if anyio.current_time() >= timeout.deadline else _HungUp
        try:
            yield
        finally:
            self._reserved -= size
            self._released.set()
            self._released = anyio.Event()

    @contextmanager
    def watch(self, receive: Receive) -> Generator[Receive]:
        """Return a `receive` that is cut off when no byte comes while others wait.

        Raises:
            TimeoutError: It was cut off.
        """

        async def watched() -> Message:
            message = await receive()
            self._arriving[scope] = anyio.current_time()
            return message

        with anyio.CancelScope() as scope:
            self._arriving[scope] = anyio.current_time()
            try:
                yield watched
            finally:
                del self._arriving[scope]
        if scope.cancelled_caught:
            raise TimeoutError

    async def _wait_for_release(self) -> None:
        """Wait until memory is released. After `STALL_TIMEOUT`, cut off the bodies that have stopped arriving."""
        released = self._released
        with anyio.move_on_after(STALL_TIMEOUT):
            await released.wait()
            return
        stopped = anyio.current_time() - STALL_TIMEOUT
        for scope, last in self._arriving.items():
            if last <= stopped:
                scope.cancel()


def _replay(chunks: deque[bytes], receive: Receive) -> Receive:
    """Return a `receive` that gives the chunks that were read, freeing each one, and then goes on."""

    async def replay() -> Message:
        if chunks:
            return {"type": "http.request", "body": chunks.popleft(), "more_body": bool(chunks)}
        return await receive()

    return replay
