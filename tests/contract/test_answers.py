"""Who gave an answer: what is not the API's own says nothing of the key, the task, the balance or the picture."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import AvmError
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.provider.client import AvmClient
from tests.clock import VirtualWall

KEY = "ak_0123456789abcdef"
T2V = json.dumps({"prompt": "a cat", "aspectRatio": "16:9", "duration": "5"}).encode()
I2V = json.dumps({"image": "data:image/png;base64,iVBORw0KGgo=", "duration": "5"}).encode()

PAGE = "<!DOCTYPE html><html><head><title>Access denied | corp.example</title></head><body>Sign in</body></html>"
HTML, PLAIN, JSON = "text/html; charset=utf-8", "text/plain; charset=UTF-8", "application/json"

ELSE = {
    "a firewall": (403, PLAIN, "error code: 1010"),
    "a firewall's page": (403, HTML, PAGE),
    "a gateway's JSON": (403, JSON, '{"message":"Forbidden"}'),
    "a gateway's 401": (401, HTML, PAGE),
    "a gateway's other JSON": (401, JSON, '{"error":{"code":"AUTH_FAILED"}}'),
    "an envelope that says nothing": (401, JSON, '{"status":"FAILED"}'),
    "a proxy": (407, HTML, PAGE),
    "a login page": (511, HTML, PAGE),
    "a login page that says 200": (200, HTML, PAGE),
    "a login page without a type": (200, "", PAGE),
    "a page of a proxy": (502, HTML, PAGE),
    "a censor": (451, HTML, PAGE),
    "a host's own paywall": (402, HTML, PAGE),
    "a page not found": (404, HTML, PAGE),
    "a page not processed": (422, HTML, PAGE),
    "a bad request": (400, HTML, PAGE),
    "nothing": (403, "", ""),
}
JUDGES = {"AUTH_FAILED", "TASK_NOT_FOUND", "INSUFFICIENT_CREDITS", "CONTENT_REJECTED", "INVALID_INPUT"}
BLOCKED = {401, 403, 407, 451, 511}


class Answering(httpx2.AsyncBaseTransport):
    """One answer to every request."""

    def __init__(self, status: int, kind: str, body: str, **headers: str) -> None:
        self.answer = (status, kind, body)
        self.headers = headers
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        status, kind, body = self.answer
        headers = {**({"Content-Type": kind} if kind else {}), **self.headers}
        return httpx2.Response(status, headers=headers, content=body.encode())


@pytest.fixture
def asking(wall: VirtualWall) -> Callable[..., Any]:
    @asynccontextmanager
    async def made(*answer: Any, key: str = KEY, **headers: str) -> AsyncGenerator[tuple[AvmClient, Answering]]:
        async def nothing(*_: float) -> None: ...

        transport = Answering(*answer, **headers)
        async with httpx2.AsyncClient(transport=transport) as http:
            yield (
                AvmClient("http://api.test", key, http, allowance=nothing, closed=nothing, now=wall, user_agent="x"),
                transport,
            )

    return made


ASKS: dict[str, Callable[[AvmClient], Awaitable[object]]] = {
    "account": lambda client: client.account(),
    "quote": lambda client: client.quote("t2v", json.loads(T2V)),
    "list": lambda client: client.tasks(),
    "task": lambda client: client.task("ck1"),
    "status": lambda client: client.status("ck1"),
    "cancel": lambda client: client.cancel("ck1"),
    "generate": lambda client: client.generate("t2v", T2V, idempotency_key="idem-0001"),
}


@pytest.mark.parametrize("endpoint", ASKS)
@pytest.mark.parametrize("who", ELSE)
async def test_an_answer_that_is_not_the_apis_own_judges_nothing(asking: Any, who: str, endpoint: str) -> None:
    """Fact: upstream.md section 6. Codes such as `AUTH_FAILED` count in the API's own envelope only."""
    status = ELSE[who][0]
    async with asking(*ELSE[who]) as (client, _):
        if status == 404 and endpoint in ("account", "quote"):  # an older generation of the API has neither
            assert await ASKS[endpoint](client) is None
            return
        with pytest.raises(AvmError) as caught:
            await ASKS[endpoint](client)
    error = caught.value
    assert error.code not in JUDGES
    lost = endpoint == "generate" and not rate_limit.nothing_happened(status, enveloped=False)
    if (status in BLOCKED or status == 200) and not lost:
        assert error.code == "UPSTREAM_UNAVAILABLE", error.message
        assert error.retryable
        assert "the key was not judged" in error.message
        assert "on the way" in error.message
        assert "network" in write_next_step(error.next_step, MODEL_AUDIENCE) or "proxy" in write_next_step(
            error.next_step, MODEL_AUDIENCE
        )
    assert "1010" in error.message or who != "a firewall"
    assert "<" not in error.message


