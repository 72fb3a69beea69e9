"""One sandbox: its options, its clock, its ledger, its queue of faults, and what it has seen."""

import dataclasses
import hashlib
import heapq
import itertools
import math
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from avm_mcp.sandbox.answers import Answer
from avm_mcp.sandbox.faults import QUERIES, Faults
from avm_mcp.sandbox.ledger import FINAL, Entry, Ledger, Task, task_id_of, video_name
from avm_mcp.sandbox.options import SandboxOptions
from avm_mcp.sandbox.tables import MODELS, SIGMA, models_of

WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class Seen:
    """One request as it arrived, and the status it was answered with (0: none, the connection died)."""

    endpoint: str
    method: str
    path: str
    at: float
    key: str
    client: str
    idempotency_key: str | None
    max_credits: str | None
    body_sha256: str
    headers: dict[str, str]
    fault: str = ""
    status: int = 0


class Window:
    """So many in any rolling 60 s; refused ones do not count (guess)."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def admit(self, at: float, limit: int) -> int:
        """0 when there is room, and it is taken; else the whole seconds to wait."""
        while self._times and self._times[0] <= at - WINDOW_SECONDS:
            self._times.popleft()
        if len(self._times) < limit:
            self._times.append(at)
            return 0
        return max(1, math.ceil(self._times[0] + WINDOW_SECONDS - at))


@dataclass(slots=True)
class Deferred:
    """Work that falls due later, whether or not anybody still waits for its answer."""

    due: float
    act: Callable[[float], Answer]
    answer: Answer | None = None

    def run(self, at: float) -> Answer:
        """Do the work, once."""
        if self.answer is None:
            self.answer = self.act(at)
        return self.answer


class Sandbox:
    """The state behind the app, and the hands of a test.

    Attributes:
        options: What it does at present; `change` replaces some of it.
        faults: The queue of faults.
        ledger: Accounts, tasks and entries.
        requests: Every request under `/api` and `/files`, in order of arrival.
        counts: Requests by endpoint; also `"429"`, those refused by a limit.
    """

    def __init__(self, options: SandboxOptions, now: Callable[[], float] | None = None) -> None:
        self.options = options
        self.ledger = Ledger(options.balance)
        self.requests: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self.files: dict[str, Task] = {}
        self._now = now or time.time
        self.faults = Faults(self._now)
        self._created = 0
        self._order = itertools.count()
        self._windows: dict[tuple[str, str], Window] = {}
        self._deferred: list[tuple[float, int, Deferred]] = []

    # The clock

    def tick(self) -> float:
        """The time now, after everything that fell due before it has been done."""
        at = self._now()
        while self._deferred and self._deferred[0][0] <= at:
            due, _, deferred = heapq.heappop(self._deferred)
            self.ledger.settle(due)
            deferred.run(due)
        self.ledger.settle(at)
        return at

    def later(self, seconds: float, act: Callable[[float], Answer]) -> Deferred:
        """Do this in so many seconds, seen from the first request after that."""
        deferred = Deferred(self._now() + seconds, act)
        heapq.heappush(self._deferred, (deferred.due, next(self._order), deferred))
        return deferred

    # What the endpoints ask

    @property
    def live(self) -> bool:
        """Whether this is the API of September 2026."""
        return self.options.profile == "live"

    def knows(self, key: str) -> bool:
        """Whether a key is good."""
        if not key or (self.options.keys is not None and key not in self.options.keys):
            return False
        return not self.ledger.account(key).revoked

    def models(self) -> tuple[str, ...]:
        """The models served."""
        return models_of(self.options.profile, lv=self.options.lv)

    def link_of(self, task: Task, base_url: str, at: float) -> str:
        """Where a task's video is; signed anew at each question where links are signed."""
        options = self.options
        link = f"{options.file_base or base_url}/files/{task.file}"
        if options.link_seconds is None:
            return link
        expires = math.ceil(at + options.link_seconds)
        return f"{link}?expires={expires}&signature={self._signature(task.file, expires)}"

    def signed(self, file: str, query: str, at: float) -> bool:
        """Whether a video may be fetched with this query of its link."""
        if self.options.link_seconds is None:
            return True
        given = re.fullmatch(r"expires=(\d{1,12})&signature=([0-9a-f]{32})", query)
        return given is not None and at < int(given[1]) and given[2] == self._signature(file, int(given[1]))

    def _signature(self, file: str, expires: int) -> str:
        return hashlib.sha256(f"{self.options.seed}/{file}/{expires}".encode()).hexdigest()[:32]

    def wait_for(self, limit: int | None, at: float, *whose: str) -> int:
        """Take a place in the window of this IP or key; else the seconds until there is one."""
        if limit is None:
            return 0
        kind, name = whose
        wait = self._windows.setdefault((kind, name), Window()).admit(at, limit)
        self.counts["429"] += bool(wait)
        return wait

    def create(self, task: Task, seconds: float | None = None) -> None:
        """Give a drafted task its id, its times and its fate, and charge it."""
        self._created += 1
        number = self._created
        options = self.options
        chance = random.Random(f"{options.seed}/{number}")
        total = (self._draw(task.model, chance) if seconds is None else seconds) / options.speed
        task.number = number
        task.id = task_id_of(options.seed, number)
        task.starts_at = task.created_at + min(options.queue_seconds / options.speed, total / 2)
        task.ends_at = task.created_at + total
        if chance.random() < options.fail_rate and task.problem is None:
            task.problem = "Generation failed"
        task.file = video_name(options.seed, number, task.model, task.ends_at)
        self.files[task.file] = task
        self.ledger.charge(task)

    def _draw(self, model: str, chance: random.Random) -> float:
        fixed = self.options.durations.get(model)
        if fixed is None:
            return chance.lognormvariate(math.log(MODELS[model].median_seconds), SIGMA)
        return fixed(chance) if callable(fixed) else float(fixed)

    # The hands of a test

    @property
    def posts(self) -> int:
        """How many POSTs to generate have arrived, answered or not."""
        return self.counts["generate"]

    def change(self, **changes: Any) -> None:
        """Replace options while it runs; tasks that exist keep their times and prices."""
        self.options = dataclasses.replace(self.options, **changes)
        self.ledger.opening = self.options.balance

    def task(self, task_id: str) -> Task:
        """A task by its id, whoever owns it."""
        self.tick()
        return self.ledger.tasks[task_id]

    def tasks(self, key: str | None = None) -> list[Task]:
        """Every task, or those of one key, oldest first."""
        self.tick()
        return [task for task in self.ledger.tasks.values() if key in (None, task.key)]

    def balance(self, key: str) -> int:
        """The credits a key has left."""
        self.tick()
        return self.ledger.account(key).balance

    def entries(self, kind: str | None = None, key: str | None = None) -> list[Entry]:
        """The movements of credits, oldest first: `charge`, `refund`, `top-up`."""
        self.tick()
        return [entry for entry in self.ledger.entries if kind in (None, entry.kind) and key in (None, entry.key)]

    def top_up(self, key: str, credits_: int) -> None:
        """Add credits to a key; a negative number takes them away."""
        self.ledger.top_up(key, credits_, self.tick())

    def revoke(self, key: str, *, revoked: bool = True) -> None:
        """Disable a key, or enable it again."""
        self.ledger.account(key).revoked = revoked

    def finish(self, task_id: str) -> None:
        """Make an unfinished task COMPLETED now."""
        at = self.tick()
        self.ledger.end(self.ledger.tasks[task_id], at, None)

    def fail(self, task_id: str, problem: str = "Generation failed") -> None:
        """Make an unfinished task FAILED now, with its refund."""
        at = self.tick()
        self.ledger.end(self.ledger.tasks[task_id], at, problem)
        self.tick()

    def forget(self, task_id: str) -> None:
        """Remove a task from lists and look-ups; its entries and its video stay."""
        task = self.ledger.tasks.pop(task_id)
        self.ledger.account(task.key).tasks.remove(task)

    def unfinished(self) -> list[Task]:
        """Tasks that have not come to their end."""
        at = self.tick()
        return [task for task in self.ledger.tasks.values() if task.status(at) not in FINAL]

    def busiest_minute(self) -> int:
        """The most requests to the four limited endpoints in any rolling 60 s, the refused ones too."""
        most, window = 0, deque[float]()
        for seen in self.requests:
            if seen.endpoint in QUERIES:
                window.append(seen.at)
                while window[0] <= seen.at - WINDOW_SECONDS:
                    window.popleft()
                most = max(most, len(window))
        return most
