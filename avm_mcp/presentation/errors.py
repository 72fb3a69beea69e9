"""An error, told: what happened, whether money was spent, and the one next step."""

from collections.abc import Mapping
from typing import Any

from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.ids import is_safe
from avm_mcp.presentation.audience import Audience, spoken
from avm_mcp.presentation.next_steps import write_next_step


def error_fields(error: AvmError, audience: Audience) -> dict[str, Any]:
    """Return an error as data: what happened, whether money was spent, and the one next step."""
    values: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "charged": error.charged,
        "next_step": write_next_step(error.next_step, audience, _id(error)),
        "task_id": _id(error),
        "retry_after": error.retry_after,
        "field": error.field,
        "allowed": _allowed(error),
    }
    return {name: value for name, value in values.items() if value is not None}


def error_text(error: AvmError, audience: Audience) -> str:
    """Return the same as text, since half of the hosts show only that."""
    lines = [error.message]
    allowed = _allowed(error)
    if allowed is not None and not (allowed in error.message and str(error.field) in error.message):
        lines.append(f"Allowed for {error.field}: {allowed}")
    if (task_id := _id(error)) is not None and task_id not in error.message:
        lines.append(f"Task {task_id}.")
    if error.retry_after is not None:
        lines.append(f"Wait {spoken(error.retry_after)} before the next try.")
    step = write_next_step(error.next_step, audience, _id(error))
    if error.charged == "no" and error.task_id is None and "nothing" not in f"{error.message} {step}".lower():
        lines.append("Nothing was started or charged.")
    return "\n".join([*lines, f"Next: {step}"])


def _id(error: AvmError) -> str | None:
    """Return the id that it is about, where that can be shown: an odd one is what somebody gave, and no task's."""
    return error.task_id if error.task_id is not None and is_safe(error.task_id) else None


def _allowed(error: AvmError) -> str | None:
    """Return what the field accepts as one text: lists of folders or values are read by people too."""
    allowed = error.allowed
    if allowed is None or isinstance(allowed, str):
        return allowed
    if isinstance(allowed, Mapping):
        return ", ".join(f"{name}: {value}" for name, value in allowed.items())
    return ", ".join(allowed)
