"""The money and the tasks: accounts by key, entries that are only ever added, tasks whose state follows from time.

Nothing here runs in the background. A task knows when it leaves the queue and when it ends; what it *is* follows
from the time of the question. Refunds of failed tasks are entered, with their true time, before anything is read.
"""

import dataclasses
import hashlib
import heapq
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, cast

FINAL = ("COMPLETED", "FAILED", "CANCEL")


def fingerprint(key: str) -> str:
    """How a key appears in records: twelve digits of its sha256."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def iso(at: float) -> str:
    """ISO 8601 in UTC with milliseconds, as the API writes dates."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task_id_of(seed: int, number: int) -> str:
    """A cuid-like id: documented as `ck...`, otherwise opaque."""
    chance = random.Random(f"{seed}/{number}/id")
    return "ck" + "".join(chance.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=23))


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of credits; `credits` is negative for a charge."""

    at: float
    key: str
    task_id: str
    kind: Literal["charge", "refund", "top-up"]
    credits: int
    balance: int


@dataclass(slots=True)
class Task:
    """One task; times are the sandbox's own, before any skew.

    `input` is what is echoed, `filled` and `pictures` are what the video is made from, `problem` is the text of
    the failure it is going to end with, `file` the name of its video.
    """

    id: str
    number: int
    key: str
    model: str
    input: dict[str, object]
    filled: dict[str, object]
    pictures: dict[str, bytes]
    credits: int
    created_at: float
    starts_at: float
    ends_at: float
    idempotency_key: str | None = None
    fingerprint: str = ""
    webhook_url: str | None = None
    max_credits: int | None = None
    problem: str | None = None
    cancelled_at: float | None = None
    file: str = ""
    without_url: bool = False

    def status(self, at: float) -> str:
        """The API's word for what this task is at a time."""
        if self.cancelled_at is not None and at >= self.cancelled_at:
            return "CANCEL"
        if at >= self.ends_at:
            return "COMPLETED" if self.problem is None else "FAILED"
        return "PROGRESS" if at >= self.starts_at else "SUBMITTED"

    def completed_at(self, at: float) -> float | None:
        """When it reached its end, if it had by then."""
        if self.cancelled_at is not None and at >= self.cancelled_at:
            return self.cancelled_at
        return self.ends_at if at >= self.ends_at else None

    def refunded(self, at: float) -> int:
        """Credits given back by then: all or nothing (measured for cancel, a guess for failed tasks)."""
        return self.credits if self.status(at) in ("FAILED", "CANCEL") else 0


@dataclass(slots=True)
class Account:
    """One API key: its credits, its tasks and the idempotency keys it has used."""

    key: str
    balance: int
    revoked: bool = False
    tasks: list[Task] = field(default_factory=list[Task])
    used: dict[str, Task] = field(default_factory=dict[str, Task])


class Ledger:
    """All accounts, tasks and entries of one sandbox.

    Attributes:
        entries: Every movement of credits, oldest first: what a judge reads.
        tasks: Every task by id, in order of creation.
    """

    def __init__(self, opening: int) -> None:
        self.opening = opening
        self.accounts: dict[str, Account] = {}
        self.entries: list[Entry] = []
        self.tasks: dict[str, Task] = {}
        self._failing: list[tuple[float, int, str]] = []

    def account(self, key: str) -> Account:
        """The account of a key, opened when it is first seen."""
        if key not in self.accounts:
            self.accounts[key] = Account(key, self.opening)
        return self.accounts[key]

    def settle(self, at: float) -> None:
        """Enter the refunds that are due."""
        while self._failing and self._failing[0][0] <= at:
            due, _, task_id = heapq.heappop(self._failing)
            task = self.tasks[task_id]
            if task.problem is not None and task.cancelled_at is None and task.ends_at == due:
                self._move(due, task, "refund", task.credits)

    def charge(self, task: Task) -> None:
        """Add a task and take its credits, in one step."""
        account = self.account(task.key)
        assert account.balance >= task.credits
        self.tasks[task.id] = task
        account.tasks.append(task)
        if task.idempotency_key is not None:
            account.used[task.idempotency_key] = task
        self._move(task.created_at, task, "charge", -task.credits)
        self._watch(task)

    def cancel(self, task: Task, at: float) -> None:
        """Cancel a task that is SUBMITTED, with a full refund (measured)."""
        assert task.status(at) == "SUBMITTED"
        task.cancelled_at = at
        self._move(at, task, "refund", task.credits)

    def end(self, task: Task, at: float, problem: str | None) -> None:
        """Make an unfinished task end at this time instead, failed when a problem is given."""
        assert task.status(at) not in FINAL
        task.starts_at = min(task.starts_at, at)
        task.ends_at = at
        task.problem = problem
        self._watch(task)

    def top_up(self, key: str, credits_: int, at: float) -> None:
        """Add credits to a key, or take some away."""
        account = self.account(key)
        account.balance += credits_
        self.entries.append(Entry(at, key, "", "top-up", credits_, account.balance))

    def rows(self) -> list[dict[str, object]]:
        """The entries as JSON, keys as fingerprints."""
        return [
            {**dataclasses.asdict(entry), "key": fingerprint(entry.key), "at": iso(entry.at)} for entry in self.entries
        ]

    def _watch(self, task: Task) -> None:
        if task.problem is not None:
            heapq.heappush(self._failing, (task.ends_at, task.number, task.id))

    def _move(self, at: float, task: Task, kind: Literal["charge", "refund"], amount: int) -> None:
        account = self.account(task.key)
        account.balance += amount
        self.entries.append(Entry(at, task.key, task.id, kind, amount, account.balance))


def task_body(task: Task, at: float, output: object, *, skew: float = 0, live: bool = True) -> dict[str, object]:
    """A task as the API writes it; `live` adds the credit fields, which the seed page does not know."""
    completed = task.completed_at(at)
    status = task.status(at)
    body: dict[str, object] = {
        "id": task.id,
        "createdAt": iso(task.created_at + skew),
        "model": task.model,
        "input": task.input,
        "output": output,
        "status": status,
        "completedAt": None if completed is None else iso(completed + skew),
    }
    if live:
        refunded = task.refunded(at)
        body |= {
            "creditsCharged": task.credits,
            "creditsRefunded": refunded,
            "listValueCents": task.credits - refunded,
            "idempotencyKey": task.idempotency_key,
        }
    return body


def video_name(seed: int, number: int, model: str, completed_at: float) -> str:
    """A file name in the measured manner: epoch milliseconds, a uuid, a suffix that tells the back end."""
    digits = "".join(random.Random(f"{seed}/{number}/file").choices("0123456789abcdef", k=32))
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    suffix = "refiner_watermark" if model == "happyhorse" else f"_0_minimax_h3_{number}"
    return f"{int(completed_at * 1000)}-{'-'.join(parts)}-{suffix}.mp4"


def other_input(fields: Mapping[str, object]) -> dict[str, object]:
    """An `input` that is not what was sent: white space normalised, a field added (a guess at the worst case)."""

    def tidy(value: object) -> object:
        if isinstance(value, list):
            return [tidy(item) for item in cast("list[object]", value)]
        return " ".join(value.split()) if isinstance(value, str) else value

    changed = {name: tidy(value) for name, value in fields.items()}
    return {**changed, "filterMode": "strict"}
