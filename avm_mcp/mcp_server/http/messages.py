"""The check of a POST's body before the SDK reads it: repaired where possible, else refused with status 400."""

import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avm_mcp.fast_start.messages import examine

logger = logging.getLogger(__name__)

PATH = "/mcp"
"""Where MCP is served."""


class MessageCheck:
    """ASGI middleware that hands on what the SDK accepts, one message a POST. `BodyLimit` has read the whole body.

    Batches are refused: only revision 2025-03-26 had them, and no client of it reads the stream that answers need.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        body = [await Request(scope, receive).body()]
        refused = _check(body)
        await (refused or self._app)(scope, receive if refused else _replay(body, receive), send)


def _check(body: list[bytes]) -> Response | None:
    """Replace a body by what the SDK accepts, or return the refusal. No copy is kept: a picture has 13 MB."""
    found = examine(body[0], batches=False)
    for why in found.why:
        logger.warning("A POST of %d bytes: %s", len(body[0]), why)
    if found.refusals:
        return Response(found.refusals[0], 400, media_type="application/json")
    if found.messages:
        body[0] = found.messages[0].encode()
    return None


def _replay(body: list[bytes], receive: Receive) -> Receive:
    """Return a `receive` that gives this body first, and then goes on."""

    async def take() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        return await receive()

    return take
