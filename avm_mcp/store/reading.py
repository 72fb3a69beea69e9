"""Jobs, read. Each statement finds its rows by an index: it costs the same however many jobs have ended."""

from collections.abc import Collection, Iterator
from itertools import islice

from avm_mcp.domain.job import COMPLETED, FINAL, NOT_CREATED, Job
from avm_mcp.store.cursors import Place
from avm_mcp.store.driver import Driver, Row
from avm_mcp.store.rows import SELECT, RowMissing, job_of

TOGETHER = 500
"""Ids in one statement: databases bound how many values it may have."""

UNFINISHED = f"status NOT IN ({', '.join(repr(status) for status in sorted(FINAL))})"
_LISTED = f"status <> '{NOT_CREATED}'"
_TO_DOWNLOAD = "download = 'wanted'"
# These are the conditions of partial indexes: written with the same words, or the database does not use the index.


class Reading:
    """Reads the table of jobs. Every method raises `StateUnavailable` where the state cannot be read.

    `since` and `now` are by `Store.clock`.
    """

    _driver: Driver

    async def find(self, account: str, any_id: str) -> Job | None:
        """Return the job with this id of ours or of the upstream's."""
        found = await self._driver.rows(
            f"{SELECT} WHERE account = ? AND (id = ? OR task_id = ?)", account, any_id, any_id
        )
        return job_of(found[0]) if found else None

    async def live(self, account: str, caller: str, identity: str, since: float) -> Job | None:
        """Return the job that the same request has started and that still stands for it."""
        found = await self._driver.rows(
            f"{SELECT} WHERE account = ? AND caller = ? AND identity = ? AND live = 1"
            " AND (status <> ? OR settled_at > ?)",
            *(account, caller, identity, COMPLETED, since),
        )
        return job_of(found[0]) if found else None

    async def of_tasks(self, account: str, task_ids: Collection[str]) -> list[Job]:
        """Return the jobs of these tasks, as far as they have rows, oldest first."""
        found = await self._among(f"{SELECT} WHERE account = ? AND task_id IN", account, task_ids)
        return sorted(map(job_of, found), key=lambda job: (job.created_at, job.id))

    # --- lists ---

    async def page(self, account: str, *, status: str | None, limit: int, before: Place | None = None) -> list[Job]:
        """Return at most `limit` jobs, newest first; those that never came to be are not listed.

        Args:
            account: Whose.
            status: One status, `ACTIVE` for all that are unfinished, or None for any.
            limit: How many at most.
            before: Only jobs below this place, which is that of the last job of the page before.
        """
        which = {None: _LISTED, "ACTIVE": UNFINISHED}.get(status, "status = ?")
        values: list[object] = [status] if which == "status = ?" else []
        if before is not None:
            which += " AND (created_at, id) < (?, ?)"
            values += before
        found = await self._driver.rows(
            f"{SELECT} WHERE account = ? AND {which} ORDER BY created_at DESC, id DESC LIMIT ?",
            *(account, *values, limit),
        )
        return [job_of(row) for row in found]

    async def newest(self, account: str, limit: int) -> list[Job]:
        """Return the jobs that were begun last, the newest first, whatever became of them."""
        found = await self._driver.rows(
            f"{SELECT} WHERE account = ? ORDER BY started DESC, id DESC LIMIT ?", account, limit
        )
        return [job_of(row) for row in found]

    async def in_flight(self, account: str) -> list[Job]:
        """Return the jobs that have a task which is not final, oldest first."""
        return await self._where(f"{UNFINISHED} AND task_id IS NOT NULL", account)

    async def wanted_downloads(self, account: str) -> list[Job]:
        """Return the jobs whose videos are finished and have to be downloaded yet, oldest first."""
        return await self._where(_TO_DOWNLOAD, account)

    async def unsettled(self, account: str) -> list[Job]:
        """Return the jobs that have to be watched, found, or downloaded yet."""
        return [*await self._where(UNFINISHED, account), *await self.wanted_downloads(account)]

    async def unfinished(self, account: str, since: float) -> bool:
        """Return whether a job since then still has to be watched, found, or downloaded."""
        for condition in (UNFINISHED, _TO_DOWNLOAD):
            found = await self._driver.rows(
                f"SELECT 1 AS one FROM jobs WHERE account = ? AND {condition} AND started > ? LIMIT 1",  # noqa: S608
                *(account, since),
            )
            if found:
                return True
        return False

    # --- lost answers ---

    async def unanswered(self, account: str, now: float) -> list[Job]:
        """Return the jobs whose answer is lost: known so, or the process that waited for it must be gone."""
        return await self._where(
            "task_id IS NULL AND status IN ('SUBMITTING', 'UNKNOWN') AND (status = 'UNKNOWN' OR answer_by < ?)",
            *(account, now),
        )

    async def presumed_never(self, account: str) -> list[Job]:
        """Return the jobs that are said never to have come to be because no list has shown them: one may yet."""
        return await self._where("task_id IS NULL AND status = ? AND error_code = ?", account, NOT_CREATED, NOT_CREATED)

    async def sent_fields(self, job_id: str) -> str:
        """Return the fields that were sent, as JSON; a picture's bytes stand as `data:sha256=…`.

        Raises:
            RowMissing: There is no such job.
        """
        found = await self._driver.rows("SELECT input FROM jobs WHERE id = ?", job_id)
        if not found:
            raise RowMissing(job_id)
        return str(found[0]["input"])

    async def find_claimed(self, account: str, task_ids: Collection[str]) -> set[str]:
        """Return those of these tasks that a request of ours has; a task that was only seen here is nobody's."""
        found = await self._among(
            "SELECT task_id FROM jobs WHERE idempotency_key <> identity AND account = ? AND task_id IN",
            *(account, task_ids),
        )
        return {str(row["task_id"]) for row in found}

    async def last_task(self, job: Job, since: float) -> str | None:
        """Return the task of the request of ours that was sent last before this job's, since then."""
        found = await self._driver.rows(
            "SELECT task_id FROM jobs WHERE account = ? AND task_id IS NOT NULL AND idempotency_key <> identity"
            " AND started > ? AND started < ? ORDER BY started DESC LIMIT 1",
            *(job.account, since, job.started),
        )
        return str(found[0]["task_id"]) if found else None

    async def pictures_sent(self, account: str, links: Collection[str]) -> set[str]:
        """Return those of these links that were sent as links: none of them can stand for a picture sent as bytes."""
        found = await self._among("SELECT image FROM jobs WHERE mine = 1 AND account = ? AND image IN", account, links)
        return {str(row["image"]) for row in found}

    async def _where(self, condition: str, account: str, *values: object) -> list[Job]:
        found = await self._driver.rows(
            f"{SELECT} WHERE account = ? AND {condition} ORDER BY created_at, id", account, *values
        )
        return [job_of(row) for row in found]

    async def _among(self, sql: str, account: str, wanted: Collection[str]) -> list[Row]:
        """Return the rows of a statement that ends with `IN`, in as many statements as the values need."""
        rows: list[Row] = []
        for part in _parts(wanted):
            rows += await self._driver.rows(f"{sql} ({', '.join('?' * len(part))})", account, *part)
        return rows


def _parts(values: Collection[str]) -> Iterator[list[str]]:
    left = iter(values)
    while part := list(islice(left, TOGETHER)):
        yield part
