"""The words that all texts share: how each face writes a call, and how amounts, dates and durations are said.

The words are for two readers at once: a model that follows them to the letter, and a tired person. They differ by
*face* where they name a call, `get_task(task_id="ck9x1")` or `avm get ck9x1`, and where they speak to somebody: a model
is told what to tell the user, a person at a terminal is the user. A sentence is a template, written once:

    {get_task} {list_tasks} {quote} {get_account} {show} {do} {call}      this face's words for a call
    {max_credits:450} {max_credits}                                a parameter, as it is given there, and its name
    {tool:text_to_video}                                           a tool, as it is called there
    {model:tell the user to }{person:please }                      only for this reader; may hold words of the others
    {host:, then restart the host}                                 only where a host started us
    {{ and }}                                                      braces
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from avm_mcp.domain.job import CANCEL, COMPLETED, FAILED, NOT_CREATED, SUBMITTED, SUBMITTING, UNKNOWN, Job
from avm_mcp.jobs.poller import Progress

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
class Audience:
    """How one face writes its calls, as templates over `{id}`, `{tool}` and `{take}`, and who reads them."""

    reader: Literal["model", "person"]
    hosted: bool
    do: str
    call: str
    tool: str
    max_credits: str
    get_task: str
    list_tasks: str
    get_account: str
    quote: str
    show: str
    another: str
    next_take: str
    again: str
    stays: str
    stops: str

    def say(self, template: str, **values: object) -> str:
        """Fill a next step with this face's calls."""
        named = {"id": "…", **values}
        calls = {
            "get_task": self.get_task.format(**named),
            "show": self.show.format(**named),
            "list_tasks": self.list_tasks,
            "quote": self.quote,
            "get_account": self.get_account,
            "do": self.do,
            "call": self.call,
            "max_credits": self.max_credits.partition("{")[0].rstrip("= "),
        }
        return self._filled(template, {**calls, **values})

    def _filled(self, template: str, words: Mapping[str, object]) -> str:
        """Fill in words; a braced one that nobody knows is left as it stands: text must never fail to be shown."""

        def word(found: re.Match[str]) -> str:
            name, text = found["name"], found["text"]
            if name is None:
                return found[0][0]
            if text is None:
                return str(words.get(name, found[0]))
            if name in READERS:
                meant = self.hosted if name == "host" else name == self.reader
                return self._filled(text, words) if meant else ""
            if name == "tool":
                return self.tool.format(tool=text, command=text.replace("_", "-"))
            return self.max_credits.format(text) if name == "max_credits" else found[0]

        return _WORD.sub(word, template)


READERS = ("model", "person", "host")
_WORD = re.compile(r"\{\{|\}\}|\{(?P<name>\w+)(?::(?P<text>[^{}]*(?:\{\w+\}[^{}]*)*))?\}")

MODEL_AUDIENCE = Audience(
    reader="model",
    hosted=True,
    do="call",
    call="call",
    tool="{tool}",
    max_credits="max_credits={}",
    get_task='get_task(task_id="{id}")',
    list_tasks="list_tasks",
    get_account="get_account",
    quote="quote_video",
    show="give the user the file",
    another="For another version, repeat the call with take={take}",
    next_take="repeat the call with take={take}",
    again="Do not call {tool} again for this video",
    stays=" by itself, even if this chat is closed",
    stops=" while this server runs; call get_task later to be sure",
)
SHELL_AUDIENCE = Audience(
    reader="person",
    hosted=False,
    do="run",
    call="command",
    tool="avm {command}",
    max_credits="--max-credits {}",
    get_task="avm get {id}",
    list_tasks="avm list",
    get_account="avm account",
    quote="avm quote",
    show="avm open {id} shows it",
    another="For another version, repeat the command with --take {take}",
    next_take="repeat the command with --take {take}",
    again="Do not run avm {command} again for this video",
    stays=" by itself, in the background",
    stops="; for that run avm get, which waits for it",
)
JSON_AUDIENCE = replace(SHELL_AUDIENCE, reader="model")
"""What `avm --json` says: a program reads it, mostly an agent's, which runs commands and has a user of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where videos go, for the sentences that promise it.

    Attributes:
        folder: The output folder; None where nothing is saved here.
        goes_on: Whether a video is saved although the process that was asked for it ended.
        fleeting: Whether the next process will not know its tasks: those of the embedded sandbox end with it.
        trouble: Why nothing can be saved in the folder as it is; None where nothing speaks against.
    """

    folder: Path | None
    goes_on: bool = False
    fleeting: bool = False
    trouble: str | None = None


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
    """Return text as one line of at most `limit` characters, without controls and what turns the direction of text."""
    head = text[: 8 * limit]  # blanks fold into one
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in head).split())
    return line if len(line) <= limit and head == text else line[: limit - 1] + "…"


def standing(job: Job, progress: Progress) -> str:
    """Return where a job stands, in one line. The clock of one that has ended stopped before the last look at it."""
    word, elapsed, typical = WORDS.get(job.status, "being made"), spoken(progress.elapsed), spoken(progress.typical)
    if job.final:
        return f"{word} after {elapsed}, usually {typical}"
    late = ", taking longer than usual" if progress.overdue else ""
    return f"{word}, {elapsed} of usually {typical}{late}"
