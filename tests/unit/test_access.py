"""Who is answered over HTTP: Host, Origin and token on every route, and CORS for the pages that may ask (P5, P9)."""

import json
from contextlib import suppress

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from avm_mcp.mcp_server.http import build_app
from avm_mcp.mcp_server.http.access import Access
from tests.transport import StreamingASGITransport

TOKEN = "tk_0123456789abcdefghij"
PAGE = "http://localhost:5173"
ROUTES = ["/mcp", "/healthz", "/readyz", "/anything"]


async def asked(app, method, path, headers=(), host="127.0.0.1:8765"):
    async with httpx2.AsyncClient(transport=StreamingASGITransport(app), base_url="http://127.0.0.1:8765") as http:
        return await http.request(method, path, headers=[("Host", host), *headers])


def message(answer):
    reply = answer.json()
    assert reply["jsonrpc"] == "2.0"
    return reply["error"]["message"]


def ours(stack, **settings):
    return build_app(stack.runtime(paths_allowed=False, **settings))


async def well(_request):
    return PlainTextResponse("well")


async def broken(_request):
    raise RuntimeError("a bug")


def inner():
    return Starlette(routes=[Route("/mcp", well, methods=["POST"]), Route("/broken", broken)])


FOREIGN_HOSTS = [
    "host.docker.internal",
    "host.docker.internal:8765",
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil",
    "127.0.0.1:8765:80",
    "user@localhost",
    "localhost/",
    "[::1",
    "127.0.0.2",
    "0.0.0.0",
    "2130706433",
    "127.1",
    "localhost..",
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "null",
    "file://",
    "http://localhost@evil.example",
    "http://evil.example/localhost",
    "http://localhost:80/x",
    "http://localhost:x",
]


@pytest.mark.parametrize("path", ROUTES)
async def test_another_host_is_refused_on_every_route_and_told_what_allows_it(stack, path):
    """P5: no web page reaches it by a name of its own; who is meant to reads which setting to change."""
    app = ours(stack)
    for host in (*FOREIGN_HOSTS, "", "a" * 5000):
        answer = await asked(app, "GET", path, host=host)
        assert answer.status_code == 421, host
        assert "AVM_ALLOWED_HOSTS" in message(answer)
        assert "nothing was started" in message(answer)
        assert len(message(answer)) < 400


async def test_every_name_of_this_machine_is_answered(stack):
    app = ours(stack)
    for host in ("127.0.0.1", "127.0.0.1:8765", "localhost", "LocalHost:1", "localhost.:8765", "[::1]:8"):
        assert (await asked(app, "GET", "/healthz", host=host)).status_code == 200, host


async def test_a_host_that_is_allowed_by_the_setting_is_answered(stack):
    app = ours(stack, AVM_ALLOWED_HOSTS="host.docker.internal, [fd00::1]")
    for host in ("host.docker.internal", "HOST.docker.internal:8765", "[fd00::1]:80"):
        assert (await asked(app, "GET", "/healthz", host=host)).status_code == 200, host
    assert (await asked(app, "GET", "/healthz", host="other.internal")).status_code == 421


@pytest.mark.parametrize("path", ROUTES)
async def test_another_page_is_refused_without_cors_and_told_what_allows_it(stack, path):
    """P5, and the preflight of such a page too: a browser then sends nothing."""
    app = ours(stack)
    for origin in (*FOREIGN_ORIGINS, ""):
        for method in ("GET", "POST", "OPTIONS"):
            answer = await asked(app, method, path, [("Origin", origin), ("Access-Control-Request-Method", "POST")])
            assert answer.status_code == 403, origin
            assert "AVM_ALLOWED_ORIGINS" in message(answer)
            assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_second_origin_does_not_hide_behind_the_first(stack):
    answer = await asked(ours(stack), "POST", "/mcp", [("Origin", PAGE), ("Origin", "https://evil.example")])
    assert answer.status_code == 403


async def test_a_page_of_another_site_that_sends_no_origin_is_refused(stack):
    """A no-cors GET, as of an image or a script, has no Origin; browsers say where it comes from all the same."""
    answer = await asked(ours(stack), "GET", "/readyz", [("Sec-Fetch-Site", "cross-site")])
    assert answer.status_code == 403


