"""From a request to a task: the row before the request, and the request in a task of its own (P1, P2, P8).

Nothing here depends on the caller staying: once the intent is written, the request is sent by the runtime, and what
comes of it is written down whether or not anybody still listens.
"""

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
from anyio.abc import TaskGroup

from avm_mcp.domain.errors import (
    AvmError,
    BudgetExceeded,
    InsufficientCredits,
    InvalidInput,
    StateUnavailable,
    SubmissionUnknown,
    UpstreamUnavailable,
)
from avm_mcp.domain.job import NOT_CREATED, SUBMITTING, UNKNOWN, Job, Price
from avm_mcp.domain.next_steps import Action
from avm_mcp.domain.request import VideoRequest
from avm_mcp.jobs.approvals import Approvals
from avm_mcp.jobs.budget import Prices, affordable
from avm_mcp.jobs.poller import Poller
from avm_mcp.jobs.reconcile import Reconciler
from avm_mcp.jobs.start_worker import WorkerStarter
from avm_mcp.provider.bodies import paid_body, stored_json
from avm_mcp.provider.client import AvmClient
from avm_mcp.settings import Settings
from avm_mcp.store import Limits, Reservation, RowMissing, Send, Store, Superseded

logger = logging.getLogger(__name__)

PULSE = 5.0
PULSE_LIFE = 15.0
"""Seconds between two notes that a request still waits for its answer, and how long one of them counts."""

KEPT_AFTER = 1.0
"""Seconds without an answer after which the background worker is started for a request: a host may end this process
before the service answers."""

LAST_ANSWERS = 1.5
"""Seconds that a process which is asked to end gives to paid requests that wait for their answer."""

WRITE_INTERVAL = 5.0
"""Seconds between tries to write an outcome that the disk refused."""

STOPPED = (
    "Not started, nothing charged: avm-mcp was stopped while it was sending the request, and for so long that the"
    " request was given up."
)

MOVED = "Not started, nothing charged: the state folder was moved or deleted before the request was sent."

REMEMBERED = 100
"""Answers that are kept for callers which come for them late."""


@dataclass(slots=True)
class _Sending:
    """A request whose answer is being waited for; `known` if the upstream turned out to have its task already."""

    input_json: str
    answered: anyio.Event = field(default_factory=anyio.Event)
    refusal: AvmError | None = None
    known: bool = False