@pytest.mark.parametrize("who", ELSE)
async def test_a_paid_request_is_as_lost_as_before_where_nothing_proves_otherwise(asking: Any, who: str) -> None:
    """P1: what proves that nothing happened has not grown."""
    status = ELSE[who][0]
    async with asking(*ELSE[who]) as (client, wire):
        with pytest.raises(AvmError) as caught:
            await ASKS["generate"](client)
        assert len(wire.requests) == 1
    # An envelope without words counts for the status's own meaning only.
    sure = rate_limit.nothing_happened(status, enveloped=False)
    assert (caught.value.charged == "no") is sure
    assert (caught.value.code == "SUBMISSION_UNKNOWN") is not sure


@pytest.mark.parametrize("endpoint", ASKS)
async def test_a_429_is_a_pause_whoever_asks_for_it(asking: Any, endpoint: str) -> None:
    async with asking(429, HTML, PAGE) as (client, wire):
        if endpoint == "cancel":
            with pytest.raises(AvmError, match="pause"):
                await ASKS[endpoint](client)
            return
        with pytest.raises(AvmError) as caught:
            await ASKS[endpoint](client)
        assert (caught.value.code, caught.value.charged) == ("RATE_LIMITED", "no")
        assert len(wire.requests) == rate_limit.RETRIES


@pytest.mark.parametrize("body", [PAGE, "", '{"status":"FAILED","message":"Payload too large"}'])
async def test_a_413_is_about_the_size_of_what_was_sent(asking: Any, body: str) -> None:
    async with asking(413, HTML, body) as (client, _):
        with pytest.raises(AvmError, match="picture is too large") as caught:
            await client.generate("i2v", I2V, idempotency_key="idem-0001")
        assert (caught.value.code, caught.value.charged) == ("FILE_REFUSED", "no")
        assert "smaller picture" in write_next_step(caught.value.next_step, MODEL_AUDIENCE)
        with pytest.raises(AvmError, match="request is too large") as caught:
            await client.generate("t2v", T2V, idempotency_key="idem-0002")
        assert (caught.value.code, caught.value.charged) == ("INVALID_INPUT", "no")


ENVELOPES = [
    (401, {"errorCode": "AUTH_FAILED", "message": "Invalid API key."}, "AUTH_FAILED"),
    (401, {"message": "Invalid API key."}, "AUTH_FAILED"),
    (403, {"message": "This key is disabled."}, "AUTH_FAILED"),
    (401, {"message": "Invalid API key.", "taskId": "ck1"}, "AUTH_FAILED"),
    (402, {"message": "Insufficient credits"}, "INSUFFICIENT_CREDITS"),
    (400, {"message": "Insufficient credits"}, "INSUFFICIENT_CREDITS"),
    (404, {"message": "Task not found"}, "TASK_NOT_FOUND"),
    (404, {"message": "Task not found", "id": "ck1"}, "TASK_NOT_FOUND"),
    (422, {"error": "no"}, "CONTENT_REJECTED"),
]


@pytest.mark.parametrize(("status", "words", "code"), ENVELOPES)
async def test_the_apis_own_envelope_judges(asking: Any, status: int, words: dict[str, str], code: str) -> None:
    async with asking(status, JSON, json.dumps({"status": "FAILED", **words})) as (client, _):
        with pytest.raises(AvmError) as caught:
            await client.task("ck1")
    assert caught.value.code == code


async def test_a_proxy_that_wants_a_password_is_named_before_anything_was_sent(wall: VirtualWall) -> None:
    """httpcore raises ProxyError where CONNECT or SOCKS was refused: nothing of the request has left (P1)."""

    async def nothing(*_: float) -> None: ...

    class Proxy(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ProxyError("407 Proxy Authentication Required", request=request)

    async with httpx2.AsyncClient(transport=Proxy()) as http:
        client = AvmClient("http://api.test", KEY, http, allowance=nothing, closed=nothing, now=wall, user_agent="x")
        for ask in ASKS.values():
            with pytest.raises(AvmError, match="407 Proxy Authentication Required") as caught:
                await ask(client)
            assert (caught.value.code, caught.value.charged) == ("UPSTREAM_UNAVAILABLE", "no")
            assert "HTTPS_PROXY" in write_next_step(caught.value.next_step, MODEL_AUDIENCE)


async def test_the_real_service_is_never_taken_for_a_sandbox(wall: VirtualWall) -> None:
    """P8: results of a sandbox say that no money is spent."""

    async def nothing(*_: float) -> None: ...

    answer = Answering(200, JSON, '{"tasks": []}', **{"X-AVM-Sandbox-Speed": "60"})
    async with httpx2.AsyncClient(transport=answer) as http:
        for base, speed in (("https://aivideomaker.ai", None), ("http://127.0.0.1:9", 60)):
            client = AvmClient(base, KEY, http, allowance=nothing, closed=nothing, now=wall, user_agent="x")
            await client.tasks()
            assert client.sandbox_speed == speed
