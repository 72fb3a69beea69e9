"""From a request to a row that is being sent: prepare, approve, commit (P1, P8).

`prepare` finds a job of the same request, prices the request and checks the caps. `approve` wants a person's approval
of a price above the threshold. `commit` writes the row in one transaction, and then begins to send.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import SUBMITTING, Job, Price
from avm_mcp.domain.request import VideoRequest
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs.approvals import Approvals
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.poller import Poller
from avm_mcp.jobs.prepared import Order, Prepared
from avm_mcp.jobs.sending import Sender
from avm_mcp.provider.bodies import paid_body, stored_json
from avm_mcp.settings import Settings
from avm_mcp.store import Limits, Reservation, Store


class Submitter:
    """Takes the paid requests of one account.

    Args:
        settings: The threshold of approval, and the window in which a request counts as the same.
        store: Where the row of a request is written before it is sent.
        poller: Publishes the job.
        prices: What a request costs, and what may be spent.
        sender: Sends a request once its row is written.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
        timings: How long the first mark of a request that waits counts.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        poller: Poller,
        prices: Prices,
        sender: Sender,
        *,
        account: str,
        now: Callable[[], float],
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._store = store
        self._poller = poller
        self._prices = prices
        self._approvals = Approvals(store, prices)
        self._sender = sender
        self._account = account
        self._now = now
        self._timings = timings

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
        order = self._order(request, max_credits, caller, approval)
        prepared = await self._prepare(order, self._approvals.require)
        if isinstance(prepared, Job):
            self._poller.publish(prepared)
            self._poller.nudge()  # another process may be at work on it, and writes to the store only
            return Reservation(prepared, duplicate=True)
        return await self._commit(prepared)

    async def question(self, request: VideoRequest, *, max_credits: int | None, caller: str) -> Price | None:
        """Return the price that a person should be asked about before this request; None where none needs to be."""
        prepared = await self._prepare(self._order(request, max_credits, caller), self._approvals.given)
        return None if isinstance(prepared, Job) or prepared.approved else prepared.price

    def _order(
        self, request: VideoRequest, max_credits: int | None, caller: str, approval: bool | None = None
    ) -> Order:
        default = max_credits == self._settings.AVM_APPROVE_ABOVE  # filled in by the client, and nobody's own limit
        window = self._settings.AVM_DEDUPE_MINUTES * 60
        return Order(request, caller, None if default else max_credits, approval, self._store.clock(), window)

    # --- prepare, approve, commit ---

    async def _prepare(self, order: Order, approve: Callable[[Prepared], Awaitable[bool]]) -> Prepared | Job:
        """Return the order with its price, within its caps and judged by `approve`; or the job of an equal request.

        Raises:
            AvmError: Refused, and no equal request has been sent.
        """
        if (same := await self._same(order)) is not None:
            return same
        try:
            prepared = await self._priced(order)
            return replace(prepared, approved=await approve(prepared))
        except AvmError:
            # The price took its time: another call may have sent the same request meanwhile, and be paid for.
            if (same := await self._same(order)) is None:
                raise
            return same

    async def _same(self, order: Order) -> Job | None:
        """Return the job that an equal request has started, if that counts as this one's."""
        since = order.began - order.window
        return await self._store.live(self._account, order.caller, order.request.identity(), since)

    async def _priced(self, order: Order) -> Prepared:
        """Return the order with its price, the row to be written, and the limits of that row.

        The row is checked against its limits where it is written. Here that is done only where somebody would be asked
        about the price before.

        Raises:
            AvmError: A cap, or the caller's own limit, is below the price.
        """
        named = order.max_credits
        price = await self._prices.checked(order.request, named)
        threshold = self._settings.AVM_APPROVE_ABOVE
        most = named if named is not None else price.credits if order.approval is True else threshold
        draft = replace(self._draft(order, price), max_credits=self._prices.call_cap(most))
        limits = Limits(await self._prices.day_cap(price), order.window)
        if dear := self._prices.needs_approval(price.credits):
            await self._store.admit(draft, limits)
        if named is not None and price.credits > named:
            if dear:
                await self._store.record_refused_price(draft)  # the refusal tells the price
            raise await self._prices.over(order.request, price, named)
        return Prepared(order, price, draft, limits)

    async def _commit(self, prepared: Prepared) -> Reservation:
        """Write the row and begin to send the request, or return the job that an equal request has just written."""
        order, draft = prepared.order, prepared.draft
        body, shown = paid_body(order.request), stored_json(order.request)
        reservation = await self._store.reserve(draft, body=body, input_json=shown, limits=prepared.limits)
        if reservation.duplicate:
            self._poller.nudge()
        else:
            # No await between the row and this line: from here on the task group sends, whoever goes away.
            self._sender.send(prepared, body, shown)
        self._poller.publish(reservation.job)
        return reservation

    def _draft(self, order: Order, price: Price) -> Job:
        request, at = order.request, self._store.clock()
        return Job(
            id=f"sub_{secrets.token_hex(6)}",
            account=self._account,
            caller=order.caller,
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
            answer_by=at + self._timings.heartbeat_lifetime,
            credits_quoted=price.credits,
            credits_basis=price.basis,
        )
