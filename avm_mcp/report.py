"""What a caller is told: the fields of a result, its message, and the one next step.

The words are for two readers at once: a model that follows them to the letter, and a tired person. They differ by
*face* only where they name a call: a model reads `get_task(task_id="ck9x1")`, a terminal `avm get ck9x1`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avm_mcp import catalog
from avm_mcp.errors import AvmError, quoted
from avm_mcp.models import (
    CANCEL,
    COMPLETED,
    FAILED,
    NOT_CREATED,
    SUBMITTED,
    SUBMITTING,
    UNKNOWN,
    Job,
    Price,
    VideoRequest,
)
from avm_mcp.service import Found, Funds, Listing

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
    stops="; for that this server must be running: get_task finds it again",
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


def error_fields(error: AvmError, face: Face) -> dict[str, Any]:
    """Return an error as data: what happened, whether money was spent, and the one next step."""
    values: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "charged": error.charged,
        "next_step": face.say(error.next_step, id=error.task_id or "…"),
        "task_id": error.task_id,
        "retry_after": error.retry_after,
        "field": error.field,
        "allowed": _allowed(error),
    }
    return {name: value for name, value in values.items() if value is not None}


def error_text(error: AvmError, face: Face) -> str:
    """Return the same as text, since half of the hosts show only that."""
    lines = [error.message]
    allowed = _allowed(error)
    if allowed is not None and not (allowed in error.message and str(error.field) in error.message):
        lines.append(f"Allowed for {error.field}: {allowed}")
    if error.task_id is not None and error.task_id not in error.message:
        lines.append(f"Task {error.task_id}.")
    if error.retry_after is not None:
        lines.append(f"Wait {spoken(error.retry_after)} before the next try.")
    step = face.say(error.next_step, id=error.task_id or "…")
    if error.charged == "no" and error.task_id is None and "nothing" not in f"{error.message} {step}".lower():
        lines.append("Nothing was started or charged.")
    return "\n".join([*lines, f"Next: {step}"])


def _allowed(error: AvmError) -> str | None:
    """Return what the field accepts as one text: lists of folders or values are read by people too."""
    allowed = error.allowed
    if allowed is None or isinstance(allowed, str):
        return allowed
    if isinstance(allowed, Mapping):
        return ", ".join(f"{name}: {value}" for name, value in allowed.items())
    return ", ".join(allowed)


class Report:
    """One job, told to one face.

    Args:
        found: The job and where it stands.
        face: Who reads it.
        place: Where films go.
        normalized: What was understood from input that was not in its usual form.
        slow_down: The same look was taken too often; say so.
        fresh: The paid call that started it is being answered.
    """

    def __init__(
        self,
        found: Found,
        face: Face,
        place: Place,
        *,
        normalized: Mapping[str, Any] | None = None,
        slow_down: bool = False,
        fresh: bool = False,
    ) -> None:
        self.found = found
        self.job = found.job
        self._face = face
        self._place = place
        self._normalized = normalized or {}
        self._slow_down = slow_down
        self._fresh = fresh

    def fields(self) -> dict[str, Any]:
        """Return the structured result; keys without a value are left out."""
        job, progress = self.job, self.found.progress
        spent = {
            "quoted": job.credits_quoted,
            "charged": job.credits_charged,
            "refunded": job.credits_refunded,
            "basis": "charge" if job.credits_charged is not None else job.credits_basis,
        }
        lines = self._told()
        values: dict[str, Any] = {
            "task_id": job.public_id,
            "status": job.status,
            "done": job.final,
            "message": " ".join(lines[:-1]),
            "next_step": lines[-1],
            "model": job.model,
            "prompt": _clipped(job.prompt) or None,
            "progress_percent": round(progress.percent, 1),
            "elapsed_seconds": round(progress.elapsed),
            "typical_seconds": round(progress.typical),
            "file": self.file,
            "video_url": self.link,
            "expires_at": stamp(job.expires_at) if self.link else None,
            "credits": {name: value for name, value in spent.items() if value is not None} or None,
            "created_at": stamp(job.created_at),
            "completed_at": stamp(job.completed_at),
            "poll_after_seconds": None if job.final else self._poll_after(),
            "deduplicated": True if self.found.deduplicated else None,
            "normalized": dict(self._normalized) or None,
            "notes": list(self.found.notes) or None,
            "error": self._lost_answer(),
        }
        return {name: value for name, value in values.items() if value is not None}

    def text(self) -> str:
        """Return the result as lines; the last begins with "Next: "."""
        *lines, step = self._told()
        lines += [f"Understood {name} as {value}." for name, value in self._normalized.items()]
        lines += [f"Note: {note}" for note in self.found.notes]
        return "\n".join([*lines, f"Next: {step}"])

    @property
    def file(self) -> str | None:
        return self.job.film_path if self.job.film == "saved" and self.job.film_error is None else None

    @property
    def link(self) -> str | None:
        return self.job.video_url if self.job.status == COMPLETED else None

    def _poll_after(self) -> int:
        left = self.found.progress.typical - self.found.progress.elapsed
        return max(5, min(60, round(left)))

    def _lost_answer(self) -> dict[str, Any] | None:
        """A lost answer is not an error to the host, which may hide the id of one; the structured part names it."""
        if self.job.status != UNKNOWN:
            return None
        return {
            "code": "SUBMISSION_UNKNOWN",
            "message": self.job.error_text or "The service's answer was lost.",
            "retryable": False,
            "charged": "unknown",
            "next_step": self._told()[-1],
            "task_id": self.job.id,
        }

    # --- the words, one method for each situation; the last line is the next step ---

    def _told(self) -> list[str]:
        situations = {
            SUBMITTING: self._being_sent,
            UNKNOWN: self._unclear,
            COMPLETED: self._ready,
            FAILED: self._failed,
            CANCEL: self._cancelled,
            NOT_CREATED: self._never,
        }
        lines = situations.get(self.job.status, self._running)()
        if self.found.deduplicated:
            ago = about(self.found.progress.elapsed)
            if self.job.status in (SUBMITTING, UNKNOWN):  # what the first call cost is not known yet
                return [f"This call sent nothing: the same request was made {ago} ago.", *lines]
            same = (
                f"No new video was started and nothing was charged: this is task {self.job.public_id} from {ago} ago."
            )
            *lines, step = lines
            known = f" {self._another()}."  # a film that is ready says already how to get another
            lines = [same, *lines, f"{step.removesuffix(known)} {self._another(different=True)}."]
        return lines

    def _get(self) -> str:
        return self._face.say("{get_task}", id=self.job.public_id)

    def _never_again(self) -> str:
        tool = catalog.MODELS[self.job.model].tool if self.job.model in catalog.MODELS else "the tool"
        return self._face.again.format(tool=tool, command=tool.replace("_", "-"))

    def _another(self, *, different: bool = False) -> str:
        text = self._face.another.format(take=self.job.take + 1)
        return text.replace("another version", "a different version") if different else text

    def _saving(self) -> str:
        if self._place.folder is None:
            return "Its link lives 24 hours; nothing is saved here."
        how = self._face.stays if self._place.goes_on else self._face.stops
        return f"It will be saved in {self._place.folder}{how}."

    def _being_sent(self) -> list[str]:
        return [
            f"The request was sent and the service has not answered yet. Id {self.job.id}.",
            "It goes on without this call.",
            f"call {self._get()}. {self._never_again()}.",
        ]

    def _unclear(self) -> list[str]:
        price = cost(self.job)
        paid = f" It may have cost {price}." if price else ""
        return [
            "Unclear whether the video was started: the service's answer was lost."
            f"{paid} This server keeps looking and does not pay twice. Id {self.job.id}.",
            f"call {self._get()}. {self._never_again()}.",
        ]

    def _started(self) -> list[str]:
        job = self.job
        price = cost(job)
        what = ", ".join(part for part in (job.model, f"{job.seconds} s" if job.seconds else "", price or "") if part)
        return [
            f"Video started, NOT ready yet. Task {job.public_id}: {what}.",
            f"Usually takes about {about(self.found.progress.typical)}. {self._saving()}",
            f"tell the user the cost and the time, then call {self._get()}. {self._never_again()}.",
        ]

    def _running(self) -> list[str]:
        if self._fresh and not self.found.deduplicated:
            return self._started()
        progress = self.found.progress
        elapsed, typical = spoken(progress.elapsed), spoken(progress.typical)
        if progress.overdue:
            state = f"Taking longer than usual: {elapsed}, usually {typical}. Not failed. NOT ready yet."
        else:
            state = f"Still {self._word()}, NOT ready yet: {elapsed} of usually {typical}."
        lines = [f"{state} Nothing more is charged. Task {self.job.public_id}."]
        if self._slow_down:
            return [
                *lines,
                "stop looking for now: tell the user that it is still being made and that you can look again later.",
            ]
        left = max(30.0, progress.typical - progress.elapsed)
        wait = "it takes longer than usual" if progress.overdue else f"about {about(left)} are left"
        return [*lines, f"call {self._get()} again, or tell the user {wait} and stop. {self._saving()}"]

    def _word(self) -> str:
        if self.job.status in WORDS:
            return WORDS[self.job.status]
        return f"being made (the service calls it {quoted(self.job.status, 40)})"

    def _ready(self) -> list[str]:
        price = cost(self.job)
        lines = [f"The video is ready. {price + '. ' if price else ''}Task {self.job.public_id}."]
        if self.file:
            lines.append(f"File: {self.file}")
        elif self.job.film == "wanted":
            why = (self.job.film_error or "").rstrip(".")
            lines.append(f"The file is still being saved{f' ({why}; it is tried again)' if why else ''}.")
        elif self.job.film == "lost":
            lines.append(f"The file could not be saved: {(self.job.film_error or 'unknown').rstrip('.')}.")
        if self.link:
            until = datetime.fromtimestamp(self.job.expires_at or 0, UTC).strftime("%Y-%m-%d %H:%M UTC")
            lines.append(f"Link (public, anyone with it can watch, until {until}): {self.link}")
        if not self.file and not self.link:
            lines.append("There is no link to it.")
        both = "the file path and the link" if self.file and self.link else "the file path" if self.file else "the link"
        if self.job.film == "lost":
            return [*lines, f"tell the user what happened to the file. {self._another()}."]
        if not self.file and not self.link:
            later = f"call {self._get()} in a minute" if self.job.film == "wanted" else "tell the user that it is gone"
            return [*lines, f"{later}. {self._another()}."]
        return [*lines, f"give the user {both} exactly as written. {self._another()}."]

    def _failed(self) -> list[str]:
        job = self.job
        if job.credits_charged is not None and job.credits_refunded == job.credits_charged:
            back = f"all {money(job.credits_charged, dollars=False)} came back"
        elif job.credits_charged is None:
            back = "the service refunds failed videos, without showing it"
        else:
            back = "the service refunds failed videos; not seen yet"
        said = f" The service said: {quoted(job.error_text)}." if job.error_text else ""
        return [
            f"The video failed at the service; {back}. Task {job.public_id}.{said}",
            "tell the user. Only if they want it, repeat the call (it starts a new task),"
            " better with a simpler prompt.",
        ]

    def _cancelled(self) -> list[str]:
        refunded = self.job.credits_refunded
        back = f"{money(refunded, dollars=False)} came back" if refunded else "its credits come back"
        return [
            f"The video was cancelled; {back}. Task {self.job.public_id}.",
            "tell the user. Nothing else is needed.",
        ]

    def _never(self) -> list[str]:
        why = f" {self.job.error_text}" if self.job.error_text else ""
        return [
            f"It was never created; nothing was charged. Id {self.job.id}.{why}",
            "repeating the call is safe, if the user still wants the video.",
        ]


def listing_text(listing: Listing, face: Face) -> str:
    """Return a page of tasks as text, one line each, with every id and path."""
    if not listing.found:
        return "\n".join([*listing.notes, "No videos found.", "Next: nothing to do."])
    lines = list(listing.notes)
    for found in listing.found:
        job = found.job
        where = ""
        if job.status == COMPLETED and job.film == "saved" and job.film_error is None:
            where = f" File: {job.film_path}"
        elif job.status == COMPLETED and job.video_url:
            where = f" Link: {job.video_url}"
        word = WORDS.get(job.status, "being made")
        about_it = f"{job.model}, {job.seconds} s" if job.seconds else job.model
        what = f"{about_it}, {stamp(job.created_at)}, {quoted(_clipped(job.prompt, 60))}.{where}"
        lines.append(f"{job.public_id}: {word} ({job.status}), {what}")
    more = f" More: cursor={listing.next_cursor}." if listing.next_cursor else ""
    first = listing.found[0].job.public_id
    return "\n".join([*lines, face.say("Next: look at one by its id, as in {get_task}.", id=first) + more])


def price_text(model: str, seconds: int, price: Price) -> str:
    """Return a price as text."""
    certain = price.basis == "quote"
    amount = money(price.credits, certain=certain, dollars=certain)
    source = "the service's quote" if certain else "the highest price known; the service gives no quote"
    balance = "" if price.balance is None else f" The balance is {price.balance}."
    short = price.balance is not None and price.balance < price.credits
    step = (
        "tell the user the price and the balance; credits can be added at https://aivideomaker.ai."
        if short
        else "tell the user the price, and start the video if they agree."
    )
    parts = seconds // catalog.SEGMENT_SECONDS if model == "lv" else 0
    what = f"{seconds} s {model}" + (f" ({parts} prompt{'s' if parts > 1 else ''})" if parts else "")
    return f"A {what} costs {amount} ({source}).{balance} Nothing was started.\nNext: {step}"


def question_text(request: VideoRequest, price: Price) -> str:
    """Return what a person is asked before a dear film."""
    certain = price.basis == "quote"
    amount = money(price.credits, certain=certain, dollars=certain)
    what = f"{request.seconds} s, {request.model}"
    return f'Start this video ({what}) for {amount}? "{_clipped(request.prompt, 120)}"'


def funds_text(funds: Funds, place: Place, caps: Mapping[str, int], inputs: Sequence[Path]) -> str:
    """Return an account as text."""
    lines = [
        "Balance: " + (money(funds.balance) if funds.balance is not None else "not told by the service") + ".",
        f"Spent today (UTC) through this server: {funds.spent_today} credits.",
        "Caps: " + (", ".join(f"{name} {value}" for name, value in caps.items()) or "none") + ".",
        f"Models: {', '.join(funds.models)}.",
        f"Pictures are read from: {', '.join(map(str, inputs)) or 'https links only'}.",
        f"Videos are saved in: {place.folder or 'nowhere; links live 24 hours'}.",
        *funds.notes,
    ]
    return "\n".join([*lines, "Next: nothing to do."])


NOT_LISTED = frozenset({"message", "next_step", "poll_after_seconds", "normalized", "notes", "error"})
"""Fields of a task that a list of tasks leaves out."""


def listing_fields(listing: Listing, face: Face, place: Place) -> dict[str, Any]:
    """Return a page of tasks as data."""
    tasks = [
        {name: value for name, value in Report(found, face, place).fields().items() if name not in NOT_LISTED}
        for found in listing.found
    ]
    return {"tasks": tasks} | _given(next_cursor=listing.next_cursor, notes=list(listing.notes) or None)


def price_fields(model: str, seconds: int, price: Price, cap_left: int | None) -> dict[str, Any]:
    """Return a price as data."""
    return _given(
        model=model,
        seconds=seconds,
        credits=price.credits,
        usd=round(price.credits * price.usd_per_credit, 2) if price.usd_per_credit is not None else None,
        basis=price.basis,
        balance=price.balance,
        affordable=price.balance >= price.credits if price.balance is not None else None,
        cap_left=cap_left,
    )


def funds_fields(
    funds: Funds, place: Place, caps: Mapping[str, int], inputs: Sequence[Path], *, account: str | None, sandbox: bool
) -> dict[str, Any]:
    """Return an account as data; `account` is the fingerprint of its key."""
    return _given(
        balance=funds.balance,
        spent_today=funds.spent_today,
        caps=dict(caps),
        models=list(funds.models),
        input_folders=[str(folder) for folder in inputs],
        output_folder=str(place.folder) if place.folder else None,
        key_fingerprint=account,
        sandbox=sandbox,
        notes=list(funds.notes) or None,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _clipped(text: str, limit: int = PROMPT_SHOWN) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
