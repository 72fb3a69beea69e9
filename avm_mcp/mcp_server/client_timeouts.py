"""Observes which calls a host cuts over stdio, where `domain.client_timeouts` learns from them.

Only a cancellation that the host sent is a cut: calls also end when stdin ends or the process is told to stop. The SDK
has cancelled the call before it hands the notification on, so the calls in flight are kept here.
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
"""Seconds that a cut has to be written, also where the host ends the process right after it."""


class ClientTimeoutObserver:
    """A middleware of the server that records how old calls were when they were answered or cut."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._calls: dict[str, tuple[str, float]] = {}

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.request is not None:  # over HTTP a connection that breaks looks the same as a cut
            return await call_next(ctx)
        if ctx.method == "notifications/cancelled":
            await self._record_cut(ctx)
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
            with suppress(AvmError):  # a runtime that could not start has no store
                await self._backend.service.client_timeouts.record_answer(host, age)
        return result

    async def _record_cut(self, ctx: ServerRequestContext[Any, Any]) -> None:
        cut = self._calls.pop(str((ctx.params or {}).get("requestId")), None)
        if cut is not None:
            host, began = cut
            with anyio.move_on_after(LEARNING, shield=True), suppress(AvmError):
                await self._backend.service.client_timeouts.record_cut(host, anyio.current_time() - began)
