"""One question for all tasks: looks at what is being made, and tells everybody who waits.

There is one watcher for an account in a process, and one that keeps asking for an account among all processes of a
state: the holder of the watch lease. The others read what it writes, and ask only for what somebody asks them for, when
no process has just looked at it. A tool call never asks the API how a task is; it reads the watcher's board, so that a
call that is cut off, or a thousand that wait, change nothing.
"""

import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio

from avm_mcp.domain.errors import AuthFailed, AvmError, TaskNotFound
from avm_mcp.domain.job import FINAL, Job
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs import eta
from avm_mcp.jobs.eta import Durations
from avm_mcp.jobs.poll_schedule import InFlight, PollSchedule, Query
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import TaskList, TaskSnapshot
from avm_mcp.store import Store

logger = logging.getLogger(__name__)

LIFE = 2 * 24 * 3600.0
"""Seconds after which a task that never ended is looked at only when somebody asks: the service has lost it."""

KNOWN_JOBS = 1000
"""Jobs that are kept on the board, unless more are unfinished."""

FOLLOWER_TIMEOUT = 5.0
"""Seconds for a look from a process that does not hold the watch; meanwhile it does not read what the holder writes."""

LIST = ""
"""Stands for the list where looks are noted by task."""

FAILED_PAUSE = 5.0
"""Seconds between looks while they fail."""

AUTH_PAUSE = 60.0
"""Seconds between looks while the key is refused."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands, by the clock and by experience. Times in seconds; `elapsed` ends with the job, `age` not."""

    percent: float
    elapsed: float
    typical: float
    overdue: bool
    age: float


