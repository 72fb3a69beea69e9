"""One task: found by its id, waited for, and described."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio

from avm_mcp.domain.errors import AuthFailed, BlockedOnTheWay, StateUnavailable, TaskNotFound
from avm_mcp.domain.ids import bare_id, named
from avm_mcp.domain.job import NOT_CREATED, Job
from avm_mcp.domain.next_steps import Action
from avm_mcp.downloads.mp4 import video_is_whole
from avm_mcp.downloads.partials import video_present
from avm_mcp.jobs.discover import FOREIGN_PREFIX, add_discovered_job, derive_foreign_id
from avm_mcp.jobs.upstream import Upstream, answer_soon
from avm_mcp.jobs.views import Beat, Found
from avm_mcp.provider.wire import TaskList
from avm_mcp.store import Store

BEAT = 3.0
"""Seconds between two signs of life to somebody who waits. Five are promised (P4); the rest is for a busy machine, on
which a thousand callers hear one up to a second late."""

EXPLAIN_TIMEOUT = 1.0
"""Seconds, within the wait asked for, that the explanation of a refusal is waited for."""

SAVE_TIMEOUT = 5.0
"""Seconds that a finished video is waited for on its way to the disk, so that its path is in the answer."""


class Tasks:
    """The tasks of one account.

    Args:
        store: What is known here.
        upstream: What asks, polls and saves.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
    """

    def __init__(self, store: Store, upstream: Upstream, *, account: str, now: Callable[[], float]) -> None:
        self.store = store
        self.upstream = upstream
        self.account = account
        self.now = now

    async def find(self, given: str) -> Found:
        """Return the job with this id: ours, the service's, or the URI of either; an unfinished one is polled soon.

        Raises:
            TaskNotFound: Neither the state nor the service knows it under this key.
        """
        task_id = bare_id(given)
        upstream = self.upstream
        try:
            job = await self.store.find(self.account, task_id)
        except StateUnavailable as error:  # this call started nothing; whether the task was paid for is not known
            raise error.amend(task_id=task_id, charged="unknown", next_step=Action.REPAIR_THEN_GET_TASK()) from error
        if job is None:
            job = await self._discover(task_id)
        upstream.poller.publish(job)
        if not job.final:
            upstream.poller.poll_soon(job)
        elif job.download == "wanted":
            upstream.downloader.nudge()
        return await self.describe(await self.check_file(job))

    async def current(self, job: Job) -> Job:
        """Return the newest state that is known; without the state that is what the caller knows (P2)."""
        if (latest := self.upstream.poller.latest(job.id)) is not None:
            return latest
        with suppress(StateUnavailable):
            return await self.store.find(self.account, job.id) or job
        return job

    async def change(self, job: Job) -> None:
        """Return once the job is known to be newer than `job`."""
        poller = self.upstream.poller
        while (poller.latest(job.id) or job) == job:
            await poller.wait_for_change()

    async def wait(self, found: Found, seconds: float, beat: Beat | None = None) -> Found:
        """Wait until the job is done or the time is up, whichever comes first; either is a normal result.

        Args:
            found: What is known so far.
            seconds: The longest wait. A video on its way to the disk may add up to five seconds.
            beat: Called with the job, at once and then at least every five seconds.
        """
        end = anyio.current_time() + seconds
        job = found.job
        while not job.final and anyio.current_time() < end:
            with anyio.move_on_at(end):
                due = anyio.current_time() + BEAT
                if beat is not None:
                    await beat(job, await self.upstream.poller.progress(job))
                with anyio.move_on_at(due):
                    await self.change(job)
            job = await self.current(job)
        if beat is not None and job.download == "wanted":
            await beat(job, await self.upstream.poller.progress(job))
        if job.download == "wanted":
            job = await self.current(job)  # what the caller knows may be an old try's failure
        with anyio.move_on_after(min(SAVE_TIMEOUT, seconds)):
            while job.download == "wanted" and job.download_error is None:
                await self.change(job)
                job = await self.current(job)
        # A refusal is raised as the error it is, however late it came; what explains it may still be asked for.
        left = min(EXPLAIN_TIMEOUT, end - anyio.current_time())
        await self.upstream.sender.answer(job.id, max(0.0, left) if job.status == NOT_CREATED else 0)
        return await self.describe(job, deduplicated=found.deduplicated, notes=found.notes)

    async def _discover(self, given: str) -> Job:
        """Add a task made elsewhere with the same key to the store, by its id or by the one that a list has shown."""
        ours, upstream = given.startswith("sub_"), self.upstream
        try:
            if not ours:
                seen = await answer_soon(upstream.client.task(given))
            else:
                nobody = TaskList((), whole=False)
                rows = await answer_soon(upstream.poller.list_tasks()) if given.startswith(FOREIGN_PREFIX) else nobody
                seen = next((row for row in rows if derive_foreign_id(self.account, row.id) == given), None)
        except TaskNotFound:
            seen = None
        if seen is None:
            where = "No submission {} is known here." if ours else "No task {} under this key."
            gone = " A sandbox forgets its tasks when it ends; what was saved stays."
            text = where.format(named(given)) + (gone if upstream.sandboxed and not ours else "")
            raise TaskNotFound(text, field="task_id", task_id=given)
        mine = await self.store.is_rebuilding(self.account, self.store.clock())  # then all count as made here
        return await add_discovered_job(self.store, seen, self.account, self.now(), mine=mine)

    async def check_file(self, job: Job) -> Job:
        """Return the job with an error where its saved file was moved or deleted since; the row keeps the path."""
        if job.download == "saved" and job.file_path is not None and not video_present(Path(job.file_path)):
            return replace(job, download_error="moved or deleted since it was saved")
        return job

    async def describe(self, job: Job, *, deduplicated: bool = False, notes: Sequence[str] = ()) -> Found:
        """Return what a caller should know of a job."""
        said = list(notes)
        quoted, charged = job.credits_quoted, job.credits_charged
        if job.credits_basis == "quote" and quoted is not None and charged is not None and charged > quoted:
            said.append(f"The service charged {charged} credits although it quoted {quoted}.")
        if not (self.store.durable or job.final):
            said.append("This task is kept in memory only: note its id; a process that comes later does not know it.")
        if self.upstream.sandboxed:
            said.append("This is the sandbox: no money is spent, and the video is a placeholder.")
        if job.download_error is not None and job.download == "saved":
            said.append(f"The saved file was {job.download_error}: {job.file_path}")
        elif job.download == "saved" and job.file_path is not None and not video_is_whole(Path(job.file_path)):
            said.append("The saved file looks cut: the service sent no more of it.")
        poller, now = self.upstream.poller, self.upstream.client.clock.at_least()
        if job.video_url is not None and job.expires_at is not None and now > job.expires_at:
            job = replace(job, video_url=None)
            said.append("Its link is dead: the service keeps a finished video for 24 hours.")
        if not job.final and isinstance(poller.trouble, AuthFailed | BlockedOnTheWay):
            said.append(f"Its state cannot be read: {poller.trouble.message}")
        progress = await poller.progress(job)
        same = deduplicated or self.upstream.sender.known(job.id)
        return Found(job, progress, same, tuple(dict.fromkeys(said)))