HEADERS = "authorization,content-type,last-event-id,mcp-protocol-version,mcp-session-id,mcp-method,mcp-name,accept"


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_preflight_from_this_machine_is_answered(stack, token):
    """Issue 10 J: it got 405. It carries no token, and browsers never let one be sent with it."""
    app = ours(stack, **({"AVM_HTTP_TOKEN": token} if token else {}))
    for path in ("/mcp", "/healthz"):
        for origin in (PAGE, "http://127.0.0.1:80", "https://localhost", "http://[::1]:3", "HTTP://LOCALHOST"):
            asks = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", f"{HEADERS},mcp-param-model,x-inspector, bad name,\u00e9".encode()),
                ("Access-Control-Request-Private-Network", "true"),
            ]
            answer = await asked(app, "OPTIONS", path, asks)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == origin
            assert "POST" in answer.headers["access-control-allow-methods"]
            allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
            assert {*HEADERS.split(","), "mcp-param-model", "x-inspector"} == allowed
            assert answer.headers["access-control-allow-private-network"] == "true"
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers


async def test_every_answer_to_an_allowed_page_carries_cors_errors_too():
    """A page can read why it failed only from an answer with these headers."""
    guarded = Access(inner(), host="127.0.0.1", token=TOKEN, origins=["https://agent.example"])

    async def app(scope, receive, send):
        with suppress(RuntimeError):  # the SDK's routes answer 500, and raise it for the server's log
            await guarded(scope, receive, send)

    bearer = ("Authorization", f"Bearer {TOKEN}")
    for method, path, status, more in (
        ("POST", "/mcp", 200, [bearer]),
        ("POST", "/mcp", 401, []),
        ("GET", "/mcp", 405, [bearer]),
        ("GET", "/none", 404, [bearer]),
        ("GET", "/broken", 500, [bearer]),
    ):
        for page in (PAGE, "https://agent.example"):
            answer = await asked(app, method, path, [("Origin", page), *more])
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, page)
            exposed = answer.headers["access-control-expose-headers"]
            assert {"mcp-session-id", "mcp-protocol-version", "www-authenticate"} <= set(exposed.split(", "))
            assert answer.headers["vary"] == "Origin"
    answer = await asked(app, "POST", "/mcp", [bearer])
    assert not [name for name in answer.headers if name.startswith("access-control-")]


WRONG = (
    [],
    ["Bearer"],
    ["Bearer "],
    [f"Bearer {TOKEN[:-1]}"],
    [f"Bearer {TOKEN}x"],
    [f"Basic {TOKEN}"],
    [TOKEN],
    [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
    [f"Bearer {TOKEN}\u00e9".encode("latin-1")],
)


async def test_without_the_token_nothing_but_its_health_is_answered(stack):
    """P9: another user of this machine spends nobody's credits."""
    app = ours(stack, AVM_HTTP_TOKEN=TOKEN)
    for path in ("/mcp", "/readyz", "/anything", "/healthz/", "//healthz", "/HEALTHZ", "/healthz%2f"):
        for given in WRONG:
            headers = [("Authorization", one) for one in given]
            answer = await asked(app, "POST", f"{path}?token={TOKEN}&access_token={TOKEN}", headers)
            assert answer.status_code == 401, (path, given)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="avm-mcp"')
            assert "AVM_HTTP_TOKEN" in message(answer)
            assert TOKEN not in answer.text


async def test_with_the_token_it_answers_and_its_health_needs_none(stack):
    app = ours(stack, AVM_HTTP_TOKEN=TOKEN)
    assert (await asked(app, "GET", "/healthz")).json() == {"ok": True}
    for scheme in ("Bearer", "bearer"):
        assert (await asked(app, "GET", "/nothing", [("Authorization", f"{scheme} {TOKEN}")])).status_code == 404


async def test_a_stream_that_nothing_could_come_by_is_not_opened(stack):
    """Each kept a connection for as long as its client liked: as many as there are places, and nobody got in."""
    answer = await asked(ours(stack), "GET", "/mcp", [("Accept", "text/event-stream"), ("Origin", PAGE)])
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["access-control-allow-origin"] == PAGE


async def test_the_token_is_not_the_upstream_key(stack):
    """P5: who has the token spends within this server's caps; who has the key spends all there is."""
    from avm_mcp.domain.errors import BadSetting

    with pytest.raises(BadSetting, match=r"AVM_HTTP_TOKEN.*cannot be used: allowed is another value than the API key"):
        stack.settings(AVM_API_KEY=TOKEN, AVM_HTTP_TOKEN=TOKEN)


def test_the_settings_of_http_reach_no_other_process(stack):
    from avm_mcp.settings import HTTP_ONLY, child_environment

    settings = stack.settings(
        AVM_HTTP_TOKEN=TOKEN, AVM_ALLOWED_HOSTS="a.example", AVM_ALLOWED_ORIGINS="https://a.example"
    )
    given = child_environment(settings)
    assert not {*HTTP_ONLY} & given.keys()
    assert TOKEN not in json.dumps(given)
    assert TOKEN not in repr(settings)
