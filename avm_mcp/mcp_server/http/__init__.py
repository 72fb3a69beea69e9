"""The HTTP face: Streamable HTTP under uvicorn, on loopback or a Unix socket.

Beyond loopback it refuses to start: a bearer token that is sent over a network without TLS is not a secret.
"""

import ipaddress

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from avm_mcp.app import Runtime
from avm_mcp.domain.errors import AvmError, BadSetting
from avm_mcp.mcp_server.http.access import Access
from avm_mcp.mcp_server.http.bodies import MAX_BODY, Bodies
from avm_mcp.mcp_server.http.connections import GRACE, Places, Server, among, descriptors
from avm_mcp.mcp_server.http.logs import limit_logs
from avm_mcp.mcp_server.http.messages import Messages
from avm_mcp.mcp_server.http.refusals import refusal
from avm_mcp.mcp_server.server import build_server
from avm_mcp.settings import Settings

MAX_HEADERS = 32_768
"""Bytes of a request's headers."""


def build_app(runtime: Runtime, *, host: str = "127.0.0.1") -> ASGIApp:
    """Return the ASGI app: `/mcp`, `/healthz` (the process lives) and `/readyz` (it can do its work).

    On every route only a Host and an Origin of this machine are answered, and those of `AVM_ALLOWED_HOSTS` and
    `AVM_ALLOWED_ORIGINS`; with `AVM_HTTP_TOKEN` only who brings it, but for `/healthz`.
    """
    server = build_server(runtime)

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    @server.custom_route("/readyz", methods=["GET"])
    async def readyz(_request: Request) -> Response:
        try:
            await runtime.service.prices.left_today()
            durable = runtime.store.durable
        except AvmError as error:
            return JSONResponse({"ok": False, "why": error.message}, status_code=503)
        return JSONResponse({"ok": True, "durable": durable, "configured": runtime.service.configured})

    _ = (healthz, readyz)
    app = server.streamable_http_app(
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # Access does it
        max_request_body_size=MAX_BODY,
        host=host,
    )
    settings = runtime.settings
    return Access(
        _posts(Bodies(Messages(app))),
        host=host,
        hosts=settings.AVM_ALLOWED_HOSTS,
        origins=settings.AVM_ALLOWED_ORIGINS,
        token=settings.http_token,
    )


def _posts(app: ASGIApp) -> ASGIApp:
    """Refuse a GET of `/mcp`, as MCP provides for: it opened a stream that nothing could come by, and kept a place."""

    async def posts(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/mcp" and scope["method"] == "GET":
            message = "Requests are sent with POST; this server has no stream of its own."
            await refusal(405, message, {"Allow": "POST"})(scope, receive, send)
        else:
            await app(scope, receive, send)

    return posts


def require_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    Raises:
        BadSetting: It is not on this machine.
    """
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise BadSetting(
            f"--host {host} cannot be used: there is no sign-in for other machines yet, so only 127.0.0.1, ::1 or"
            " localhost are allowed.",
            field="--host",
        )


def shared(settings: Settings) -> str | None:
    """Return what to tell who starts it on a port: who else can use it; None where nobody can, or nothing is spent."""
    if settings.http_token is not None or settings.api_key is None or settings.sandboxed:
        return None
    return (
        "Every user of this machine can reach this port and spend the credits of your key. To keep others out, set"
        " AVM_HTTP_TOKEN, or listen on a socket of your own with --socket PATH."
    )


def uvicorn_server(runtime: Runtime, host: str) -> uvicorn.Server:
    """Return a server that is ready to `serve()` on sockets of the caller's.

    Raises:
        BadSetting: The host is not on this machine.
    """
    require_loopback(host)
    connections, backlog = descriptors()
    limit_logs()
    config = uvicorn.Config(
        build_app(runtime, host=host),
        http=among(Places(connections)),
        ws="none",
        backlog=backlog,
        h11_max_incomplete_event_size=MAX_HEADERS,
        log_config=None,  # the process's own handlers, whose volume is limited
        log_level=runtime.settings.AVM_LOG_LEVEL.lower(),
        access_log=False,
        proxy_headers=False,  # nobody's address is used for anything, so no header needs to be believed
        server_header=False,
        timeout_graceful_shutdown=int(2 * GRACE),
    )
    return Server(config)
