"""The use cases: start, wait, look, list, cancel, quote, account. No MCP, no HTTP, no printing.

A call is a window on a job, not the job: what pays, watches and saves runs in the runtime's task group, and a
caller that hangs up takes nothing with it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import (
    AuthFailed,
    AvmError,
    BlockedOnTheWay,
    InvalidInput,
    NotCancellable,
    NotConfigured,
    StateUnavailable,
    TaskNotFound,
    UpstreamUnavailable,
)
from avm_mcp.domain.ids import bare_id, named
from avm_mcp.domain.job import CANCEL, COMPLETED, NOT_CREATED, SUBMITTING, UNKNOWN, Job, Price, Spending
from avm_mcp.domain.next_steps import Action
from avm_mcp.domain.request import VideoRequest
from avm_mcp.downloads.downloader import Downloader
from avm_mcp.downloads.failures import VideoError, VideoUnwritable
from avm_mcp.downloads.mp4 import video_is_whole
from avm_mcp.downloads.partials import video_present
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.client_timeouts import ClientTimeouts
from avm_mcp.jobs.discover import FOREIGN, Discoverer, discovered_job, foreign_id, jobs_of
from avm_mcp.jobs.poller import Poller, Progress
from avm_mcp.jobs.reconcile import Reconciler
from avm_mcp.jobs.sending import Sender
from avm_mcp.jobs.start_worker import WorkerStarter, lease_name
from avm_mcp.jobs.submit import Submitter
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import Account, TaskList
from avm_mcp.store import Store, cursors

logger = logging.getLogger(__name__)

SUBMIT_WAIT = 3.0
"""Seconds that a submit waits for the API's answer before it returns without one; the request goes on (P4)."""

BEAT = 3.0
"""Seconds between two signs of life to somebody who waits. Five are promised; what is between is for a busy machine: a
thousand who wait on two cores that others keep busy hear one up to a second late."""

EXPLAIN_TIMEOUT = 1.0
"""Seconds that a refusal is waited for to be explained, within the wait asked for: a beat's gap and it make five."""

SAVE_TIMEOUT = 5.0
"""Seconds that a finished video is waited for on its way to the disk, so that its path is in the answer."""

ASK_TIMEOUT = 10.0
"""Seconds that a call waits for what it asks the service, its turn to ask included: after a 429 everybody's turn can be
two minutes away, and a host would cut the call with nothing told."""

T = TypeVar("T")

