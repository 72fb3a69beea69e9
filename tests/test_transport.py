"""The tests' own wire is tested first: what it claims about networks is compared with sockets at the end."""

import asyncio
import contextvars
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
import sniffio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.clock import EPOCH, VirtualWall
from tests.transport import ASGIApp, Link, Receive, Send, StreamingASGITransport

Scope = Any
URL = "http://api.test/things"


class DroppedConnection(BaseException):
    """Known by its name, as the sandbox's is."""

    def __init__(self, *, reset: bool = False) -> None:
        self.reset = reset


def client_of(app: Any, *, timeout: Any = 30, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=StreamingASGITransport(app, **options), timeout=timeout)


async def start(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Send, chunk: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def gather(answer: httpx2.Response, got: list[bytes]) -> None:
    async for chunk in answer.aiter_raw():
        got.append(chunk)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await start(send, (b"content-type", b"text/plain"))
    await body(send, b"hello")


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep(100)
    await hello(scope, receive, send)


def half(*headers: tuple[bytes, bytes], failure: BaseException | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, *headers)
        await body(send, b"12345", more=True)
        if failure is not None:
            raise failure

    return app


class Recorder:
    """Reads its request, waits, answers; remembers how far it came and what it was told."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.seen = 0
        self.finished = 0
        self.reply = ""
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen += 1
        more = True
        while more:
            message = await receive()
            self.body += message.get("body", b"")
            more = message.get("more_body", False)
        await anyio.sleep(self.seconds)
        await hello(scope, receive, send)
        self.reply = (await receive())["type"]
        self.finished += 1


# The ordinary case


async def test_an_answer_arrives_with_its_status_headers_and_body_and_the_app_sees_the_whole_request() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope, message=await receive())
        await start(send, (b"x-kind", b"made"), status=201)
        await body(send, b"ok")

    async with client_of(app, root_path="/sub", client=("10.0.0.1", 9)) as client:
        answer = await client.post("http://api.test:81/a%20b?q=1", content=b"xyz")
    assert (answer.status_code, answer.headers["x-kind"], answer.content) == (201, "made", b"ok")
    assert answer.http_version == "HTTP/1.1"
    assert seen["message"] == {"type": "http.request", "body": b"xyz", "more_body": False}
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/a b", b"/a%20b", b"q=1")
    assert (seen["server"], seen["client"], seen["root_path"]) == (("api.test", 81), ("10.0.0.1", 9), "/sub")


@pytest.mark.parametrize("detached", [True, False])
async def test_a_starlette_app_answers_json_and_streams(detached: bool) -> None:
    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"got": await request.json()})

    async def count(request: Request) -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number};"
                await anyio.sleep(1)

        return StreamingResponse(numbers())

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"]), Route("/count", count)])
    async with client_of(app, detached=detached) as client:
        assert (await client.post("http://api.test/echo", json=[1])).json() == {"got": [1]}
        assert (await client.get("http://api.test/count")).text == "0;1;2;"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_an_answer_that_has_no_body_by_rule_has_none_whatever_its_length_says(method: str, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, (b"content-length", b"5"), status=status)
        await body(send, b"hello" if method == "HEAD" else b"")

    async with client_of(app) as client:
        answer = await client.request(method, URL)
    assert (answer.status_code, answer.content) == (status, b"")


async def test_the_app_does_not_see_the_context_variables_of_its_caller() -> None:
    variable = contextvars.ContextVar("variable", default="server")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, variable.get().encode())

    async with client_of(app) as client:
        variable.set("client")
        assert (await client.get(URL)).text == "server"


async def test_a_transport_that_nobody_entered_says_so() -> None:
    client = client_of(hello)
    with pytest.raises(RuntimeError, match="Enter the transport"):
        await client.get(URL)
    await client.aclose()


# Streams


async def test_the_first_chunk_is_read_before_the_second_is_sent() -> None:
    read = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"first", more=True)
        await read.wait()
        await body(send, b"second")

    async with client_of(app) as client, client.stream("GET", URL) as answer:
        chunks = answer.aiter_raw()
        assert await anext(chunks) == b"first"
        read.set()
        assert [chunk async for chunk in chunks] == [b"second"]


@pytest.mark.parametrize(("window", "ahead"), [(0, 1), (10, 2), (1000, 5)])
async def test_an_app_runs_ahead_of_its_reader_by_no_more_than_the_window(window: int, ahead: int) -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for number in range(5):
            sent.append(number)
            await body(send, b"x" * 10, more=number < 4)

    async with client_of(app, window=window) as client, client.stream("GET", URL) as answer:
        await anyio.sleep(1)
        assert len(sent) == ahead
        assert len(await answer.aread()) == 50


async def test_the_request_body_is_streamed_and_waits_for_the_app() -> None:
    made: list[int] = []
    got: list[tuple[bytes, int]] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(4):
            made.append(number)
            yield b"piece%d" % number

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            await anyio.sleep(1)
            message = await receive()
            more = message["more_body"]
            got.append((message["body"], len(made)))
        await hello(scope, receive, send)

    async with client_of(app, window=0) as client:
        assert (await client.post(URL, content=pieces())).text == "hello"
    assert got == [(b"piece0", 1), (b"piece1", 2), (b"piece2", 3), (b"piece3", 4), (b"", 4)]


async def test_an_app_that_reads_late_gets_every_piece_and_only_the_last_says_that_it_is_the_last() -> None:
    got: list[tuple[bytes, bool]] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(1)
        got.extend([(message["body"], message["more_body"]) for message in (await receive(), await receive())])
        await hello(scope, receive, send)

    async with client_of(app) as client:
        await client.post(URL, content=pieces())
        assert got == [(b"one", True), (b"two", False)]


async def test_a_body_of_known_length_is_known_to_end_with_its_last_byte() -> None:
    seen: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"xyz"
        await anyio.sleep(5)  # the app reads meanwhile

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["more_body"])
        await hello(scope, receive, send)

    async with client_of(app) as client:
        await client.post(URL, content=pieces(), headers={"content-length": "3"})
    assert seen == [False]


async def test_an_app_that_answers_early_is_heard_before_the_body_is_all_sent() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send, status=413)
        await body(send, b"too long")

    async with client_of(app) as client:
        assert (await client.post(URL, content=pieces())).status_code == 413


@pytest.mark.parametrize(("length", "word"), [("3", "Too much"), ("9", "Too little")])
async def test_a_request_body_that_is_not_as_long_as_declared_is_the_callers_fault(length: str, word: str) -> None:
    async with client_of(Recorder()) as client:
        with pytest.raises(httpx2.LocalProtocolError, match=word):
            await client.post(URL, content=b"12345", headers={"content-length": length})


# Time-outs


async def test_a_hundred_seconds_of_silence_are_a_read_timeout_after_thirty_and_cost_no_wall_time() -> None:
    began, wall = anyio.current_time(), time.perf_counter()
    async with client_of(hang) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(URL)
        assert anyio.current_time() - began == pytest.approx(30)
    assert time.perf_counter() - wall < 5


async def test_without_a_read_timeout_the_answer_is_waited_for() -> None:
    began = anyio.current_time()
    async with client_of(hang, timeout=None) as client:
        assert (await client.get(URL)).text == "hello"
    assert anyio.current_time() - began == pytest.approx(100)


async def test_the_read_timeout_is_for_each_chunk_and_not_for_the_whole_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for pause in (20, 20, 40):
            await body(send, b"x", more=True)
            await anyio.sleep(pause)
        await body(send, b"")

    async with client_of(app) as client, client.stream("GET", URL) as answer:
        began, got = anyio.current_time(), list[bytes]()
        with pytest.raises(httpx2.ReadTimeout):
            await gather(answer, got)
        assert got == [b"x", b"x", b"x"]
        assert anyio.current_time() - began == pytest.approx(70)


async def test_an_app_that_does_not_read_is_a_write_timeout() -> None:
    timeout = httpx2.Timeout(30, write=7)
    async with client_of(hang, timeout=timeout, window=10) as client:
        began = anyio.current_time()
        with pytest.raises(httpx2.WriteTimeout):
            await client.post(URL, content=b"x" * 11)
        assert anyio.current_time() - began == pytest.approx(7)


@pytest.mark.parametrize("delay", [6, float("inf")])
async def test_a_slow_connection_is_a_connect_timeout_and_the_app_sees_nothing(delay: float) -> None:
    app = Recorder()
    async with client_of(app, timeout=httpx2.Timeout(30, connect=5), link=Link(connect_delay=delay)) as client:
        began = anyio.current_time()
        with pytest.raises(httpx2.ConnectTimeout):
            await client.get(URL)
        assert anyio.current_time() - began == pytest.approx(5)
    assert app.seen == 0


async def test_delay_and_latency_within_the_timeouts_only_take_their_time() -> None:
    async with client_of(hello, link=Link(connect_delay=4, latency=20), timeout=30) as client:
        began = anyio.current_time()
        await client.get(URL)
        assert anyio.current_time() - began == pytest.approx(24)


async def test_latency_counts_against_the_read_timeout() -> None:
    async with client_of(hello, link=Link(latency=31)) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(URL)


async def test_more_requests_than_connections_wait_until_the_pool_timeout() -> None:
    timeout = httpx2.Timeout(None, pool=10)
    async with client_of(hang, timeout=timeout, max_connections=1) as client, anyio.create_task_group() as group:
        group.start_soon(client.get, URL)
        await anyio.sleep(1)
        began = anyio.current_time()
        with pytest.raises(httpx2.PoolTimeout):
            await client.get(URL)
        assert anyio.current_time() - began == pytest.approx(10)
        assert (await client.get(URL, timeout=200)).text == "hello"  # the slot is free again


async def test_a_slot_of_the_pool_comes_back_after_a_failure_and_after_a_body_left_unread() -> None:
    link = Link()
    async with client_of(hello, timeout=httpx2.Timeout(30, pool=1), max_connections=1, link=link) as client:
        link.next("ConnectError", "connect")
        link.next("WriteError", "before_send")
        link.next("ReadError", "after_send")
        for _ in range(3):
            with pytest.raises(httpx2.NetworkError):
                await client.get(URL)
        async with client.stream("GET", URL):
            pass
        assert (await client.get(URL)).text == "hello"
    assert link.in_flight == 0


# Drops and bugs


async def refuse_to_answer(scope: Scope, receive: Receive, send: Send) -> None:
    raise DroppedConnection


async def test_a_drop_before_the_head_is_a_server_that_disconnected_without_a_response() -> None:
    async with client_of(refuse_to_answer) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match=r"^Server disconnected without sending a response\.$"):
            await client.post(URL, content=b"x")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([], r"without sending complete message body \(incomplete chunked read\)"),
        ([(b"Content-Length", b"10")], r"complete message body \(received 5 bytes, expected 10\)"),
    ],
)
@pytest.mark.parametrize("failure", [None, DroppedConnection(), BaseExceptionGroup("group", [DroppedConnection()])])
async def test_a_drop_in_mid_body_is_an_incomplete_body_after_what_was_sent(
    headers: list[tuple[bytes, bytes]], why: str, failure: BaseException | None
) -> None:
    async with client_of(half(*headers, failure=failure)) as client, client.stream("GET", URL) as answer:
        got: list[bytes] = []
        with pytest.raises(httpx2.RemoteProtocolError, match=why):
            await gather(answer, got)
        assert got == [b"12345"]


async def test_a_reset_is_a_read_error_and_what_was_not_read_before_is_lost() -> None:
    got: list[bytes] = []
    app = half(failure=DroppedConnection(reset=True))
    async with client_of(app) as client, client.stream("GET", URL) as answer:
        await anyio.sleep(1)
        with pytest.raises(httpx2.ReadError):
            await gather(answer, got)
    assert got == []


async def test_a_drop_after_all_that_was_declared_is_nothing_to_the_client() -> None:
    async with client_of(half((b"content-length", b"5"), failure=DroppedConnection())) as client:
        assert (await client.get(URL)).text == "12345"


@pytest.mark.parametrize(("length", "why"), [(b"4", "Too much data"), (b"6", "received 5 bytes, expected 6")])
async def test_a_body_that_is_not_as_long_as_its_content_length_is_a_protocol_error(length: bytes, why: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, (b"content-length", length))
        await body(send, b"12345")

    async with client_of(app) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match=why):
            await client.get(URL)


async def test_what_counts_as_a_drop_can_be_given() -> None:
    class Gone(Exception):
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Gone

    async with client_of(app, dropped=(Gone,)) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(URL)
    async with client_of(app) as client:
        with pytest.raises(Gone):
            await client.get(URL)


async def test_a_bug_in_the_app_comes_out_as_itself_before_the_head_and_in_mid_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("bug")

    async with client_of({"before.test": app, "mid.test": half(failure=KeyError("bug"))}) as client:
        with pytest.raises(KeyError, match="bug"):
            await client.get("http://before.test")
        async with client.stream("GET", "http://mid.test") as answer:
            with pytest.raises(KeyError, match="bug"):
                await answer.aread()


async def test_an_app_that_returns_without_an_answer_is_a_bug() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with client_of(app) as client:
        with pytest.raises(RuntimeError, match="without starting a response"):
            await client.get(URL)


async def test_bugs_can_be_what_servers_make_of_them() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("bug")

    apps = {"before.test": app, "mid.test": half(failure=KeyError("bug"))}
    async with client_of(apps, raise_app_exceptions=False) as client:
        answer = await client.get("http://before.test")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):
            await client.get("http://mid.test")


async def test_a_bug_after_the_answer_or_after_the_client_left_comes_out_at_the_exit() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        await anyio.sleep(50)
        raise KeyError("late")

    async def ask(then: Exception | None) -> None:
        async with client_of(app) as client:
            assert (await client.get(URL)).text == "hello"
            await anyio.sleep(60)
            if then is not None:
                raise then

    with pytest.raises(KeyError, match="late"):
        await ask(None)
    with pytest.raises(ZeroDivisionError) as caught:
        await ask(ZeroDivisionError())
    assert "late" in caught.value.__notes__[0]


# The link


async def test_a_link_that_is_down_refuses_and_the_app_sees_nothing_until_it_is_up() -> None:
    app, link = Recorder(), Link(up=False)
    async with client_of(app, link=link) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(URL)
        assert app.seen == 0
        link.up = True
        assert (await client.get(URL)).text == "hello"


@pytest.mark.parametrize(("app_side", "finished"), [("finish", 1), ("cancel", 0)])
async def test_a_cut_fails_all_requests_in_flight_at_once_and_the_app_goes_on_or_dies(
    app_side: Any, finished: int
) -> None:
    app, link, errors = Recorder(seconds=20), Link(), []

    async def ask(client: httpx2.AsyncClient) -> None:
        with pytest.raises(httpx2.ReadError):
            await client.get(URL)
        errors.append(anyio.current_time())

    async with client_of({"api.test": app}, link=link) as one, client_of(hang, link=link) as other:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, one)
            group.start_soon(ask, other)
            await anyio.sleep(5)
            assert link.in_flight == 2
            cut = anyio.current_time()
            assert link.cut(app=app_side) == 2
        assert errors == [cut, cut]
        assert link.in_flight == 0
        await anyio.sleep(100)
    assert (app.seen, app.finished) == (1, finished)
    assert app.reply == ("http.disconnect" if finished else "")


async def test_a_cut_in_mid_body_is_a_read_error_though_more_was_on_its_way() -> None:
    link = Link()
    async with client_of(half(failure=None), link=link) as client, client.stream("GET", URL) as answer:
        link.cut()
        with pytest.raises(httpx2.ReadError):
            await answer.aread()


@pytest.mark.parametrize("name", ["ConnectError", "ConnectTimeout", "PoolTimeout", "WriteError", "ReadError"])
@pytest.mark.parametrize(("when", "seen"), [("connect", 0), ("before_send", 0), ("after_send", 1)])
async def test_an_injected_error_comes_once_before_the_app_sees_the_request_or_after_it_handled_it(
    name: str, when: Any, seen: int
) -> None:
    app, link = Recorder(seconds=3), Link()
    link.next(name, when)
    async with client_of(app, link=link) as client:
        with pytest.raises(getattr(httpx2, name)) as caught:
            await client.post(URL, content=b"pay")
        assert caught.value.request.url == URL
        assert (app.seen, app.finished, link.pending) == (seen, seen, 0)
        assert (await client.post(URL, content=b"pay")).text == "hello"


async def test_injected_errors_are_taken_in_order_by_the_requests_they_are_for() -> None:
    link = Link()
    link.next("ReadError", "after_send", match=lambda request: request.method == "POST", times=2)
    link.next(httpx2.WriteError, "before_send")
    link.next(lambda: httpx2.ConnectError("by a factory"), "connect")
    link.next(httpx2.PoolTimeout("itself"), "connect")
    outcomes: list[str] = []
    async with client_of(hello, link=link) as client:
        for method in ("GET", "POST", "GET", "POST", "GET", "POST", "GET"):
            try:
                outcomes.append((await client.request(method, URL)).text)
            except httpx2.TransportError as error:
                outcomes.append(type(error).__name__)
    assert outcomes == ["WriteError", "ReadError", "ConnectError", "ReadError", "PoolTimeout", "hello", "hello"]
    with pytest.raises(AttributeError):
        link.next("ReedError", "connect")


async def test_a_lost_answer_is_lost_even_if_it_is_longer_than_the_window() -> None:
    done: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for _ in range(5):
            await body(send, b"x" * 10, more=True)
        await body(send, b"")
        done.append(True)

    link = Link()
    link.next("ReadError", "after_send")
    async with client_of(app, link=link, window=0) as client:
        with pytest.raises(httpx2.ReadError):
            await client.get(URL)
    assert done == [True]


async def test_hosts_are_routed_and_an_unknown_one_has_no_name() -> None:
    def says(word: bytes) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await start(send)
            await body(send, word)

        return app

    hosts: dict[str, ASGIApp] = {"a.test": says(b"a"), "b.test": says(b"b"), "b.test:81": says(b"b81")}
    async with client_of(hosts) as client:
        assert (await client.get("https://a.test/x")).text == "a"
        assert (await client.get("http://b.test")).text == "b"
        assert (await client.get("http://b.test:81")).text == "b81"
        with pytest.raises(httpx2.ConnectError, match="Name or service not known"):
            await client.get("http://c.test")
        hosts["c.test"] = says(b"c")
        assert (await client.get("http://c.test")).text == "c"


# Clients that go away


@pytest.mark.parametrize(("detached", "finished"), [(True, 1), (False, 0)])
async def test_a_handler_outlives_a_client_that_gave_up_only_if_detached(detached: bool, finished: int) -> None:
    app = Recorder(seconds=50)
    async with client_of(app, detached=detached) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(URL)
        with anyio.move_on_after(10):
            await client.get(URL)
        await anyio.sleep(100)
    assert (app.seen, app.finished) == (2, 2 * finished)
    assert app.reply == ("http.disconnect" if finished else "")


async def test_a_waiting_app_is_told_at_once_that_its_client_left_a_stream() -> None:
    reply: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await body(send, b"x", more=True)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        reply.append(anyio.current_time())
        await body(send, b"nobody hears this")

    async with client_of(app) as client:
        async with client.stream("GET", URL):
            await anyio.sleep(5)
            left = anyio.current_time()
        await anyio.sleep(5)
    assert reply == [left]


async def test_an_app_that_still_tidies_up_after_a_body_read_in_full_is_not_disturbed() -> None:
    log: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await start(send, (b"content-length", b"2"))
        await body(send, b"ok", more=True)
        await anyio.sleep(5)
        await body(send, b"")
        log.append((await receive())["type"])

    async with client_of(app, detached=False) as client:
        assert (await client.get(URL)).text == "ok"
        assert log == []
        await anyio.sleep(10)
    assert log == ["http.disconnect"]


async def test_a_server_held_open_by_the_test_outlives_its_clients() -> None:
    app = Recorder(seconds=50)
    async with StreamingASGITransport(app) as server:
        async with httpx2.AsyncClient(transport=server, timeout=5) as first:
            with pytest.raises(httpx2.ReadTimeout):
                await first.get(URL)
        async with httpx2.AsyncClient(transport=server, timeout=100) as second:
            assert (await second.get(URL)).text == "hello"
    assert app.finished == 2


@pytest.mark.parametrize("backend", ["virtual", pytest.param("real", marks=pytest.mark.asyncio_backend)])
async def test_leaving_ends_what_still_runs_and_lets_the_callers_exception_through_unwrapped(backend: str) -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("app")

    async def ask() -> None:
        async with client_of(app) as client:
            await client.get(URL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ask()
    with anyio.CancelScope() as scope:
        async with client_of(app) as client:
            await client.get(URL)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert ended == ["app", "app"]


@pytest.mark.asyncio_backend
async def test_it_works_on_asyncio_too() -> None:
    app, link = Recorder(seconds=0.05), Link()
    link.next("ReadError", "after_send")
    async with client_of({"api.test": app, "drop.test": refuse_to_answer, "slow.test": hang}, link=link) as client:
        with pytest.raises(httpx2.ReadError):
            await client.post(URL, content=b"x")
        assert (await client.post(URL, content=b"x")).text == "hello"
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("http://drop.test")
        with pytest.raises(httpx2.ReadTimeout):
            await client.get("http://slow.test", timeout=0.01)
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(httpx2.ReadError):
                    await client.get("http://slow.test")

            group.start_soon(ask)
            await anyio.sleep(0.02)
            link.cut(app="cancel")
    assert app.finished == 2


# The house


async def test_a_test_runs_on_trio_without_a_mark() -> None:
    assert sniffio.current_async_library() == "trio"


@pytest.mark.asyncio_backend
async def test_a_test_with_the_mark_runs_on_asyncio() -> None:
    assert sniffio.current_async_library() == "asyncio"


async def test_the_wall_clock_goes_with_virtual_time_and_its_skew(wall: VirtualWall) -> None:
    await anyio.sleep(7)
    assert wall() == EPOCH.timestamp()
    await anyio.sleep(86400)
    assert wall.date() == EPOCH + timedelta(days=1)
    wall.skew = -3600
    assert wall.date() == EPOCH + timedelta(hours=23)


def test_the_wall_clock_stands_still_without_a_loop(wall: VirtualWall) -> None:
    assert wall() == wall() == EPOCH.timestamp()


def test_no_test_sees_the_developers_folders_or_settings(home: Path, tmp_path: Path) -> None:
    assert Path.home() == home
    assert not [name for name in os.environ if name.startswith(("AVM_", "AIVIDEO_"))]
    assert all(Path(value).is_relative_to(home) for name, value in os.environ.items() if name.startswith("XDG_"))
    assert list(tmp_path.iterdir()) == []


# Reality

RST = struct.pack("ii", 1, 0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(answer: bytes | None, *, reset: bool = False) -> AsyncIterator[str]:
    """Reads a request, says those bytes and closes; without bytes to say it hangs. Yields its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        if reset:
            await asyncio.sleep(0.05)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def outcome(transport: httpx2.AsyncBaseTransport, url: str) -> tuple[type[Exception], str]:
    async with httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(5, read=0.3)) as client:
        try:
            await client.get(url)
        except httpx2.TransportError as error:
            return type(error), str(error)
    raise AssertionError("nothing went wrong")


