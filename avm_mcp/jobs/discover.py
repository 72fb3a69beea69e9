"""Discovers tasks that this store does not know: made elsewhere with the same key, or before the store was damaged."""

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
"""Seconds between two searches. Each is one query, and a video stays for a day."""

RETRY_INTERVAL = 15.0
"""Seconds until a search that failed is repeated, and between two checks whether the store was moved."""

DAY = 24 * 3600.0

BATCH = 100
"""Rows of the service's list that are compared with the store before other tasks of this process run."""

FOREIGN_PREFIX = "sub_x"
"""Start of our ids of such tasks. The ids of our own requests go on with hexadecimal digits."""


class Discoverer:
    """Adds tasks that the store does not know, so that they are polled and their videos saved.

    Args:
        store: Where they are added. Tasks made elsewhere are searched for only if its `save` is "all".
        client: Lists them.
        poller: Publishes them.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the store.
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
        """Discover until cancelled."""
        while True:
            searched = False
            try:
                damaged = await self._store.is_rebuilding(self._account, self._store.clock())
                if not damaged and self._store.save != "all":
                    await self._wait_for_move()
                    continue
                searched = await self._search(damaged=damaged)
            except AvmError as error:
                logger.warning("discovering tasks: %s", error.message)
            except Exception:
                logger.exception("discovering tasks failed; going on")
            await anyio.sleep(INTERVAL if searched else RETRY_INTERVAL)

    async def _wait_for_move(self) -> None:
        """Return once another store has taken the place of this one."""
        before = self._store.moved
        while True:
            await anyio.sleep(RETRY_INTERVAL)
            if self._store.moved != before:
                return

    async def _search(self, *, damaged: bool) -> bool:
        """Search once, unless another process does; return whether one has. After damage each process searches."""
        at = self._store.clock()
        if not damaged and not await self._store.lease(f"discover:{self._account}", self._holder, at, INTERVAL):
            return True
        await self._add(await self._client.tasks(urgent=False), mine=damaged)
        if damaged:
            await self._store.record_rebuilt(self._account, self._store.clock())
        return True

    async def _add(self, rows: Sequence[TaskSnapshot], *, mine: bool) -> None:
        """Add the last day's tasks. After damage all count for the daily cap: which were started here is not known."""
        now = self._now()
        service_now = self._client.clock.at_least()
        for row in rows:
            if row.created_at is None or service_now - row.created_at.timestamp() > DAY:
                continue
            if not mine and row.status in (FAILED, CANCEL):
                continue
            self._poller.publish(await add_discovered_job(self._store, row, self._account, now, mine=mine))
        self._poller.nudge()


async def add_discovered_job(store: Store, row: TaskSnapshot, account: str, now: float, *, mine: bool = False) -> Job:
    """Add a task that the store may not know, and return its job. `now` is a date.

    The task is added as unfinished and its snapshot recorded then, so that one place handles the end of a job.
    """
    at = store.clock()
    job = replace(build_job(row, account, now, at), mine=mine)
    known = await store.add_discovered(replace(job, status=SUBMITTED if job.final else job.status), at)
    return await store.record_snapshot(account, row, at) or known


def derive_foreign_id(account: str, task_id: str) -> str:
    """Return our id of a task that was not started from this store. It depends on the task's own id only."""
    return FOREIGN_PREFIX + hashlib.sha256(f"{account} {task_id}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def build_job(row: TaskSnapshot, account: str, now: float, at: float) -> Job:
    """Return the job of a task that was not started from this store.

    `now` is the date, and `at` the same moment by the store's clock.
    """
    key = f"foreign-{account}-{row.id}"
    created_at = row.created_at.timestamp() if row.created_at else now
    created_at = created_at if created_at <= now + DAY else now  # a date in the future is wrong
    finished = (
        bounds.find_finish(row.completed_at.timestamp(), created_at, now, row.read_at) if row.completed_at else None
    )
    return Job(
        id=derive_foreign_id(account, row.id),
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


async def read_listed_jobs(
    store: Store,
    listed: Sequence[TaskSnapshot],
    account: str,
    now: Callable[[], float],
    publish: Callable[[Job], None],
) -> dict[str, Job]:
    """Return the jobs of the tasks that the service lists, by its ids, after their changes are written and published.

    Tasks that the store does not know are not added to it.
    """
    jobs: dict[str, Job] = {}
    for start in range(0, len(listed), BATCH):
        part = listed[start : start + BATCH]
        known = {job.task_id: job for job in await store.of_tasks(account, [row.id for row in part])}
        for row in part:
            job = known.get(row.id)
            if job is not None:
                if store.changes(job, row, store.clock()):
                    job = await store.record_snapshot(account, row, store.clock()) or job
                publish(job)
            jobs[row.id] = job or build_job(row, account, now(), store.clock())
        await checkpoint()
    return jobs
