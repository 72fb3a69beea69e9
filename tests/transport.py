"""An in-process ASGI transport for httpx2 that behaves as a network does, in anyio's time.

`httpx2.ASGITransport` does not do for this product's tests. It ignores the request's time-outs, so a hang is a hang
and not a `ReadTimeout`; it gathers the whole body before it answers, so nothing can be said about streams; an
exception in the app comes out as that exception, where a caller on a real network sees a connection that went away;
and the app lives inside the client's own call, so a client that gives up kills the handler, while the question that
matters most here is what happens when the server goes on and only the answer is lost.

`StreamingASGITransport` runs each request's app in a task of its own, as a server does, and turns what happens
between the two into the errors that `httpx2.AsyncHTTPTransport` raises for it. `tests/test_transport.py` holds it to
that against real sockets. All waiting is in anyio's time: under trio's MockClock a time-out of 30 s costs nothing.
"""

import contextvars
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import anyio
import anyio.abc
import anyio.lowlevel
import httpx2

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
When: TypeAlias = Literal["connect", "before_send", "after_send"]
Failure: TypeAlias = str | Exception | Callable[[], Exception]

REFUSED = "All connection attempts failed"
UNKNOWN_HOST = "[Errno -2] Name or service not known"
NO_ANSWER = "Server disconnected without sending a response."
HALF_A_BODY = "peer closed connection without sending complete message body"


