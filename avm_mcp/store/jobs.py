"""Jobs, written: the only writer of their state, which moves forward only."""

from dataclasses import dataclass
from typing import Literal

from avm_mcp.domain import bounds
from avm_mcp.domain.errors import BudgetExceeded, ContentRejected, StateUnavailable
from avm_mcp.domain.job import COMPLETED, FINAL, Download, Job, rank
from avm_mcp.domain.next_steps import Action, raise_cap
from avm_mcp.domain.rate_limit import day_of
from avm_mcp.provider.wire import Accepted, TaskSnapshot
from avm_mcp.store.driver import Driver, Transaction
from avm_mcp.store.rows import COLUMNS, SELECT, RowMissing, job_of, one
from avm_mcp.store.sends import Sends
from avm_mcp.store.spending import spending

FILE_LIFE = 24 * 3600.0
"""Seconds that the service keeps a finished file (its own notice in `output.msg`)."""

MAX_FAILURES = 3
FAILURE_WINDOW = 3600.0
"""After this many failures of one request within this many seconds it is not started again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reservation must keep to, checked in the transaction that makes it.

    Attributes:
        per_day: Credits a day; None without a cap.
        dedupe_seconds: How long a finished job stands for the same request.
    """

    per_day: int | None
    dedupe_seconds: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """A row to be sent, or, for a duplicate, the row that exists already."""

    job: Job
    duplicate: bool


