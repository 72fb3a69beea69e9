"""Sends of paid requests: which may leave, which may still be on their way, and which answers are lost (P1).

Before each send its attempt is marked, in a transaction that reads the row. Before each piece of the request leaves,
the row is read again. While the process of a marked attempt may still send, no other process sends the request or
records that it never came to be. A process that was stopped between two steps, for however long, then finds either that
its row was decided, and sends nothing, or that its row waits for it.
"""

from avm_mcp.domain.job import NOT_CREATED, SUBMITTING, UNKNOWN, Job
from avm_mcp.store.driver import Driver, Transaction
from avm_mcp.store.rows import SELECT, job_of, one


class Superseded(Exception):
    """The row no longer allows this send: it was decided or taken over meanwhile. Nothing was sent."""


class Send:
    """The sends of one request by one process.

    Args:
        store: Where each send is marked.
        job: The row as it was when its sending began.
        process: The sending process, by its name in `Machine`.
    """

    def __init__(self, store: "Sends", job: Job, process: str) -> None:
        self._store = store
        self._job = job
        self._process = process
        self.attempt = job.attempt
        """The number of the last attempt that was marked."""

    async def begin(self) -> None:
        """Mark one more attempt, before any part of it leaves.

        Raises:
            Superseded: It must not leave.
            StateUnavailable: It cannot be marked, and must not leave.
        """
        if not await self._store.begin_send(self._job, self._process, self.attempt):
            raise Superseded
        self.attempt += 1

    async def check(self) -> None:
        """Return if the marked attempt may still leave. Called before each piece of it.

        Raises:
            Superseded: It must not.
            StateUnavailable: That cannot be read, and it must not leave.
        """
        if not await self._store.may_leave(self._job, self._process, self.attempt):
            raise Superseded