class Submitter:
    """Sends the paid requests of one account.

    Args:
        settings: The window in which a request counts as the same.
        journal: Where the intent is written first.
        client: Sends it.
        watcher: Told what came of it.
        recovery: Told of lost answers.
        prices: What it may cost.
        background worker: Started once a job is under way; None where there can be none.
        account: Fingerprint of key and base URL.
        group: The runtime's task group.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        client: AvmClient,
        poller: Poller,
        reconciler: Reconciler,
        prices: Prices,
        worker_starter: WorkerStarter | None,
        *,
        account: str,
        group: TaskGroup,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._poller = poller
        self._reconciler = reconciler
        self._prices = prices
        self._worker_starter = worker_starter
        self._approvals = Approvals(store, settings.AVM_APPROVE_ABOVE, prices.cheaper)
        self._account = account
        self._group = group
        self._now = now
        self._sending: dict[str, _Sending] = {}
        self._asked_to_end = anyio.Event()
        group.start_soon(self._hear_of_the_end)

    async def start(
        self, request: VideoRequest, *, max_credits: int | None, caller: str, approval: bool | None = None
    ) -> Reservation:
        """Write the intent and begin to send it, or return the job that the same request has started already.

        Args:
            request: What is wanted.
            max_credits: The highest price to pay without asking. None is the threshold, AVM_APPROVE_ABOVE; so is the
                same number, which is no approval of a higher price.
            caller: Whose budget and whose duplicates.
            approval: A person's answer to the price; None where nobody was asked.

        Raises:
            AvmError: Refused here, before anything was sent.
        """
        window = self._settings.AVM_DEDUPE_MINUTES * 60
        began = self._store.clock()
        since = began - window
        same = await self._store.live(self._account, caller, request.identity(), since)
        if same is not None:
            return self._duplicate(same)
        try:
            price, draft, limits = await self._priced(request, max_credits, caller, agreed=approval is True)
            await self._approvals.require(draft, price, self._named(max_credits), said=approval, began=began)
        except AvmError:
            # The price took its time: another call may have sent the same request meanwhile, and be paid for.
            same = await self._store.live(self._account, caller, request.identity(), since)
            if same is None:
                raise
            return self._duplicate(same)
        body = paid_body(request)
        reservation = await self._store.reserve(draft, body=body, input_json=stored_json(request), limits=limits)
        if reservation.duplicate:
            self._poller.nudge()
        else:
            # No await between the row and this line: from here on the runtime sends, whoever goes away.
            self._sending[draft.id] = _Sending(stored_json(request))
            self._group.start_soon(self._send, draft, body, window)
        self._poller.publish(reservation.job)
        return reservation

    def _duplicate(self, same: Job) -> Reservation:
        self._poller.publish(same)
        self._poller.nudge()  # another process may be at work on it: its board is the journal
        return Reservation(same, duplicate=True)

    def _named(self, max_credits: int | None) -> int | None:
        """Return the limit that a caller set itself: a default that was filled in is none."""
        return None if max_credits == self._settings.AVM_APPROVE_ABOVE else max_credits

    async def _priced(
        self, request: VideoRequest, max_credits: int | None, caller: str, *, agreed: bool = False
    ) -> tuple[Price, Job, Limits]:
        """Return the price, the row to be written, and what it must keep to, where the caps allow it.

        The row is checked again where it is written; here only where somebody would be asked about it before.
        """
        named = self._named(max_credits)
        price = await self._prices.checked(request, named)
        most = named if named is not None else price.credits if agreed else self._settings.AVM_APPROVE_ABOVE
        draft = replace(self._draft(request, price, caller), max_credits=self._prices.call_cap(most))
        limits = Limits(await self._prices.day_cap(price), self._settings.AVM_DEDUPE_MINUTES * 60)
        if dear := self._prices.needs_yes(price.credits):
            await self._store.admit(draft, limits)
        if named is not None and price.credits > named:
            if dear:
                await self._store.ask(draft)  # the refusal tells the price
            raise await self._prices.over(draft, price, named)
        return price, draft, limits

    async def question(self, request: VideoRequest, *, max_credits: int | None, caller: str) -> Price | None:
        """Return the price that a person should be asked about before this request; None where none needs to be."""
        began = self._store.clock()
        since = began - self._settings.AVM_DEDUPE_MINUTES * 60
        if await self._store.live(self._account, caller, request.identity(), since) is not None:
            return None
        try:
            price, draft, _ = await self._priced(request, max_credits, caller)
            missing = await self._approvals.missing(draft, price, self._named(max_credits), began=began)
        except AvmError:
            # As in `start`, which returns what another call has sent meanwhile.
            if await self._store.live(self._account, caller, request.identity(), since) is None:
                raise
            return None
        return price if missing else None

    async def answer(self, job_id: str, seconds: float) -> None:
        """Wait for the answer to a request that this process sends.

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
        """Return whether a request that this process was to send had been made before."""
        sending = self._sending.get(job_id)
        return sending is not None and sending.known

    def _draft(self, request: VideoRequest, price: Price, caller: str) -> Job:
        at = self._store.clock()
        return Job(
            id=f"sub_{secrets.token_hex(6)}",
            account=self._account,
            caller=caller,
            identity=request.identity(),
            idempotency_key=f"avm-{secrets.token_hex(16)}",
            model=request.model,
            seconds=request.seconds,
            prompt=request.prompt,
            status=SUBMITTING,
            created_at=self._now(),
            started=at,
            take=request.take,
            aspect_ratio=request.aspect_ratio,
            image=request.image.shown if request.image else None,
            answer_by=at + PULSE_LIFE,
            credits_quoted=price.credits,
            credits_basis=price.basis,
        )

    async def _send(self, job: Job, body: bytes, window: float) -> None:
        """Send the paid request and write down what came of it, whatever happens to the caller meanwhile."""
        sending = self._sending[job.id]
        with anyio.CancelScope(shield=True) as last_answers:
            async with anyio.create_task_group() as pulse:
                pulse.start_soon(self._keep_pulse, job.id)
                pulse.start_soon(self._end_in_time, last_answers)
                try:
                    if not await self._known(job, window, sending):
                        await self._settle(job, body, sending)
                except Exception:
                    # The row still says that it is being sent: once nobody's pulse stands behind that, recovery looks.
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

    async def _known(self, job: Job, window: float, sending: _Sending) -> bool:
        """Where the journal is too young to guard: return whether the upstream has the same request's task already.

        If the upstream cannot be asked, nothing is sent: the caller is told, and may try again.
        """
        try:
            rows = await self._reconciler.recent(window)
            sending.known = bool(rows) and await self._reconciler.claim(job, rows) is not None
        except RowMissing:  # the journal was moved meanwhile; nothing has been sent
            await self._refused(job, StateUnavailable(MOVED, next_step=Action.REPEAT()), sending)
            return True
        except AvmError as error:
            await self._refused(job, error, sending)
            return True
        except anyio.get_cancelled_exc_class():
            why = "The process ended before it was sent."
            shown = replace(job, status=NOT_CREATED, error_code="INTERNAL", error_text=why)
            with anyio.CancelScope(shield=True):
                await self._write(shown, partial(self._store.refused, job.id, "INTERNAL", why, self._store.clock()))
            raise
        return sending.known

    async def _refused(self, job: Job, refusal: AvmError, sending: _Sending, attempt: int = 0) -> None:
        """Write that nothing came of the request in so many attempts, and keep why for the caller.

        Where the row knows of another attempt, or of its task, that is told instead.
        """
        shown = replace(job, status=NOT_CREATED, error_code=refusal.code, error_text=refusal.message)
        how = (job.id, refusal.code, refusal.message, self._store.clock())
        await self._write(shown, partial(self._store.refused, *how, attempt=attempt))
        if (self._poller.latest(job.id) or shown).status != NOT_CREATED:
            return
        sending.refusal = refusal  # for whoever cannot wait for the rest
        sending.refusal = await self._explained(refusal, job)

    async def _settle(self, job: Job, body: bytes, sending: _Sending) -> None:
        send = Send(self._store, job, self._store.machine.process)
        key, most = job.idempotency_key, job.max_credits
        try:
            answer = await self._client.generate(job.model, body, idempotency_key=key, max_credits=most, permit=send)
        except Superseded:  # what was sent before it provably came to nothing
            await self._refused(job, UpstreamUnavailable(STOPPED), sending, send.attempt)
        except SubmissionUnknown as lost:
            logger.warning("%s: %s", job.id, lost.message)
            await self._lost(job, lost.message)
            self._reconciler.nudge()
            if self._worker_starter is not None:
                await self._worker_starter.ensure()
        except AvmError as refusal:
            await self._refused(job, refusal, sending, send.attempt)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._lost(job, "The process ended before the answer came.")
            raise
        else:
            shown = replace(job, task_id=answer.task_id, status=answer.status, credits_charged=answer.credits_charged)
            await self._write(shown, partial(self._store.accepted, job.id, answer))
            self._prices.charged(job.model, job.seconds, answer.credits_charged)
            self._poller.nudge()
            if self._worker_starter is not None:
                await self._worker_starter.ensure()

    async def _lost(self, job: Job, why: str) -> None:
        """Write that it is not known what came of the request."""
        shown = replace(job, status=UNKNOWN, error_code=SubmissionUnknown.code, error_text=why)
        await self._write(shown, partial(self._store.unknown, job.id, why, self._store.clock()))

    async def _write(self, shown: Job, write: Callable[[], Awaitable[Job]]) -> None:
        """Write the outcome, and tell it. Where the disk refuses, it is told at once and written as soon as it can be.

        If the process ends before that, the row still says SUBMITTING, and recovery finds out what came of it.
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
        """Bound the wait once the process is asked to end.

        The background worker finds out what comes of the request (P2, P3).
        """
        await self._asked_to_end.wait()
        last_answers.deadline = anyio.current_time() + LAST_ANSWERS
        if self._worker_starter is not None:
            await self._worker_starter.ensure()

    async def _hear_of_the_end(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._asked_to_end.set()

    async def _keep_pulse(self, job_id: str) -> None:
        """Say in the row that the answer is still being waited for."""
        await anyio.sleep(KEPT_AFTER)
        if self._worker_starter is not None:
            await self._worker_starter.ensure()
        while True:
            await anyio.sleep(PULSE)
            try:
                await self._store.expect_answer(job_id, self._store.clock() + PULSE_LIFE)
            except AvmError as error:
                logger.warning("%s: %s", job_id, error.message)

    async def _explained(self, refusal: AvmError, job: Job) -> AvmError:
        """Add to a refusal what helps the user: the balance, and what it would buy."""
        if isinstance(refusal, InvalidInput):
            # Our own checks had passed, so no field that the caller could correct is to blame.
            refusal.next_step = Action.SEE_ACCOUNT()
        if isinstance(refusal, BudgetExceeded):
            self._prices.doubt(job.model, job.seconds)
            refusal.next_step = Action.QUOTE_ANEW()
        if not isinstance(refusal, InsufficientCredits):
            return refusal
        try:
            account = await self._client.account()
        except AvmError:
            account = None
        known = await self._prices.of(job.model, job.seconds)
        price = f"this costs {'' if known.basis == 'quote' else 'up to '}{known.credits} credits"
        if account is None or account.balance is None:
            has = "the service does not say how many are left"
        else:
            has = f"the balance is {account.balance}"
            fits = affordable(account.balance)
            has += f". {fits}" if fits else ""
        return InsufficientCredits(f"Not started, nothing charged: {price}, {has}".rstrip(".") + ".")
