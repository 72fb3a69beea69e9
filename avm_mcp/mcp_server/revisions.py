"""Which protocol revision brought what, and results without what is newer than the revision that was negotiated.

One table for the server. The fast start needs none: its snapshot is what the server answered at each revision.
Over HTTP without sessions a request that names no revision counts as 2025-03-26, as the specification asks for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.version import is_version_at_least

STREAMABLE, STRUCTURED, ICONS, MODERN = "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"
"""The revisions after the first, by what they are known for here."""

PROGRESS_MESSAGE = STREAMABLE
"""First revision whose progress has words."""

ELICITATION = STRUCTURED
"""First revision in which a person can be asked."""

MEMBERS: Mapping[str, Mapping[str, str]] = {
    "initialize": {
        "capabilities.completions": STREAMABLE,
        "capabilities.tasks": ICONS,
        "capabilities.extensions": MODERN,
        "serverInfo.title": STRUCTURED,
        "serverInfo.description": ICONS,
        "serverInfo.icons": ICONS,
        "serverInfo.websiteUrl": ICONS,
    },
    "tools/list": {
        "tools.*.annotations": STREAMABLE,
        "tools.*.title": STRUCTURED,
        "tools.*.outputSchema": STRUCTURED,
        "tools.*._meta": STRUCTURED,
        "tools.*.icons": ICONS,
        "tools.*.execution": ICONS,
    },
    "tools/call": {
        "structuredContent": STRUCTURED,
        "content.*._meta": STRUCTURED,
        "content.*.annotations.lastModified": STRUCTURED,
        "content.*.icons": ICONS,
    },
    "prompts/list": {
        "prompts.*.title": STRUCTURED,
        "prompts.*._meta": STRUCTURED,
        "prompts.*.arguments.*.title": STRUCTURED,
        "prompts.*.icons": ICONS,
    },
    "prompts/get": {"messages.*.content._meta": STRUCTURED},
    "resources/list": {
        "resources.*.title": STRUCTURED,
        "resources.*._meta": STRUCTURED,
        "resources.*.annotations.lastModified": STRUCTURED,
        "resources.*.icons": ICONS,
    },
    "resources/templates/list": {
        "resourceTemplates.*.title": STRUCTURED,
        "resourceTemplates.*._meta": STRUCTURED,
        "resourceTemplates.*.annotations.lastModified": STRUCTURED,
        "resourceTemplates.*.icons": ICONS,
    },
    "resources/read": {"contents.*._meta": STRUCTURED},
}
"""By method: a member of its result, `*` being each item of a list, and the first revision that has it.

Source: the schemas of the five revisions, compared.
"""

BLOCKS: Mapping[str, str] = {"audio": STREAMABLE, "resource_link": STRUCTURED}
"""Kinds of content in the result of a tool, and the first revision that has them. A client that does not know a kind
may refuse the whole result, text and all."""


class Revisions:
    """A middleware of the server: takes from each result what the client's revision does not have."""

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.request_id is None or not isinstance(result, dict):
            return result
        # An answer to `initialize` says what it is about; no revision is agreed on before.
        return known(ctx.method, str(result.get("protocolVersion", ctx.protocol_version)), result)


def known(method: str, revision: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without what a revision does not have; one that is not known has only what all have."""
    kept: Any = dict(result)
    for path, since in MEMBERS.get(method, {}).items():
        if not is_version_at_least(revision, since):
            kept = _without(kept, path.split("."))
    if method == "tools/call" and "content" in kept:
        newer = {kind for kind, since in BLOCKS.items() if not is_version_at_least(revision, since)}
        kept["content"] = [block for block in kept["content"] if block.get("type") not in newer]
    return kept


def _without(value: Any, path: Sequence[str]) -> Any:
    """Return a copy of a JSON value in which the member at the end of a path is missing."""
    head, *rest = path
    if head == "*":
        return [_without(item, rest) for item in cast("list[Any]", value)] if isinstance(value, list) else value
    if not isinstance(value, dict) or head not in value:
        return cast("Any", value)
    members = cast("dict[str, Any]", value)
    if rest:
        return members | {head: _without(members[head], rest)}
    return {name: member for name, member in members.items() if name != head}
