"""The eight tools: check the input, call the service, wait as long as the host allows, return a result.

Errors become results for a model here, and nowhere else.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, InputRequiredResult, ResourceLink, TextContent

from avm_mcp.domain import catalog
from avm_mcp.domain.client_timeouts import HOSTS, Host
from avm_mcp.domain.errors import AvmError, Internal
from avm_mcp.domain.job import Job
from avm_mcp.domain.next_steps import Action
from avm_mcp.images import Offload
from avm_mcp.jobs.service import Service
from avm_mcp.jobs.views import Found
from avm_mcp.mcp_server.calls import BRIEF_WAIT, Call, client_name
from avm_mcp.mcp_server.tool_schemas import PUBLISHED
from avm_mcp.presentation import arguments
from avm_mcp.presentation.audience import MODEL_AUDIENCE, Place
from avm_mcp.presentation.errors import dump_error, format_error
from avm_mcp.presentation.inputs import Arguments, CancelTask, GetAccount, GetTask, ListTasks, PaidInput, QuoteVideo
from avm_mcp.presentation.pages import (
    build_account,
    build_list,
    build_quote,
    format_account,
    format_list,
    format_question,
    format_quote,
)
from avm_mcp.presentation.parameters import input_schema
from avm_mcp.presentation.requests import add_notes, read_request_in_thread
from avm_mcp.presentation.results import Result, TaskResult
from avm_mcp.presentation.task import build_task, format_task

logger = logging.getLogger(__name__)

BRIEF_CALLS, BRIEF_CALLS_WINDOW = 3, 60.0
"""A get_task with a brief wait that is the third for one unfinished task within this many seconds says to stop."""


class Backend(Protocol):
    """What the tools need of the runtime."""

    @property
    def service(self) -> Service: ...
    @property
    def place(self) -> Place: ...
    @property
    def input_folders(self) -> Sequence[Path]: ...
    @property
    def paths_allowed(self) -> bool: ...
    @property
    def published_settings(self) -> Mapping[str, int]: ...
    @property
    def offload(self) -> Offload: ...


Handler = Callable[[Arguments[Any], Call], Awaitable[CallToolResult | InputRequiredResult]]


class CheckedTool(Tool):
    """A tool whose arguments are checked by us, and whose errors are results."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: ARG002 - the SDK's signature
        return await self.fn(self.name, arguments, context)


