"""One tool call: who asks, how long to wait for it, what to tell meanwhile, and how to ask a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp import MCPError
from mcp.server.mcpserver import Context
from mcp.server.session import ServerSession
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field, ValidationError

from avm_mcp.domain.client_timeouts import MAX_NAME, Host
from avm_mcp.domain.job import Job
from avm_mcp.jobs.views import Beat, Progress
from avm_mcp.mcp_server.revisions import ELICITATION, MODERN, PROGRESS_MESSAGE
from avm_mcp.presentation.audience import standing

TOKEN_WAIT = 45
"""Seconds. The shortest limit of a host that asks for progress is 60 s, and progress does not extend it."""

BRIEF_WAIT = 3
"""Seconds. The shortest limit of any host that was measured is 5 s."""

SUBMITTING_TAKES = 3
"""Seconds that a paid call may have taken before its wait begins (P4)."""


class ApprovalForm(BaseModel):
    """What a person is asked before a dear video."""

    start: bool = Field(title="Start this video", description="Yes starts it and spends the credits.")


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: who asks, whether progress is wanted, and how long to wait."""

    context: Context[Any, Any]
    host: Host

    @property
    def wants_progress(self) -> bool:
        meta = self.context.request_context.meta
        return bool(meta) and meta.get("progress_token") is not None

    def wait(self, asked: int | None, *, paid: bool) -> int:
        """Return how long to wait: what was asked for, or what the host is known or likely to allow."""
        if asked is not None:
            return self.within(asked, paid=paid)
        if paid or self.host.get_task is None:
            return self.within(TOKEN_WAIT if self.wants_progress else 0 if paid else BRIEF_WAIT, paid=paid)
        return self.within(self.host.get_task)

    def within(self, seconds: int, *, paid: bool = False) -> int:
        """Return so many seconds, or fewer where the host would cut the call before its answer."""
        longest = self.host.longest
        if longest is None:
            return seconds
        return min(seconds, max(0, longest - SUBMITTING_TAKES) if paid else longest)

    @property
    def can_ask(self) -> bool:
        """Return whether the host has said that it can put a question to a person, and there is a way to it."""
        capabilities = self.context.client_capabilities
        elicitation = capabilities.elicitation if capabilities is not None else None
        if elicitation is None or (elicitation.form is None and elicitation.url is not None):
            return False
        return self._modern or (_speaks(self.context, ELICITATION) and self.context.session.can_send_request)

    @property
    def _modern(self) -> bool:
        """Return whether a question travels in the result of the call, not beside it."""
        return _speaks(self.context, MODERN)

    async def approval(self, question: str, key: str) -> bool | InputRequiredResult | None:
        """Return a person's answer; at 2026-07-28 the first round returns the question instead.

        None where the host could not put the question after all, as if it had never said that it can.

        Args:
            question: What to ask.
            key: Names the question, so that an answer to another one is not taken for this one's.
        """
        if not self._modern:
            try:
                said = await self.context.elicit(question, ApprovalForm)
            except MCPError:
                return None
            except ValueError:  # accepted, without the one word that was asked for
                return False
            return said.action == "accept" and said.data.start
        given = (self.context.input_responses or {}).get(key)
        if isinstance(given, ElicitResult):
            return given.action == "accept" and _is_yes(given.content or {})
        schema = ApprovalForm.model_json_schema()
        form = ElicitRequestFormParams(message=question, requested_schema=schema)
        return InputRequiredResult(input_requests={key: ElicitRequest(params=form)})

    def beat(self) -> Beat | None:
        """Return what reports progress; None where nobody asked for it."""
        return _Reporter(self.context) if self.wants_progress else None


def _speaks(context: Context[Any, Any], since: str) -> bool:
    """Return whether the call came at this protocol revision or a later one."""
    return is_version_at_least(context.protocol_version or "", since)


def _is_yes(content: Mapping[str, object]) -> bool:
    """Return whether a form says yes as the other era's does: hosts fill it with words too, and "no" is not one."""
    try:
        return ApprovalForm.model_validate(content).start
    except ValidationError:
        return False


def client_name(session: ServerSession) -> str:
    """Return what the host calls itself; empty where it does not say."""
    params = session.client_params
    return params.client_info.name[:MAX_NAME] if params is not None else ""


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
        message = f"Task {job.public_id}: {standing(job, progress)}"[:199]
        words = message if _speaks(self._context, PROGRESS_MESSAGE) else None
        await self._context.report_progress(round(percent, 3), 100, words)