Beat = Callable[[Job, Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
    """What a use case tells about one job.

    Attributes:
        job: Its newest state.
        progress: Where it stands.
        deduplicated: The request had been made before; nothing was started.
        notes: Plain sentences that the caller should know besides.
    """

    job: Job
    progress: Progress
    deduplicated: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of tasks, newest first."""

    found: tuple[Found, ...]
    next_cursor: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account has, may spend, and where its files go; without a key it is nobody's."""

    balance: int | None
    today: Spending
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()
    keyless: bool = False


@dataclass(slots=True)
class Upstream:
    """Everything that needs a key."""

    client: Provider
    poller: Poller
    downloader: Downloader
    reconciler: Reconciler
    discoverer: Discoverer
    submitter: Submitter
    sender: Sender
    worker_starter: WorkerStarter | None = None


class Service:
    """The use cases of one account.

    Args:
        journal: What is known here.
        prices: What videos cost, and what may be spent.
        upstream: None without a key; then only what needs no key works.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        prices: Prices,
        upstream: Upstream | None,
        *,
        account: str,
        now: Callable[[], float],
    ) -> None:
        self.account = account
        self.prices = prices
        self.timeout = ClientTimeouts(store, now)
        self._store = store
        self._given = upstream
        self._now = now

    @property
    def _upstream(self) -> Upstream:
        if self._given is None:
            raise NotConfigured("Not set up: no API key. Nothing was started.")
        return self._given

    @property
    def configured(self) -> bool:
        return self._given is not None

    @property
    def trouble(self) -> AvmError | None:
        """Return why the last look at the service failed; None after one that succeeded."""
        return self._given.poller.trouble if self._given is not None else None

    async def worker_alive(self) -> bool:
        """Return whether a background worker of this account is at work."""
        return await self._store.holder(lease_name(self.account), self._store.clock()) is not None

    @property
    def sandboxed(self) -> bool:
        """Return whether videos are placeholders: from the embedded sandbox, or one that says so in its answers."""
        return self._given is not None and self._given.client.sandbox_speed is not None

    # --- start ---

    async def question(
        self, request: VideoRequest, *, max_credits: int | None = None, caller: str = ""
    ) -> Price | None:
        """Return the price that a person should be asked about before `submit`; None where none needs to be."""
        return await self._upstream.submitter.question(request, max_credits=max_credits, caller=caller)

    async def submit(
        self,
        request: VideoRequest,
        *,
        max_credits: int | None = None,
        caller: str = "",
        approval: bool | None = None,
        began: float = float("inf"),
    ) -> Found:
        """Start a video, or return the one that the same request has started already.

        Returns within about three seconds. A request that is still waiting for its answer goes on, and its job says
        SUBMITTING; one whose answer was lost says UNKNOWN. The seconds count from `began`, by the event loop's clock.

        Raises:
            AvmError: Any leaf; nothing was charged, unless the error says otherwise.
        """
        submitter, end = self._upstream.submitter, min(began, anyio.current_time()) + SUBMIT_WAIT
        reservation = await submitter.start(request, max_credits=max_credits, caller=caller, approval=approval)
        with anyio.move_on_at(end):
            await self._upstream.sender.answer(reservation.job.id, SUBMIT_WAIT)
            while not reservation.duplicate and (job := await self._current(reservation.job)).status == UNKNOWN:
                await self._change(job)  # recovery looks at once, and often finds it
        return await self._found(await self._current(reservation.job), deduplicated=reservation.duplicate)

    # --- wait and look ---

    async def wait(self, found: Found, seconds: float, beat: Beat | None = None) -> Found:
        """Wait until the job is done or the time is up, whichever comes first; either is a normal result.

        Args:
            found: What is known so far.
            seconds: The longest wait. A video on its way to the disk may add up to five seconds.
            beat: Told where the job stands, at once and then at least every five seconds.
        """
        end = anyio.current_time() + seconds
        job = found.job
        while not job.final and anyio.current_time() < end:
            with anyio.move_on_at(end):
                due = anyio.current_time() + BEAT
                if beat is not None:
                    await beat(job, await self._upstream.poller.progress(job))
                with anyio.move_on_at(due):
                    await self._change(job)
            job = await self._current(job)
        if beat is not None and job.download == "wanted":
            await beat(job, await self._upstream.poller.progress(job))
        if job.download == "wanted":
            job = await self._current(job)  # what the caller knows may be an old try's failure
        with anyio.move_on_after(min(SAVE_TIMEOUT, seconds)):
            while job.download == "wanted" and job.download_error is None:
                await self._change(job)
                job = await self._current(job)
        # A refusal is told as the error it is, however late it came; what explains it may still be asked for.
        left = min(EXPLAIN_TIMEOUT, end - anyio.current_time())
        await self._upstream.sender.answer(job.id, max(0.0, left) if job.status == NOT_CREATED else 0)
        return await self._found(job, deduplicated=found.deduplicated, notes=found.notes)

    async def _change(self, job: Job) -> None:
        """Return once the job is known to be newer than `job`."""
        poller = self._upstream.poller
        while (poller.latest(job.id) or job) == job:
            await poller.wait_for_change()

    async def _current(self, job: Job) -> Job:
        """Return the newest state that is known; without the journal that is what the caller knows (P2)."""
        if (latest := self._upstream.poller.latest(job.id)) is not None:
            return latest
        with suppress(StateUnavailable):
            return await self._store.find(self.account, job.id) or job
        return job

    async def find(self, given: str) -> Found:
        """Return the job with this id: ours, the upstream's, or the URI of either; looks at an unfinished one soon.

        Raises:
            TaskNotFound: Neither the journal nor the upstream knows it under this key.
        """
        task_id = bare_id(given)
        upstream = self._upstream
        try:
            job = await self._store.find(self.account, task_id)
        except StateUnavailable as error:  # which says of this call that it started nothing, not of the task
            error.task_id, error.charged = task_id, "unknown"
            error.next_step = Action.REPAIR_THEN_GET_TASK()
            raise
        if job is None:
            job = await self._discovered(task_id)
        upstream.poller.publish(job)
        if not job.final:
            upstream.poller.poll_soon(job)
        elif job.download == "wanted":
            upstream.downloader.nudge()
        return await self._found(await self._noticed(job))

    async def _discovered(self, given: str) -> Job:
        """Take a task made elsewhere with the same key under watch, by its id or by the one that a list has shown."""
        ours, upstream = given.startswith("sub_"), self._upstream
        try:
            if not ours:
                seen = await _soon(upstream.client.task(given))
            else:
                nobody = TaskList((), whole=False)
                rows = await _soon(upstream.poller.list_tasks()) if given.startswith(FOREIGN) else nobody
                seen = next((row for row in rows if foreign_id(self.account, row.id) == given), None)
        except TaskNotFound:
            seen = None
        if seen is None:
            where = "No submission {} is known here." if ours else "No task {} under this key."
            gone = " A sandbox forgets its tasks when it ends; what was saved stays."
            text = where.format(named(given)) + (gone if self.sandboxed and not ours else "")
            raise TaskNotFound(text, field="task_id", task_id=given)
        mine = await self._store.is_rebuilding(self.account, self._store.clock())  # then all count as made here
        return await discovered_job(self._store, seen, self.account, self._now(), mine=mine)

    async def _noticed(self, job: Job) -> Job:
        """A video that was moved or deleted since it was saved is said to be so; the row keeps where it was."""
        if job.download == "saved" and job.file_path is not None and not video_present(Path(job.file_path)):
            return replace(job, download_error="moved or deleted since it was saved")
        return job

    async def _found(self, job: Job, *, deduplicated: bool = False, notes: Sequence[str] = ()) -> Found:
        said = list(notes)
        quoted, charged = job.credits_quoted, job.credits_charged
        if job.credits_basis == "quote" and quoted is not None and charged is not None and charged > quoted:
            said.append(f"The service charged {charged} credits although it quoted {quoted}.")
        if not (self._store.durable or job.final):
            said.append("This task is kept in memory only: note its id; a process that comes later does not know it.")
        if self.sandboxed:
            said.append("This is the sandbox: no money is spent, and the video is a placeholder.")
        if job.download_error is not None and job.download == "saved":
            said.append(f"The saved file was {job.download_error}: {job.file_path}")
        elif job.download == "saved" and job.file_path is not None and not video_is_whole(Path(job.file_path)):
            said.append("The saved file looks cut: the service sent no more of it.")
        poller, now = self._upstream.poller, self._upstream.client.clock.at_least()
        if job.video_url is not None and job.expires_at is not None and now > job.expires_at:
            job = replace(job, video_url=None)
            said.append("Its link is dead: the service keeps a finished video for 24 hours.")
        if not job.final and isinstance(poller.trouble, AuthFailed | BlockedOnTheWay):
            said.append(f"Its state cannot be read: {poller.trouble.message}")
        progress = await poller.progress(job)
        same = deduplicated or self._upstream.sender.known(job.id)
        return Found(job, progress, same, tuple(dict.fromkeys(said)))

    async def save(self, given: str, folder: Path | None = None) -> Found:
        """Save a finished video now: one that was not saved, was lost, or should lie somewhere else too.

        Raises:
            UpstreamUnavailable: It could not be fetched just now.
            InvalidInput: The folder cannot be written.
            TaskNotFound: There is no video, or its link is dead.
        """
        found = await self.find(given)
        if found.job.status != COMPLETED:
            raise TaskNotFound(
                f"Task {found.job.public_id} has no video: it is {found.job.status}.",
                task_id=found.job.public_id,
                charged=found.job.charged,
                next_step=Action.NOTHING() if found.job.final else Action.WAIT_FOR_END(),
            )
        try:
            await self._upstream.downloader.fetch_now(found.job, folder)
        except VideoError as error:
            over = self._upstream.client.clock.at_least() > (found.job.expires_at or float("inf"))
            leaf = UpstreamUnavailable if error.retryable and not over else TaskNotFound
            if isinstance(error, VideoUnwritable):
                leaf = InvalidInput
            raise leaf(
                f"The video of task {found.job.public_id} could not be saved: {error.message.rstrip('.')}.",
                task_id=found.job.public_id,
                charged=found.job.charged,
                next_step=Action.VIDEO_GONE() if over and not isinstance(error, VideoUnwritable) else error.next_step,
            ) from error
        return await self._found(await self._current(found.job))

    # --- list, cancel, account ---

    async def list(self, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        """Return the union of what the upstream lists and the journal holds, newest first.

        Raises:
            AvmError: The service could not be asked, and nothing is known here.
        """
        after = cursors.read(cursor) if cursor else None
        notes: list[str] = []
        upstream = self._upstream
        trouble: AvmError | None = None
        try:
            listed = await _soon(upstream.poller.list_tasks())
        except AvmError as error:
            trouble, listed = error, TaskList((), whole=False)
            why = "was not asked" if isinstance(error, StateUnavailable) else "could not be asked"
            notes.append(f"The service {why}. {error.message} This is what is known here.")
        if listed.left_out:
            told = len(listed) + listed.left_out
            notes.append(f"The service lists {told:,} tasks; its newest {len(listed):,} are looked at here.")
        rows = await jobs_of(self._store, listed, self.account, self._now, upstream.poller.publish)
        for job in await self._store.page(self.account, status=status, limit=limit + 1, before=after):
            rows.setdefault(job.task_id or job.id, job)
        if trouble is not None and not rows and not await self._store.page(self.account, status=None, limit=1):
            raise trouble  # to find nothing where nobody could be asked is no answer
        wanted = [job for job in rows.values() if _matches(job, status)]
        wanted.sort(key=cursors.place, reverse=True)
        page = [job for job in wanted if after is None or cursors.place(job) < after]
        shown = page[:limit]
        found = tuple([await self._found(await self._noticed(job)) for job in shown])
        return Listing(found, cursors.after(shown[-1]) if len(page) > limit else None, tuple(notes))

    async def cancel(self, given: str) -> Found:
        """Cancel a task that is still SUBMITTED; one that is cancelled already is a success too.

        Raises:
            NotCancellable: It is being made, or ended, or its answer is lost.
        """
        found = await self.find(given)
        if found.job.status == SUBMITTING:
            found = await self.wait(found, SUBMIT_WAIT)
        job = found.job
        if job.status == NOT_CREATED:
            raise NotCancellable(
                f"Nothing to cancel: {job.id} was never created.",
                task_id=job.id,
                charged=job.charged,
                next_step=Action.NOTHING(),
            )
        if job.task_id is None:
            raise NotCancellable(
                f"Not cancelled: whether {job.id} was started is not known yet; its answer is being looked for.",
                task_id=job.id,
                charged=job.charged,
            )
        if job.status != CANCEL:
            try:
                if job.final:
                    raise NotCancellable("It has ended.")
                await self._ask_to_cancel(job)
            except (NotCancellable, TaskNotFound):
                await self._poll_now(job)
                job = await self._current(job)
                if job.status != CANCEL:
                    step = Action.SEE_TASK() if job.final else None
                    raise NotCancellable(
                        _why_not(job), task_id=job.public_id, charged=job.charged, next_step=step
                    ) from None
            return await self._cancelled(job)
        return await self._found(await self._current(job))

    async def _cancelled(self, job: Job) -> Found:
        """Return the job that the service has just cancelled; the watcher sees what came back, should it not be now."""
        try:
            await self._poll_now(job)
        except AvmError as error:
            note = f"What came back could not be read yet. {error.message}"
            return await self._found(replace(job, status=CANCEL), notes=(note,))
        return await self._found(await self._current(job))

    async def _ask_to_cancel(self, job: Job) -> None:
        assert job.task_id is not None
        try:
            await _soon(self._upstream.client.cancel(job.task_id))
        except (NotCancellable, TaskNotFound):
            raise
        except AvmError as error:
            _about(error, job)
            if isinstance(error, UpstreamUnavailable):  # it may have been heard
                error.charged = "unknown"
                error.next_step = Action.CHECK_CANCELLED()
            raise

    async def _poll_now(self, job: Job) -> None:
        assert job.task_id is not None
        try:
            seen = await _soon(self._upstream.client.task(job.task_id))
        except AvmError as error:
            raise _about(error, job) from None
        known = await self._store.record_snapshot(self.account, seen, self._store.clock())
        if known is not None:
            self._upstream.poller.publish(known)

    async def funds(self) -> Funds:
        """Return balance, spending and models; what the API does not tell is left out."""
        today = await self._store.spending_today(self.account, self._now())
        known: tuple[str, ...] = tuple(catalog.MODELS)
        if self._given is None:
            return Funds(None, today, known, ("There is no API key, so no video can be made.",), keyless=True)
        account = await _soon(self._given.client.account())
        known, notes = _offered(account, known) if account else (known, ("The service does not tell the balance.",))
        warned = (self._store.warning,) if self._store.warning else ()
        return Funds(account.balance if account else None, today, known, (*notes, *warned))

    # --- after a restart ---

    async def reconcile(self) -> None:
        """Put what was left unfinished on the board, so that it is watched and saved again (P2, P3)."""
        upstream = self._upstream
        left = False
        for job in await self._store.unsettled(self.account):
            upstream.poller.publish(job)
            left = True
        if left and upstream.worker_starter is not None:
            await upstream.worker_starter.ensure()
        upstream.poller.nudge()
        upstream.downloader.nudge()


async def _soon(answer: Awaitable[T]) -> T:
    """Return what the service answers, or say after a while that it did not."""
    with anyio.move_on_after(ASK_TIMEOUT):
        return await answer
    raise UpstreamUnavailable(f"The service did not answer within {ASK_TIMEOUT:g} s, or asked everybody for a pause.")


def _about(error: AvmError, job: Job) -> AvmError:
    """Return the error with the id it must not be shown without (P2), and whether that job is paid for."""
    error.task_id = job.public_id
    error.charged = job.charged
    return error


def _matches(job: Job, status: str | None) -> bool:
    return status is None or job.status == status or (status == "ACTIVE" and not job.final)


def _why_not(job: Job) -> str:
    state = {"PROGRESS": "is being made and can no longer be stopped", COMPLETED: "is ready", "FAILED": "has failed"}
    return f"Not cancelled: task {job.public_id} {state.get(job.status, f'is {job.status}')}."


def _offered(account: Account, known: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which of our models the account has, and what to say of those it lacks."""
    if not account.supported_models:
        return known, ()
    missing = [name for name in known if name not in account.supported_models]
    note = (f"Not offered to this account: {', '.join(missing)}.",) if missing else ()
    return tuple(name for name in known if name in account.supported_models), note
