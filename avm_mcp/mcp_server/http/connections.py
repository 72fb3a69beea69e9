"""Connections: how many there may be, how long one may take to say what it wants, and to read what it was told.

uvicorn has no time-outs but the one for idle connections, and accepts until the process has no descriptor left; then
downloads and the journal have none either. Here a connection whose request is not yet whole gives way, the oldest
first, to a new one: so half-sent requests, however many, keep no call out. A request that is whole is never cut, since
a call may wait for an hour.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import ClassVar, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADERS = 10.0
"""Seconds for the headers of a request to arrive, from the connection or the answer before."""

STALL, LEAST = 20.0, 1_000_000
"""A client that has read less than so many bytes of what it was told within so many seconds is cut off."""

GRACE = 5.0
"""Seconds that calls in flight get when the process is asked to end: a call that does not wait is answered within
three. Jobs are in the journal, so none is lost; `docker stop` kills after ten."""

MOST = 2048
"""Connections at once, where there are descriptors for as many."""

KEPT = 384
"""Descriptors that are not for connections: the API, downloads, the journal, files, and what was accepted and is not
counted yet, or gave way and is not closed yet (four rounds of the backlog). Three eighths where there are few."""

BACKLOG = 64
"""Connections that are accepted in one round."""

QUEUE = 2048
"""Connections that the system holds until they are accepted; each that finds no place there tries again in a second."""

LEAVING = "avm_mcp.leaving"
"""Where a request's `scope["state"]` has the list of what is called when its client goes: who does not read from a
connection would not hear of it."""

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
    b"content-length: 57\r\nconnection: close\r\n\r\nThere are too many connections. Try again in some seconds"
)


class Server(uvicorn.Server):
    """A server whose listening sockets hold more than is accepted in one round."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUE)


class Places:
    """The connections of one server: which there are, and which of them may have to give way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[Connection] = set()
        self._asking: dict[Connection, None] = {}  # their requests are not whole; the oldest first

    def take(self, connection: "Connection") -> bool:
        """Take a place; return whether there was one, or one could be made."""
        if len(self._taken) >= self._most:
            oldest = next(iter(self._asking), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.transport.abort()
        self._taken.add(connection)
        self._asking[connection] = None
        return True

    def asks(self, connection: "Connection", whole: bool) -> None:
        """Note whether a connection's request is whole."""
        if whole:
            self._asking.pop(connection, None)
        elif connection in self._taken:
            self._asking.setdefault(connection)

    def leave(self, connection: "Connection") -> None:
        self._taken.discard(connection)
        self._asking.pop(connection, None)


class Connection(H11Protocol):
    """One connection; `among` makes the class that a server needs."""

    places: ClassVar[Places]
    _headers: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _refused = False
    _leaving: list[Callable[[], None]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.places.take(self):
            self.transport, self._refused = transport, True
            transport.write(_BUSY)
            transport.close()
            return
        self._leaving = []
        self.app_state = {**self.app_state, LEAVING: self._leaving}
        super().connection_made(transport)
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self)
        self._stop_timers()
        if not self._refused:
            super().connection_lost(exc)
            while self._leaving:
                self._leaving.pop()()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading is None:
            self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def shutdown(self) -> None:
        """End what is not a call yet; a call gets some seconds more, and then hears what a hung up client means."""
        cycle = self._begun()
        if cycle is not None and cycle.more_body:
            self.transport.abort()
            return
        super().shutdown()
        self.loop.call_later(GRACE, self.transport.abort)

    def _note(self) -> None:
        """Follow where the request stands: its headers are awaited, or its body, or its answer."""
        cycle = self._begun()
        self.places.asks(self, whole=cycle is not None and not cycle.more_body)
        if cycle is None:
            if self._headers is None:
                self._headers = self.loop.call_later(HEADERS, self.transport.close)
        elif self._headers is not None:
            self._headers.cancel()
            self._headers = None

    def _begun(self) -> RequestResponseCycle | None:
        """Return the request whose headers have arrived and that is not answered; uvicorn begins with none."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def _watch_reading(self, before: int | None = None) -> None:
        waiting = self.transport.get_write_buffer_size()
        if before is not None and before - waiting < LEAST:
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(STALL, self._watch_reading, waiting)

    def _stop_timers(self) -> None:
        for timer in (self._headers, self._reading):
            if timer is not None:
                timer.cancel()


def among(places: Places) -> type[Connection]:
    """Return the class of the connections that share these places."""
    return type("Connection", (Connection,), {"places": places})


def descriptors() -> tuple[int, int]:
    """Return how many connections there is room for, and how many may be accepted in one round.

    The process's own limit on descriptors is raised first, as far as it may and needs to be.
    """
    if sys.platform == "win32":
        return MOST, BACKLOG
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MOST + KEPT if hard == unlimited else min(MOST + KEPT, hard)
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower one that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == unlimited:
        return MOST, BACKLOG
    kept = min(KEPT, soft * 3 // 8)
    return min(MOST, soft - kept), kept // 6