MISDEEDS: dict[str, tuple[bytes | None, bool, ASGIApp]] = {
    "closed without an answer": (b"", False, refuse_to_answer),
    "closed in mid-body with a Content-Length": (
        HEAD + b"Content-Length: 10\r\n\r\n12345",
        False,
        half((b"content-length", b"10"), failure=DroppedConnection()),
    ),
    "closed in mid-body with chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        False,
        half(failure=DroppedConnection()),
    ),
    "reset in mid-body": (
        HEAD + b"Content-Length: 10\r\n\r\n12345",
        True,
        half((b"content-length", b"10"), failure=DroppedConnection(reset=True)),
    ),
    "no answer in time": (None, False, hang),
}


@pytest.mark.process
@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_real_sockets_and_this_transport_give_the_same_errors_for_the_same_misdeeds(misdeed: str) -> None:
    answer, reset, app = MISDEEDS[misdeed]
    async with raw_server(answer, reset=reset) as url:
        real = await outcome(httpx2.AsyncHTTPTransport(), url)
    assert await outcome(StreamingASGITransport(app), URL) == real


@pytest.mark.process
async def test_a_refused_connection_is_the_same_error_as_with_real_sockets() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
        real = await outcome(httpx2.AsyncHTTPTransport(), f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert await outcome(StreamingASGITransport(hello, link=Link(up=False)), URL) == real


@pytest.mark.process
async def test_a_name_that_does_not_exist_is_the_same_error_as_with_real_sockets() -> None:
    real, _ = await outcome(httpx2.AsyncHTTPTransport(), "http://no-such-host.invalid/")
    ours, _ = await outcome(StreamingASGITransport({}), "http://no-such-host.invalid/")
    assert ours is real is httpx2.ConnectError
