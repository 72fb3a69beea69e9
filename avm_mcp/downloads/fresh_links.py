"""Fresh links for videos whose link was refused or is missing, and whether a link has ended.

A link may be signed for a minute only. The API tells a fresh one until it deletes the video.
"""

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio

from avm_mcp.domain.errors import AvmError, TaskNotFound
from avm_mcp.domain.job import Job
from avm_mcp.downloads.attempts import Attempts
from avm_mcp.provider.protocol import Provider
from avm_mcp.store import FILE_LIFE, Store

logger = logging.getLogger(__name__)

LINK_INTERVAL = 60.0
"""Seconds between two queries for fresh links, for all videos and all processes of a state together."""

END_DOUBT = 7 * 24 * 3600.0
"""Seconds by our clock after which a link has ended even if the service could not be asked for its time."""


def link_end(job: Job) -> float:
    """Return when the link ends by the service's clock, in seconds since 1970."""
    return job.expires_at if job.expires_at is not None else (job.completed_at or job.created_at) + FILE_LIFE


class FreshLinks:
    """Asks the API for links.

    Args:
        store: Where a link is recorded.
        client: Asked for links, and for the time.
        account: Fingerprint of key and base URL.
        attempts: Returns what is known of a job's video.
        found: Called with each job whose link was told, and whether the link is a new one.
        now: Wall clock, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        *,
        account: str,
        attempts: Callable[[Job], Attempts],
        found: Callable[[Job, bool], None],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._client = client
        self._account = account
        self._attempts = attempts
        self._found = found
        self._now = now
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._queries = 0
        self._next_query = 0.0
        self._time_told = float("-inf")  # when the service last told the time in answer to a query of ours

    def reset_interval(self) -> None:
        """Start again with short intervals, after a video was saved or given up."""
        self._queries = 0

    async def query(self, job: Job) -> Job | None:
        """Ask for one job's link now; None if the API did not answer or the job has no row."""
        assert job.task_id is not None
        with suppress(AvmError):
            snapshot = await self._client.task(job.task_id)
            return await self._store.record_snapshot(self._account, snapshot, self._store.clock())
        return None

    async def renew(self, job: Job) -> None:
        """Ask for all links that were refused or are missing, in one query, at most once in `LINK_INTERVAL`.

        Every second query is about `job` alone, which is tried next: the list may lag, and links are short-lived.
        """
        now = anyio.current_time()
        if now < self._next_query:
            return
        self._queries += 1
        self._next_query = now + min(LINK_INTERVAL, 2.0**self._queries)
        if not await self._store.lease(f"links:{self._account}", self._holder, self._store.clock(), LINK_INTERVAL):
            return
        wanted = {other.task_id: other for other in await self._store.wanted_downloads(self._account)}
        broken = [other for other in wanted.values() if self._attempts(other).link_refused or other.video_url is None]
        heard = self._client.clock.heard
        try:
            await self._query_links(broken if self._queries % 2 else [job])
        except AvmError as error:
            logger.info("no fresh links: %s", error.message)
        if self._client.clock.heard > heard:  # every answer tells the time, errors too
            self._time_told = anyio.current_time()

    async def _query_links(self, jobs: Sequence[Job]) -> None:
        if len(jobs) > 1:
            snapshots = await self._client.tasks(urgent=False, only={job.task_id for job in jobs if job.task_id})
        elif jobs:
            (job,) = jobs
            assert job.task_id is not None
            try:
                snapshots = [await self._client.task(job.task_id, urgent=False)]
            except TaskNotFound:
                attempts = self._attempts(job)
                if attempts.unknown_since is None:
                    attempts.unknown_since = anyio.current_time()
                return
        else:
            return
        by_task = {job.task_id: job for job in jobs}
        for snapshot in snapshots:
            if (job := by_task.get(snapshot.id)) is None:
                continue
            self._attempts(job).unknown_since = None
            current = await self._store.record_snapshot(self._account, snapshot, self._store.clock())
            if current is not None and current.video_url is not None:
                attempts = self._attempts(job)
                attempts.link_refused = False
                is_new = current.video_url != job.video_url
                if is_new:
                    attempts.due = 0.0  # it may live for a minute only
                self._found(current, is_new)

    async def has_ended(self, job: Job) -> bool:
        """Return whether a link has ended for sure: by the service's clock, asked again now.

        If the service does not answer, the link has ended `END_DOUBT` after its end by our clock.
        """
        end = link_end(job)
        if self._client.clock.at_least() <= end:
            return False
        await self.renew(job)
        asked = anyio.current_time() - self._time_told <= LINK_INTERVAL
        return (asked and self._client.clock.at_least() > end) or self._now() > end + END_DOUBT
