"""From a request to a task: the row before the request, and the request in a task of its own (P1, P2, P8).

Nothing here depends on the caller staying: once the intent is written, the request is sent by the runtime, and what
comes of it is written down whether or not anybody still listens.
"""

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from avm_mcp.client import AvmClient
from avm_mcp.config import Settings
from avm_mcp.errors import AvmError, InsufficientCredits, Internal, SubmissionUnknown
from avm_mcp.journal import Journal, Limits, Reservation
from avm_mcp.models import SUBMITTING, Job, Price, VideoRequest
from avm_mcp.prices import Prices, affordable
from avm_mcp.watcher import Watcher

logger = logging.getLogger(__name__)

PULSE = 5.0
PULSE_LIFE = 15.0
"""Seconds between two notes that a request still waits for its answer, and how long one of them counts."""

LAST_ANSWERS = 10.0
"""Seconds that a process which is asked to end gives to paid requests that wait for their answer."""


@dataclass(slots=True)
class _Sending:
    """A request whose answer is being waited for."""

    answered: anyio.Event = field(default_factory=anyio.Event)
    refusal: AvmError | None = None


class Submission:
    """Sends the paid requests of one account.

    Args:
        settings: The window in which a request counts as the same.
        journal: Where the intent is written first.
        client: Sends it.
        watcher: Told what came of it.
        prices: What it may cost.
        account: Fingerprint of key and base URL.
        group: The runtime's task group.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        client: AvmClient,
        watcher: Watcher,
        prices: Prices,
        *,
        account: str,
        group: TaskGroup,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._client = client
        self._watcher = watcher
        self._prices = prices
        self._account = account
        self._group = group
        self._now = now
        self._sending: dict[str, _Sending] = {}

    async def start(self, request: VideoRequest, *, max_credits: int | None, caller: str) -> Reservation:
        """Write the intent and begin to send it, or return the job that the same request has started already.

        Raises:
            AvmError: Refused here, before anything was sent.
        """
        price = await self._prices.checked(request, max_credits)
        draft = self._draft(request, price, caller)
        shown = dict(request.fields())
        if request.image is not None and request.image.value.startswith("data:"):
            shown["image"] = f"data:sha256={request.image.digest}"
        limits = Limits(self._prices.day_cap(price), self._settings.AVM_DEDUPE_MINUTES * 60)
        body = request.body()
        reservation = await self._journal.reserve(
            draft, body=body, input_json=json.dumps(shown, ensure_ascii=False), limits=limits
        )
        if not reservation.duplicate:
            # No await between the row and this line: from here on the runtime sends, whoever goes away.
            sending = self._sending[draft.id] = _Sending()
            self._group.start_soon(self._send, draft, body, self._prices.call_cap(max_credits), sending)
        self._watcher.publish(reservation.job)
        return reservation

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

    def _draft(self, request: VideoRequest, price: Price, caller: str) -> Job:
        now = self._now()
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
            created_at=now,
            take=request.take,
            aspect_ratio=request.aspect_ratio,
            image=request.image.shown if request.image else None,
            answer_by=now + PULSE_LIFE,
            credits_quoted=price.credits,
            credits_basis=price.basis,
        )

    async def _send(self, job: Job, body: bytes, cap: int | None, sending: _Sending) -> None:
        """Send the paid request and write down what came of it, whatever happens to the caller meanwhile."""
        written: Job | None = None
        with anyio.CancelScope(shield=True) as last_answers:
            async with anyio.create_task_group() as pulse:
                pulse.start_soon(self._keep_pulse, job.id, last_answers)
                try:
                    written = await self._settled(job, body, cap, sending)
                finally:
                    pulse.cancel_scope.cancel()
        self._sending.pop(job.id, None)
        sending.answered.set()
        if written is not None:
            self._watcher.publish(written)
            self._watcher.nudge()

    async def _settled(self, job: Job, body: bytes, cap: int | None, sending: _Sending) -> Job | None:
        """Return the row after the answer; None where even that could not be written."""
        try:
            try:
                answer = await self._client.generate(
                    job.model, body, idempotency_key=job.idempotency_key, max_credits=cap
                )
            except SubmissionUnknown as lost:
                logger.warning("%s: %s", job.id, lost.message)
                return await self._journal.unknown(job.id, lost.message, self._now())
            except AvmError as refusal:
                sending.refusal = await self._explained(refusal, job)
                return await self._journal.refused(job.id, refusal.code, refusal.message, self._now())
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self._journal.unknown(job.id, "The process ended before the answer came.", self._now())
                raise
            return await self._journal.accepted(job.id, answer)
        except AvmError as unwritten:  # the disk filled up meanwhile: the row still says SUBMITTING, and is found so
            logger.exception("%s: the answer could not be written", job.id)
            sending.refusal = sending.refusal or _with_id(unwritten, job.id)
        except Exception:
            logger.exception("%s: sending failed", job.id)
            sending.refusal = Internal("Sending the request failed inside avm-mcp.", task_id=job.id, charged="unknown")
        return None

    async def _keep_pulse(self, job_id: str, last_answers: anyio.CancelScope) -> None:
        """Say in the row that the answer is still being waited for; end the wait some time after the runtime ended."""
        while True:
            await anyio.sleep(PULSE)
            if self._group.cancel_scope.cancel_called and last_answers.deadline == float("inf"):
                last_answers.deadline = anyio.current_time() + LAST_ANSWERS - PULSE
            try:
                await self._journal.expect_answer(job_id, self._now() + PULSE_LIFE)
            except AvmError as error:
                logger.warning("%s: %s", job_id, error.message)

    async def _explained(self, refusal: AvmError, job: Job) -> AvmError:
        """Add to a refusal what helps the user: the balance, and what it would buy."""
        if not isinstance(refusal, InsufficientCredits):
            return refusal
        try:
            account = await self._client.account()
        except AvmError:
            account = None
        price = f"this costs {'' if job.credits_basis == 'quote' else 'about '}{job.credits_quoted} credits"
        if account is None:
            has = "the service does not say how many are left"
        else:
            has = f"the balance is {account.balance}"
            fits = affordable(account.balance)
            has += f". {fits}" if fits else ""
        return InsufficientCredits(f"Not started, nothing charged: {price}, {has}".rstrip(".") + ".")


def _with_id(error: AvmError, task_id: str) -> AvmError:
    """Return the error with the id it must not be shown without (P2)."""
    error.task_id = task_id
    error.charged = "unknown"
    error.next_step = "call {get_task} later. Do not repeat the paid call for this video."
    return error
