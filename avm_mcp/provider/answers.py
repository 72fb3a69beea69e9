"""What an answer means, and whether it is the API's at all.

A firewall, a proxy, a login page or a gateway may answer in the API's place. Only the API's own envelope
(`{"status": "FAILED", "errorCode": …, "message": …}`) says anything about the key, the task, the balance or the
request. The one exception is a 429: it asks for a pause, whoever sends it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2

from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import (
    AuthFailed,
    AvmError,
    BlockedOnTheWay,
    BudgetExceeded,
    ContentRejected,
    FileRefused,
    InsufficientCredits,
    InvalidInput,
    RateLimited,
    SubmissionUnknown,
    TaskNotFound,
    UpstreamUnavailable,
    UpstreamUnexpected,
    quoted,
)
from avm_mcp.domain.next_steps import Action
from avm_mcp.provider.protocol import Endpoint
from avm_mcp.provider.wire import ErrorEnvelope

PAGE_READ = 2000
"""Bytes of an answer that is not JSON in which its title, or its one line, is searched."""

# How an error is recognised: by `errorCode`, then by HTTP status, then by the words of the API's reference.
BY_CODE: Mapping[str, type[AvmError]] = {
    "AUTH_FAILED": AuthFailed,
    "INSUFFICIENT_CREDITS": InsufficientCredits,
    "BUDGET_EXCEEDED": BudgetExceeded,
    "INVALID_MODEL": InvalidInput,
    "INVALID_PAYLOAD": InvalidInput,
    "RATE_LIMITED": RateLimited,
    "TASK_NOT_FOUND": TaskNotFound,
    "IDEMPOTENCY_CONFLICT": SubmissionUnknown,
}
BY_STATUS: Mapping[int, type[AvmError]] = {
    400: InvalidInput,
    401: AuthFailed,
    402: InsufficientCredits,
    403: AuthFailed,
    404: TaskNotFound,
    409: SubmissionUnknown,
    422: ContentRejected,
    429: RateLimited,
}
BY_WORDS: Mapping[str, type[AvmError]] = {
    "insufficient credits": InsufficientCredits,
    "invalid api key": AuthFailed,
    "too many requests": RateLimited,
    "rate limit": RateLimited,
}

_MESSAGES: Mapping[type[AvmError], str] = {
    AuthFailed: "The service refused the API key",
    InsufficientCredits: "The account has too few credits for this",
    BudgetExceeded: "The service says that this costs more than max_credits allows",
    InvalidInput: "The service refused the request",
    ContentRejected: "The service rejected the prompt or the picture",
    RateLimited: "The service asks for a pause: too many requests",
    TaskNotFound: "The service does not know this task under this key",
    SubmissionUnknown: "The service holds another request under the same key",
}

BLOCKED: Mapping[int, Action] = {
    **dict.fromkeys((200, 201, 203, 301, 302, 303, 307, 308, 511), Action.SIGN_IN),
    **dict.fromkeys((401, 403, 421, 451), Action.CHANGE_NETWORK),
    407: Action.CHECK_PROXY,
}
"""The next step where something in the API's place gives this status."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole.

    Attributes:
        status: The HTTP status.
        headers: Without the key.
        data: The body as JSON; None where it is none.
        size: Bytes of the body.
        text: The first bytes of a body that is not JSON, as text.
    """

    status: int
    headers: httpx2.Headers
    data: Any
    size: int = 0
    text: str = ""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Return the body's fields; none where it is not a JSON object."""
        body: object = self.data
        return cast("dict[str, Any]", body) if isinstance(body, dict) else {}

    @property
    def envelope(self) -> ErrorEnvelope | None:
        """Return the API's refusal, which may come with HTTP 200. A task that FAILED is none: it has an id."""
        if "id" in self.fields or "taskId" in self.fields:
            return None
        if self.status < 300 and set(self.fields) == {"status"}:
            return None  # the bare answer of the status endpoint
        return ErrorEnvelope.read(self.data)

    @property
    def detailed_envelope(self) -> ErrorEnvelope | None:
        """Return the API's refusal where it has more fields than its status. It may name the task that it is about."""
        envelope = self.envelope if self.status < 300 else ErrorEnvelope.read(self.data)
        if envelope is None or (envelope.error_code, envelope.message, envelope.error) == (None, None, None):
            return None
        return envelope

    @property
    def content_type(self) -> str:
        """Return the type that the answer names, quoted."""
        return quoted(self.headers.get("Content-Type", "no type").split(";")[0], 60)


