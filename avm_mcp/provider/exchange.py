"""One HTTP exchange, bounded as a whole: a time-out of each phase alone lets an answer trickle for hours.

`connect`, `read`, `write` and `pool` hold for one step each. An answer of which one byte comes every ten seconds never
breaks them. So an exchange also has one deadline, which counts from the moment its last byte was sent, and a size.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing

import anyio
import httpx2

PIECE = 64 * 1024

Check = Callable[[], Awaitable[None]]

SLOWEST_UPLOAD = 16_000.0
"""Bytes a second: a picture that leaves more slowly is not waited for."""


def phases(read: float, connect: float) -> httpx2.Timeout:
    """Return the time-outs of each phase, in seconds, with none left to the library."""
    return httpx2.Timeout(connect=connect, read=read, write=read, pool=connect)


def whole(timeout: httpx2.Timeout) -> float:
    """Return the seconds for one exchange as a whole: a place in the pool, a connection, and the answer to its end.

    Raises:
        ValueError: One of them is not limited.
    """
    parts = (timeout.pool, timeout.connect, timeout.read)
    if None in parts:
        raise ValueError(f"a phase without a limit: {timeout}")
    return sum(part for part in parts if part is not None)


@contextlib.contextmanager
def bounded(seconds: float) -> Generator[anyio.CancelScope]:
    """Bound what happens inside as a whole.

    Raises:
        httpx2.ReadTimeout: The time is over.
    """
    with anyio.move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise httpx2.ReadTimeout("the answer was not complete in time")


class _Upload:
    """A request's body, in pieces that say when they leave."""

    def __init__(self, body: bytes, leaving: Callable[[], None], check: Check | None) -> None:
        self._body = body
        self._leaving = leaving
        self._check = check
        self._place = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._place = 0
        return self

    async def __anext__(self) -> bytes:
        self._leaving()
        if self._place >= len(self._body):
            raise StopAsyncIteration
        if self._check is not None:
            await self._check()
        piece = self._body[self._place : self._place + PIECE]
        self._place += len(piece)
        return piece


async def exchange(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout: httpx2.Timeout,
    most: int,
    check: Check | None = None,
) -> tuple[httpx2.Response, bytes]:
    """Send one request, and read its answer whole. Redirects are not followed: the key would go along.

    Args:
        http: The pool.
        method: Of HTTP.
        url: Where to.
        body: What is sent; None is nothing.
        headers: With which headers.
        timeout: Seconds for each phase; `whole` of them for all that follows the last byte that was sent.
        most: Bytes of the answer that are read.
        check: Awaited before each piece of the body leaves; what it raises ends the exchange with the body unsent.

    Raises:
        httpx2.HTTPError: It failed, took too long, or is too long.
    """
    seconds = whole(timeout)
    last = anyio.current_time() + seconds + len(body or b"") / SLOWEST_UPLOAD
    sent: dict[str, str] = {} if body is None else {"Content-Length": str(len(body))}
    with bounded(seconds) as scope:

        def leaving() -> None:
            scope.deadline = min(last, anyio.current_time() + seconds)

        async with http.stream(
            method,
            url,
            content=None if body is None else _Upload(body, leaving, check),
            headers={**headers, **sent},
            timeout=timeout,
            follow_redirects=False,  # whatever the pool says
        ) as response:
            answer = bytearray()
            async with aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    answer += chunk
                    if len(answer) > most:
                        raise httpx2.DecodingError("the answer is too long", request=response.request)
        return response, bytes(answer)
    raise AssertionError("the deadline raises")
