"""One HTTP exchange, bounded as a whole in time and size.

The time-outs `connect`, `read`, `write` and `pool` hold for one step each: an answer of which one byte comes every ten
seconds never breaks them. So an exchange also has one deadline, which counts from the moment its last byte was sent.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing

import anyio
import httpx2

PIECE = 64 * 1024

Check = Callable[[], Awaitable[None]]

SLOWEST_UPLOAD = 16_000.0
"""Bytes a second. An upload that is slower fails."""


def build_timeout(read: float, connect: float) -> httpx2.Timeout:
    """Return the time-outs of each phase, in seconds, with none left to the library."""
    return httpx2.Timeout(connect=connect, read=read, write=read, pool=connect)


def total_seconds(timeout: httpx2.Timeout) -> float:
    """Return the seconds for one exchange: for a place in the pool, a connection, and the answer to its end.

    Raises:
        ValueError: A phase has no time-out.
    """
    parts = (timeout.pool, timeout.connect, timeout.read)
    if None in parts:
        raise ValueError(f"a phase without a limit: {timeout}")
    return sum(part for part in parts if part is not None)


@contextlib.contextmanager
def limit_time(seconds: float) -> Generator[anyio.CancelScope]:
    """Limit the time of everything inside.

    Raises:
        httpx2.ReadTimeout: The time is over.
    """
    with anyio.move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise httpx2.ReadTimeout("the answer was not complete in time")


class _Upload:
    """A request's body in pieces. `leaving` is called before each piece, and when the last has left."""

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
        headers: Those of the request.
        timeout: Seconds for each phase, and `total_seconds` of it from the last byte that was sent to the answer's end.
        most: The largest answer, in bytes.
        check: Awaited before each piece of the body leaves. What it raises ends the exchange with the body unsent.

    Raises:
        httpx2.HTTPError: It failed, took too long, or is too long.
    """
    seconds = total_seconds(timeout)
    last = anyio.current_time() + seconds + len(body or b"") / SLOWEST_UPLOAD
    sent: dict[str, str] = {} if body is None else {"Content-Length": str(len(body))}
    with limit_time(seconds) as scope:

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