class Jobs(Sends):
    """The table of jobs. Every method raises `StateUnavailable` where the state cannot be read or written.

    `now`, `since` and other times that are given are by `Store.clock`; dates are in the rows.
    """

    save: Literal["mine", "all", "off"]
    full: bool
    """Whether this stands in for a state on a full disk."""
    fleeting: bool = False
    """Whether this stands in for a state because no folder can be written, and takes no paid requests."""

    # --- money: the row comes before the request ---

    async def reserve(self, draft: Job, *, body: bytes, input_json: str, limits: Limits) -> Reservation:
        """Write the intent to pay for `draft`, unless the same request is live already (P1, P8).

        Raises:
            BudgetExceeded: The day's cap would be passed.
            ContentRejected: The same request has just failed again and again.
            StateUnavailable: It cannot be written down.
        """
        if self.full:
            raise StateUnavailable(
                "Not started, nothing charged: the disk with the state is full.",
                next_step=Action.FREE_DISK(),
            )
        if self.fleeting:
            raise StateUnavailable(
                "Not started, nothing charged: no folder can be written to keep this request in, so another window"
                " would not know of it and pay again.",
                field="AVM_STATE_DIR",
                next_step=Action.SET_STATE_DIR_OR_MEMORY(),
            )
        now = draft.started
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE jobs SET live = 0 WHERE account = ? AND caller = ? AND identity = ? AND status = ?"
                " AND live = 1 AND settled_at <= ?",
                *(draft.account, draft.caller, draft.identity, COMPLETED, now - limits.dedupe_seconds),
            )
            existing = await tx.rows(
                f"{SELECT} WHERE account = ? AND caller = ? AND identity = ? AND live = 1",
                *(draft.account, draft.caller, draft.identity),
            )
            if existing:
                return Reservation(job_of(existing[0]), duplicate=True)
            await self._refuse_hopeless(tx, draft)
            if limits.per_day is not None:
                await self._refuse_beyond_day(tx, draft, limits.per_day)
            await self._insert(tx, draft, live=1, body=body, input_json=input_json)
            return Reservation(draft, duplicate=False)

    async def restore(self, job: Job, input_json: str) -> None:
        """Write the row of a request that was sent into this state: the one that held it is gone (P2)."""
        async with self._driver.writing() as tx:
            same = await tx.rows(
                "SELECT 1 AS one FROM jobs WHERE id = ? OR (account = ? AND caller = ? AND identity = ? AND live = 1)",
                *(job.id, job.account, job.caller, job.identity),
            )
            await self._insert(tx, job, live=0 if same else 1, body=None, input_json=input_json)

    async def admit(self, draft: Job, limits: Limits) -> None:
        """Raise what `reserve` would, so that nobody is asked to approve a video that could not be started."""
        await self._refuse_hopeless(self._driver, draft)
        if limits.per_day is not None:
            await self._refuse_beyond_day(self._driver, draft, limits.per_day)

    async def _refuse_hopeless(self, source: Driver | Transaction, draft: Job) -> None:
        failed = await source.rows(
            "SELECT count(*) AS n FROM jobs WHERE account = ? AND caller = ? AND identity = ? AND status = 'FAILED'"
            " AND settled_at > ?",
            *(draft.account, draft.caller, draft.identity, draft.started - FAILURE_WINDOW),
        )
        if failed[0]["n"] >= MAX_FAILURES:
            raise ContentRejected(
                f"Not started, nothing charged: this same request failed {failed[0]['n']} times within the hour.",
                next_step=Action.CHANGE_FAILING_REQUEST(),
            )

    async def _refuse_beyond_day(self, source: Driver | Transaction, draft: Job, cap: int) -> None:
        spent = (await spending(source, draft.account, day_of(draft.created_at))).spent
        price = draft.credits_quoted
        if price is None or spent + price > cap:
            amount = str(price) if draft.credits_basis == "quote" else f"up to {price}"
            raise BudgetExceeded(
                f"Not started, nothing charged: this costs {'an unknown number of' if price is None else amount}"
                f" credits, {spent} are spent today, and AVM_MAX_CREDITS_PER_DAY is {cap}.",
                field="AVM_MAX_CREDITS_PER_DAY",
                allowed=f"{max(0, cap - spent)} credits more today (UTC)",
                next_step=raise_cap("AVM_MAX_CREDITS_PER_DAY", tomorrow=price is None or price <= cap),
            )

    async def _insert(self, tx: Transaction, job: Job, *, live: int, body: bytes | None, input_json: str) -> None:
        extra = {"live": live, "body": body, "input": input_json, "day": day_of(job.created_at)}
        columns = {name: getattr(job, name) for name in COLUMNS} | extra
        columns["mine"] = int(job.mine)
        if job.final:
            columns["settled_at"] = job.started
        marks = ", ".join("?" * len(columns))
        await tx.run(f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})", *columns.values())  # noqa: S608

    async def record_accepted(self, job_id: str, answer: Accepted) -> Job:
        """Give the job its task. A task that another request has claimed already stays with that one.

        A row that only says that the task was seen here, made elsewhere as far as was known, gives way. A job that was
        said never to have come to be guards again, unless the same request has been made anew since.
        """
        async with self._driver.writing() as tx:
            await tx.run(
                "DELETE FROM jobs WHERE task_id = ? AND idempotency_key = identity"
                " AND account = (SELECT o.account FROM jobs o WHERE o.id = ? AND o.task_id IS NULL)",
                *(answer.task_id, job_id),
            )
            await tx.run(
                "UPDATE jobs SET task_id = ?, status = ?, credits_charged = COALESCE(?, credits_charged), body = NULL,"
                " sender = NULL,"
                " error_code = NULL, error_text = NULL, settled_at = NULL, live = CASE WHEN EXISTS ("
                "SELECT 1 FROM jobs o WHERE o.account = jobs.account AND o.caller = jobs.caller"
                " AND o.identity = jobs.identity AND o.live = 1 AND o.id <> jobs.id) THEN 0 ELSE 1 END"
                " WHERE id = ? AND task_id IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.account = jobs.account AND o.task_id = ?)",
                *(answer.task_id, _open_status(answer.status), answer.credits_charged, job_id, answer.task_id),
            )
            return await one(tx, job_id)

    # --- what the upstream shows ---

    async def record_snapshot(self, account: str, seen: TaskSnapshot, now: float) -> Job | None:
        """Write what the upstream shows of a task; None where no row is of that task.

        Reading an older state after a newer one changes nothing. A final row only learns a refund or a link.
        """
        async with self._driver.writing() as tx:
            found = await tx.rows(f"{SELECT} WHERE account = ? AND task_id = ?", account, seen.id)
            if not found:
                return None
            job = job_of(found[0])
            changes = self.changes(job, seen, now)
            if not changes:
                return job
            if changes.get("status") == COMPLETED:
                await _learn(tx, job, seen, now)
            assignments = ", ".join(f"{name} = ?" for name in changes)
            await tx.run(f"UPDATE jobs SET {assignments} WHERE id = ?", *changes.values(), job.id)  # noqa: S608
            return await one(tx, job.id)

    def changes(self, job: Job, seen: TaskSnapshot, now: float) -> dict[str, object]:
        """Return what `record_snapshot` would write."""
        # What comes back is told as a refund: a charge that is told lower than before frees nothing.
        charged = max((told for told in (job.credits_charged, seen.credits_charged) if told is not None), default=None)
        back = bounds.limit_refund(seen.credits_refunded, charged)
        facts: dict[str, object] = {"credits_charged": charged, "credits_refunded": back}
        today = job.created_at + now - job.started  # the date now, by the clock that dated the row
        advances = not job.final and rank(seen.status) >= rank(job.status)
        if advances:
            facts["status"] = seen.status
        if seen.status == COMPLETED and (advances or job.status == COMPLETED):
            facts["video_url"] = seen.video_url
        if advances and seen.status in FINAL:
            said = seen.completed_at.timestamp() if seen.completed_at else None
            finished = bounds.find_finish(said, job.created_at, today, seen.read_at)
            facts |= {"completed_at": finished, "settled_at": now}
            if seen.status == COMPLETED:
                facts |= {"expires_at": finished + FILE_LIFE, "download": self._download_for(mine=job.mine)}
            else:
                facts |= {"live": 0, "error_text": seen.output.error if seen.output else None}
        elif job.download == "off" and seen.status == COMPLETED and today < (job.expires_at or 0):
            facts["download"] = self._download_for(mine=job.mine)  # the setting may have changed since
        current = {name: getattr(job, name, None) for name in facts}
        return {name: value for name, value in facts.items() if value is not None and value != current[name]}

    def _download_for(self, *, mine: bool) -> Download:
        return "wanted" if self.save == "all" or (mine and self.save == "mine") else "off"

    async def add_discovered(self, draft: Job, now: float) -> Job:
        """Add a task that was made elsewhere with the same key; it guards nothing and costs nothing here.

        Its idempotency key is its identity: it stands for no request of ours, until one claims the task.
        """
        async with self._driver.writing() as tx:
            found = await tx.rows(f"{SELECT} WHERE account = ? AND task_id = ?", draft.account, draft.task_id)
            if found:
                return job_of(found[0])
            await self._insert(tx, draft, live=0, body=None, input_json="{}")
            if draft.final:
                await tx.run("UPDATE jobs SET settled_at = ? WHERE id = ?", now, draft.id)
            return draft

    # --- videos ---

    async def record_download(
        self, job: Job, state: Download, *, path: str | None, size: int | None, error: str | None
    ) -> Job:
        """Record what became of the video of a job's task, whose row may have given way to the request that made it.

        One that is on the disk is never un-recorded by a later failure.
        """
        whose = (job.account, job.task_id)
        async with self._driver.writing() as tx:
            await tx.run(
                "UPDATE jobs SET download = ?, file_path = COALESCE(?, file_path), file_size = COALESCE(?, file_size),"
                " download_error = ? WHERE account = ? AND task_id = ? AND (download <> 'saved' OR ? = 'saved')",
                *(state, path, size, error, *whose, state),
            )
            found = await tx.rows(f"{SELECT} WHERE account = ? AND task_id = ?", *whose)
            if not found:
                raise RowMissing(job.id)
            return job_of(found[0])


async def _learn(tx: Transaction, job: Job, seen: TaskSnapshot, now: float) -> None:
    """Keep how long the video took by the upstream's own clock; without both of its times nothing is learned."""
    if seen.created_at is None or seen.completed_at is None:
        return
    took = (seen.completed_at - seen.created_at).total_seconds()
    if 0 < took <= bounds.LONGEST_MAKING:
        await tx.run(
            "INSERT INTO durations (account, task_id, model, seconds, took, finished_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            *(job.account, seen.id, job.model, job.seconds, took, now),
        )


def _open_status(status: str) -> str:
    """A replay may carry the task's present status; a final one is left to the next look, which brings the output."""
    return "SUBMITTED" if status in FINAL else status
