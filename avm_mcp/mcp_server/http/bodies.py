"""Bodies of requests: read whole before anything else is done, bounded in size, in time, and in memory together.

A picture of 10 MB is 13 MB of body, and some 40 MB of memory until its call is answered. So large bodies wait in line,
unread, until there is room; small ones pass by them.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avm_mcp.mcp_server.http.connections import LEAVING
from avm_mcp.mcp_server.http.refusals import refusal
from avm_mcp.mcp_server.server import Pace

MAX_BODY = 16_000_000
"""Bytes of one request: a picture of 10 MB as a data URI fits."""

SMALL = 65_536
"""Bytes up to which a body is read at once: uvicorn reads as many in advance anyway."""

TOGETHER = 128_000_000
"""Bytes of large bodies whose calls are not answered yet: nine of the largest pictures, sixty of 1.5 MB."""

PACE = 16_000_000
"""Bytes of large bodies that are let in each second: reading a picture takes the loop, which others need too."""

TIMEOUT = 60.0
"""Seconds that a large body waits in line; then it is refused, and nothing was started."""

WHOLE = 60.0
"""Seconds for a body to arrive, from its first byte to its last: 16 MB at 2 Mbit/s."""

DAWDLE = 5.0
"""Seconds without any byte after which a large body gives way to one that waits in line."""


class Bodies:
    """ASGI middleware that hands on requests whose body is whole. What hung up meanwhile is dropped without a word."""

    def __init__(self, app: ASGIApp, *, most: int = MAX_BODY, whole: float = WHOLE) -> None:
        self._app = app
        self._most = most
        self._whole = whole
        self._room = _Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # Digits, once: h11 has checked that. Beside chunks the number means nothing, and any could be said.
        declared = 0 if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
        chunks: deque[bytes] = deque()
        try:
            if declared > self._most:
                raise _TooLarge
            if declared <= SMALL and await self._arrived(receive, chunks, limit=SMALL):
                await self._app(scope, _replayed(chunks, receive), send)
                return
            # A body without a length may still become the largest.
            leaving: list[Callable[[], None]] = scope.get("state", {}).get(LEAVING, [])
            async with self._room.held(declared or self._most, leaving):
                with self._room.arriving(receive) as watched:
                    await self._arrived(watched, chunks, limit=self._most)
                await self._app(scope, _replayed(chunks, receive), send)
        except _HungUp:
            pass
        except _TooLarge:
            megabytes = self._most // 1_000_000
            await refusal(
                413,
                f"The request is larger than {megabytes} MB, so it was not read and nothing was started. A picture may"
                " have 10 MB; a larger one can be made smaller, or given as a public https link.",
            )(scope, receive, send)
        except _NoRoom:
            await refusal(
                503,
                "Too many large pictures are being taken in at once, so this one was not read and nothing was started."
                " Wait a minute and repeat the call, or give the picture as a public https link.",
                {"Retry-After": "60"},
            )(scope, receive, send)
        except TimeoutError:
            await refusal(
                408,
                "The request did not arrive whole in time, so nothing was started. Repeat the call; a large picture"
                " arrives sooner as a public https link.",
            )(scope, receive, send)

    async def _arrived(self, receive: Receive, chunks: deque[bytes], *, limit: int) -> bool:
        """Read on; return whether the body is whole, or False as soon as it is above `limit` but not above the most.

        Raises:
            TimeoutError: It did not arrive in time.
            _HungUp: The client did not wait.
            _TooLarge: It is more than may be.
        """
        size = sum(map(len, chunks))
        with anyio.fail_after(self._whole):
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
    """The body is larger than any may be."""


class _NoRoom(Exception):
    """There was no room for it in time."""


class _Room:
    """The memory for large bodies. They come in one after another, and the room is theirs until they are answered."""

    def __init__(self) -> None:
        self._line = anyio.Lock()  # first come, first served
        self._taken = 0
        self._pace = Pace(PACE)
        self._left = anyio.Event()
        self._arriving: dict[anyio.CancelScope, float] = {}  # when each last got something

    @asynccontextmanager
    async def held(self, size: int, leaving: list[Callable[[], None]]) -> AsyncGenerator[None]:
        """Hold room for a body of so many bytes.

        Raises:
            _NoRoom: Others had all of it for `TIMEOUT`.
            _HungUp: Its client has gone, which `leaving` tells.
        """
        with anyio.move_on_after(TIMEOUT) as timeout:
            leaving.append(timeout.cancel)
            async with self._line:
                while self._taken + size > TOGETHER:
                    await self._departure()
                await self._pace.turn(size)
                self._taken += size
        leaving.clear()
        if timeout.cancelled_caught:
            raise _NoRoom if anyio.current_time() >= timeout.deadline else _HungUp
        try:
            yield
        finally:
            self._taken -= size
            self._left.set()
            self._left = anyio.Event()

    @contextmanager
    def arriving(self, receive: Receive) -> Generator[Receive]:
        """Return a `receive` that is cut off when nothing comes while others wait.

        Raises:
            TimeoutError: It was.
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

    async def _departure(self) -> None:
        """Wait until some room was given back; a body of which nothing comes any more has to."""
        left = self._left
        with anyio.move_on_after(DAWDLE):
            await left.wait()
            return
        stopped = anyio.current_time() - DAWDLE
        for scope, last in self._arriving.items():
            if last <= stopped:
                scope.cancel()


def _replayed(chunks: deque[bytes], receive: Receive) -> Receive:
    """Return a `receive` that gives what was read, piece by piece so that none is kept twice, and then goes on."""

    async def replay() -> Message:
        if chunks:
            return {"type": "http.request", "body": chunks.popleft(), "more_body": bool(chunks)}
        return await receive()

    return replay
