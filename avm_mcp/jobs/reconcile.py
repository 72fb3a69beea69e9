"""Reconciles lost answers: finds out whether a paid request made a task, and never guesses (P1, P2).

A request whose answer was lost is compared with the service's list of tasks:

1. A row with our idempotency key is its task; a row with another key never is. Without keys its task is the only row
   of the same model and input that was made after the send and belongs to no job. Equal requests whose answers are all
   lost share such rows in the order in which they were sent; where there are fewer rows, the last sent have them.
2. If no row fits, and this service is known to keep keys, the same bytes are sent again with the same key: the service
   answers with the first task or makes the first one. That happens at most three times, not counting a resend that
   could not leave or was refused for the key. A young store searches the list first.
3. Otherwise the request stays UNKNOWN and is searched for again. It becomes NOT_CREATED only after `GOOD_LISTS` good
   lists over `GOOD_SECONDS`. A list is good if all its rows can be read, if it reaches back to before the send, if it
   shows the task that was made last before it, and if no row may be the request's task. Should a later list show the
   task after all, the job gets it.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress

import anyio

from avm_mcp.domain.errors import AuthFailed, AvmError, RateLimited, SubmissionUnknown, UpstreamUnavailable
from avm_mcp.domain.job import NOT_CREATED, SUBMITTING, UNKNOWN, Job
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs.claims import YOUNG, Claims
from avm_mcp.jobs.matching import Sent, match
from avm_mcp.jobs.poller import Poller
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import TaskList
from avm_mcp.store import FILE_LIFE, RowMissing, Send, Store, Superseded

logger = logging.getLogger(__name__)

MOST_RESENDS = 3
RESEND_WITHIN = 1800.0
"""Seconds after the first send. How long the service keeps a key is not documented, so a short time is assumed."""

RESEND_TIMEOUT = 100.0
"""Seconds to wait for the answer to a resend, and of its lease. Two processes must not resend at once: what the service
does then is not documented."""

GOOD_LISTS = 3
GOOD_SECONDS = 600.0
"""Good lists, and the seconds that they must span, without the task before it counts as never created."""

DOUBT = 24 * 3600.0
"""Seconds before the send in which an equal row without a job may still be the task: the service's clock may have been
ahead then (local time taken for UTC) and corrected since. Such a row is not taken, but it prevents NOT_CREATED."""

GIVE_UP = 24 * 3600.0
"""Seconds after the send when the search ends: the video would be deleted by then."""

SENDER_LIFE = 900.0
"""Seconds after its last sign of life in which a process on another machine may still send."""


class Reconciler:
    """Reconciles the lost answers of one account.

    Args:
        store: Holds what was sent.
        client: Queries the service.
        poller: Publishes what was found.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the store.
        timings: Intervals of the search, and its lease.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        poller: Poller,
        *,
        account: str,
        holder: str,
        timings: Timings,
    ) -> None:
        self._store = store
        self._client = client
        self._poller = poller
        self._account = account
        self._holder = holder
        self._timings = timings
        self._clock = store.clock
        self._nudged = anyio.Event()
        self.claims = Claims(store, client, poller, account=account)

    def nudge(self) -> None:
        """Let the loop search at once: an answer was lost."""
        self._nudged.set()

    async def run(self) -> None:
        """Search until cancelled."""
        timings = self._timings
        interval = timings.reconcile_interval
        while True:
            open_jobs = False
            try:
                open_jobs = await self.search()
            except AvmError as error:
                open_jobs = True
                logger.warning("reconciling lost answers: %s", error.message)
            except RowMissing:  # the store was moved meanwhile: the next search reads the new one
                open_jobs = True
            except Exception:
                open_jobs = True
                logger.exception("reconciling lost answers failed; going on")
            with anyio.move_on_after(interval if open_jobs else timings.idle_reconcile_interval):
                await self._nudged.wait()
                open_jobs = False
            longer = min(timings.longest_reconcile_interval, interval * 2)
            interval = longer if open_jobs else timings.reconcile_interval
            self._nudged = anyio.Event()

    async def search(self) -> bool:
        """Search once for every lost answer; return whether one is still open."""
        now = self._clock()
        gone = await self._store.unanswered(self._account, now)
        wanted = [*gone, *await self._store.presumed_never(self._account)]
        wanted = [job for job in wanted if now - job.started < GIVE_UP]
        if not wanted:
            return False
        if not await self._store.lease(f"reconcile:{self._account}", self._holder, now, self._timings.reconcile_lease):
            return True
        wanted = [await self._end_sender(job, now) for job in wanted]
        wanted = [job for job in wanted if job.task_id is None and job.status in (UNKNOWN, NOT_CREATED)]
        rows = await self._client.tasks(urgent=any(now - job.started < GOOD_SECONDS for job in gone))
        # Other requests are read after the list, which may show one that was sent meanwhile.
        unanswered = await self._store.unanswered(self._account, float("inf"))
        rivals = {job.id: await self.claims.describe_sent(job, rows) for job in unanswered}
        left = len(wanted)
        for job in wanted:
            if await self._settle(job, rows, [sent for job_id, sent in rivals.items() if job_id != job.id]):
                rivals.pop(job.id, None)
                left -= 1
        return left > 0

    async def _end_sender(self, job: Job, now: float) -> Job:
        """Return the job without its sender, if that process has ended or must have: it will send nothing more."""
        if job.status == SUBMITTING:
            text = "The process that sent the request ended before the answer came."
            job = await self._store.record_lapsed(job.id, text, now)
            self._poller.publish(job)
        if job.sender is not None:
            gone = self._store.machine.gone(job.sender)
            # Another machine's process cannot be checked. It reads the row before it sends, and its time-outs end.
            if gone or (gone is None and now > (job.answer_by or now) + SENDER_LIFE):
                job = await self._store.end_send(job.id, job.sender) or job
        return job

    # --- one lost answer ---

    async def _settle(self, job: Job, rows: TaskList, others: Sequence[Sent]) -> bool:
        """Decide about one job by one list; return whether it has its task now."""
        sent = await self.claims.describe_sent(job, rows)
        claimed = await self._store.find_claimed(self._account, [row.id for row in rows])
        lost = [other for other in others if other.job.status == UNKNOWN]
        waiting = [other for other in others if other.job.status == SUBMITTING]
        row = match(sent, rows, claimed, lost=lost, waiting=waiting)
        if row is not None:
            await self.claims.assign_task(job, row)
            return True
        if job.status == NOT_CREATED:
            return False
        if job.sender is not None:
            return False  # its process may still send it, so no list proves anything yet
        if any(other.idempotency_key is not None for other in rows) and await self._resend(job):
            return True
        open_rows = (row for row in rows if row.id not in claimed)
        if any(sent.is_possible(row, doubt=DOUBT) for row in open_rows) or not await self._would_list(sent, rows):
            return False
        job = await self._store.record_not_found(job, self._clock())
        if job.searches < GOOD_LISTS or self._clock() - (job.searched_since or 0.0) < GOOD_SECONDS:
            return False
        text = "The service's answer was lost, and its list of tasks shows that no task was made."
        self._poller.publish(await self._store.record_never_created(job, text, self._clock()))
        return False  # a late list may still show it

    async def _would_list(self, sent: Sent, rows: TaskList) -> bool:
        """Return whether this list would show the task if there were one.

        It must be whole, hold an older task or none at all, and show the task that was made last before the request:
        a list without that one is empty, late or cut.
        """
        older = any(row.created_at and row.created_at.timestamp() < sent.earliest for row in rows)
        known = await self._store.last_task(sent.job, sent.job.started - FILE_LIFE)
        return rows.whole and (older or not rows) and (known is None or any(row.id == known for row in rows))

    async def _resend(self, job: Job) -> bool:
        """Send the same bytes with the same key again, if that is allowed; return whether the job has its task now."""
        now, name = self._clock(), f"resend:{job.id}"
        if now - job.started > RESEND_WITHIN:
            return False
        if not await self._store.lease(name, self._holder, now, RESEND_TIMEOUT):
            return False
        try:
            # Its process may have ended before it had searched the list for what an earlier store had paid for.
            if (rows := await self.claims.list_recent(YOUNG)) and await self.claims.claim(job, rows) is not None:
                return True
            body = await self._store.begin_resend(job, MOST_RESENDS, now + self._timings.reconcile_lease)
            with anyio.move_on_after(RESEND_TIMEOUT):
                return body is not None and await self._post_again(job, body)
            return False
        finally:
            with anyio.move_on_after(1, shield=True), suppress(AvmError):
                await self._store.end_send(job.id, self._store.machine.process)
                await self._store.release(name, self._holder)

    async def _post_again(self, job: Job, body: bytes) -> bool:
        logger.warning("%s: sending the same request again with the same key", job.id)
        try:
            answer = await self._client.generate(
                job.model,
                body,
                idempotency_key=job.idempotency_key,
                max_credits=job.max_credits,
                permit=Send(self._store, job, self._store.machine.process),
            )
        except Superseded:
            logger.warning("%s: not sent again: its row has changed", job.id)
            return False
        except SubmissionUnknown as lost:
            logger.warning("%s: %s", job.id, lost.message)
            return False
        except AvmError as refusal:
            # The first send may have arrived all the same: this refusal proves nothing about it.
            logger.warning("%s: refused on resend: %s", job.id, refusal.message)
            if isinstance(refusal, AuthFailed | RateLimited | UpstreamUnavailable):  # not for the request itself
                await self._store.undo_resend(job.id)
            return False
        self._poller.publish(await self._store.record_accepted(job.id, answer))
        self._poller.nudge()
        return True
