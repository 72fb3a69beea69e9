"""What the tools return, as models: the structured results and their published schemas come from these.

Keys without a value are left out of a result. No key is required by a schema: every output schema must admit
`{"error": {…}}` alone, since some hosts validate errors too.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field


class Result(BaseModel):
    """A structured result, or a part of one."""

    model_config = ConfigDict(frozen=True)

    def dump(self) -> dict[str, Any]:
        """Return it as JSON values, without the keys that have none."""
        return self.model_dump(exclude_none=True)


class ErrorResult(Result):
    """What went wrong, whether money was spent, and the next step."""

    code: str
    message: str
    retryable: bool
    charged: Literal["no", "yes", "unknown"]
    next_step: str
    task_id: str | None = None
    retry_after: float | None = None
    field: str | None = None
    allowed: str | None = None


class Failure(Result):
    """The whole result of a call that failed."""

    error: ErrorResult


class Credits(Result):
    """What a video costs."""

    quoted: int | None = None
    charged: int | None = None
    refunded: int | None = None
    basis: str | None = None


class TaskResult(Result):
    """One task. Times are in seconds, dates in ISO 8601, UTC."""

    task_id: str
    status: str
    done: bool
    message: str
    next_step: str
    model: str
    prompt: str | None = None
    progress_percent: float
    elapsed_seconds: int
    typical_seconds: int
    download: str | None = None
    file: str | None = None
    video_url: str | None = None
    expires_at: str | None = None
    credits: Credits | None = None
    created_at: str | None = None
    completed_at: str | None = None
    poll_after_seconds: int | None = None
    deduplicated: bool | None = None
    normalized: Mapping[str, Any] | None = None
    notes: list[str] | None = None
    error: ErrorResult | None = None


class TaskRow(TaskResult):
    """One task in a list: without what only the answer about that task says."""

    message: str = Field(exclude=True)
    next_step: str = Field(exclude=True)
    poll_after_seconds: int | None = Field(default=None, exclude=True)
    normalized: Mapping[str, Any] | None = Field(default=None, exclude=True)
    notes: list[str] | None = Field(default=None, exclude=True)
    error: ErrorResult | None = Field(default=None, exclude=True)


class ListResult(Result):
    """One page of tasks, newest first."""

    tasks: list[TaskRow]
    next_cursor: str | None = None
    notes: list[str] | None = None
    error: ErrorResult | None = None


class QuoteResult(Result):
    """A price in credits."""

    model: str
    seconds: int
    credits: int
    usd: float | None = None
    basis: Literal["quote", "estimate"]
    balance: int | None = None
    affordable: bool | None = None
    cap_left: int | None = None
    error: ErrorResult | None = None


class Today(Result):
    """A day's sums, in credits."""

    videos: int
    quoted: int
    charged: int
    refunded: int
    spent: int


class AccountResult(Result):
    """What an account has and may spend, and where its files go."""

    balance: int | None = None
    spent_today: int
    today: Today
    caps: Mapping[str, int]
    models: list[str]
    input_folders: list[str]
    output_folder: str | None = None
    key_fingerprint: str | None = None
    sandbox: bool
    notes: list[str] | None = None
    error: ErrorResult | None = None


_TYPES: Mapping[object, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def output_schema(model: type[Result]) -> dict[str, Any]:
    """Return the published schema of a result, in the narrow dialect of the input schemas."""
    shown = {name: field.annotation for name, field in model.model_fields.items() if not field.exclude}
    return {"type": "object", "properties": {name: _schema(kind) for name, kind in shown.items()}}


def _schema(kind: Any) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):  # a key that may be left out
        (kind,) = (arg for arg in args if arg is not NoneType)
        return _schema(kind)
    if origin is Literal:
        return {"type": "string", "enum": [*args]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0])}
    if origin is not None:
        return {"type": "object"}
    return output_schema(kind) if issubclass(kind, Result) else {"type": _TYPES[kind]}
