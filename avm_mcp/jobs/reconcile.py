"""Lost answers: was the video started or not? Looked for until it is known, and never guessed (P1, P2).

A paid request whose answer was lost is compared with the upstream's own list of tasks:

1. A row that carries our idempotency key is ours; one that carries another key never is. Without keys, a row of the
   same model and input, made after our send and claimed by no other job, is ours if it is the only such one. Several
   requests that look equal and whose answers are all lost share out as many rows, in the order they were sent; where
   there are fewer rows, the last sent have them.
2. If there is none, and this upstream is known to keep the keys it is sent, the same bytes are sent again with the
   same key: it answers with the first task or makes the first one. At most three times; a resend that could not leave,
   or was refused for the key, does not count. A journal that is too young to know what was paid before looks for it in
   the list first.
3. Otherwise it stays unclear, and is looked for again and again. That it never came to be is said only after
   several good lists over a long enough time; a list is good if all its rows can be read, if it reaches back to before
   our send, if it shows the task that was made here last before it, and no row that may be ours. Should it show up in a
   later list after all, it is taken up again.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import anyio

from avm_mcp.domain.errors import AuthFailed, AvmError, RateLimited, SubmissionUnknown, UpstreamUnavailable
from avm_mcp.domain.job import CANCEL, FAILED, FINAL, NOT_CREATED, SUBMITTING, UNKNOWN, Job
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs.matching import Sent, made_at, match
from avm_mcp.jobs.poller import Poller
from avm_mcp.provider.bodies import picture_fields
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import Accepted, TaskList, TaskSnapshot
from avm_mcp.store import FILE_LIFE, RowMissing, Send, Store, Superseded

logger = logging.getLogger(__name__)

MOST_RESENDS = 3
RESEND_WITHIN = 1800.0
"""Seconds after the first send: how long an upstream keeps a key is not documented, so it is taken as short."""

RESEND_TIMEOUT = 100.0
"""Seconds that the answer to a resend is waited for. Meanwhile no other process sends it too, which the search's own
lease, far shorter, would allow: what the upstream makes of two first requests at once is not documented."""

GOOD_LISTS = 3
GOOD_SECONDS = 600.0
"""How many good lists, over how many seconds, must not show a task before it is said never to have come to be."""

CLOCK_SLACK = 3.0
"""Seconds: the `Date` header that tells the upstream's clock has whole seconds, and comes some time after."""

DOUBT = 24 * 3600.0
"""Seconds before our send in which an equal row that nobody has may still be its task, by a clock that was ahead at
the send, as one that takes the hour of its place for UTC, and was put right since. It is not taken, but is no proof."""

LATE = 180.0
"""Seconds after the last sign of a send during which its task is likely to be made, if a request hangs on its way. Rows
made later are only taken where none was made before."""

YOUNG = 3600.0
"""Seconds of a journal's life in which a task that was made before it may still be in the making."""

GIVE_UP = 24 * 3600.0
"""Seconds after the send when the search ends: the video would be gone."""

SENDER_LIFE = 900.0
"""Seconds after its last sign of life in which a process that cannot be asked whether it has ended may still send."""


