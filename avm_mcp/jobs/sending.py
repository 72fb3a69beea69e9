"""Sends paid requests, each in a task of its own, and writes down what comes of them (P1, P2).

Nothing here depends on the caller staying. A request is sent once its row is written, and its outcome is written
whether or not anybody still waits for it.
"""

import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
from anyio.abc import TaskGroup

from avm_mcp.domain.errors import (
    AvmError,
    StateUnavailable,
    SubmissionUnknown,
    UpstreamUnavailable,
)
from avm_mcp.domain.job import NOT_CREATED, SUBMITTING, UNKNOWN, Job
from avm_mcp.domain.next_steps import Action
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.poller import Poller
from avm_mcp.jobs.prepared import Prepared
from avm_mcp.jobs.reconcile import Reconciler
from avm_mcp.jobs.start_worker import WorkerStarter
from avm_mcp.provider.protocol import Provider
from avm_mcp.store import RowMissing, Send, Store, Superseded

logger = logging.getLogger(__name__)

KEPT_AFTER = 1.0
"""Seconds without an answer after which the background worker is started, since a host may end this process before the
service answers."""

LAST_ANSWERS = 1.5
"""Seconds that a process which is asked to end still waits for the answers to its paid requests."""

WRITE_INTERVAL = 5.0
"""Seconds between tries to write an outcome that the disk refused."""

STOPPED = (
    "Not started, nothing charged: avm-mcp was stopped while it was sending the request, and for so long that the"
    " request was given up."
)

MOVED = "Not started, nothing charged: the state folder was moved or deleted before the request was sent."

REMEMBERED = 100
"""Answered requests that are kept for callers that ask for the answer late."""


@dataclass(slots=True)
class _Sending:
    """A request whose answer is being waited for.

    Attributes:
        input_json: Its fields as the row has them.
        answered: Set when its outcome is known.
        refusal: Why nothing came of it, if so.
        known: Whether the service had its task already, so that it was not sent.
    """

    input_json: str
    answered: anyio.Event = field(default_factory=anyio.Event)
    refusal: AvmError | None = None
    known: bool = False