class Link:
    """The wire between clients and servers; share one among transports to cut them all off together.

    Attributes:
        up: While False, new requests get `ConnectError`. Those in flight go on; `cut()` is for them.
        connect_delay: Seconds until a connection stands. More than the connect time-out is a `ConnectTimeout`.
        latency: Seconds until the app sees a request. They count against the read time-out, as they do in life.
    """

    def __init__(self, *, up: bool = True, connect_delay: float = 0.0, latency: float = 0.0) -> None:
        self.up = up
        self.connect_delay = connect_delay
        self.latency = latency
        self._faults: deque[_Fault] = deque()
        self._in_flight: set[_Exchange] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are between "connected" and "answer read or given up"."""
        return len(self._in_flight)

    @property
    def pending(self) -> int:
        """How many failures of `next` have not happened yet; a test that ends with some tested nothing."""
        return len(self._faults)

    def next(
        self, failure: Failure, when: When, *, match: Callable[[httpx2.Request], bool] = lambda _: True, times: int = 1
    ) -> None:
        """Let the next request that matches fail, once (or `times` times).

        Args:
            failure: The name of an httpx2 error ("ReadError"), an error, its class, or what makes one.
            when: "connect" and "before_send": the app never sees the request. "after_send": the app handles it to
                the end, then the answer is lost.
            match: Which requests this is for; the first failure in the queue that matches is taken.
            times: How many requests it is for.
        """
        if isinstance(failure, str):
            failure = getattr(httpx2, failure)
        self._faults.extend(_Fault(failure, when, match) for _ in range(times))

    def cut(self, *, app: Literal["finish", "cancel"] = "finish") -> int:
        """Make all requests in flight fail with `ReadError` at once, and say how many there were.

        The handlers go on and see `http.disconnect` ("finish"), or die with the wire ("cancel").
        """
        lost = list(self._in_flight)
        for exchange in lost:
            exchange.cut(cancel=app == "cancel")
        return len(lost)

    def _take(self, request: httpx2.Request) -> "_Fault | None":
        for fault in self._faults:
            if fault.match(request):
                self._faults.remove(fault)
                return fault
        return None


@dataclass(frozen=True, eq=False)
class _Fault:
    failure: Exception | Callable[[], Exception]
    when: When
    match: Callable[[httpx2.Request], bool]

    def error(self) -> Exception:
        if isinstance(self.failure, type):
            return self.failure("injected by the test")
        return self.failure if isinstance(self.failure, Exception) else self.failure()


class StreamingASGITransport(httpx2.AsyncBaseTransport):
    """Sends requests to ASGI apps in this process; see the module for why.

    It owns the tasks the apps run in, so it works only while it is entered: by the client (`async with
    httpx2.AsyncClient(transport=...)`), or by the test around several clients, which makes it the server that
    outlives them. The first to enter is the last to leave.

    An exception of an app is a bug and comes out: of the request that waits for it, else of the transport's own exit
    (they are kept in `failures`; clear it if they are expected).

    Args:
        app: One app for all hosts, or `{host: app}`; a key may carry a port ("127.0.0.1:8080"), "*" is any host.
            The mapping is read at each request, so that a test can replace a server. An unknown host is a
            `ConnectError`.
        link: The wire; one of its own unless given.
        detached: Whether a handler goes on when its client goes away, as it does in a real server. In either case
            its `receive` says `http.disconnect`.
        dropped: What an app raises to drop the connection; any exception of a class named `DroppedConnection` unless
            given. Before the response head and in mid-body it becomes a `RemoteProtocolError`; if it has a true
            attribute `reset`, a `ReadError`, as from a TCP reset. After the end of the answer it means nothing.
        raise_app_exceptions: If False, an exception of an app is what servers make of it: status 500, or half a body.
        window: How many bytes `send` and the request's body run ahead of the other side; 0 is lock-step.
        max_connections: More requests than that wait, until the pool time-out is over.
        root_path: As in `httpx2.ASGITransport`.
        client: The address that the app sees.
        http_version: What the app and the response say.
    """

    def __init__(
        self,
        app: ASGIApp | Mapping[str, ASGIApp],
        *,
        link: Link | None = None,
        detached: bool = True,
        dropped: tuple[type[BaseException], ...] | None = None,
        raise_app_exceptions: bool = True,
        window: float = 65536,
        max_connections: int | None = None,
        root_path: str = "",
        client: tuple[str, int] = ("127.0.0.1", 12345),
        http_version: str = "1.1",
    ) -> None:
        self.mounts: Mapping[str, ASGIApp] = app if isinstance(app, Mapping) else {"*": app}
        self.link = link or Link()
        self.detached = detached
        self.dropped = dropped
        self.raise_app_exceptions = raise_app_exceptions
        self.window = window
        self.root_path = root_path
        self.client = client
        self.http_version = http_version
        self.failures: list[BaseException] = []
        self._pool = None if max_connections is None else anyio.Semaphore(max_connections)
        self._depth = 0
        self._group: anyio.abc.TaskGroup | None = None
        self._context = contextvars.Context()
        self._running: set[_Exchange] = set()

    async def __aenter__(self) -> Self:
        if self._depth == 0:
            self._group = await anyio.create_task_group().__aenter__()
            self._context = contextvars.copy_context()
        self._depth += 1
        return self

    async def __aexit__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._depth -= 1
        if self._depth or self._group is None:
            return
        group, self._group = self._group, None
        for exchange in self._running | self._in_flight():
            exchange.hang_up(cancel=False)
            exchange.scope.cancel()
        # anyio wraps whatever passes through a task group in an ExceptionGroup. What the caller raised is none of the
        # group's business, so only a cancellation, which may be the group's own, goes through it.
        if isinstance(exc_value, anyio.get_cancelled_exc_class()):
            await group.__aexit__(exc_type, exc_value, traceback)
        else:
            await group.__aexit__(None, None, None)
        failures, self.failures = self.failures, []
        if exc_value is None and failures:
            raise failures[0] if len(failures) == 1 else BaseExceptionGroup("apps failed unseen", failures)
        for failure in failures:
            assert exc_value is not None
            exc_value.add_note(f"An app failed unseen as well: {failure!r}")

    async def aclose(self) -> None:
        """Hang up on all requests, unless others hold the transport open too."""
        if self._depth <= 1:
            for exchange in self._in_flight():
                exchange.hang_up(cancel=not self.detached)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._group is None:
            raise RuntimeError("Enter the transport, or the client that has it, with `async with` first.")
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        timeout: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        fault = self.link._take(request) if self.link.up else None
        if self._pool is not None:
            with anyio.move_on_after(timeout.get("pool")) as waiting:
                await self._pool.acquire()
            if waiting.cancelled_caught:
                raise httpx2.PoolTimeout("")
        try:
            app = await self._connect(request, fault, timeout.get("connect"))
            exchange = _Exchange(self, request, timeout.get("read"))
        except BaseException:
            self._release()
            raise
        try:
            self._running.add(exchange)
            self._context.copy().run(self._group.start_soon, self._serve, app, exchange)
            await exchange.upload(request.stream, timeout.get("write"))
            if fault is not None and fault.when == "after_send":
                await exchange.handled()
                raise fault.error()
            status, headers = await exchange.head()
        except BaseException:
            exchange.hang_up(cancel=not self.detached)
            raise
        return httpx2.Response(
            status,
            headers=headers,
            stream=_ResponseStream(exchange),
            extensions={"http_version": b"HTTP/" + self.http_version.encode()},
        )

    def _in_flight(self) -> "set[_Exchange]":
        return {exchange for exchange in self.link._in_flight if exchange.transport is self}

    async def _connect(self, request: httpx2.Request, fault: _Fault | None, seconds: float | None) -> ASGIApp:
        if fault is not None and fault.when == "connect":
            raise fault.error()
        with anyio.move_on_after(seconds) as waiting:
            await _sleep(self.link.connect_delay)
        if waiting.cancelled_caught:
            raise httpx2.ConnectTimeout("")
        if not self.link.up:
            raise httpx2.ConnectError(REFUSED)
        for name in (request.url.netloc.decode(), request.url.host, "*"):
            if name in self.mounts:
                break
        else:
            raise httpx2.ConnectError(UNKNOWN_HOST)
        if fault is not None and fault.when == "before_send":
            raise fault.error()
        return self.mounts[name]

    async def _serve(self, app: ASGIApp, exchange: "_Exchange") -> None:
        try:
            with exchange.scope:
                await _sleep(self.link.latency)
                await app(exchange.asgi_scope(), exchange.receive, exchange.send)
                exchange.returned()
            if exchange.scope.cancelled_caught:
                exchange.drop(reset=True)
        except BaseException as error:
            if self._is_drop(error):
                exchange.drop(reset=bool(getattr(error, "reset", False)))
            elif isinstance(error, Exception):
                exchange.crash(error)
            else:
                raise
        finally:
            exchange.finish()
            self._running.discard(exchange)

    def _is_drop(self, error: BaseException) -> bool:
        if isinstance(error, BaseExceptionGroup):
            return all(self._is_drop(leaf) for leaf in error.exceptions)
        if self.dropped is not None:
            return isinstance(error, self.dropped)
        return any(cls.__name__ == "DroppedConnection" for cls in type(error).__mro__)

    def _release(self) -> None:
        if self._pool is not None:
            self._pool.release()


class _Exchange:
    """One request and its answer: a buffer each way, and one bell that rings whenever something changed."""

    def __init__(self, transport: StreamingASGITransport, request: httpx2.Request, read_timeout: float | None) -> None:
        self.scope = anyio.CancelScope()
        self.transport = transport
        self._request = request
        self._read_timeout = read_timeout
        self._window = transport.window
        self._bell = anyio.Event()
        self._up: deque[bytes] = deque()  # the request's body, on its way to the app
        self._up_ended = self._up_told = False
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._down: deque[bytes] = deque()  # the response's body, on its way to the client
        self._declared: int | None = None
        self._sent = 0
        self._complete = False  # the app said so
        self._finished = False  # the app is gone
        self._failure: BaseException | None = None  # what the client meets once it has read what came before
        self._lost: Exception | None = None  # what the client meets at once
        self._client_gone = False  # the app is told
        self._closed = False  # nobody reads any more: gone, or done
        transport.link._in_flight.add(self)

    # Events

    def _ring(self) -> None:
        self._bell.set()
        self._bell = anyio.Event()

    def cut(self, *, cancel: bool) -> None:
        self._lost = httpx2.ReadError("")
        self.hang_up(cancel=cancel)

    def hang_up(self, *, cancel: bool) -> None:
        """The client goes away: the app is told, or cancelled."""
        self._close()
        self._client_gone = True
        if cancel and not self._complete:
            self.scope.cancel()
        self._ring()

    def done(self) -> None:
        """The client closes the response: that is hanging up, unless it has read all of it."""
        if self._whole and not self._down:
            self._close()
        else:
            self.hang_up(cancel=not self.transport.detached)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self.transport.link._in_flight.discard(self)
            self.transport._release()
            self._report_unseen()

    def _report_unseen(self) -> None:
        """A bug that nobody waits for any more is kept for the transport's exit."""
        failure, self._failure = self._failure, None
        if failure is not None and not isinstance(failure, httpx2.HTTPError):
            self.transport.failures.append(failure)

    # The app's side

    def asgi_scope(self) -> dict[str, Any]:
        request, transport = self._request, self.transport
        return {
            "type": "http",
            # 2.3, as uvicorn says: `send` to a client that left is a no-op, `receive` tells.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": transport.http_version,
            "method": request.method,
            "headers": [(key.lower(), value) for key, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": transport.client,
            "root_path": transport.root_path,
        }

    async def receive(self) -> Message:
        await anyio.lowlevel.checkpoint()
        while not (self._client_gone or self._complete):
            if self._up or (self._up_ended and not self._up_told):
                body = self._up.popleft() if self._up else b""
                self._up_told = self._up_ended and not self._up
                self._ring()
                return {"type": "http.request", "body": body, "more_body": not self._up_told}
            await self._bell.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        if self._client_gone:
            return
        if self._complete:
            raise RuntimeError(f"{message['type']} after the response was complete")
        if message["type"] == "http.response.start" and self._head is None:
            self._start(message["status"], [(bytes(key), bytes(value)) for key, value in message.get("headers", [])])
        elif message["type"] == "http.response.body" and self._head is not None:
            self._continue(bytes(message.get("body", b"")), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} is out of order, or not supported here")
        self._ring()
        while sum(map(len, self._down)) > self._window and not self._client_gone:
            await self._bell.wait()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._head = status, headers
        if self._request.method == "HEAD" or status in (204, 304):
            self._declared = 0
            return
        for key, value in headers:
            if key.lower() == b"content-length":
                self._declared = int(value)

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            body = b""
        if self._declared is not None and self._sent + len(body) > self._declared:
            body = body[: self._declared - self._sent]
            self._fail(httpx2.RemoteProtocolError("Too much data for declared Content-Length"))
        self._sent += len(body)
        if body:
            self._down.append(body)
        if not more:
            self._complete = True
            if not self._whole:
                self._fail(self._half_a_body())

    def returned(self) -> None:
        if self._client_gone:
            return  # what was sent since went nowhere, and nobody misses it
        if self._head is None:
            self.crash(RuntimeError("The ASGI app returned without starting a response."))
        elif not self._complete:
            self.drop(reset=False)

    def drop(self, *, reset: bool) -> None:
        """The server's end of the connection is gone: after what was sent (FIN), or at once (RST)."""
        if reset and not self._whole:
            self._down.clear()
            self._fail(httpx2.ReadError(""))
        elif self._head is None:
            self._fail(httpx2.RemoteProtocolError(NO_ANSWER))
        elif not self._whole:
            self._fail(self._half_a_body())

    def crash(self, error: Exception) -> None:
        if not self.transport.raise_app_exceptions:
            if self._head is None:
                body = b"Internal Server Error"
                self._start(500, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")])
                self._continue(body, more=False)
            else:
                self.drop(reset=False)
        elif self._closed or self._complete:
            self.transport.failures.append(error)
        else:
            self._fail(error)

    def finish(self) -> None:
        self._finished = True
        self._ring()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not self._closed:
            self._failure = error

    @property
    def _bodiless(self) -> bool:
        return self._request.method == "HEAD" or (self._head is not None and self._head[0] in (204, 304))

    @property
    def _whole(self) -> bool:
        """Whether the client has, or will have, all that it was promised, as far as HTTP/1.1 lets it know."""
        return self._head is not None and (self._complete if self._declared is None else self._sent == self._declared)

    def _half_a_body(self) -> httpx2.RemoteProtocolError:
        if self._declared is None:
            return httpx2.RemoteProtocolError(f"{HALF_A_BODY} (incomplete chunked read)")
        got = f"received {self._sent} bytes, expected {self._declared}"
        return httpx2.RemoteProtocolError(f"{HALF_A_BODY} ({got})")

    # The client's side

    async def _until(
        self, ready: Callable[[], bool], seconds: float | None, late: type[httpx2.TimeoutException]
    ) -> None:
        with anyio.move_on_after(seconds) as waiting:
            await anyio.lowlevel.checkpoint()
            while self._lost is None and not ready():
                await self._bell.wait()
        if self._lost is not None:
            raise self._lost
        if waiting.cancelled_caught:
            raise late("")

    async def upload(self, stream: httpx2.AsyncByteStream, write_timeout: float | None) -> None:
        """Send the body as HTTP/1.1 does: all of it before the answer is read, unless the server has answered."""

        def taken() -> bool:
            return sum(map(len, self._up)) <= self._window or self._complete or self._finished

        length = self._request.headers.get("content-length")
        left = math.inf if length is None else int(length)
        chunks: AsyncIterator[bytes] = stream.__aiter__()
        try:
            async for chunk in chunks:
                if self._complete or self._finished:
                    return
                left -= len(chunk)
                if left < 0:
                    raise httpx2.LocalProtocolError("Too much data for declared Content-Length")
                if chunk:
                    self._up.append(chunk)
                    self._up_ended = left == 0  # with a Content-Length the last chunk is known for the last
                    self._ring()
                    await self._until(taken, write_timeout, httpx2.WriteTimeout)
        finally:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]
        if 0 < left < math.inf:
            raise httpx2.LocalProtocolError("Too little data for declared Content-Length")
        self._up_ended = True
        self._ring()

    async def handled(self) -> None:
        """Wait until the app is through, though nobody reads its answer."""
        self._window = math.inf
        self._ring()
        await self._until(lambda: self._finished, self._read_timeout, httpx2.ReadTimeout)
        self._raise_failure(only_bugs=True)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        await self._until(
            lambda: self._head is not None or self._failure is not None, self._read_timeout, httpx2.ReadTimeout
        )
        if self._head is None:
            self._raise_failure()
        assert self._head is not None
        return self._head

    async def read(self) -> bytes | None:
        """Give the next chunk of the body, or None at its end."""
        await self._until(
            lambda: bool(self._down) or self._failure is not None or self._whole or self._finished,
            self._read_timeout,
            httpx2.ReadTimeout,
        )
        if self._down:
            chunk = self._down.popleft()
            self._ring()
            return chunk
        self._raise_failure()
        return None

    def _raise_failure(self, *, only_bugs: bool = False) -> None:
        if self._failure is not None and not (only_bugs and isinstance(self._failure, httpx2.HTTPError)):
            failure, self._failure = self._failure, None
            raise failure


class _ResponseStream(httpx2.AsyncByteStream):
    """The body, and with its closing the end of the exchange. A plain iterator: nothing is left to a collector."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._exchange.read()
        except BaseException:
            await self.aclose()
            raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._exchange.done()


async def _sleep(seconds: float) -> None:
    await (anyio.sleep_forever() if seconds == math.inf else anyio.sleep(seconds))
