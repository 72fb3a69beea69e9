"""Polls the tasks in flight, writes what is new, and wakes the calls that wait.

Each process has one poller for an account. Among all processes of a store, the one that holds the poll lease keeps
polling. The others read from the store what it wrote, and poll only the tasks that a call of their own asks for, unless
another process has just polled them. A tool call sends no query. It reads the latest state of the job from the poller,
so the number of queries does not depend on how many calls wait or are cut off.
"""

import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress

import anyio

from avm_mcp.domain.errors import AuthFailed, AvmError, TaskNotFound
from avm_mcp.domain.job import FINAL, Job
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs import eta
from avm_mcp.jobs.eta import Durations
from avm_mcp.jobs.poll_schedule import InFlight, PollSchedule, Query
from avm_mcp.jobs.views import Progress
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import TaskList, TaskSnapshot
from avm_mcp.store import Store

logger = logging.getLogger(__name__)

LIFE = 2 * 24 * 3600.0
"""Seconds after which a task that has not ended is polled only when a call asks for it: the service has lost it."""

KNOWN_JOBS = 1000
"""Jobs whose latest state is kept in memory, unless more are unfinished."""

FOLLOWER_TIMEOUT = 5.0
"""Seconds for a poll by a process without the lease, which does not read the store meanwhile."""

LIST = ""
"""Stands for the list where polls are recorded by task."""

FAILED_PAUSE = 5.0
"""Seconds between polls while they fail."""

AUTH_PAUSE = 60.0
"""Seconds between polls while the key is refused."""


