"""What `tools/list` shows of the tools besides their parameters: words, hints, and the shape of results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.types import ToolAnnotations

from avm_mcp.presentation.pages import NOT_LISTED


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
    "download": _TEXT,
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
LISTED_FIELDS = frozenset(_TASK) - NOT_LISTED

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
    today=_object(videos=_WHOLE, quoted=_WHOLE, charged=_WHOLE, refunded=_WHOLE, spent=_WHOLE),
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
