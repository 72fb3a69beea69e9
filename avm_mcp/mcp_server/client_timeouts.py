"""Watches which calls the host ends, for over stdio a host's limit is learned from its cuts.

Only a cancellation that the host sent counts: when stdin ends or the process is told to, calls end too. The SDK has
cancelled the call by the time it hands the notification on, so what was in flight is kept here until then.
"""

from contextlib import suppress
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from avm_mcp.domain.client_timeouts import YOUNGEST
from avm_mcp.domain.errors import AvmError
from avm_mcp.mcp_server.calls import client_name
from avm_mcp.mcp_server.tools import Backend

LEARNING = 1.0
"""Seconds for a cut to be written down: some hosts end the process right after it."""


class ClientTimeoutObserver:
    """A middleware of the server: tells the service how old calls were when they were answered or cut."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._calls: dict[str, tuple[str, float]] = {}

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request is not None:  # over HTTP a connection that breaks looks the same as a cut
            return await call_next(ctx)
        if ctx.method == "notifications/cancelled":
            await self._cut(ctx)
        if ctx.method != "tools/call" or ctx.request_id is None:
            return await call_next(ctx)
        # From 2026-07-28 on only the request names its host, not the notification.
        call, host, began = str(ctx.request_id), client_name(ctx.session), anyio.current_time()
        self._calls[call] = (host, began)
        try:
            result = await call_next(ctx)
        except Exception:
            self._calls.pop(call, None)
            raise
        self._calls.pop(call, None)
        if (age := anyio.current_time() - began) >= YOUNGEST:
            with suppress(AvmError):  # what could not start has nothing to keep it in
                await self._backend.service.timeout.waited(host, age)
        return result

    async def _cut(self, ctx: ServerRequestContext[Any, Any]) -> None:
        cut = self._calls.pop(str((ctx.params or {}).get("requestId")), None)
        if cut is not None:
            host, began = cut
            with anyio.move_on_after(LEARNING, shield=True), suppress(AvmError):
                await self._backend.service.timeout.cut(host, anyio.current_time() - began)