class Poller:
    """Polls the jobs of one account.

    Args:
        store: Where changes are written; the poller keeps a copy of the latest state of each job.
        client: Sends the queries.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the store.
        finished: Called when a job has reached its end.
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
        self._durations: dict[tuple[str, int], Durations] = {}
        self._waiting = 0
        self._holds_lease = False
        self.trouble: AvmError | None = None
        """Why the last poll failed; None after one that succeeded."""

    # --- for calls that wait ---

    def publish(self, job: Job) -> None:
        """Make a newer state of a job the latest, and wake all calls that wait. Its row is written already."""
        known = self._known.get(job.id)
        if known == job:
            return
        self._known[job.id] = job
        if len(self._known) > KNOWN_JOBS:
            self._drop_finished()
        self._changed.set()
        self._changed = anyio.Event()
        if job.final and (known is None or not known.final):
            self._durations.pop((job.model, job.seconds), None)
            self._finished()

    def _drop_finished(self) -> None:
        """Drop the oldest finished jobs from memory; the store still has them."""
        finished = [known.id for known in self._known.values() if known.final and known.download != "wanted"]
        for job_id in finished[: KNOWN_JOBS // 2]:
            del self._known[job_id]

    def latest(self, job_id: str) -> Job | None:
        """Return the latest state of a job; None where this process does not know it."""
        return self._known.get(job_id)

    async def wait_for_change(self) -> None:
        """Return once any job has changed."""
        self._waiting += 1
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1

    def nudge(self) -> None:
        """Let the loop read the store at once."""
        self._nudged.set()

    def poll_soon(self, job: Job) -> None:
        """Let the next poll of this job be due at once, unless the last one is still fresh."""
        self._schedule.request_poll(job.id, anyio.current_time())
        self.nudge()

    async def durations(self, model: str, seconds: int) -> Durations:
        """Return how long videos of this model and length take, by the last ones of this account."""
        key = (model, seconds)
        if key not in self._durations:
            took = await self._store.durations(self._account, model, seconds, eta.MEMORY)
            speed = self._client.sandbox_speed
            known = eta.estimate_durations(model, took, speed=speed or 1.0)
            if speed is None and not took:
                return known  # whether this is a sandbox is only known after its first answer
            self._durations[key] = known
        return self._durations[key]

    async def progress(self, job: Job) -> Progress:
        durations = await self.durations(job.model, job.seconds)
        age = max(0.0, self._clock() - job.started)
        elapsed = age if job.completed_at is None else max(0.0, job.completed_at - job.created_at)
        percent = 100.0 if job.final else durations.percent(elapsed)
        return Progress(percent, elapsed, durations.typical, not job.final and durations.is_overdue(elapsed), age)

    # --- the loop ---

    async def run(self) -> None:
        """Poll until cancelled. No error ends the loop: these videos are paid for."""
        try:
            while True:
                try:
                    await self._step()
                except AvmError as error:
                    self.trouble = error
                    logger.warning("polling: %s", error.message)
                    await anyio.sleep(AUTH_PAUSE if isinstance(error, AuthFailed) else FAILED_PAUSE)
                except Exception:
                    logger.exception("polling failed; going on")
                    await anyio.sleep(FAILED_PAUSE)
        finally:
            await self._release_lease()

    async def _release_lease(self) -> None:
        """Let the next process poll at once, rather than when the lease has run out."""
        if self._holds_lease:
            with anyio.move_on_after(1, shield=True), suppress(AvmError):
                await self._store.release(f"poll:{self._account}", self._holder)

    async def _step(self) -> None:
        """Read the store, then send the query that is due, or wait until one is or the store is to be read again."""
        timings = self._timings
        jobs = await self._store.in_flight(self._account)
        if not jobs:
            await self._read_known()
            await self._pause(timings.follow_interval if self._unfinished_known() else timings.rest_interval)
            return
        lease = f"poll:{self._account}"
        self._holds_lease = await self._store.lease(lease, self._holder, self._clock(), timings.poll_lease)
        await self._read_other_polls(jobs)
        if self._holds_lease:
            for job in jobs:
                self.publish(job)
            await self._read_known({job.id for job in jobs})
            jobs = [job for job in jobs if self._clock() - job.started < LIFE or self._schedule.is_requested(job.id)]
        else:  # this process polls only what a call of its own asks for
            await self._read_known()
            jobs = [job for job in jobs if self._schedule.is_requested(job.id)]
        if not jobs:
            await self._pause(timings.follow_interval if self._waiting else timings.idle_follow_interval)
            return
        tasks = [
            InFlight(job.id, await self.durations(job.model, job.seconds), max(0.0, self._clock() - job.started))
            for job in jobs
        ]
        sizes = self._client.answer_bytes
        query = self._schedule.plan(
            tasks, anyio.current_time(), list_bytes=sizes.get("list", 0), single_bytes=sizes.get("status", 0)
        )
        wait = query.due - anyio.current_time()
        if wait > 0:
            await self._pause(min(wait, timings.poll_lease / 3 if self._holds_lease else timings.follow_interval))
            return
        with anyio.move_on_after(None if self._holds_lease else FOLLOWER_TIMEOUT):
            await self._poll(query, [job for job in jobs if job.id in query.ids])

    async def _read_other_polls(self, jobs: Sequence[Job]) -> None:
        """Let the schedule count from the polls of other processes."""
        polls = await self._store.polls(self._account, self._clock())
        for job in jobs:
            for task_id in (job.task_id, LIST):
                if task_id in polls:
                    self._schedule.record_poll_elsewhere(
                        job.id, anyio.current_time(), polls[task_id], is_list=task_id == LIST
                    )

    async def _read_known(self, in_flight: Container[str] | None = None) -> None:
        """Read the unfinished jobs that this process knows; with `in_flight`, only those that have left it."""
        for job in self._unfinished_known():
            if in_flight is not None and (job.id in in_flight or job.final):
                continue  # a job without a task is not in flight: another process may send it, or search for it
            current = await self._store.find(self._account, job.id)
            if current is None:
                self._known.pop(job.id, None)  # a request of ours has taken its task
            else:
                self.publish(current)

    def _unfinished_known(self) -> list[Job]:
        return [job for job in self._known.values() if not job.final or job.download == "wanted"]

    async def _pause(self, seconds: float | None) -> None:
        with anyio.move_on_after(seconds):
            await self._nudged.wait()
        self._nudged = anyio.Event()

    async def _poll(self, query: Query, jobs: Sequence[Job]) -> None:
        """Send the query, write all news, and publish them together: each `publish` wakes every call that waits."""
        by_task = {job.task_id: job for job in jobs}
        shown: Container[str] = query.ids  # a query that fails is not repeated at once
        changed: list[Job] = []
        about = LIST if query.is_list else jobs[0].task_id or LIST
        if not await self._store.claim_poll(self._account, about, self._clock()):
            await self._pause(self._timings.follow_interval)  # another process polls; its answer is in the store soon
            return
        answered = False
        try:
            seen = [row for row in await self._send_query(query, jobs) if row.id in by_task]
            answered = True
            shown = {by_task[row.id].id for row in seen} if query.is_list else query.ids
            self.trouble = None
            for snapshot in seen:
                if _has_news(snapshot, by_task[snapshot.id]):
                    job = await self._store.record_snapshot(self._account, snapshot, self._clock())
                    if job is not None:
                        changed.append(job)
        finally:
            self._schedule.record_query(query, anyio.current_time(), shown)
            for job in changed:
                self.publish(job)
            await self._record_poll(about, answered=answered)

    async def list_tasks(self) -> TaskList:
        """Return the service's list for a call that asks for it, and let the next poll count from it."""
        await self._store.claim_poll(self._account, LIST, self._clock())
        answered = False
        try:
            rows = await self._client.tasks()
            answered = True
        finally:
            await self._record_poll(LIST, answered=answered)
        return rows

    async def _record_poll(self, about: str, *, answered: bool) -> None:
        """Let other processes know how a query ended, also where it was cancelled."""
        with anyio.move_on_after(1, shield=True):
            await self._store.record_poll(self._account, about, self._clock(), answered=answered)

    async def _send_query(self, query: Query, jobs: Sequence[Job]) -> list[TaskSnapshot]:
        """Query the list, or one task's status, and the rest of that task only when it has ended."""
        if query.is_list:
            return await self._client.tasks(urgent=query.urgent, only={job.task_id for job in jobs if job.task_id})
        (job,) = jobs
        task_id = job.task_id
        assert task_id is not None
        try:
            status = await self._client.status(task_id, urgent=query.urgent)
            return [await self._client.task(task_id) if status in FINAL else TaskSnapshot(id=task_id, status=status)]
        except TaskNotFound:
            # The task may still exist: which tasks the API shows, and for how long, is not documented.
            logger.warning("task %s is not shown by the service", job.public_id)
            return []


def _has_news(seen: TaskSnapshot, job: Job) -> bool:
    """Return whether the answer holds anything that the row does not."""
    return (
        seen.status != job.status
        or seen.status in FINAL
        or seen.credits_charged not in (None, job.credits_charged)
        or seen.credits_refunded not in (None, job.credits_refunded)
    )
