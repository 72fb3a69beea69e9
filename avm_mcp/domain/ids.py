"""Ids of tasks: what is taken for one, and how one is shown."""

from avm_mcp.domain import bounds
from avm_mcp.domain.errors import InvalidInput, quoted

LONGEST = 300
"""Characters of an id, ours or the service's, with what a resource URI adds to it."""


def bare_id(given: str) -> str:
    """Return the id in `given`, which may be an id or one of our resource URIs.

    Raises:
        InvalidInput: It cannot be an id.
    """
    text = given[:LONGEST].strip().strip("\"'`").removeprefix("avm://tasks/").removesuffix("/video")
    odd = any(ch.isspace() or not ch.isprintable() or ch in "/\\?#%" for ch in text)
    if not text or len(text) > 200 or len(given) > LONGEST or odd:
        raise InvalidInput(
            "task_id is not an id.", field="task_id", allowed="an id as a paid call or list_tasks returned it"
        )
    return text


def named(task_id: str) -> str:
    """Return an id from outside as it may stand in a sentence."""
    return task_id if is_safe(task_id) else quoted(task_id, 60)


def is_safe(task_id: str) -> bool:
    """Return whether an id can be shown bare: neither a model nor a shell reads anything else in it."""
    return bounds.is_plain_id(task_id.removeprefix("sub_"))