class Sends:
    """What the table of jobs says about sends. Every `now` is by `Store.clock`."""

    _driver: Driver

    async def begin_send(self, job: Job, process: str, attempt: int) -> bool:
        """Mark an attempt if the row is as its sender knows it: the same status, no task, no other attempt since.

        Lists that were read before it prove nothing any more, so the search begins anew.
        """
        async with self._driver.writing() as tx:
            return (
                await tx.run(
                    "UPDATE jobs SET attempt = attempt + 1, sender = ?, searches = 0, searched_since = NULL"
                    " WHERE id = ? AND status = ? AND attempt = ? AND task_id IS NULL"
                    " AND (sender IS NULL OR sender = ?)",
                    *(process, job.id, job.status, attempt, process),
                )
                > 0
            )

    async def may_leave(self, job: Job, process: str, attempt: int) -> bool:
        """Return whether an attempt that was marked is still the one that may leave."""
        found = await self._driver.rows(
            "SELECT 1 AS one FROM jobs WHERE id = ? AND status = ? AND attempt = ? AND sender = ? AND task_id IS NULL",
            *(job.id, job.status, attempt, process),
        )
        return bool(found)

    async def end_send(self, job_id: str, process: str) -> Job | None:
        """Record that this process sends nothing more of this request. From now on lists count."""
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE jobs SET sender = NULL, searches = 0, searched_since = NULL WHERE id = ? AND sender = ?",
                *(job_id, process),
            )
            found = await tx.rows(f"{SELECT} WHERE id = ?", job_id)
            return job_of(found[0]) if found else None

    async def expect_answer(self, job_id: str, answer_by: float) -> None:
        """Record until when the process that sends this job's request may still wait for its answer."""
        async with self._driver.writing() as tx:
            await tx.run("UPDATE jobs SET answer_by = ? WHERE id = ? AND status = ?", answer_by, job_id, SUBMITTING)

    async def record_lapsed(self, job_id: str, text: str, now: float) -> Job:
        """Record that the answer is lost because no process waits for it any more. Its send may still leave."""
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE jobs SET status = ?, error_code = 'SUBMISSION_UNKNOWN', error_text = ?"
                " WHERE id = ? AND status = ? AND answer_by < ? AND task_id IS NULL",
                *(UNKNOWN, text, job_id, SUBMITTING, now),
            )
            return await one(tx, job_id)

    async def record_unknown(self, job_id: str, text: str, now: float) -> Job:
        """Record that the answer was lost. Its sender says so, and sends nothing more of it."""
        return await self._without_task(job_id, UNKNOWN, "SUBMISSION_UNKNOWN", text, now)

    async def record_refused(self, job_id: str, code: str, text: str, now: float, *, attempt: int | None = None) -> Job:
        """Record that provably no task came of the request. The credits that it reserved are free again.

        Args:
            job_id: Ours.
            code: Why, as an error's code.
            text: Why, in words.
            now: By `Store.clock`.
            attempt: The last attempt that this is known of. If the row has another one, nothing is recorded.
        """
        return await self._without_task(job_id, NOT_CREATED, code, text, now, attempt)

    async def record_never_created(self, job: Job, text: str, now: float) -> Job:
        """Record that a lost request never came to be, unless a send of it may still leave or was begun since."""
        async with self._driver.writing() as tx:
            idle = await tx.rows(
                "SELECT 1 AS one FROM jobs WHERE id = ? AND status = ? AND attempt = ? AND sender IS NULL",
                *(job.id, UNKNOWN, job.attempt),
            )
            if idle:
                await _take_back(tx, job.id, NOT_CREATED, NOT_CREATED, text, now, job.attempt)
            return await one(tx, job.id)

    async def _without_task(
        self, job_id: str, status: str, code: str, text: str, now: float, attempt: int | None = None
    ) -> Job:
        async with self._driver.writing() as tx:
            await _take_back(tx, job_id, status, code, text, now, attempt)
            return await one(tx, job_id)

    # --- lost answers ---

    async def begin_resend(self, job: Job, most: int, answer_by: float) -> bytes | None:
        """Record that a lost request is sent again, and return its exact bytes; None where that is not allowed."""
        async with self._driver.writing() as tx:
            changed = await tx.run(
                "UPDATE jobs SET resends = resends + 1, answer_by = ?, searches = 0, searched_since = NULL"
                " WHERE id = ? AND status = ? AND resends < ? AND task_id IS NULL AND body IS NOT NULL"
                " AND attempt = ? AND sender IS NULL",
                *(answer_by, job.id, UNKNOWN, most, job.attempt),
            )
            if not changed:
                return None
            return bytes((await tx.rows("SELECT body FROM jobs WHERE id = ?", job.id))[0]["body"])

    async def undo_resend(self, job_id: str) -> None:
        """Record that a resend was not about the request, so that it does not count among those allowed."""
        async with self._driver.writing() as tx:
            await tx.run("UPDATE jobs SET resends = resends - 1 WHERE id = ? AND resends > 0", job_id)

    async def record_not_found(self, job: Job, now: float) -> Job:
        """Count one good list that did not show the task of a lost answer, unless a send may have left meanwhile."""
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE jobs SET searches = searches + 1, searched_since = COALESCE(searched_since, ?)"
                " WHERE id = ? AND status = ? AND attempt = ? AND sender IS NULL",
                *(now, job.id, UNKNOWN, job.attempt),
            )
            return await one(tx, job.id)


async def _take_back(
    tx: Transaction, job_id: str, status: str, code: str, text: str, now: float, attempt: int | None
) -> None:
    gone = status == NOT_CREATED
    await tx.run(
        "UPDATE jobs SET status = ?, error_code = ?, error_text = ?, live = CASE WHEN ? THEN 0 ELSE live END,"
        " body = CASE WHEN ? THEN NULL ELSE body END, settled_at = CASE WHEN ? THEN ? ELSE settled_at END,"
        " sender = NULL WHERE id = ? AND task_id IS NULL AND status <> ? AND attempt = COALESCE(?, attempt)",
        *(status, code, text, gone, gone, gone, now, job_id, NOT_CREATED, attempt),
    )
