"""The words that all texts share: how each face writes a call, and how amounts, dates and durations are said.

The words are for two readers at once: a model that follows them to the letter, and a tired person. They differ by
*face* only where they name a call: a model reads `get_task(task_id="ck9x1")`, a terminal `avm get ck9x1`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avm_mcp.models import CANCEL, COMPLETED, FAILED, NOT_CREATED, SUBMITTED, SUBMITTING, UNKNOWN, Job

PROMPT_SHOWN = 200
USD_PER_CREDIT = 0.01
"""The live API's own rate; the seed page names none, so without a quote or a charge no dollars are shown."""

WORDS: Mapping[str, str] = {
    SUBMITTING: "being sent",
    UNKNOWN: "unclear",
    SUBMITTED: "waiting",
    "PROGRESS": "being made",
    COMPLETED: "ready",
    FAILED: "failed",
    CANCEL: "cancelled",
    NOT_CREATED: "never created",
}


@dataclass(frozen=True, slots=True)
class Face:
    """How one face writes its calls. Each value is a template over `{id}`, `{tool}` and `{take}`."""

    get_task: str
    list_tasks: str
    get_account: str
    quote: str
    another: str
    again: str
    stays: str
    stops: str

    def say(self, template: str, **values: object) -> str:
        """Fill a next step with this face's calls."""
        calls = {
            "get_task": self.get_task.format(**{"id": "…", **values}),
            "list_tasks": self.list_tasks,
            "quote": self.quote,
            "get_account": self.get_account,
        }
        return _Lenient.fill(template, {**calls, **values})


class _Lenient(dict[str, object]):
    """A braced word that nobody knows is left as it stands: text must never fail to be shown."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"

    @classmethod
    def fill(cls, template: str, values: Mapping[str, object]) -> str:
        try:
            return template.format_map(cls(values))
        except (ValueError, IndexError, KeyError, AttributeError):
            return template


MODEL_FACE = Face(
    get_task='get_task(task_id="{id}")',
    list_tasks="list_tasks",
    get_account="get_account",
    quote="quote_video",
    another="For another version, repeat the call with take={take}",
    again="Do not call {tool} again for this video",
    stays=" by itself, even if this chat is closed",
    stops=" while this server runs; call get_task later to be sure",
)
SHELL_FACE = Face(
    get_task="avm get {id}",
    list_tasks="avm list",
    get_account="avm account",
    quote="avm quote",
    another="For another version, repeat the command with --take {take}",
    again="Do not run avm {command} again for this video",
    stays=" by itself, in the background",
    stops="; for that run avm get, which waits for it",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where films go, for the sentences that promise it.

    Attributes:
        folder: The output folder; None where nothing is saved here.
        goes_on: Whether a film is saved although the process that was asked for it ended.
    """

    folder: Path | None
    goes_on: bool = False


def spoken(seconds: float) -> str:
    """Return a duration as people say it."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    if minutes < 90:
        return f"{round(whole / 60)} min"
    return f"{minutes // 60} h {minutes % 60} min"


def about(seconds: float) -> str:
    """Return a duration as people guess it."""
    if seconds < 50:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    minutes = max(1, round(seconds / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def stamp(seconds: float | None) -> str | None:
    """Return a date in ISO 8601, UTC, to the second."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(amount: int, *, certain: bool = True, dollars: bool = True) -> str:
    """Return an amount: credits first, dollars only where the API's own rate says so."""
    noun = "credit" if amount == 1 else "credits"
    usd = f" (${amount * USD_PER_CREDIT:.2f})" if dollars else ""
    return f"{'' if certain else 'up to '}{amount} {noun}{usd}"


def cost(job: Job) -> str | None:
    """Return what a job costs, as surely as it is known."""
    if job.credits_charged is not None:
        return money(job.credits_charged)
    if job.credits_quoted is not None:
        quoted_price = job.credits_basis == "quote"
        return money(job.credits_quoted, certain=quoted_price, dollars=quoted_price)
    return None


def given(**values: Any) -> dict[str, Any]:
    """Return the fields that have a value: keys without one are left out of every result."""
    return {name: value for name, value in values.items() if value is not None}


def clipped(text: str, limit: int = PROMPT_SHOWN) -> str:
    """Return text as one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
