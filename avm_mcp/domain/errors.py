"""Everything that can go wrong, drawn once.

    AvmError                    code                     retryable  charged   what the caller should do
    |- InvalidInput             INVALID_INPUT            no         no        correct the field that is named
    |- NotConfigured            NOT_CONFIGURED           no         no        set AVM_API_KEY
    |- BadSetting               NOT_CONFIGURED           no         no        correct the variable that is named
    |- FileRefused              FILE_REFUSED             no         no        give another path or an https link
    |- BudgetExceeded           BUDGET_EXCEEDED          no         no        raise the cap, or make it cheaper
    |- ApprovalRequired         APPROVAL_REQUIRED        no         no        ask the user, then name the price
    |- StateUnavailable         STATE_UNAVAILABLE        yes        no        free the disk, repair the folder
    |- TaskNotFound             TASK_NOT_FOUND           no         no        list the tasks
    |- NotCancellable           NOT_CANCELLABLE          no         -         wait for the end
    |- AuthFailed               AUTH_FAILED              no         no        correct the key
    |- InsufficientCredits      INSUFFICIENT_CREDITS     no         no        add credits
    |- ContentRejected          CONTENT_REJECTED         no         no        change prompt or picture
    |- RateLimited              RATE_LIMITED             yes        no        wait retry_after seconds
    |- UpstreamUnavailable      UPSTREAM_UNAVAILABLE     yes        no        try again later
    |- BlockedOnTheWay          UPSTREAM_UNAVAILABLE     yes        no        repair the network, try again
    |- UpstreamUnexpected       UPSTREAM_UNEXPECTED      no         no        report it
    |- SubmissionUnknown        SUBMISSION_UNKNOWN       no         unknown   get the task that is named, never repeat
    `- Internal                 INTERNAL                 no         unknown   list the tasks, then report it

`message` says what happened, in a sentence; the facts are attributes. `next_step` is an action with arguments, which
`presentation.next_steps` writes for its reader: a model reads a tool call and what to tell its user, a person at a
terminal reads a command.
Text that came from the upstream is data: `quoted()` caps and cleans it, and it never enters a `next_step`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self, cast

from avm_mcp.domain.next_steps import Action, NextStep

Charged = Literal["no", "yes", "unknown"]


class AvmError(Exception):
    """Never raised itself; its leaves are what callers catch and what models read.

    Args:
        message: What happened, in one or two plain sentences, naming the thing.
        next_step: The one next step; the class's own when left out.
        field: The parameter or setting at fault.
        allowed: What that field accepts.
        task_id: The task or submission this is about; never missing once a submit was attempted.
        retry_after: Seconds until a retry can succeed.
        charged: Whether money was spent; the class's own answer when left out.
    """

    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    default_charged: ClassVar[Charged] = "no"
    default_next_step: ClassVar[NextStep]

    def __init__(
        self,
        message: str,
        *,
        next_step: NextStep | None = None,
        field: str | None = None,
        allowed: str | Sequence[str] | Mapping[str, object] | None = None,
        task_id: str | None = None,
        retry_after: float | None = None,
        charged: Charged | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.default_next_step
        self.field = field
        self.allowed = allowed
        self.task_id = task_id
        self.retry_after = retry_after
        self.charged: Charged = charged or self.default_charged

    def amend(
        self, *, next_step: NextStep | None = None, task_id: str | None = None, charged: Charged | None = None
    ) -> Self:
        """Return a copy that says these instead; an error that was raised is never changed."""
        amended = copy.copy(self)
        amended.next_step = next_step or self.next_step
        amended.task_id = task_id or self.task_id
        amended.charged = charged or self.charged
        return amended


class InvalidInput(AvmError):
    """An argument that no model of the API accepts; nothing was sent."""

    code = "INVALID_INPUT"
    default_next_step = Action.CORRECT_FIELD()


class NotConfigured(AvmError):
    """There is no API key."""

    code = "NOT_CONFIGURED"
    default_next_step = Action.GET_KEY()


class BadSetting(AvmError):
    """A setting whose value cannot be used; programs exit with 2."""

    code = "NOT_CONFIGURED"
    default_next_step = Action.CORRECT_SETTING()


class FileRefused(AvmError):
    """A local file or link that may not, or can not, be used as a picture."""

    code = "FILE_REFUSED"
    default_next_step = Action.GIVE_ANOTHER_PICTURE()


class BudgetExceeded(AvmError):
    """The known price passes a cap, or cannot be known where a cap is set."""

    code = "BUDGET_EXCEEDED"
    default_next_step = Action.RAISE_THE_CAP()


class ApprovalRequired(AvmError):
    """The price is above the threshold, and no person has approved it."""

    code = "APPROVAL_REQUIRED"
    default_next_step = Action.APPROVE()


class StateUnavailable(AvmError):
    """The state cannot be written, so nothing may be paid for."""

    code = "STATE_UNAVAILABLE"
    retryable = True
    default_next_step = Action.REPAIR_STATE()


class TaskNotFound(AvmError):
    """Neither this server nor the service knows the id under this key."""

    code = "TASK_NOT_FOUND"
    default_next_step = Action.LIST_TASKS()


class NotCancellable(AvmError):
    """The task left SUBMITTED, so the upstream no longer stops it."""

    code = "NOT_CANCELLABLE"
    default_charged = "yes"
    default_next_step = Action.WAIT_FOR_END()


class AuthFailed(AvmError):
    """The upstream refused the key."""

    code = "AUTH_FAILED"
    default_next_step = Action.CHECK_KEY()


class InsufficientCredits(AvmError):
    """The balance is lower than the price."""

    code = "INSUFFICIENT_CREDITS"
    default_next_step = Action.ADD_CREDITS()


class ContentRejected(AvmError):
    """The upstream refused the prompt or the picture."""

    code = "CONTENT_REJECTED"
    default_next_step = Action.CHANGE_PROMPT_OR_PICTURE()


class RateLimited(AvmError):
    """Too many requests; nothing came of this one."""

    code = "RATE_LIMITED"
    retryable = True
    default_next_step = Action.WAIT_AND_REPEAT()


class UpstreamUnavailable(AvmError):
    """The API could not be reached, or answered 5xx to a question that is safe to ask again."""

    code = "UPSTREAM_UNAVAILABLE"
    retryable = True
    default_next_step = Action.TRY_AGAIN()


class BlockedOnTheWay(AvmError):
    """A firewall, proxy or login page answered in the API's place; neither key nor request was judged."""

    code = "UPSTREAM_UNAVAILABLE"
    retryable = True
    default_next_step = Action.CHANGE_NETWORK()


