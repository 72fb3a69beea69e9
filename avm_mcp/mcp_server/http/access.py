"""Access control: the Host, the Origin and the token of a request, on every route; and CORS for allowed pages.

A web page can reach a server on loopback in two ways: by a name of its own that points to this address (DNS
rebinding), which the Host shows, and by a request across origins, which the Origin shows. Other users of the machine
are kept out by the token or by the Unix socket.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avm_mcp.domain.accounts import LOOPBACK
from avm_mcp.mcp_server.http.refusals import refuse

OPEN_PATHS = frozenset({"/healthz"})
"""Paths that need no token. This one says only that the process lives."""

METHODS = "POST, GET, OPTIONS"
REQUEST_HEADERS = (
    "accept", "authorization", "content-type", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version",
    "mcp-session-id",
)  # fmt: skip
"""Headers that MCP clients send, in all revisions. A page may send others if its preflight names them."""

EXPOSED_HEADERS = "mcp-protocol-version, mcp-session-id, retry-after, www-authenticate"
MAX_AGE = "600"
"""Seconds that a browser may cache the answer to a preflight."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+?)\.?(:[0-9]{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^:/?#@\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,100}", re.IGNORECASE)


class Access:
    """ASGI middleware that refuses foreign hosts, foreign pages, and callers without the token.

    Args:
        app: The app that is protected.
        host: The address of the listener.
        hosts: Further allowed names in Host.
        origins: Further allowed origins.
        token: The bearer token that callers must send; None if none is needed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        token: str | None = None,
    ) -> None:
        self._app = app
        own = {f"[{name}]" if ":" in name else name for name in {*LOOPBACK, host}}
        self._own = frozenset(own)
        self._hosts = frozenset({*own, *hosts})
        self._origins = frozenset(origins)
        self._digest = _digest(token.encode()) if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        refused = self._check_host(headers.get("host", "")) or self._check_origin(origins, headers)
        if refused is None and origins:
            send = _with_cors(send, origins[0])
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                refused = _preflight(headers)
        if refused is None and scope["path"] not in OPEN_PATHS:
            refused = self._check_token(headers.getlist("authorization"))
        await (refused or self._app)(scope, receive, send)

    def _check_host(self, text: str) -> Response | None:
        match = _HOST.fullmatch(text)
        if match and match[1].lower() in self._hosts:
            return None
        return refuse(
            421,
            f"The Host {_show(text)} is not one of this server, so nothing was started. If it is meant, add its name"
            " to AVM_ALLOWED_HOSTS where avm-mcp serve runs, and restart it.",
        )

    def _check_origin(self, origins: Sequence[str], headers: Headers) -> Response | None:
        foreign = [origin for origin in origins if not self._is_allowed(origin.lower())]
        if not foreign and (origins or headers.get("sec-fetch-site") != "cross-site"):
            return None
        page = f"The Origin {_show(foreign[0])}" if foreign else "A page of another site, which sends no Origin,"
        return refuse(
            403,
            f"{page} may not use this server, so nothing was started. If it is meant, add its origin (scheme, name and"
            " port) to AVM_ALLOWED_ORIGINS where avm-mcp serve runs, and restart it.",
        )

    def _is_allowed(self, origin: str) -> bool:
        match = _ORIGIN.fullmatch(origin)
        return origin in self._origins or (match is not None and match[1] in self._own)

    def _check_token(self, given: Sequence[str]) -> Response | None:
        if self._digest is None:
            return None
        kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        bearer = kind.lower() == "bearer"
        # Digests are compared in constant time, so neither a common prefix nor the length can be measured.
        if bearer and hmac.compare_digest(_digest(token.strip().encode("latin-1")), self._digest):
            return None
        why = "The bearer token is not the one in AVM_HTTP_TOKEN" if bearer else "This server asks for a bearer token"
        return refuse(
            401,
            f"{why}, so nothing was started. Send the header Authorization: Bearer with the value of AVM_HTTP_TOKEN"
            " where avm-mcp serve runs.",
            {"WWW-Authenticate": 'Bearer realm="avm-mcp"' + (', error="invalid_token"' if bearer else "")},
        )


def _preflight(headers: Headers) -> Response:
    """Answer a preflight; its origin has been checked."""
    asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
    more = [name for name in asked if _TOKEN.fullmatch(name) and name not in REQUEST_HEADERS]
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ", ".join((*REQUEST_HEADERS, *more)),
        "Access-Control-Max-Age": MAX_AGE,
    }
    if headers.get("access-control-request-private-network") == "true":  # from a public page to this machine
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return Response(status_code=204, headers=allowed)


def _with_cors(send: Send, origin: str) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_headers


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _show(text: str) -> str:
    """Return a header's value for a message: only characters of names and origins, at most 100."""
    return f'"{re.sub(r"[^A-Za-z0-9.:/_+[-]|]", "?", text)[:100]}"' if text else "that is missing"