def classify_refusal(endpoint: Endpoint, answer: Answer, now: float, *, picture: bool = False) -> AvmError:
    """Return the error for a refusal, or for an answer that cannot be used: by code, then HTTP status, then words.

    Args:
        endpoint: Where the request went.
        answer: What came back.
        now: Seconds since 1970, for a `Retry-After` that is a date.
        picture: The request carried a picture's bytes.
    """
    envelope = answer.detailed_envelope
    if answer.status == 413 and endpoint == "generate":
        return _classify_too_large(picture=picture)
    if envelope is None:
        return _classify_foreign(endpoint, answer, now)
    text = envelope.message or envelope.error or ""
    leaf = BY_CODE.get(envelope.error_code or "") or BY_STATUS.get(answer.status)
    if leaf is None or (answer.status == 400 and not envelope.error_code):
        leaf = next((found for words, found in BY_WORDS.items() if words in text.lower()), leaf)
    if leaf is TaskNotFound and endpoint in ("generate", "list"):
        leaf = None  # no task was named, so this 404 is about the address
    if leaf is None and answer.status >= 500:
        return UpstreamUnavailable(f"The service answered HTTP {answer.status}{quote_upstream(text)}.")
    if leaf is None:
        code = f" ({quoted(envelope.error_code, 60)})" if envelope.error_code else ""
        return UpstreamUnexpected(f"The service answered HTTP {answer.status}{code}{quote_upstream(text)}.")
    wait = _read_retry_after(answer, now) if leaf is RateLimited else None
    return leaf(f"{_MESSAGES[leaf]}{quote_upstream(text)}.", retry_after=wait)


def classify_unexpected(endpoint: Endpoint, answer: Answer) -> AvmError:
    """Return the error for an answer that is no refusal and does not have the documented shape."""
    if answer.data is None and _is_page(answer):
        return _classify_blocked(answer)
    return UpstreamUnexpected(
        f"The service's answer ({endpoint}, HTTP {answer.status}, {answer.content_type}) is not what it documents."
    )


def _classify_foreign(endpoint: Endpoint, answer: Answer, now: float) -> AvmError:
    """Return the error for an answer without the API's own envelope, or with one that says nothing."""
    if answer.status == 429:
        return RateLimited(f"{_MESSAGES[RateLimited]}.", retry_after=_read_retry_after(answer, now))
    if answer.status < 300:
        return classify_unexpected(endpoint, answer)
    if answer.status in BLOCKED:
        return _classify_blocked(answer)
    hint = quote_upstream(_find_hint(answer))
    if answer.status >= 500:
        return UpstreamUnavailable(f"The service, or something on the way to it, answered HTTP {answer.status}{hint}.")
    return UpstreamUnexpected(
        f"The answer ({endpoint}, HTTP {answer.status}, {answer.content_type}) is not in the API's own form{hint};"
        " nothing was learned about the key or the task from it."
    )


def _classify_blocked(answer: Answer) -> BlockedOnTheWay:
    place = _read_host(answer.headers.get("Location", "")) if 300 <= answer.status < 400 else None
    where = f" to {quoted(place, 80)}" if place else f", {answer.content_type}"
    return BlockedOnTheWay(
        f"Something on the way to the service answered in its place (HTTP {answer.status}{where})"
        f"{quote_upstream(_find_hint(answer))}; the key was not judged.",
        next_step=BLOCKED.get(answer.status, Action.CHANGE_NETWORK)(),
    )


def _read_host(location: str) -> str | None:
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None


def _classify_too_large(*, picture: bool) -> AvmError:
    if picture:
        return FileRefused(
            "The picture is too large for the service, or for something on the way to it (HTTP 413).",
            next_step=Action.GIVE_SMALLER_PICTURE(),
        )
    return InvalidInput("The request is too large for the service, or for something on the way to it (HTTP 413).")


def _read_retry_after(answer: Answer, now: float) -> float | None:
    return rate_limit.retry_after(answer.headers.get("Retry-After"), now)


def _is_page(answer: Answer) -> bool:
    kind = answer.headers.get("Content-Type", "").lower()
    return "html" in kind or answer.text.lstrip("\ufeff \t\r\n").startswith("<")


def _find_hint(answer: Answer) -> str:
    """Return the few words by which a person may recognise who answered: a title, a line, a gateway's message."""
    for name in ("message", "error", "detail", "title"):
        if isinstance(text := answer.fields.get(name), str):
            return text
    if answer.data is not None:
        return ""
    if not _is_page(answer):
        return answer.text
    title = re.search(r"<title[^>]*>([^<]{1,200})", answer.text, re.IGNORECASE)
    return title[1] if title else ""


def quote_upstream(text: str) -> str:
    """Return upstream text as the end of a sentence of ours; nothing where it is empty."""
    shown = quoted(text)
    return f"; it said {shown}" if len(shown) > len('""') else ""