class Tools:
    """The eight tools."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._brief_calls: dict[str, deque[float]] = {}
        self._handlers: Mapping[str, Handler] = {
            "text_to_video": self._make_video,
            "image_to_video": self._make_video,
            "long_video": self._make_video,
            "get_task": self._get_task,
            "list_tasks": self._list_tasks,
            "cancel_task": self._cancel_task,
            "quote_video": self._quote_video,
            "get_account": self._get_account,
        }

    def tools(self) -> list[Tool]:
        """Return the tools as the SDK registers them."""
        return [self._build_tool(name) for name in self._handlers]

    def _build_tool(self, name: str) -> Tool:
        published = PUBLISHED[name]
        return CheckedTool(
            fn=self._answer,
            name=name,
            title=published.title,
            description=published.description,
            parameters=input_schema(name, self._backend.published_settings),
            fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=published.output),
            is_async=True,
            context_kwarg=None,
            annotations=published.annotations,
        )

    async def _answer(
        self, name: str, given: Mapping[str, Any], context: Context[Any, Any]
    ) -> CallToolResult | InputRequiredResult:
        """Run one call. Every error becomes a result; only a cancellation is raised."""
        try:
            return await self._handlers[name](arguments.read(name, given), await self._build_call(context))
        except AvmError as error:
            return _build_failure(error)
        except Exception:
            logger.exception("%s failed", name)
            return _build_failure(_build_bug(name, given))

    # --- the tools ---

    async def _make_video(self, given: Arguments[PaidInput], call: Call) -> CallToolResult | InputRequiredResult:
        backend = self._backend
        request, picture = await read_request_in_thread(
            given,
            folders=backend.input_folders,
            paths_allowed=backend.paths_allowed,
            offload=backend.offload,
        )
        approval: bool | None = None
        began, cap = anyio.current_time(), given.input.max_credits
        if call.can_ask and (price := await backend.service.question(request, max_credits=cap)) is not None:
            answer = await call.approval(format_question(request, price), f"approval-{price.credits}")
            if isinstance(answer, InputRequiredResult):
                return answer
            approval, began = answer, anyio.current_time()  # a person's time is their own
            cap = price.credits if approval else cap  # they agreed to this price, not to what it may be by now
        found: Found | None = None
        try:
            found = await backend.service.submit(request, max_credits=cap, approval=approval, began=began)
            found = await self._wait(found, call, given.input.wait_seconds, paid=True)
            return self._answer_task(add_notes(found, picture, given), given, fresh=True)
        except AvmError:
            raise
        except Exception as bug:
            logger.exception("%s failed", given.tool)
            raise _build_paid_bug(given.tool, found) from bug

    async def _get_task(self, given: Arguments[GetTask], call: Call) -> CallToolResult:
        found = await self._backend.service.find(given.input.task_id)
        seconds = call.wait(given.input.wait_seconds, paid=False)
        slow_down = not found.job.final and not call.wants_progress and self._too_often(found.job.id, seconds)
        found = await self._wait(
            found, call, given.input.wait_seconds, least=call.within(BRIEF_WAIT) if slow_down else 0
        )
        return self._answer_task(found, given, slow_down=slow_down)

    async def _list_tasks(self, given: Arguments[ListTasks], call: Call) -> CallToolResult:  # noqa: ARG002
        listing = await self._backend.service.list(
            status=given.input.status, limit=given.input.limit, cursor=given.input.cursor
        )
        result = build_list(listing, MODEL_AUDIENCE, self._backend.place)
        return _build_result(format_list(listing, MODEL_AUDIENCE), result)

    async def _cancel_task(self, given: Arguments[CancelTask], call: Call) -> CallToolResult:  # noqa: ARG002
        return self._answer_task(await self._backend.service.cancel(given.input.task_id), given)

    async def _quote_video(self, given: Arguments[QuoteVideo], call: Call) -> CallToolResult:  # noqa: ARG002
        prices = self._backend.service.prices
        seconds = catalog.length(given.input.model, given.input.duration, given.input.segments)
        price = await prices.told(given.input.model, seconds)
        result = build_quote(given.input.model, seconds, price, await prices.left_today())
        asks = prices.needs_approval(price.credits)
        text = format_quote(result, MODEL_AUDIENCE, caps=prices.caps, lacks=prices.lacks, asks=asks)
        return _build_result(text, result)

    async def _get_account(self, given: Arguments[GetAccount], call: Call) -> CallToolResult:  # noqa: ARG002
        service, backend = self._backend.service, self._backend
        funds = await service.funds()
        inputs = list(backend.input_folders) if backend.paths_allowed else []
        fingerprint = service.account if service.configured else None
        result = build_account(
            funds, backend.place, service.prices.caps, inputs, fingerprint=fingerprint, sandbox=service.sandboxed
        )
        return _build_result(format_account(result, MODEL_AUDIENCE), result)

    # --- pieces ---

    async def _wait(
        self,
        found: Found,
        call: Call,
        asked: int | None,
        *,
        paid: bool = False,
        least: int = 0,
    ) -> Found:
        """Return what is known after the wait that was asked for, or after as much of it as the host allows."""
        seconds, beat = max(least, call.wait(asked, paid=paid)), call.beat()
        if seconds > 0 or found.job.final:
            found = await self._backend.service.wait(found, seconds, beat)
        if beat is not None and found.job.final:
            await beat(found.job, found.progress)
        if asked is None or seconds >= asked or found.job.final:
            return found
        cut = f"Waited {seconds} s of the {asked} s asked for: this host cuts calls that take longer."
        return replace(found, notes=(*found.notes, cut))

    async def _build_call(self, context: Context[Any, Any]) -> Call:
        """Return the call with what is known of its host; limits are learned, and hold, over stdio only."""
        name = client_name(context.session)
        over_http = context.headers is not None
        return Call(
            context,
            HOSTS.get(name, Host()) if over_http else await self._backend.service.client_timeouts.find_host(name),
        )

    def _too_often(self, job_id: str, seconds: int) -> bool:
        """Return whether this is the third get_task with a brief wait within a minute; longer waits never count."""
        if seconds > 4 * BRIEF_WAIT:
            return False
        now = anyio.current_time()
        polls = self._brief_calls.setdefault(job_id, deque(maxlen=BRIEF_CALLS))
        polls.append(now)
        return len(polls) == BRIEF_CALLS and now - polls[0] < BRIEF_CALLS_WINDOW

    def _answer_task(self, found: Found, given: Arguments[object], **how: bool) -> CallToolResult:
        result = build_task(found, MODEL_AUDIENCE, self._backend.place, normalized=given.normalized, **how)
        links: list[Any] = [_build_link(found.job, result)] if result.video_url else []
        return _build_result(format_task(result), result, links)


def _build_result(text: str, result: Result, links: Sequence[Any] = ()) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text), *links], structured_content=result.dump())


def _build_failure(error: AvmError) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=format_error(error, MODEL_AUDIENCE))],
        structured_content=dump_error(error, MODEL_AUDIENCE),
        is_error=True,
    )


def _build_bug(name: str, given: Mapping[str, Any]) -> Internal:
    """Return the error for a bug in a call that spent nothing itself; the task it asks about may have been paid for."""
    failed = f"{name} failed inside avm-mcp; the log on stderr says why."
    task = given.get("task_id")
    if isinstance(task, str) and name in ("get_task", "cancel_task"):
        message = f"{failed} The state of the task is not known here."
        return Internal(message, next_step=Action.LIST_TO_SEE_STATE())
    return Internal(failed, charged="no", next_step=Action.REPORT_BUG())


def _build_paid_bug(name: str, found: Found | None) -> Internal:
    """Return the error for a bug after the request may have been sent, with what is known of its job (P1, P2)."""
    failed = f"{name} failed inside avm-mcp; the log on stderr says why."
    if found is None:
        return Internal(f"{failed} Whether the video was started, and charged, is not known.")
    step = Action.GET_TASK_NOT_REPEAT()
    return Internal(failed, task_id=found.job.public_id, charged=found.job.charged, next_step=step)


def _build_link(job: Job, result: TaskResult) -> ResourceLink:
    uri = Path(result.file).as_uri() if result.file else str(result.video_url)
    name = Path(result.file).name if result.file else f"{job.public_id}.mp4"
    return ResourceLink(type="resource_link", uri=uri, name=name, mime_type="video/mp4", size=job.file_size)