class Sender:
    """Sends the paid requests of one account.

    Args:
        store: Where each attempt is marked, and its outcome written.
        client: Sends.
        poller: Publishes what came of a request.
        reconciler: Looks for lost answers.
        prices: Learns from charges, and explains refusals.
        worker_starter: Starts the background worker once a job is under way; None where there can be none.
        group: The runtime's task group.
        timings: How often the row of a request that waits is marked, and how long a mark counts.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        poller: Poller,
        reconciler: Reconciler,
        prices: Prices,
        worker_starter: WorkerStarter | None,
        *,
        group: TaskGroup,
        timings: Timings,
    ) -> None:
        self._store = store
        self._client = client
        self._poller = poller
        self._reconciler = reconciler
        self._prices = prices
        self._worker_starter = worker_starter
        self._group = group
        self._timings = timings
        self._sending: dict[str, _Sending] = {}
        self._asked_to_end = anyio.Event()
        group.start_soon(self._note_end)

    def send(self, prepared: Prepared, body: bytes, input_json: str) -> None:
        """Begin to send a request whose row has just been written.

        Args:
            prepared: Whose row.
            body: The exact bytes to send.
            input_json: The fields of the request as the row has them.
        """
        self._sending[prepared.draft.id] = _Sending(input_json)
        self._group.start_soon(self._send, prepared, body)

    async def answer(self, job_id: str, seconds: float) -> None:
        """Wait at most so many seconds for the answer to a request that this process sends.

        Raises:
            AvmError: What the request was refused with; nothing was charged, unless the error says otherwise.
        """
        sending = self._sending.get(job_id)
        if sending is None:
            return
        with anyio.move_on_after(seconds):
            await sending.answered.wait()
        if sending.refusal is not None:
            raise sending.refusal

    def known(self, job_id: str) -> bool:
        """Return whether the service had the task of this request already, so that this process did not send it."""
        sending = self._sending.get(job_id)
        return sending is not None and sending.known

    async def _send(self, prepared: Prepared, body: bytes) -> None:
        """Send the paid request and write down what came of it, whatever happens to the caller meanwhile."""
        job = prepared.draft
        sending = self._sending[job.id]
        with anyio.CancelScope(shield=True) as last_answers:
            async with anyio.create_task_group() as pulse:
                pulse.start_soon(self._keep_pulse, job.id)
                pulse.start_soon(self._end_in_time, last_answers)
                try:
                    if not await self._find_made(prepared, sending):
                        await self._settle(prepared, body, sending)
                except Exception:
                    # The row still says SUBMITTING. Once its pulse has stopped, the reconciler looks for the task.
                    logger.exception("%s: sending failed", job.id)
                    why = "Sending the request failed inside avm-mcp; its log says why."
                    lost = replace(job, status=UNKNOWN, error_code=SubmissionUnknown.code, error_text=why)
                    self._poller.publish(lost)
                    with suppress(AvmError):
                        await self._store.end_send(job.id, self._store.machine.process)
                finally:
                    pulse.cancel_scope.cancel()
        sending.answered.set()
        for old in [job_id for job_id, known in self._sending.items() if known.answered.is_set()][:-REMEMBERED]:
            del self._sending[old]

    async def _find_made(self, prepared: Prepared, sending: _Sending) -> bool:
        """Return whether nothing is left to send; asks the service where the store is too young to know what was paid.

        If the service already has a task of the same request, the job gets that task. If the service cannot be asked,
        the request is refused, and the caller may try again.
        """
        job = prepared.draft
        try:
            rows = await self._reconciler.claims.list_recent(prepared.order.window)
            sending.known = bool(rows) and await self._reconciler.claims.claim(job, rows) is not None
        except RowMissing:  # the state was moved meanwhile; nothing has been sent
            moved = StateUnavailable(MOVED, next_step=Action.REPEAT())
            await self._write_refusal(prepared, moved, sending)
            return True
        except AvmError as error:
            await self._write_refusal(prepared, error, sending)
            return True
        except anyio.get_cancelled_exc_class():
            why = "The process ended before it was sent."
            shown = replace(job, status=NOT_CREATED, error_code="INTERNAL", error_text=why)
            with anyio.CancelScope(shield=True):
                await self._write_outcome(
                    shown, partial(self._store.record_refused, job.id, "INTERNAL", why, self._store.clock())
                )
            raise
        return sending.known

    async def _write_refusal(self, prepared: Prepared, refusal: AvmError, sending: _Sending, attempt: int = 0) -> None:
        """Write that nothing came of the request up to this attempt, and keep the reason for the caller.

        A row that has another attempt, or its task, is left as it is.
        """
        job = prepared.draft
        shown = replace(job, status=NOT_CREATED, error_code=refusal.code, error_text=refusal.message)
        how = (job.id, refusal.code, refusal.message, self._store.clock())
        await self._write_outcome(shown, partial(self._store.record_refused, *how, attempt=attempt))
        if (self._poller.latest(job.id) or shown).status != NOT_CREATED:
            return
        sending.refusal = refusal  # for whoever cannot wait for the rest
        sending.refusal = await self._prices.explain(refusal, prepared.order.request)

    async def _settle(self, prepared: Prepared, body: bytes, sending: _Sending) -> None:
        """Send the request, and write its task, its refusal, or that its answer was lost."""
        job = prepared.draft
        send = Send(self._store, job, self._store.machine.process)
        key, most = job.idempotency_key, job.max_credits
        try:
            answer = await self._client.generate(job.model, body, idempotency_key=key, max_credits=most, permit=send)
        except Superseded:  # what was sent before it provably came to nothing
            await self._write_refusal(prepared, UpstreamUnavailable(STOPPED), sending, send.attempt)
        except SubmissionUnknown as lost:
            logger.warning("%s: %s", job.id, lost.message)
            await self._write_unknown(job, lost.message)
            self._reconciler.nudge()
            if self._worker_starter is not None:
                await self._worker_starter.ensure()
        except AvmError as refusal:
            await self._write_refusal(prepared, refusal, sending, send.attempt)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._write_unknown(job, "The process ended before the answer came.")
            raise
        else:
            shown = replace(job, task_id=answer.task_id, status=answer.status, credits_charged=answer.credits_charged)
            await self._write_outcome(shown, partial(self._store.record_accepted, job.id, answer))
            self._prices.charged(prepared.order.request, answer.credits_charged)
            self._poller.nudge()
            if self._worker_starter is not None:
                await self._worker_starter.ensure()

    async def _write_unknown(self, job: Job, why: str) -> None:
        """Write that it is not known what came of the request."""
        shown = replace(job, status=UNKNOWN, error_code=SubmissionUnknown.code, error_text=why)
        await self._write_outcome(shown, partial(self._store.record_unknown, job.id, why, self._store.clock()))

    async def _write_outcome(self, shown: Job, write: Callable[[], Awaitable[Job]]) -> None:
        """Write an outcome and publish it. Where the disk refuses, publish at once and try again to write.

        If the process ends before it is written, the row still says SUBMITTING, and the reconciler finds the outcome.

        Args:
            shown: The job with its outcome, for a disk that refuses or a row that is gone.
            write: Writes the outcome and returns the row.
        """
        for attempt in itertools.count(1):
            try:
                try:
                    self._poller.publish(await write())
                except RowMissing:
                    self._poller.publish(shown)
                    if shown.status == NOT_CREATED:
                        return
                    draft = replace(shown, status=SUBMITTING, task_id=None, attempt=1)
                    await self._store.restore(draft, self._sending[shown.id].input_json)
                    self._poller.publish(await write())
            except StateUnavailable as error:
                logger.error("%s (%s): %s", shown.id, shown.public_id, error.message)  # noqa: TRY400 - no traceback
                self._poller.publish(shown)
                self._sending[shown.id].answered.set()
                if self._group.cancel_scope.cancel_called:
                    return
                await anyio.sleep(min(WRITE_INTERVAL, attempt))
            else:
                return

    async def _end_in_time(self, last_answers: anyio.CancelScope) -> None:
        """Bound the wait for answers once the process is asked to end; then the background worker looks (P2, P3)."""
        await self._asked_to_end.wait()
        last_answers.deadline = anyio.current_time() + LAST_ANSWERS
        if self._worker_starter is not None:
            await self._worker_starter.ensure()

    async def _note_end(self) -> None:
        """Set `_asked_to_end` when the task group is cancelled, which the shielded sends do not notice themselves."""
        try:
            await anyio.sleep_forever()
        finally:
            self._asked_to_end.set()

    async def _keep_pulse(self, job_id: str) -> None:
        """Renew in the row the time until which the answer is waited for."""
        await anyio.sleep(KEPT_AFTER)
        if self._worker_starter is not None:
            await self._worker_starter.ensure()
        while True:
            await anyio.sleep(self._timings.heartbeat_interval)
            try:
                await self._store.expect_answer(job_id, self._store.clock() + self._timings.heartbeat_lifetime)
            except AvmError as error:
                logger.warning("%s: %s", job_id, error.message)