class Reconciler:
    """Finds out what became of the lost answers of one account.

    Args:
        journal: Knows what was sent.
        client: Asks the upstream.
        watcher: Told what was found.
        account: Fingerprint of key and base URL.
        holder: Name of this process among those that share the state.
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

    def nudge(self) -> None:
        """Tell the loop that an answer was lost."""
        self._nudged.set()

    async def run(self) -> None:
        """Look until cancelled."""
        timings = self._timings
        interval = timings.reconcile_interval
        while True:
            open_jobs = False
            try:
                open_jobs = await self.look()
            except AvmError as error:
                open_jobs = True
                logger.warning("looking for lost answers: %s", error.message)
            except RowMissing:  # the journal was moved meanwhile: the next look reads the one that is there now
                open_jobs = True
            except Exception:
                open_jobs = True
                logger.exception("looking for lost answers failed; going on")
            with anyio.move_on_after(interval if open_jobs else timings.idle_reconcile_interval):
                await self._nudged.wait()
                open_jobs = False
            longer = min(timings.longest_reconcile_interval, interval * 2)
            interval = longer if open_jobs else timings.reconcile_interval
            self._nudged = anyio.Event()

    async def look(self) -> bool:
        """Look once for every lost answer; return whether one is still open."""
        now = self._clock()
        gone = await self._store.unanswered(self._account, now)
        wanted = [*gone, *await self._store.presumed_never(self._account)]
        wanted = [job for job in wanted if now - job.started < GIVE_UP]
        if not wanted:
            return False
        if not await self._store.lease(f"recover:{self._account}", self._holder, now, self._timings.reconcile_lease):
            return True
        wanted = [await self._given_up(job, now) for job in wanted]
        wanted = [job for job in wanted if job.task_id is None and job.status in (UNKNOWN, NOT_CREATED)]
        rows = await self._client.tasks(urgent=any(now - job.started < GOOD_SECONDS for job in gone))
        # Who else may own a row is read after the list: a request that was sent meanwhile may stand in it.
        unanswered = await self._store.unanswered(self._account, float("inf"))
        rivals = {job.id: await self._sent(job, rows) for job in unanswered}
        left = len(wanted)
        for job in wanted:
            if await self._settle(job, rows, [sent for job_id, sent in rivals.items() if job_id != job.id]):
                rivals.pop(job.id, None)
                left -= 1
        return left > 0

    async def _given_up(self, job: Job, now: float) -> Job:
        """Return the job as it is, once nobody waits for its answer; a sender that has ended sends no more."""
        if job.status == SUBMITTING:
            text = "The process that sent the request ended before the answer came."
            job = await self._store.record_lapsed(job.id, text, now)
            self._poller.publish(job)
        if job.sender is not None:
            gone = self._store.machine.gone(job.sender)
            # One elsewhere cannot be asked. It reads the row before it sends, and its time-outs end.
            if gone or (gone is None and now > (job.answer_by or now) + SENDER_LIFE):
                job = await self._store.end_send(job.id, job.sender) or job
        return job

    # --- a journal that cannot know what was started before ---

    async def recent(self, window: float) -> list[TaskSnapshot]:
        """Return what the upstream is making, or has made within `window`, where the journal is too young to know it.

        Without this a request that was paid before the journal was lost, or in memory of another process, would be
        paid again.
        """
        if self._store.durable and self._clock() - self._store.born > max(window, YOUNG):
            return []
        rows = await self._client.tasks()
        earliest = self._client.clock.at_least() - window
        ended = ((row, row.completed_at or row.created_at) for row in rows)
        return [row for row, at in ended if row.status not in FINAL or (at is not None and at.timestamp() > earliest)]

    async def claim(self, job: Job, rows: Sequence[TaskSnapshot]) -> Job | None:
        """Give a request that is about to be sent the task that the same request has made already, if there is one.

        Of the equal tasks that no job has, take n is the n-th that was made, or the last where there are fewer: a
        version too few can be asked for again, a version paid twice cannot be given back.
        """
        sent = replace(await self._sent(job, rows), earliest=float("-inf"))
        claimed = await self._store.find_claimed(self._account, [row.id for row in rows])
        lost = [await self._sent(other, rows) for other in await self._store.unanswered(self._account, float("inf"))]
        free = [
            row
            for row in rows
            if row.id not in claimed
            and row.status not in (FAILED, CANCEL)
            and not any(other.job.id != job.id and other.is_row(row) for other in lost)
            and sent.may_be_row(row.model_copy(update={"idempotency_key": None}))
        ]
        free.reverse()  # the list has the newest first
        free.sort(key=made_at)
        for row in free[job.take - 1 :] or free[-1:]:
            found = await self._discover(job, row)
            if found.task_id == row.id:  # unless another request has just claimed it
                return found
        return None

    # --- one lost answer ---

    async def _settle(self, job: Job, rows: TaskList, others: Sequence[Sent]) -> bool:
        """Decide about one job by one list; return whether it has its task."""
        sent = await self._sent(job, rows)
        claimed = await self._store.find_claimed(self._account, [row.id for row in rows])
        lost = [other for other in others if other.job.status == UNKNOWN]
        waiting = [other for other in others if other.job.status == SUBMITTING]
        row = match(sent, rows, claimed, lost=lost, waiting=waiting)
        if row is not None:
            await self._discover(job, row)
            return True
        if job.status == NOT_CREATED:
            return False
        if job.sender is not None:
            return False  # a process that was stopped may send it yet: till it has ended, no list proves anything
        if any(other.idempotency_key is not None for other in rows) and await self._resent(job):
            return True
        open_rows = (row for row in rows if row.id not in claimed)
        if any(sent.may_be_row(row, doubt=DOUBT) for row in open_rows) or not await self._would_show(sent, rows):
            return False
        job = await self._store.record_not_found(job, self._clock())
        if job.searches < GOOD_LISTS or self._clock() - (job.searched_since or 0.0) < GOOD_SECONDS:
            return False
        text = "The service's answer was lost, and its list of tasks shows that no task was made."
        self._poller.publish(await self._store.record_never_created(job, text, self._clock()))
        return False  # a list that lags may show it yet

    async def _sent(self, job: Job, rows: Sequence[TaskSnapshot]) -> Sent:
        names = picture_fields(job.model)
        shown = {str(row.input[name]) for row in rows for name in names if row.input.get(name)}
        # Dates of the service's clock, by how long ago it was sent: whatever wall clock the sender had.
        at, service_now = self._clock(), self._client.service_now()
        last_sign = job.answer_by if job.answer_by is not None else job.started
        return Sent(
            job=job,
            fields=json.loads(await self._store.sent_fields(job.id)),
            pictures=frozenset(await self._store.pictures_sent(self._account, shown)),
            earliest=service_now - (at - job.started) - CLOCK_SLACK,
            latest=service_now - (at - last_sign) + LATE,
        )

    async def _would_show(self, sent: Sent, rows: TaskList) -> bool:
        """Return whether a list would show the task if there were one: it holds an older task, or nothing at all.

        One that lacks the task that this journal knows to have been made last before it is empty, late or cut.
        """
        older = any(row.created_at and row.created_at.timestamp() < sent.earliest for row in rows)
        known = await self._store.last_task(sent.job, sent.job.started - FILE_LIFE)
        return rows.whole and (older or not rows) and (known is None or any(row.id == known for row in rows))

    async def _resent(self, job: Job) -> bool:
        """Send the same bytes with the same key again, where that may be done; return whether it was answered."""
        now, name = self._clock(), f"resend:{job.id}"
        if now - job.started > RESEND_WITHIN:
            return False
        if not await self._store.lease(name, self._holder, now, RESEND_TIMEOUT):
            return False
        try:
            # Its process may have ended before it could look for what a journal of before had paid for.
            if (rows := await self.recent(YOUNG)) and await self.claim(job, rows) is not None:
                return True
            body = await self._store.begin_resend(job, MOST_RESENDS, now + self._timings.reconcile_lease)
            with anyio.move_on_after(RESEND_TIMEOUT):
                return body is not None and await self._sent_again(job, body)
            return False
        finally:
            with anyio.move_on_after(1, shield=True), suppress(AvmError):
                await self._store.end_send(job.id, self._store.machine.process)
                await self._store.release(name, self._holder)

    async def _sent_again(self, job: Job, body: bytes) -> bool:
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
            # The first send may have come through all the same, so this refusal proves nothing about it.
            logger.warning("%s: refused on resend: %s", job.id, refusal.message)
            if isinstance(refusal, AuthFailed | RateLimited | UpstreamUnavailable):  # nor was it about the request
                await self._store.undo_resend(job.id)
            return False
        self._poller.publish(await self._store.record_accepted(job.id, answer))
        self._poller.nudge()
        return True

    async def _discover(self, job: Job, row: TaskSnapshot) -> Job:
        """Give the job its task, and tell it. If this is cut short, the next look finds it again."""
        answer = Accepted(taskId=row.id, status=row.status, creditsCharged=row.credits_charged)
        found = await self._store.record_accepted(job.id, answer)
        found = await self._store.record_snapshot(self._account, row, self._clock()) or found
        logger.warning("%s: found: it is task %s", job.id, found.public_id)
        self._poller.publish(found)
        self._poller.nudge()
        return found
