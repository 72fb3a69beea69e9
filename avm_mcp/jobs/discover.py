"""Tasks that were not started from this journal: made elsewhere with the same key, or before it was damaged."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
from anyio.lowlevel import checkpoint

from avm_mcp.domain import bounds
from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import CANCEL, COMPLETED, FAILED, SUBMITTED, Job
from avm_mcp.jobs.poller import Poller
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import TaskSnapshot
from avm_mcp.store import FILE_LIFE, Store

logger = logging.getLogger(__name__)

INTERVAL = 600.0
"""Seconds between two looks for tasks made elsewhere: each is one question, and a video stays for a day."""

AGAIN = 15.0
"""Seconds before a look that failed, or that another process was to take, is due again."""

DAY = 24 * 3600.0

TOGETHER = 100
"""Rows of the service's list that are compared with the journal in one go."""

FOREIGN = "sub_x"
"""How our ids of such tasks begin; those of our own requests are hexadecimal."""


class Discoverer:
    """Takes tasks over that this journal does not know, so that they are watched and their videos saved.

    Args:
        journal: Where they are added. With its `save` at "all", those made elsewhere are looked for.
        client: Lists them.
        watcher: Told of them.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the state.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        poller: Poller,
        *,
        account: str,
        holder: str,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._client = client
        self._poller = poller
        self._account = account
        self._holder = holder
        self._now = now

    async def run(self) -> None:
        """Take over what is to be taken over, until cancelled."""
        while True:
            polled = False
            try:
                damaged = await self._store.is_rebuilding(self._account, self._store.clock())
                if not damaged and self._store.save != "all":
                    await self._moved()
                    continue
                polled = await self._next_poll(damaged=damaged)
            except AvmError as error:
                logger.warning("looking for tasks made elsewhere: %s", error.message)
            except Exception:
                logger.exception("looking for tasks made elsewhere failed; going on")
            await anyio.sleep(INTERVAL if polled else AGAIN)

    async def _moved(self) -> None:
        """Return once another journal has taken the place of this one."""
        before = self._store.moved
        while True:
            await anyio.sleep(AGAIN)
            if self._store.moved != before:
                return

    async def _next_poll(self, *, damaged: bool) -> bool:
        """Look once, unless another process does; return whether somebody has. After damage each does."""
        at = self._store.clock()
        if not damaged and not await self._store.lease(f"adopt:{self._account}", self._holder, at, INTERVAL):
            return True
        await self._take_over(await self._client.tasks(urgent=False), mine=damaged)
        if damaged:
            await self._store.record_rebuilt(self._account, self._store.clock())
        return True

    async def _take_over(self, rows: Sequence[TaskSnapshot], *, mine: bool) -> None:
        """Add the last day's tasks. After damage it is not known which were started here, so all count, for the cap."""
        now = self._now()
        service_now = self._client.clock.at_least()
        for row in rows:
            if row.created_at is None or service_now - row.created_at.timestamp() > DAY:
                continue
            if not mine and row.status in (FAILED, CANCEL):
                continue
            self._poller.publish(await discovered_job(self._store, row, self._account, now, mine=mine))
        self._poller.nudge()


async def discovered_job(store: Store, row: TaskSnapshot, account: str, now: float, *, mine: bool = False) -> Job:
    """Return the job of a task that the journal may not know yet.

    It is added as unfinished and then observed, so that one place decides what an end brings with it. `now` is a date.
    """
    at = store.clock()
    job = replace(job_of(row, account, now, at), mine=mine)
    known = await store.add_discovered(replace(job, status=SUBMITTED if job.final else job.status), at)
    return await store.record_snapshot(account, row, at) or known


def foreign_id(account: str, task_id: str) -> str:
    """Return our id of a task that was not started from this journal: the same each time, whatever its own one is."""
    return FOREIGN + hashlib.sha256(f"{account} {task_id}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def job_of(row: TaskSnapshot, account: str, now: float, at: float) -> Job:
    """Return the row of a task that was not started from this journal.

    `now` is the date, and `at` the same moment by the clock of the state.
    """
    key = f"foreign-{account}-{row.id}"
    created_at = row.created_at.timestamp() if row.created_at else now
    created_at = created_at if created_at <= now + DAY else now  # nothing was made tomorrow, whatever the clocks say
    finished = (
        bounds.find_finish(row.completed_at.timestamp(), created_at, now, row.read_at) if row.completed_at else None
    )
    return Job(
        id=foreign_id(account, row.id),
        account=account,
        caller="",
        identity=key,
        idempotency_key=key,
        model=row.model,
        seconds=row.seconds,
        prompt=row.prompt,
        status=row.status,
        created_at=created_at,
        started=at - max(0.0, now - created_at),
        mine=False,
        task_id=row.id,
        completed_at=finished,
        credits_charged=row.credits_charged,
        credits_refunded=row.credits_refunded,
        video_url=row.video_url,
        download="off" if row.status == COMPLETED else "none",
        expires_at=finished + FILE_LIFE if finished and row.status == COMPLETED else None,
    )


async def jobs_of(
    store: Store,
    listed: Sequence[TaskSnapshot],
    account: str,
    now: Callable[[], float],
    publish: Callable[[Job], None],
) -> dict[str, Job]:
    """Return the jobs of the tasks that the service lists, by its ids; what is news of them is written and published.

    Those that the journal does not know are not added to it. Others are served in between.
    """
    jobs: dict[str, Job] = {}
    for start in range(0, len(listed), TOGETHER):
        part = listed[start : start + TOGETHER]
        known = {job.task_id: job for job in await store.of_tasks(account, [row.id for row in part])}
        for row in part:
            job = known.get(row.id)
            if job is not None:
                if store.changes(job, row, store.clock()):
                    job = await store.record_snapshot(account, row, store.clock()) or job
                publish(job)
            jobs[row.id] = job or job_of(row, account, now(), store.clock())
        await checkpoint()
    return jobs
