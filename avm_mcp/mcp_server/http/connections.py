"""The limits on connections: their number, the time to send a request, and the time to read an answer.

uvicorn has one time-out, for idle connections, and accepts until the process has no descriptor left, so that downloads
and the state have none either. Here, at the limit, a new connection replaces the oldest one whose request is not
whole yet, so half-sent requests cannot keep calls out. A whole request is never cut off, since a call may wait for an
hour.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import ClassVar, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEADER_TIMEOUT = 10.0
"""Seconds for the headers of a request to arrive, from the connection or the answer before."""

READ_TIMEOUT, MIN_READ = 20.0, 1_000_000
"""A client that has read fewer than `MIN_READ` bytes of its answer in `READ_TIMEOUT` seconds is cut off."""

GRACE = 5.0
"""Seconds that running calls get when the process is asked to end. A call that does not wait is answered within three.
Jobs are in the state, so none is lost. `docker stop` kills after ten seconds."""

MAX_CONNECTIONS = 2048
"""Connections at once, if there are enough descriptors."""

RESERVED_DESCRIPTORS = 384
"""Descriptors that are not for counted connections: the API, downloads, the state, files, and connections that are not
counted yet or not closed yet (four rounds of the backlog). Three eighths of all where there are few."""

BACKLOG = 64
"""Connections that are accepted in one round."""

QUEUE = 2048
"""Connections that the system holds until they are accepted; beyond that, clients try again after a second."""

ON_DISCONNECT = "avm_mcp.on_disconnect"
"""The key in a request's `scope["state"]` for the list of functions to call when its client disconnects. Code that does
not read from the connection would not notice."""

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
    b"content-length: 57\r\nconnection: close\r\n\r\nThere are too many connections. Try again in some seconds"
)


class Server(uvicorn.Server):
    """A server whose listening sockets queue more connections than one round accepts."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUE)


class ConnectionLimit:
    """The connections of one server, and which of them a new one may replace."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()
        self._incomplete: dict[Connection, None] = {}  # those whose request is not whole, oldest first

    def admit(self, connection: "Connection") -> bool:
        """Count a connection; return False if the limit is reached and none can be replaced."""
        if len(self._open) >= self._most:
            oldest = next(iter(self._incomplete), None)
            if oldest is None:
                return False
            self.release(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        self._incomplete[connection] = None
        return True

    def set_complete(self, connection: "Connection", complete: bool) -> None:
        """Record whether a connection's request is whole."""
        if complete:
            self._incomplete.pop(connection, None)
        elif connection in self._open:
            self._incomplete.setdefault(connection)

    def release(self, connection: "Connection") -> None:
        self._open.discard(connection)
        self._incomplete.pop(connection, None)


class Connection(H11Protocol):
    """One connection; `build_connection_class` makes the class that a server needs."""

    limit: ClassVar[ConnectionLimit]
    _header_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _refused = False
    _on_disconnect: list[Callable[[], None]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.limit.admit(self):
            self.transport, self._refused = transport, True
            transport.write(_BUSY)
            transport.close()
            return
        self._on_disconnect = []
        self.app_state = {**self.app_state, ON_DISCONNECT: self._on_disconnect}
        super().connection_made(transport)
        self._update()

    def connection_lost(self, exc: Exception | None) -> None:
        self.limit.release(self)
        self._stop_timers()
        if not self._refused:
            super().connection_lost(exc)
            while self._on_disconnect:
                self._on_disconnect.pop()()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._update()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._read_timer is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def shutdown(self) -> None:
        """Close the connection unless a call runs on it; a call gets `GRACE` seconds, then the connection is cut."""
        cycle = self._current()
        if cycle is not None and cycle.more_body:
            self.transport.abort()
            return
        super().shutdown()
        self.loop.call_later(GRACE, self.transport.abort)

    def _update(self) -> None:
        """Follow the request: its headers are awaited, or its body, or its answer."""
        cycle = self._current()
        self.limit.set_complete(self, complete=cycle is not None and not cycle.more_body)
        if cycle is None:
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self.transport.close)
        elif self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _current(self) -> RequestResponseCycle | None:
        """Return the request whose headers have arrived and that is not answered yet; None if there is none."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def _watch_reader(self, before: int | None = None) -> None:
        waiting = self.transport.get_write_buffer_size()
        if before is not None and before - waiting < MIN_READ:
            self.transport.abort()
        else:
            self._read_timer = self.loop.call_later(READ_TIMEOUT, self._watch_reader, waiting)

    def _stop_timers(self) -> None:
        for timer in (self._header_timer, self._read_timer):
            if timer is not None:
                timer.cancel()


def build_connection_class(limit: ConnectionLimit) -> type[Connection]:
    """Return the class of the connections that share a limit."""
    return type("Connection", (Connection,), {"limit": limit})


def descriptors() -> tuple[int, int]:
    """Return the limit on connections, and how many may be accepted in one round.

    The process's limit on descriptors is raised first, as far as needed and allowed.
    """
    if sys.platform == "win32":
        return MAX_CONNECTIONS, BACKLOG
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = (
        MAX_CONNECTIONS + RESERVED_DESCRIPTORS
        if hard == unlimited
        else min(MAX_CONNECTIONS + RESERVED_DESCRIPTORS, hard)
    )
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit that they do not report
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == unlimited:
        return MAX_CONNECTIONS, BACKLOG
    kept = min(RESERVED_DESCRIPTORS, soft * 3 // 8)
    return min(MAX_CONNECTIONS, soft - kept), kept // 6