class Poller:
    """Watches the jobs of one account.

    Args:
        journal: Where what is seen is written; the board is only a copy of it.
        client: How to ask.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the state.
        finished: Called when a job was seen to reach its end.
        timings: Intervals of polls and of readings of the store, and the lease.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        *,
        account: str,
        holder: str,
        finished: Callable[[], None],
        timings: Timings,
    ) -> None:
        self._store = store
        self._client = client
        self._account = account
        self._holder = holder
        self._clock = store.clock
        self._finished = finished
        self._timings = timings
        self._known: dict[str, Job] = {}
        self._changed = anyio.Event()
        self._nudged = anyio.Event()
        self._schedule = PollSchedule(timings)
        self._learned: dict[tuple[str, int], Durations] = {}
        self._waiting = 0
        self._holds = False
        self.trouble: AvmError | None = None
        """Why the last look failed; None after one that succeeded."""

    # --- for those who wait ---

    def publish(self, job: Job) -> None:
        """Show a newer state of a job to everybody who waits. The row is written before."""
        known = self._known.get(job.id)
        if known == job:
            return
        self._known[job.id] = job
        if len(self._known) > KNOWN_JOBS:
            self._forget()
        self._changed.set()
        self._changed = anyio.Event()
        if job.final and (known is None or not known.final):
            self._learned.pop((job.model, job.seconds), None)
            self._finished()

    def _forget(self) -> None:
        """Take the oldest finished jobs off the board; the journal still has them."""
        finished = [known.id for known in self._known.values() if known.final and known.download != "wanted"]
        for job_id in finished[: KNOWN_JOBS // 2]:
            del self._known[job_id]

    def latest(self, job_id: str) -> Job | None:
        return self._known.get(job_id)

    async def change(self) -> None:
        """Wait until anything on the board changed."""
        self._waiting += 1
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1

    def nudge(self) -> None:
        """Tell the loop that the journal has something new."""
        self._nudged.set()

    def poll_soon(self, job: Job) -> None:
        """Let the next look at this job come at once, unless the last one was just now."""
        self._schedule.soon(job.id, anyio.current_time())
        self.nudge()

    async def durations(self, model: str, seconds: int) -> Durations:
        """Return how long videos of this kind take, as far as this account has learned."""
        key = (model, seconds)
        if key not in self._learned:
            took = await self._store.durations(self._account, model, seconds, eta.MEMORY)
            speed = self._client.sandbox_speed
            known = eta.learned(model, took, speed=speed or 1.0)
            if speed is None and not took:
                return known  # whether this is a sandbox is only known after its first answer
            self._learned[key] = known
        return self._learned[key]

    async def progress(self, job: Job) -> Progress:
        durations = await self.durations(job.model, job.seconds)
        age = max(0.0, self._clock() - job.started)
        elapsed = age if job.completed_at is None else max(0.0, job.completed_at - job.created_at)
        percent = 100.0 if job.final else durations.percent(elapsed)
        return Progress(percent, elapsed, durations.typical, not job.final and durations.overdue(elapsed), age)

    # --- the loop ---

    async def run(self) -> None:
        """Watch until cancelled. Nothing that happens in a look ends the loop: somebody has paid for these videos."""
        try:
            while True:
                try:
                    await self._turn()
                except AvmError as error:
                    self.trouble = error
                    logger.warning("watching: %s", error.message)
                    await anyio.sleep(AUTH_PAUSE if isinstance(error, AuthFailed) else FAILED_PAUSE)
                except Exception:
                    logger.exception("watching failed; going on")
                    await anyio.sleep(FAILED_PAUSE)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Let the next process watch at once, rather than when the lease has run out."""
        if self._holds:
            with anyio.move_on_after(1, shield=True), suppress(AvmError):
                await self._store.release(f"watch:{self._account}", self._holder)

    async def _turn(self) -> None:
        """Do what is due, or wait until something is."""
        timings = self._timings
        jobs = await self._store.in_flight(self._account)
        if not jobs:
            await self._follow()
            await self._pause(timings.follow_interval if self._unfinished_known() else timings.rest_interval)
            return
        self._holds = await self._store.lease(f"watch:{self._account}", self._holder, self._clock(), timings.poll_lease)
        await self._hear(jobs)
        if self._holds:
            for job in jobs:
                self.publish(job)
            await self._follow({job.id for job in jobs})
            jobs = [job for job in jobs if self._clock() - job.started < LIFE or self._schedule.wanted(job.id)]
        else:  # what somebody asks for here is looked at from here, unless it just was
            await self._follow()
            jobs = [job for job in jobs if self._schedule.wanted(job.id)]
        if not jobs:
            await self._pause(timings.follow_interval if self._waiting else timings.idle_follow_interval)
            return
        videos = [
            InFlight(job.id, await self.durations(job.model, job.seconds), max(0.0, self._clock() - job.started))
            for job in jobs
        ]
        sizes = self._client.answer_bytes
        question = self._schedule.plan(
            videos, anyio.current_time(), list_bytes=sizes.get("list", 0), single_bytes=sizes.get("status", 0)
        )
        wait = question.due - anyio.current_time()
        if wait > 0:
            await self._pause(min(wait, timings.poll_lease / 3 if self._holds else timings.follow_interval))
            return
        with anyio.move_on_after(None if self._holds else FOLLOWER_TIMEOUT):
            await self._next_poll(question, [job for job in jobs if job.id in question.ids])

    async def _hear(self, jobs: Sequence[Job]) -> None:
        """Learn what other processes have asked."""
        polls = await self._store.polls(self._account, self._clock())
        for job in jobs:
            for task_id in (job.task_id, LIST):
                if task_id in polls:
                    self._schedule.heard(job.id, anyio.current_time(), polls[task_id], listed=task_id == LIST)

    async def _follow(self, known: Container[str] | None = None) -> None:
        """Bring the board up to what other processes wrote; given those in flight, only what is so no longer."""
        for job in self._unfinished_known():
            if known is not None and (job.id in known or job.final):
                continue  # what has no task yet, another process may be sending or looking for
            current = await self._store.find(self._account, job.id)
            if current is None:
                self._known.pop(job.id, None)  # a request of ours has claimed its task
            else:
                self.publish(current)

    def _unfinished_known(self) -> list[Job]:
        return [job for job in self._known.values() if not job.final or job.download == "wanted"]

    async def _pause(self, seconds: float | None) -> None:
        with anyio.move_on_after(seconds):
            await self._nudged.wait()
        self._nudged = anyio.Event()

    async def _next_poll(self, question: Query, jobs: Sequence[Job]) -> None:
        """Ask, write what is news, and then tell it all at once: each telling wakes everybody who waits."""
        by_task = {job.task_id: job for job in jobs}
        shown: Container[str] = question.ids  # one that fails is not asked again at once
        news: list[Job] = []
        about = LIST if question.listed else jobs[0].task_id or LIST
        if not await self._store.claim_poll(self._account, about, self._clock()):
            await self._pause(self._timings.follow_interval)  # another process asks; its answer is in the store soon
            return
        answered = False
        try:
            seen = [row for row in await self._ask(question, jobs) if row.id in by_task]
            answered = True
            shown = {by_task[row.id].id for row in seen} if question.listed else question.ids
            self.trouble = None
            for snapshot in seen:
                if _is_news(snapshot, by_task[snapshot.id]):
                    job = await self._store.observed(self._account, snapshot, self._clock())
                    if job is not None:
                        news.append(job)
        finally:
            self._schedule.asked(question, anyio.current_time(), shown)
            for job in news:
                self.publish(job)
            await self._note(about, answered=answered)

    async def listed(self) -> TaskList:
        """Return the service's list for somebody who asks for it, and let the next look count from it."""
        await self._store.claim_poll(self._account, LIST, self._clock())
        answered = False
        try:
            rows = await self._client.tasks()
            answered = True
        finally:
            await self._note(LIST, answered=answered)
        return rows

    async def _note(self, about: str, *, answered: bool) -> None:
        """Let other processes know how a question ended, also one that was cut off."""
        with anyio.move_on_after(1, shield=True):
            await self._store.record_poll(self._account, about, self._clock(), answered=answered)

    async def _ask(self, question: Query, jobs: Sequence[Job]) -> list[TaskSnapshot]:
        """Ask for the list, or for one video's status, and for the rest of it only when it has ended."""
        if question.listed:
            return await self._client.tasks(urgent=question.urgent, only={job.task_id for job in jobs if job.task_id})
        (job,) = jobs
        task_id = job.task_id
        assert task_id is not None
        try:
            status = await self._client.status(task_id, urgent=question.urgent)
            return [await self._client.task(task_id) if status in FINAL else TaskSnapshot(id=task_id, status=status)]
        except TaskNotFound:
            # Not shown is not gone: what the API shows, and for how long, is not documented.
            logger.warning("task %s is not shown by the service", job.public_id)
            return []


def _is_news(seen: TaskSnapshot, job: Job) -> bool:
    """Return whether the answer says anything that the row does not."""
    return (
        seen.status != job.status
        or seen.status in FINAL
        or seen.credits_charged not in (None, job.credits_charged)
        or seen.credits_refunded not in (None, job.credits_refunded)
    )
