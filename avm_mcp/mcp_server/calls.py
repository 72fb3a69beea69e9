"""One tool call: which host makes it, how long to wait, how to report progress, and how to ask a person."""

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
    """What a person is asked before a video above the threshold."""

    start: bool = Field(title="Start this video", description="Yes starts it and spends the credits.")


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call and the host that makes it."""

    context: Context[Any, Any]
    host: Host

    @property
    def wants_progress(self) -> bool:
        meta = self.context.request_context.meta
        return bool(meta) and meta.get("progress_token") is not None

    def wait(self, asked: int | None, *, paid: bool) -> int:
        """Return the seconds to wait: what was asked for, or what the host is known or likely to allow."""
        if asked is not None:
            return self.within(asked, paid=paid)
        if paid or self.host.get_task is None:
            return self.within(TOKEN_WAIT if self.wants_progress else 0 if paid else BRIEF_WAIT, paid=paid)
        return self.within(self.host.get_task)

    def within(self, seconds: int, *, paid: bool = False) -> int:
        """Return `seconds`, or fewer where the host would cut the call before its answer."""
        longest = self.host.longest
        if longest is None:
            return seconds
        return min(seconds, max(0, longest - SUBMITTING_TAKES) if paid else longest)

    @property
    def can_ask(self) -> bool:
        """Return whether the host can ask a person, and this connection can carry the question."""
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

        None where the host could not ask after all; then the call goes on as with a host that cannot.

        Args:
            question: What to ask.
            key: Names the question, so that an answer to another one is not taken for this one's.
        """
        if not self._modern:
            try:
                answer = await self.context.elicit(question, ApprovalForm)
            except MCPError:
                return None
            except ValueError:  # accepted, without the one word that was asked for
                return False
            return answer.action == "accept" and answer.data.start
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
    """Return whether a filled form says yes. Hosts fill it with words too, so it is parsed as the form's own type."""
    try:
        return ApprovalForm.model_validate(content).start
    except ValidationError:
        return False


def client_name(session: ServerSession) -> str:
    """Return the host's name for itself; empty where it gives none."""
    params = session.client_params
    return params.client_info.name[:MAX_NAME] if params is not None else ""


class _Reporter:
    """Progress notifications: strictly increasing, 100 only at the end, the task's id from the first one on."""

    def __init__(self, context: Context[Any, Any]) -> None:
        self._context = context
        self._last = 0.0

    async def __call__(self, job: Job, progress: Progress) -> None:
        # Where the estimate has not risen, a fraction of what is left keeps the number rising.
        percent = 100.0 if job.final else max(progress.percent, self._last + (99.9 - self._last) * 0.002)
        if percent <= self._last:
            return
        self._last = percent
        message = f"Task {job.public_id}: {standing(job, progress)}"[:199]
        words = message if _speaks(self._context, PROGRESS_MESSAGE) else None
        await self._context.report_progress(round(percent, 3), 100, words)
