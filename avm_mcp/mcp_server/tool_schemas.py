"""What `tools/list` shows of the tools besides their parameters: words, hints, and the shape of results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.types import ToolAnnotations

from avm_mcp.presentation.results import AccountResult, ListResult, QuoteResult, Result, TaskResult, output_schema


@dataclass(frozen=True, slots=True)
class Published:
    """What `tools/list` shows of one tool."""

    title: str
    description: str
    annotations: ToolAnnotations
    output: dict[str, Any]


def _paid_tool(title: str, description: str) -> Published:
    hints = ToolAnnotations(
        title=title, read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
    )
    return Published(title, description, hints, output_schema(TaskResult))


def _free_tool(title: str, description: str, result: type[Result]) -> Published:
    hints = ToolAnnotations(title=title, read_only_hint=True, open_world_hint=True)
    return Published(title, description, hints, output_schema(result))


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
        TaskResult,
    ),
    "list_tasks": _free_tool(
        "List videos",
        "List this account's videos, newest first, with files and states. Free. Use it when a task_id is lost.",
        ListResult,
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
        output_schema(TaskResult),
    ),
    "quote_video": _free_tool("Price of a video", "Price of a video, in credits. Free, starts nothing.", QuoteResult),
    "get_account": _free_tool(
        "Account",
        "Balance, spending today, limits, available models, and the folders for pictures and videos. Free.",
        AccountResult,
    ),
}
