"""An error as a result and as text: what happened, whether money was spent, and the next step."""

from collections.abc import Mapping
from typing import Any

from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.ids import is_safe
from avm_mcp.presentation.audience import Audience, spoken
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.results import ErrorResult, Failure


def build_error(error: AvmError, audience: Audience) -> ErrorResult:
    """Return an error as data."""
    return ErrorResult(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        charged=error.charged,
        next_step=write_next_step(error.next_step, audience, _id(error)),
        task_id=_id(error),
        retry_after=error.retry_after,
        field=error.field,
        allowed=_allowed(error),
    )


def dump_error(error: AvmError, audience: Audience) -> dict[str, Any]:
    """Return the structured result of a call that failed."""
    return Failure(error=build_error(error, audience)).dump()


def format_error(error: AvmError, audience: Audience) -> str:
    """Return an error as text, since half of the hosts show only that."""
    result = build_error(error, audience)
    lines = [result.message]
    if result.allowed is not None and not (result.allowed in result.message and str(result.field) in result.message):
        lines.append(f"Allowed for {result.field}: {result.allowed}")
    if result.task_id is not None and result.task_id not in result.message:
        lines.append(f"Task {result.task_id}.")
    if result.retry_after is not None:
        lines.append(f"Wait {spoken(result.retry_after)} before the next try.")
    known = "nothing" in f"{result.message} {result.next_step}".lower()  # stands there already
    if error.charged == "no" and error.task_id is None and not known:
        lines.append("Nothing was started or charged.")
    return "\n".join([*lines, f"Next: {result.next_step}"])


def _id(error: AvmError) -> str | None:
    """Return the id that it is about. An id that is not safe to show is what the caller gave, not a task's."""
    return error.task_id if error.task_id is not None and is_safe(error.task_id) else None


def _allowed(error: AvmError) -> str | None:
    """Return what the field accepts as one text: lists of folders or values are read by people too."""
    allowed = error.allowed
    if allowed is None or isinstance(allowed, str):
        return allowed
    if isinstance(allowed, Mapping):
        return ", ".join(f"{name}: {value}" for name, value in allowed.items())
    return ", ".join(allowed)
