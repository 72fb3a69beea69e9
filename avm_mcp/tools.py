"""The MCP face: eight tools over the service. It reads arguments, waits as the host allows, and says what is true.

Arguments are checked by `arguments`, not by the SDK, whose messages name no next step. This is the one place where
an error becomes a result for a model.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, ResourceLink, TextContent, ToolAnnotations

from avm_mcp import arguments, report
from avm_mcp.arguments import Arguments
from avm_mcp.errors import AvmError, Internal
from avm_mcp.models import COMPLETED, Job
from avm_mcp.report import MODEL_FACE, Place, Report
from avm_mcp.requests import noted, video_request
from avm_mcp.service import Beat, Found, Service
from avm_mcp.watcher import Progress

logger = logging.getLogger(__name__)

TOKEN_WAIT = 45
"""Seconds. The shortest limit of a host that asks for progress is 60 s, and progress does not extend it."""

BRIEF_WAIT = 3
"""Seconds. The shortest limit of any host that was measured is 5 s."""

LOOKS, LOOKS_WINDOW = 3, 60.0
"""A look at one unfinished task that is the third within this many seconds is told to stop."""


@dataclass(frozen=True, slots=True)
class Host:
    """How a host that names itself cuts calls, in seconds; measured with real hosts of November 2026."""

    longest: int | None
    get_task: int


HOSTS: Mapping[str, Host] = {
    # Over stdio it cuts at 5 s whether it asked for progress or not.
    "google-adk": Host(longest=3, get_task=1),
    # No limit that a wait comes near over stdio; a call over 2 minutes is moved to the background.
    "claude-code": Host(longest=None, get_task=110),
}


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


Handler = Callable[[Arguments, "Call"], Awaitable[CallToolResult]]


class CheckedTool(Tool):
    """A tool whose arguments are checked by us, and whose errors are results."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:  # noqa: ARG002 - the SDK's signature
        return await self.fn(self.name, arguments, context)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: who asks, whether progress is wanted, and how long to wait."""

    context: Context[Any, Any]

    @property
    def wants_progress(self) -> bool:
        meta = self.context.request_context.meta
        return bool(meta) and meta.get("progress_token") is not None

    @property
    def host(self) -> Host | None:
        params = self.context.session.client_params
        return HOSTS.get(params.client_info.name) if params is not None else None

    def wait(self, asked: int | None, *, paid: bool) -> int:
        """Return how long to wait: what was asked for, or what the host is known or likely to allow."""
        host = self.host
        if asked is not None:
            return asked if host is None or host.longest is None else min(asked, host.longest)
        if host is not None and host.longest is not None:
            return 0 if paid else host.get_task
        if paid:
            return TOKEN_WAIT if self.wants_progress else 0
        if host is not None:
            return host.get_task
        return TOKEN_WAIT if self.wants_progress else BRIEF_WAIT

    def beat(self) -> Beat | None:
        """Return what reports progress; None where nobody asked for it."""
        return _Reporter(self.context) if self.wants_progress else None


class _Reporter:
    """Progress notifications: strictly increasing, 100 only at the end, the task's id from the first one on."""

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context
        self._last = 0.0

    async def __call__(self, job: Job, progress: Progress) -> None:
        # Where experience says no more than before, a sliver of what is left keeps the number rising.
        percent = 100.0 if job.final else max(progress.percent, self._last + (99.9 - self._last) * 0.002)
        if percent <= self._last:
            return
        self._last = percent
        elapsed, typical = report.spoken(progress.elapsed), report.spoken(progress.typical)
        word = report.WORDS.get(job.status, "being made")
        tail = ", taking longer than usual" if progress.overdue else ""
        message = f"Task {job.public_id}: {word}, {elapsed} of usually {typical}{tail}"
        await self._context.report_progress(round(percent, 3), 100, message[:199])


