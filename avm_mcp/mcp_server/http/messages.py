"""The body of a POST, examined before the SDK reads it: understood where it can be, else refused with status 400."""

import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avm_mcp.fast_start.messages import examined

logger = logging.getLogger(__name__)

PATH = "/mcp"
"""Where MCP is served."""


class Messages:
    """ASGI middleware that hands on what the SDK takes, one message a POST; `Bodies` has seen that it is whole.

    Batches are refused: only 2025-03-26 had them, and their answers would need a stream that no client of it reads.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        body = [await Request(scope, receive).body()]
        refused = _examined(body)
        await (refused or self._app)(scope, receive if refused else _given(body, receive), send)


def _examined(body: list[bytes]) -> Response | None:
    """Put what the SDK takes in the place of a body, or return the refusal. No copy stays: a picture has 13 MB."""
    found = examined(body[0], batches=False)
    for why in found.why:
        logger.warning("A POST of %d bytes: %s", len(body[0]), why)
    if found.refusals:
        return Response(found.refusals[0], 400, media_type="application/json")
    if found.messages:
        body[0] = found.messages[0].encode()
    return None


def _given(body: list[bytes], receive: Receive) -> Receive:
    """Return a `receive` that gives this body, and then goes on."""

    async def take() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        return await receive()

    return take
