"""The judge: reads the ledger, the disk and what callers were told, and says which promise was broken.

It never reads the journal. What it allows besides the promises is in `EXCUSES`, each as narrow as it can be said;
README.md lists them for people.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avm_mcp.sandbox.ledger import Task
from tests.campaign.schedule import Intent
from tests.campaign.world import KEY, Call, Post, Record
from tests.clock import EPOCH

SUBMIT = 3.0
SAVE = 5.0
SLACK = 0.6
"""Seconds: a submit's own, a film's on its way to the disk, and for locks of the journal that others hold."""

TICK = 0.01
"""Seconds: dates are so large that the last digits of a float are lost in them."""

DEDUPE = 3600.0
"""Seconds after its end during which a film is still the answer to its request."""

PAID = frozenset({"text_to_video", "image_to_video", "long_video"})


@dataclass
class Verdict:
    """What was broken, and what was excused."""

    violations: list[str] = field(default_factory=list)
    excuses: list[str] = field(default_factory=list)


def judge(record: Record) -> Verdict:
    """Return the verdict on one run."""
    return _Judge(record).verdict()


class _Judge:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.said = Verdict()
        self.zero = EPOCH.timestamp()
        options = record.schedule.options
        self.keyed = options["honours_idempotency"] and options["profile"] == "live"
        self.intents: Mapping[str, Intent] = {intent.prompt: intent for intent in record.schedule.intents}
        self.tasks: dict[int, list[Task]] = defaultdict(list)
        for task in record.tasks:
            self.tasks[self.intents[_prompt(task)].number].append(task)
        self.calls: dict[int, list[Call]] = defaultdict(list)
        for call in record.calls:
            if call.intent is not None:
                self.calls[call.intent].append(call)
        self.final = {call.arguments["task_id"]: call for call in record.last if call.tool == "get_task"}
        self.listed = {row["task_id"]: row for call in record.last for row in call.fields.get("tasks", ())}

    def verdict(self) -> Verdict:
        self.said.violations += self.record.crashes
        for group in {intent.group for intent in self.record.schedule.intents}:
            self._money([i for i in self.record.schedule.intents if i.group == group])
        self._posts()
        self._orphans()
        self._films()
        self._ends()
        self._answers()
        self._allowance()
        self._cap()
        self._secrets()
        self._blame()
        return self.said

    def _broken(self, text: str) -> None:
        self.said.violations.append(text)

    # --- money: one task for one request, and nobody told otherwise ---

    def _money(self, intents: list[Intent]) -> None:
        """A service that keeps keys shows which request a task is for. Without keys, tasks of one group look alike:
        then there must be a way to give them to the requests that breaks nothing."""
        known = [(task, intent) for intent in intents for task in self.tasks[intent.number]]
        found = self._money_of(known)
        if found and (not self.keyed or self.record.moved) and len(intents) > 1:
            tasks = [task for task, _ in known]
            for owners in itertools.product(intents, repeat=len(tasks)):
                if not self._money_of(list(zip(tasks, owners, strict=True))):
                    self.said.excuses.append("equal requests without keys or state: which task is whose is open")
                    return
        self.said.violations += found

    def _money_of(self, owned: list[tuple[Task, Intent]]) -> list[str]:
        found: list[str] = []
        of: dict[int, list[Task]] = defaultdict(list)
        for task, intent in owned:
            of[intent.number].append(task)
        for number, tasks in of.items():
            found += self._doubles(number, sorted(tasks, key=lambda task: task.created_at))
            found += self._lies(number, tasks)
        return found

    def _doubles(self, number: int, tasks: list[Task]) -> list[str]:
        found: list[str] = []
        for place, task in enumerate(tasks):
            if not any(c.start <= task.created_at - self.zero + TICK for c in self.calls[number] if c.tool in PAID):
                found.append(f"UNASKED: task {task.id} was made before anybody asked for film {number}")
            for earlier in tasks[:place]:
                status = earlier.status(task.created_at)
                over = status == "COMPLETED" and earlier.ends_at + DEDUPE <= task.created_at
                if status not in ("FAILED", "CANCEL") and not over:
                    found.append(f"DOUBLE CHARGE: film {number} is task {earlier.id} ({status}) and task {task.id}")
        return found

    def _lies(self, number: int, tasks: list[Task]) -> list[str]:
        """Nobody is told that nothing was charged while a task of the request is paid for, or later comes of it."""
        found: list[str] = []
        last = [call for call in self.final.values() if self._intent_of(call) == number]
        for call in [*self.calls[number], *last]:
            if call.outcome != "answer" or not _says_nothing_charged(call):
                continue
            since, until = self._meant(number, call)
            for task in tasks:
                made, end = task.created_at - self.zero, call.end
                if not since - TICK <= made < until - TICK:
                    continue
                if made <= end and task.status(end + self.zero) in ("FAILED", "CANCEL"):
                    continue
                if self._forgot(call, task) or self._known_by_another(call, task, number):
                    continue
                found.append(
                    f"LIE: at {end:.1f} s film {number} was told {_short(call)}, and task {task.id} is charged"
                )
        return found

    def _known_by_another(self, call: Call, task: Task, number: int) -> bool:
        """Whether a denied id is one job and the task another: it was told as itself, or the paid request that made it
        left after somebody had asked again there, who was not told the denied id, or it is another hour's."""
        denied = call.told_id or call.arguments.get("task_id")
        if denied is None:
            return False
        calls = self.calls[number]
        ends = [o for o in self.final.values() if self._intent_of(o) == number]
        if any(o.fields.get("task_id") == task.id and o.arguments.get("task_id") != denied for o in [*calls, *ends]):
            return True
        first = min(o.start for o in [*calls, call] if denied in (o.told_id, o.arguments.get("task_id")))
        if task.ends_at - self.zero + DEDUPE <= first:
            return True  # an older film, which no longer answers the request
        post = next((post for post in self.record.posts if post.key == self.record.key_of[task.id]), None)
        return post is not None and any(
            o.tool in PAID
            and o.told_id != denied
            and o.process == post.process
            and first < self._began(o)
            and o.start <= post.at + TICK  # it may have been stopped in the moment of its request
            for o in calls
        )

    def _meant(self, number: int, call: Call) -> tuple[float, float]:
        """Return between which times a task must have been made to be the one that an answer denies.

        With an id: from the first call that was told it until somebody asks again, knowing that nothing came of it.
        Without: from as long ago as a film still answers its request.
        """
        asked = [other for other in self.calls[number] if other.tool in PAID and other is not call]
        told = call.told_id or call.arguments.get("task_id")
        if told is None:
            again = [other.start for other in asked if other.end >= call.end]
            return call.start - DEDUPE, min(again, default=float("inf"))
        about = [
            other for other in [*self.calls[number], call] if told in (other.told_id, other.arguments.get("task_id"))
        ]
        since = min(other.start for other in about)
        # A refusal of the request itself names no id: it denies what was asked for until then.
        bare = [other for other in asked if other.told_id is None and other.end > since]
        denied = min(
            other.end for other in [*about, *bare] if other.outcome == "answer" and _says_nothing_charged(other)
        )
        again = [o.start for o in asked if o.told_id != told and o.start > since and o.end >= denied]
        unheard = [other.start for other in asked if other.outcome != "answer"]
        return min([since, *unheard]), min(again, default=float("inf"))

    def _posts(self) -> None:
        for post in self.record.posts:
            if post.end == "hung up":
                self._broken(f"HUNG UP: the paid request of {post.at:.1f} s was dropped by its sender, who lived")

    # --- P2: no accepted job is forgotten ---

    def _orphans(self) -> None:
        told = "\n".join(call.text for call in [*self.record.calls, *self.record.last])
        for task in self.record.tasks:
            if task.id not in told and not self._excused(task):
                self._broken(f"ORPHAN: task {task.id} was charged, and nobody can know of it")

    # --- P3: every film on the disk ---

    def _films(self) -> None:
        names = dict(self.record.films)
        for task in self.record.tasks:
            mine = [name for name in names if task.id in name and not name.startswith(".")]
            whole = [name for name in mine if names[name] == self.record.sizes[task.id]]
            for name in mine:
                if name not in whole:
                    self._broken(f"NOT WHOLE: {name} has {names[name]} bytes of {self.record.sizes[task.id]}")
            if len(whole) > 1:
                self._broken(f"TWICE: the film of task {task.id} is saved as {whole}")
            if self.record.statuses[task.id] == "COMPLETED" and not whole and not self._excused(task):
                self._broken(f"LOST FILM: task {task.id} is COMPLETED and its film is not on the disk")
        for name in names:
            if not any(task.id in name for task in self.record.tasks):
                self._broken(f"STRANGE FILE: {name}")
            elif name.startswith(".") and not self.record.moved:
                self._broken(f"LEFT OVER: {name}")

    def _excused(self, task: Task) -> bool:
        """A task of a state that was taken away; or a lost answer that the service's list cannot settle: then the
        caller was told UNKNOWN, and nothing else."""
        if self._was_moved(self.record.key_of[task.id]):
            self.said.excuses.append("the state that knew of the task was taken away")
            return True
        if self.keyed or not self._answer_was_lost(task):
            return False
        intent = self.intents[_prompt(task)]
        group = [i for i in self.record.schedule.intents if i.group == intent.group]
        unclear = [
            call.told_id
            for call in self.final.values()
            if call.fields.get("status") == "UNKNOWN" and self._intent_of(call) in {i.number for i in group}
        ]
        unclear += [i for i, row in self.listed.items() if row["status"] == "UNKNOWN" and _is_of(row, intent)]
        missing = [t for i in group for t in self.tasks[i.number] if not self._on_disk(t)]
        if len(set(unclear)) < len([t for t in missing if self.record.statuses[t.id] == "COMPLETED"]):
            return False
        cap = self.record.schedule.options["list_cap"]
        if cap is not None and len(self.record.tasks) > cap:
            self.said.excuses.append("a capped list without keys: the lost answer stays UNKNOWN")
            return True
        return False

    def _was_moved(self, key: str) -> bool:
        return any(post.key == key and post.at <= moved for post in self.record.posts for moved in self.record.moved)

    def _on_disk(self, task: Task) -> bool:
        return any(task.id in name and not name.startswith(".") for name in self.record.films)

    def _answer_was_lost(self, task: Task) -> bool:
        """Whether an accident befell the request that made this task: a fault, a cut, a death; not our own doing."""
        key = self.record.key_of[task.id]
        seen = [s for s in self.record.requests if s.endpoint == "generate" and s.idempotency_key == key]
        if any(s.fault or s.status != 200 for s in seen):
            return True
        return any(post.key == key and post.end in ("lost", "died") for post in self.record.posts) or self._died_after(
            key
        )

    def _died_after(self, key: str) -> bool:
        """The answer came to a process that died before it could write it down."""
        posts = [post for post in self.record.posts if post.key == key]
        return any(self._short_lived(post) for post in posts)

    def _short_lived(self, post: Post) -> bool:
        died = self.record.deaths.get(post.process)
        return died is not None and died - post.until < 1.0

    def _intent_of(self, call: Call) -> int | None:
        given = call.arguments.get("task_id")
        return next((c.intent for c in self.record.calls if c.told_id == given and c.intent is not None), None)

    # --- what is said at the end is what is so ---

    def _ends(self) -> None:
        for told, call in self.final.items():
            if call.is_error and _says_nothing_charged(call):
                continue  # the refusal, told as the error it was; `_lies` looks whether it is true
            if call.is_error and told.startswith("sub_") and self._told_before_move(told):
                continue
            if call.outcome != "answer" or call.is_error:
                self._broken(f"FORGOTTEN: {told} was told to a caller, and at the end {_short(call)}")
                continue
            task_id, status = call.fields["task_id"], call.fields["status"]
            if task_id in self.record.statuses:
                if self.record.statuses[task_id] != status:
                    self._broken(f"UNTRUE: {task_id} is {self.record.statuses[task_id]}, and {status} is said")
                if (
                    status == "COMPLETED"
                    and "file" not in call.fields
                    and not self._was_moved(self.record.key_of[task_id])
                ):
                    self._broken(f"NO FILE: {task_id} is ready, and the answer names no file: {call.text!r}")
            elif status not in ("UNKNOWN", "NOT_CREATED"):
                self._broken(f"UNTRUE: {task_id} ({status}) is no task of the service")
            elif status == "UNKNOWN":
                self.said.excuses.append("still UNKNOWN at the end")
        for row in self.listed.values():
            if row["task_id"] in self.record.statuses and self.record.statuses[row["task_id"]] != row["status"]:
                self._broken(f"UNTRUE: list_tasks says {row['status']} of {row['task_id']}")

    def _forgot(self, call: Call, task: Task) -> bool:
        """What is said since the state was taken away is true of its own submission; nobody knows of a task of before
        until the request is allowed, and looked for in the service's list."""
        told = call.told_id or call.arguments.get("task_id")
        about = [o for o in [*self.record.calls, call] if told and told in (o.told_id, o.arguments.get("task_id"))]
        first = min((other.end for other in about), default=call.end)
        return any(task.created_at - self.zero <= moved < first for moved in self.record.moved)

    def _told_before_move(self, told: str) -> bool:
        first = min((call.start for call in self.record.calls if call.told_id == told), default=0.0)
        return any(first <= moved for moved in self.record.moved)

    # --- P4: in time, and with an id ---

    def _answers(self) -> None:
        for call in self.record.calls:
            took = call.end - call.start - self._stopped(call)
            wait = float(call.arguments.get("wait_seconds", 0 if call.tool in PAID else 3))
            if call.token and "wait_seconds" not in call.arguments:
                wait = 45.0
            if call.tool in PAID:
                limit = SUBMIT + wait + min(SAVE, wait) + SLACK
            elif call.tool == "get_task":
                limit = max(wait, 3.0) + SAVE + SUBMIT + SLACK
            else:
                continue
            if took > limit:
                self._broken(f"LATE: {call.tool} {call.arguments} took {took:.1f} s, {limit:.1f} s at most")
            if call.outcome != "answer":
                continue
            if call.tool in PAID and call.told_id is None and not (call.is_error and call.error["charged"] == "no"):
                self._broken(f"NO ID: {_short(call)}")
            if call.is_error and call.error["code"] == "INTERNAL":
                self._broken(f"INTERNAL: {call.tool} {call.arguments}")
            if self._stopped(call):
                continue
            beats = [call.start, *(at for at, _, _ in call.progress), call.end]
            if call.progress and max(b - a for a, b in itertools.pairwise(beats)) > 5 + SLACK:
                self._broken(f"SILENT: {call.tool} had no sign of life for more than five seconds")

    def _began(self, call: Call) -> float:
        """Return when a call began in its server: one that came to a stopped server, when that went on."""
        ends = [until for n, since, until in self.record.stops if n == call.process and since <= call.start <= until]
        return max([call.start, *ends])

    def _stopped(self, call: Call) -> float:
        """Return for how many seconds of a call its server was stopped."""
        spans = [(since, until) for number, since, until in self.record.stops if number == call.process]
        return sum(max(0.0, min(until, call.end) - max(since, call.start)) for since, until in spans)

    # --- P6, P8, P5 ---

    def _allowance(self) -> None:
        if self.record.busiest_minute > 60 or self.record.limited:
            self._broken(f"ALLOWANCE: {self.record.busiest_minute} a minute, {self.record.limited} refused")

    def _cap(self) -> None:
        cap = self.record.schedule.environ.get("AVM_MAX_CREDITS_PER_DAY")
        if cap is None or self.record.moved:  # what was spent stood in the state
            return
        days: dict[int, int] = defaultdict(int)
        for entry in sorted(self.record.entries, key=lambda entry: entry.at):
            day = int(entry.at // 86400)
            days[day] -= entry.credits
            if days[day] > int(cap):
                self._broken(f"CAP: {days[day]} credits are spent on one day, {cap} allowed")
                return

    def _secrets(self) -> None:
        for call in [*self.record.calls, *self.record.last]:
            heard = [call.text, json.dumps(call.fields), *(text for _, _, text in call.progress)]
            if any(KEY in text for text in heard):
                self._broken(f"SECRET: the key is in the answer to {call.tool}")

    def _blame(self) -> None:
        """The key and the task are judged by the API's own envelope, never by a page that came in its place."""
        said = {e.fault.status for e in self.record.schedule.events if e.fault and '"FAILED"' in e.fault.body}
        for call in [*self.record.calls, *self.record.last]:
            code = call.error.get("code")
            if code == "AUTH_FAILED" and not said & {401, 403}:
                self._broken(f"BLAME: {call.tool} was told that the key is refused, and nobody had said so")
            about = str(call.arguments.get("task_id", ""))
            if code == "TASK_NOT_FOUND" and 404 not in said and about in self.record.statuses:
                self._broken(f"BLAME: {call.tool} was told that task {about} is not known, and nobody had said so")


def _prompt(task: Task) -> str:
    given: Any = task.filled["prompt"]
    return str(given[0] if isinstance(given, list) else given)


def _is_of(row: Mapping[str, Any], intent: Intent) -> bool:
    return " ".join(str(row.get("prompt", "")).split()) == " ".join(intent.prompt.split())


def _says_nothing_charged(call: Call) -> bool:
    if call.is_error:
        code, charged = call.error.get("code"), call.error.get("charged")
        return charged == "no" and (call.tool in PAID or (call.tool == "get_task" and code != "TASK_NOT_FOUND"))
    return call.fields.get("status") == "NOT_CREATED"


def _short(call: Call) -> str:
    return f"{call.outcome} {call.fields.get('status') or call.error.get('code')}: {call.text!r}"
