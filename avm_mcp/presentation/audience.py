"""Who reads a text, and the words that all texts share: amounts, dates and durations.

A text has two kinds of readers: a model that follows it to the letter, and a tired person. They differ in how a call is
written, `get_task(task_id="ck9x1")` or `avm get ck9x1`, and in who is addressed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from avm_mcp.domain.job import CANCEL, COMPLETED, FAILED, NOT_CREATED, SUBMITTED, SUBMITTING, UNKNOWN, Job
from avm_mcp.jobs.views import Progress

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
    """Who reads a text, and how calls are written for them.

    Attributes:
        reader: A model has a user to tell and to ask; a person is the user.
        hosted: Whether a host started this program.
        do, call: The verb and the noun for a call.
        tool, max_credits, get_task, list_tasks, get_account, quote: Calls and parameters, as format strings.
        offer: How to get another version, or a different one.
        next_take: How to start one.
        again: Which call not to repeat.
        stays, stops: The end of "It will be saved in <folder>", where it is saved without this process, and where not.
    """

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
    offer: str
    next_take: str
    again: str
    stays: str
    stops: str

    def address(self, *, agent: str = "", person: str = "") -> str:
        """Return the words for this reader."""
        return agent if self.reader == "model" else person

    def write_get_task(self, task_id: str) -> str:
        """Return the call that waits for a task."""
        return self.get_task.format(id=task_id)

    def name_tool(self, tool: str) -> str:
        """Return a tool's name, or the command that it is."""
        return self.tool.format(tool=tool, command=tool.replace("_", "-"))

    def name_price(self, amount: int) -> str:
        """Return the parameter that allows a price."""
        return self.max_credits.format(amount)

    def words(self, task_id: str | None) -> Mapping[str, str]:
        """Return what the sentences of `next_steps` name."""
        return {
            "do": self.do,
            "call": self.call,
            "task_id": task_id or NO_ID,
            "get_task": self.write_get_task(task_id or NO_ID),
            "list_tasks": self.list_tasks,
            "get_account": self.get_account,
            "quote": self.quote,
            "max_credits": self.max_credits.removesuffix("{}").rstrip("= "),
        }


NO_ID = "…"
"""Stands for an id that is not known."""

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
    offer="For {which} version, repeat the call with take={take}.",
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
    offer="For {which} version, repeat the command with --take {take}.",
    next_take="repeat the command with --take {take}",
    again="Do not run {tool} again for this video",
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
        goes_on: Whether a video is saved after this process has ended.
        fleeting: Whether tasks end with this process, as those of the embedded sandbox do.
        trouble: Why nothing can be saved in the folder; None where it can.
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
    """Return a duration, rounded as in an estimate."""
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


def clipped(text: str, limit: int = PROMPT_SHOWN) -> str:
    """Return text as one line of at most `limit` characters, without controls and what turns the direction of text."""
    head = text[: 8 * limit]  # blanks fold into one
    line = " ".join("".join(ch if ch.isprintable() else " " for ch in head).split())
    return line if len(line) <= limit and head == text else line[: limit - 1] + "…"


def standing(job: Job, progress: Progress) -> str:
    """Return where a job stands, in one line. The clock of a finished job stopped when it ended."""
    word, elapsed, typical = WORDS.get(job.status, "being made"), spoken(progress.elapsed), spoken(progress.typical)
    if job.final:
        return f"{word} after {elapsed}, usually {typical}"
    late = ", taking longer than usual" if progress.overdue else ""
    return f"{word}, {elapsed} of usually {typical}{late}"
