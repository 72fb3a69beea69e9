"""MCP over HTTP: Streamable HTTP under uvicorn, on loopback or a Unix socket.

It refuses to start on any other address, because a bearer token sent over a network without TLS is not a secret.
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
from avm_mcp.mcp_server.http.bodies import MAX_BODY, BodyLimit
from avm_mcp.mcp_server.http.connections import GRACE, ConnectionLimit, Server, build_connection_class, descriptors
from avm_mcp.mcp_server.http.logs import limit_logs
from avm_mcp.mcp_server.http.messages import MessageCheck
from avm_mcp.mcp_server.http.refusals import refuse
from avm_mcp.mcp_server.server import build_server
from avm_mcp.settings import Settings

MAX_HEADERS = 32_768
"""Bytes of a request's headers."""


def build_app(runtime: Runtime, *, host: str = "127.0.0.1") -> ASGIApp:
    """Return the ASGI app: `/mcp`, `/healthz` (the process lives) and `/readyz` (it can do its work).

    Every route requires a Host and an Origin of this machine, or of `AVM_ALLOWED_HOSTS` and `AVM_ALLOWED_ORIGINS`. With
    `AVM_HTTP_TOKEN`, every route but `/healthz` requires the token.
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
        _refuse_get(BodyLimit(MessageCheck(app))),
        host=host,
        hosts=settings.AVM_ALLOWED_HOSTS,
        origins=settings.AVM_ALLOWED_ORIGINS,
        token=settings.http_token,
    )


def _refuse_get(app: ASGIApp) -> ASGIApp:
    """Refuse a GET of `/mcp`, as MCP allows: its stream would stay empty and hold a connection."""

    async def posts(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/mcp" and scope["method"] == "GET":
            message = "Requests are sent with POST; this server has no stream of its own."
            await refuse(405, message, {"Allow": "POST"})(scope, receive, send)
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


def describe_exposure(settings: Settings) -> str | None:
    """Return a warning that other users can spend the key's credits; None if they cannot."""
    if settings.http_token is not None or settings.api_key is None or settings.sandboxed:
        return None
    return (
        "Every user of this machine can reach this port and spend the credits of your key. To keep others out, set"
        " AVM_HTTP_TOKEN, or listen on a socket of your own with --socket PATH."
    )


def uvicorn_server(runtime: Runtime, host: str) -> uvicorn.Server:
    """Return a server that is ready to `serve()` on the caller's sockets.

    Raises:
        BadSetting: The host is not on this machine.
    """
    require_loopback(host)
    connections, backlog = descriptors()
    limit_logs()
    config = uvicorn.Config(
        build_app(runtime, host=host),
        http=build_connection_class(ConnectionLimit(connections)),
        ws="none",
        backlog=backlog,
        h11_max_incomplete_event_size=MAX_HEADERS,
        log_config=None,  # the process's own handlers, which are filtered
        log_level=runtime.settings.AVM_LOG_LEVEL.lower(),
        access_log=False,
        proxy_headers=False,  # no address is used for anything, so no header has to be trusted
        server_header=False,
        timeout_graceful_shutdown=int(2 * GRACE),
    )
    return Server(config)
