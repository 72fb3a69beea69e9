"""The HTTP face: Streamable HTTP under uvicorn, on loopback.

Beyond loopback it refuses to start: there is no authentication yet, and every caller would spend the key's credits.
"""

import ipaddress

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avm_mcp.config import LOOPBACK
from avm_mcp.errors import AvmError, BadSetting
from avm_mcp.runtime import Runtime
from avm_mcp.server import build_server

MAX_BODY = 16_000_000
"""Bytes of one request: a picture of 10 MB as a data URI fits."""

GRACE = 15
"""Seconds that calls in flight get when the process is asked to end; jobs are in the journal, so none is lost."""


def build_app(runtime: Runtime, *, host: str = "127.0.0.1", port: int | None = None) -> Starlette:
    """Return the ASGI app: `/mcp`, `/healthz` (the process lives) and `/readyz` (it can do its work).

    Only a Host and an Origin of this machine are answered, so that no web page can reach it by another name.
    """
    server = build_server(runtime)

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    @server.custom_route("/readyz", methods=["GET"])
    async def readyz(_request: Request) -> Response:
        try:
            await runtime.service.prices.left_today()
            durable = runtime.journal.durable
        except AvmError as error:
            return JSONResponse({"ok": False, "why": error.message}, status_code=503)
        return JSONResponse({"ok": True, "durable": durable, "configured": runtime.service.configured})

    _ = (healthz, readyz)
    names = sorted({*LOOPBACK, host})
    hosts = [f"[{name}]" if ":" in name else name for name in names]
    security = TransportSecuritySettings(
        allowed_hosts=[entry for name in hosts for entry in (name, f"{name}:*" if port is None else f"{name}:{port}")],
        allowed_origins=[f"http://{name}:*" for name in hosts] + [f"http://{name}" for name in hosts],
    )
    return server.streamable_http_app(
        stateless_http=True, transport_security=security, max_request_body_size=MAX_BODY, host=host
    )


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
            f"--host {host} cannot be used: there is no authentication yet, so only 127.0.0.1, ::1 or localhost"
            " are allowed.",
            field="--host",
        )


def uvicorn_server(runtime: Runtime, host: str, port: int) -> uvicorn.Server:
    """Return a server that is ready to `serve()`.

    Raises:
        BadSetting: The host is not on this machine.
    """
    require_loopback(host)
    config = uvicorn.Config(
        build_app(runtime, host=host),
        host=host,
        port=port,
        log_level=runtime.settings.AVM_LOG_LEVEL.lower(),
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)