class Desk:
    """The eight tools."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._looks: dict[str, deque[float]] = {}
        self._handlers: Mapping[str, Handler] = {
            "text_to_video": self._paid,
            "image_to_video": self._paid,
            "long_video": self._paid,
            "get_task": self._get_task,
            "list_tasks": self._list_tasks,
            "cancel_task": self._cancel_task,
            "quote_video": self._quote_video,
            "get_account": self._get_account,
        }

    def tools(self) -> list[Tool]:
        """Return the tools as the SDK registers them."""
        return [self._tool(name) for name in self._handlers]

    def _tool(self, name: str) -> Tool:
        published = PUBLISHED[name]
        return CheckedTool(
            fn=self._answer,
            name=name,
            title=published.title,
            description=published.description,
            parameters=arguments.input_schema(name),
            fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=published.output),
            is_async=True,
            context_kwarg=None,
            annotations=published.annotations,
        )

    async def _answer(self, name: str, given: Mapping[str, Any], context: Context[Any, Any]) -> CallToolResult:
        """Run one call. Whatever goes wrong becomes a result that says so; only a cancellation passes."""
        try:
            return await self._handlers[name](arguments.read(name, given), Call(context))
        except AvmError as error:
            return _refused(error)
        except Exception:
            logger.exception("%s failed", name)
            return _refused(Internal(f"{name} failed inside avm-mcp; the log on stderr says why."))

    # --- the tools ---

    async def _paid(self, given: Arguments, call: Call) -> CallToolResult:
        backend = self._backend
        request, picture = video_request(
            given.tool, given, folders=backend.input_folders, paths_allowed=backend.paths_allowed
        )
        found = await backend.service.submit(request, max_credits=given["max_credits"])
        found = await self._waited(found, call, call.wait(given["wait_seconds"], paid=True))
        return self._told(noted(found, picture, given), given, fresh=True)

    async def _get_task(self, given: Arguments, call: Call) -> CallToolResult:
        found = await self._backend.service.find(given["task_id"])
        seconds = call.wait(given["wait_seconds"], paid=False)
        slow_down = not found.job.final and not call.wants_progress and self._too_often(found.job.id, seconds)
        found = await self._waited(found, call, max(seconds, BRIEF_WAIT) if slow_down else seconds)
        return self._told(found, given, slow_down=slow_down)

    async def _list_tasks(self, given: Arguments, call: Call) -> CallToolResult:  # noqa: ARG002 - one signature
        listing = await self._backend.service.list(status=given["status"], limit=given["limit"], cursor=given["cursor"])
        values = report.listing_fields(listing, MODEL_FACE, self._backend.place)
        return _said(report.listing_text(listing, MODEL_FACE), values)

    async def _cancel_task(self, given: Arguments, call: Call) -> CallToolResult:  # noqa: ARG002
        return self._told(await self._backend.service.cancel(given["task_id"]), given)

    async def _quote_video(self, given: Arguments, call: Call) -> CallToolResult:  # noqa: ARG002
        service = self._backend.service
        seconds = given["segments"] * 5 if given["model"] == "lv" else given["duration"]
        price = await service.prices.of(given["model"], seconds)
        shown = report.price_fields(given["model"], seconds, price, await service.prices.left_today())
        return _said(report.price_text(given["model"], seconds, price), shown)

    async def _get_account(self, given: Arguments, call: Call) -> CallToolResult:  # noqa: ARG002
        service, backend = self._backend.service, self._backend
        funds = await service.funds()
        caps = service.prices.caps
        inputs = list(backend.input_folders) if backend.paths_allowed else []
        account = service.account if service.configured else None
        shown = report.funds_fields(funds, backend.place, caps, inputs, account=account, sandbox=service.sandboxed)
        return _said(report.funds_text(funds, backend.place, caps, inputs), shown)

    # --- pieces ---

    async def _waited(self, found: Found, call: Call, seconds: int) -> Found:
        beat = call.beat()
        if seconds <= 0 and not found.job.final:
            return found
        found = await self._backend.service.wait(found, seconds, beat)
        if beat is not None and found.job.final:
            await beat(found.job, found.progress)
        return found

    def _too_often(self, job_id: str, seconds: int) -> bool:
        """Return whether this is the third brief look within a minute; longer waits are what is wanted."""
        if seconds > 4 * BRIEF_WAIT:
            return False
        now = anyio.current_time()
        looks = self._looks.setdefault(job_id, deque(maxlen=LOOKS))
        looks.append(now)
        return len(looks) == LOOKS and now - looks[0] < LOOKS_WINDOW

    def _report(self, found: Found, given: Arguments, **how: bool) -> Report:
        return Report(found, MODEL_FACE, self._backend.place, normalized=given.normalized, **how)

    def _told(self, found: Found, given: Arguments, **how: bool) -> CallToolResult:
        told = self._report(found, given, **how)
        links: list[Any] = [_link(found.job, told)] if found.job.status == COMPLETED and told.link else []
        return _said(told.text(), told.fields(), links)


def _said(text: str, values: dict[str, Any], links: Sequence[Any] = ()) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text), *links], structured_content=values)


def _refused(error: AvmError) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=report.error_text(error, MODEL_FACE))],
        structured_content={"error": report.error_fields(error, MODEL_FACE)},
        is_error=True,
    )


def _link(job: Job, told: Report) -> ResourceLink:
    uri = Path(told.file).as_uri() if told.file else str(told.link)
    name = Path(told.file).name if told.file else f"{job.public_id}.mp4"
    return ResourceLink(type="resource_link", uri=uri, name=name, mime_type="video/mp4", size=job.film_size)


# --- what is published besides the parameters ---


@dataclass(frozen=True, slots=True)
class Published:
    """What `tools/list` shows of one tool."""

    title: str
    description: str
    annotations: ToolAnnotations
    output: dict[str, Any]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


_TEXT, _NUMBER, _WHOLE, _FLAG = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT}
_ERROR = _object(
    code=_TEXT,
    message=_TEXT,
    retryable=_FLAG,
    charged={"type": "string", "enum": ["no", "yes", "unknown"]},
    next_step=_TEXT,
    task_id=_TEXT,
    retry_after=_NUMBER,
    field=_TEXT,
    allowed=_TEXT,
)
_TASK: dict[str, Any] = {
    "task_id": _TEXT,
    "status": _TEXT,
    "done": _FLAG,
    "message": _TEXT,
    "next_step": _TEXT,
    "model": _TEXT,
    "prompt": _TEXT,
    "progress_percent": _NUMBER,
    "elapsed_seconds": _WHOLE,
    "typical_seconds": _WHOLE,
    "file": _TEXT,
    "video_url": _TEXT,
    "expires_at": _TEXT,
    "credits": _object(quoted=_WHOLE, charged=_WHOLE, refunded=_WHOLE, basis=_TEXT),
    "created_at": _TEXT,
    "completed_at": _TEXT,
    "poll_after_seconds": _WHOLE,
    "deduplicated": _FLAG,
    "normalized": {"type": "object"},
    "notes": _TEXTS,
}
LISTED_FIELDS = frozenset(_TASK) - report.NOT_LISTED

# No field is required: every output schema must admit {"error": {…}} alone, since some hosts validate errors too.
_TASK_OUTPUT = _object(**_TASK, error=_ERROR)
_LIST_OUTPUT = _object(
    tasks={"type": "array", "items": _object(**{name: _TASK[name] for name in _TASK if name in LISTED_FIELDS})},
    next_cursor=_TEXT,
    notes=_TEXTS,
    error=_ERROR,
)
_QUOTE_OUTPUT = _object(
    model=_TEXT,
    seconds=_WHOLE,
    credits=_WHOLE,
    usd=_NUMBER,
    basis={"type": "string", "enum": ["quote", "estimate"]},
    balance=_WHOLE,
    affordable=_FLAG,
    cap_left=_WHOLE,
    error=_ERROR,
)
_ACCOUNT_OUTPUT = _object(
    balance=_WHOLE,
    spent_today=_WHOLE,
    caps={"type": "object"},
    models=_TEXTS,
    input_folders=_TEXTS,
    output_folder=_TEXT,
    key_fingerprint=_TEXT,
    sandbox=_FLAG,
    notes=_TEXTS,
    error=_ERROR,
)


def _paid_tool(title: str, description: str) -> Published:
    hints = ToolAnnotations(
        title=title, read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
    )
    return Published(title, description, hints, _TASK_OUTPUT)


def _free_tool(title: str, description: str, output: dict[str, Any]) -> Published:
    hints = ToolAnnotations(title=title, read_only_hint=True, open_world_hint=True)
    return Published(title, description, hints, output)


PUBLISHED: Mapping[str, Published] = {
    "text_to_video": _paid_tool(
        "Text to video",
        "Make one video from text. Spends credits, takes minutes: returns a task_id for get_task.",
    ),
    "image_to_video": _paid_tool(
        "Image to video",
        "Make one video that starts from a picture and keeps its shape. Spends credits, takes minutes: "
        "returns a task_id for get_task.",
    ),
    "long_video": _paid_tool(
        "Long video",
        "Make one video of up to 30 seconds from a starting picture, one prompt per 5 seconds. "
        "Spends many credits: call quote_video first.",
    ),
    "get_task": _free_tool(
        "Wait for a video",
        "Wait for a task and read its state, saved file, link and cost. Free. Waiting that runs out is normal.",
        _TASK_OUTPUT,
    ),
    "list_tasks": _free_tool(
        "List videos",
        "List this account's videos, newest first, with files and states. Free. Use it when a task_id is lost.",
        _LIST_OUTPUT,
    ),
    "cancel_task": Published(
        "Cancel a video",
        "Cancel a task still SUBMITTED; its credits come back. Once PROGRESS it cannot be stopped.",
        ToolAnnotations(
            title="Cancel a video",
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=True,
            open_world_hint=True,
        ),
        _TASK_OUTPUT,
    ),
    "quote_video": _free_tool("Price of a video", "Price of a video, in credits. Free, starts nothing.", _QUOTE_OUTPUT),
    "get_account": _free_tool(
        "Account",
        "Balance, spending today, limits, available models, and the folders for pictures and videos. Free.",
        _ACCOUNT_OUTPUT,
    ),
}