class UpstreamUnexpected(AvmError):
    """The API answered something that is not documented."""

    code = "UPSTREAM_UNEXPECTED"
    default_next_step = Action.REPORT_ODD_ANSWER()


class SubmissionUnknown(AvmError):
    """The answer to a paid request was lost: it may or may not have been accepted."""

    code = "SUBMISSION_UNKNOWN"
    default_charged = "unknown"
    default_next_step = Action.GET_TASK_NOT_REPEAT()


class Internal(AvmError):
    """A bug of ours; details are in the log, not in the answer.

    Where it struck is not known here, so neither is whether something was paid for; who knows that nothing was says so,
    with `Action.REPORT_BUG` as the next step.
    """

    code = "INTERNAL"
    default_charged = "unknown"
    default_next_step = Action.LIST_BEFORE_REPEATING()


def quoted(text: object, limit: int = 300) -> str:
    """Return upstream text as harmless data: one line, no control characters, at most `limit` characters.

    Only the part that can be shown is read, however long the text is.
    """
    given = text if isinstance(text, str) else _written(text, 8 * limit)
    head = given[: 8 * limit]  # blanks may fold into one
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in head).split())
    line = line.replace('"', "'")
    return f'"{line[:limit]}…"' if len(line) > limit or len(given) > len(head) else f'"{line}"'


def _written(value: object, limit: int) -> str:
    """Return the beginning of `str(value)`, of which the rest may be many megabytes."""
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > limit:
            break
    return text


def _pieces(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield repr(value[:1000]) if depth else value[:100_000]
    elif isinstance(value, int) and value.bit_length() > 4000:
        yield "a number of more than a thousand digits"
    elif isinstance(value, dict | list | tuple) and depth > 20:
        yield "…"
    elif isinstance(value, dict):
        yield "{"
        for place, (name, item) in enumerate(cast("dict[object, object]", value).items()):
            yield ", " if place else ""
            yield from _pieces(name, depth + 1)
            yield ": "
            yield from _pieces(item, depth + 1)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for place, item in enumerate(cast("Sequence[object]", value)):
            yield ", " if place else ""
            yield from _pieces(item, depth + 1)
        yield "]"
    else:
        yield str(value)
