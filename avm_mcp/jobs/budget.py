"""What a video costs, and whether that may be spent (P8)."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import anyio

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import (
    AuthFailed,
    AvmError,
    BudgetExceeded,
    InsufficientCredits,
    InvalidInput,
    NotConfigured,
    StateUnavailable,
)
from avm_mcp.domain.job import Price
from avm_mcp.domain.next_steps import Action, Cheaper, raise_cap
from avm_mcp.domain.request import VideoRequest
from avm_mcp.provider.bodies import quote_fields
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import Quote
from avm_mcp.settings import Settings
from avm_mcp.store import Store

logger = logging.getLogger(__name__)

QUOTE_LIFE = 600.0
"""Seconds that a quoted price is used again."""

QUOTE_TIMEOUT = 1.5
"""Seconds that a submit waits for a quote; then the highest known formula counts (P4, P8)."""

QUOTE_PAUSE = 5.0
"""Seconds after a quote that did not come in time in which no other is asked for. A call that may have to ask a person
needs the price twice, and waits for it once."""

_Kind = tuple[str, int, str | None, str | None]
"""What a price depends on: model, seconds, resolution, quality."""


class Prices:
    """Prices and caps of one account.

    Args:
        settings: The caps.
        store: Knows what was spent today.
        client: Asked for quotes; None without a key.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        client: Provider | None,
        *,
        account: str,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._account = account
        self._now = now
        self._refused = False
        self._silent_until = float("-inf")
        self._quotes: dict[_Kind, tuple[float, Quote]] = {}
        self._charged: dict[_Kind, int] = {}

    @property
    def caps(self) -> dict[str, int]:
        """Return the caps that are set, by what they count."""
        named = {"per_call": self._settings.AVM_MAX_CREDITS_PER_CALL, "per_day": self._settings.AVM_MAX_CREDITS_PER_DAY}
        return {name: cap for name, cap in named.items() if cap is not None}

    @property
    def lacks(self) -> type[AvmError] | None:
        """Return what keeps this account from starting any video, as far as the last quote showed."""
        if self._client is None:
            return NotConfigured
        return AuthFailed if self._refused else None

    async def left_today(self) -> int | None:
        """Return the credits that the daily cap still allows; None without one."""
        cap = self._settings.AVM_MAX_CREDITS_PER_DAY
        if cap is None:
            return None
        return max(0, cap - await self._store.spent_today(self._account, self._now()))

    def call_cap(self, most: int) -> int:
        """Return the credits that a call may cost, which go with it to the service."""
        cap = self._settings.AVM_MAX_CREDITS_PER_CALL
        return most if cap is None else min(most, cap)

    async def day_cap(self, price: Price) -> int | None:
        """Return the daily cap, where what was spent today is known; None without one.

        Raises:
            BudgetExceeded: It cannot be known.
            StateUnavailable: It is not known yet.
        """
        cap = self._settings.AVM_MAX_CREDITS_PER_DAY
        if cap is not None and not self._store.durable:
            raise BudgetExceeded(
                f"Not started, nothing charged: AVM_MAX_CREDITS_PER_DAY is {cap}, and without a writable state folder"
                f" what was spent today cannot be known (this costs {price.credits} credits).",
                field="AVM_STATE_DIR",
                next_step=Action.SET_STATE_DIR(),
            )
        if cap is not None and await self._store.is_rebuilding(self._account, self._store.clock()):
            raise StateUnavailable(
                f"Not started, nothing charged: AVM_MAX_CREDITS_PER_DAY is {cap}, and what was spent today is still"
                " being read from the service's list: the state was damaged.",
                next_step=Action.TRY_AGAIN_UNPAID(),
            )
        return cap

    async def checked(self, request: VideoRequest, max_credits: int | None) -> Price:
        """Return what the request costs; a round trip is spent on it only where a cap or a question could bite.

        Args:
            request: What is wanted.
            max_credits: The caller's own limit; None where there is none but the threshold.

        Raises:
            BudgetExceeded: It costs more than the settings allow for a call.
        """
        cap = self._settings.AVM_MAX_CREDITS_PER_CALL
        estimate = catalog.estimate(request)
        caps = (max_credits, cap, self._settings.AVM_MAX_CREDITS_PER_DAY)
        if all(limit is None for limit in caps) and not self.needs_approval(estimate):
            return Price(estimate, "estimate")
        price = await self.of(request)
        if cap is not None and price.credits > cap:
            raise BudgetExceeded(
                f"Not started, nothing charged: this costs {_at_most(price)}{price.credits} credits,"
                f" and AVM_MAX_CREDITS_PER_CALL is {cap}.",
                field="AVM_MAX_CREDITS_PER_CALL",
                allowed=f"{price.credits} or more for this video",
                next_step=raise_cap("AVM_MAX_CREDITS_PER_CALL"),
            )
        return price

    async def over(self, request: VideoRequest, price: Price, max_credits: int) -> BudgetExceeded:
        """Return the refusal of a request that costs more than its caller allows."""
        return BudgetExceeded(
            f"Not started, nothing charged: this costs {_at_most(price)}{price.credits} credits,"
            f" and max_credits is {max_credits}.",
            field="max_credits",
            allowed=f"{price.credits} or more for this video",
            next_step=Action.PAY_MORE(credits=price.credits, cheaper=await self.cheaper(request, price, max_credits)),
        )

    async def cheaper(self, request: VideoRequest, price: Price, limit: int) -> Cheaper | None:
        """Return what the same tool makes for no more than `limit` credits; None where that is nothing.

        The longest video of the same model, else another model's of this length. At most one quote is asked for.
        """
        model, seconds = catalog.MODELS[request.model], request.seconds
        shorter = [s for s in model.durations if s < seconds and price.credits * s <= limit * seconds]
        if shorter and (fits := await self.of(_shortened(request, max(shorter)))).credits <= limit:
            return Cheaper(limit, max(shorter), fits.credits, certain=fits.basis == "quote")
        tool = catalog.tool_of(model.name, picture=request.image is not None)
        for other in catalog.alternatives(tool, seconds):
            if (amount := catalog.estimate(catalog.sample(other, seconds))) <= limit:
                return Cheaper(limit, seconds, amount, certain=False, model=other)
        return None

    @property
    def approve_above(self) -> int:
        """Return the highest price, in credits, that needs no person's approval."""
        return self._settings.AVM_APPROVE_ABOVE

    def needs_approval(self, amount: int) -> bool:
        """Return whether so many credits need a person's approval."""
        return amount > self.approve_above

    async def of(self, request: VideoRequest) -> Price:
        """Return the API's quote, or where it gives none the highest formula known. Starts nothing."""
        quote = await self._quote(request)
        if quote is None:
            return Price(catalog.estimate(request), "estimate")
        if (charged := self._charged.get(_kind(request), 0)) > quote.credits:
            return Price(charged, "estimate", quote.usd_per_credit, quote.balance)
        return Price(quote.credits, "quote", quote.usd_per_credit, quote.balance)

    async def told(self, model: str, seconds: int, *, caller: str = "") -> Price:
        """Return the price of any video of this model and length, and note that it was told.

        Naming a price that was told counts as approval for a while (`approvals`).
        """
        price = await self.of(catalog.sample(model, seconds))
        if self.needs_approval(price.credits):
            try:
                await self._store.record_quote(
                    self._account, caller, model, seconds, price.credits, self._store.clock()
                )
            except StateUnavailable as error:  # a price can be told without a state; then a refusal tells it again
                logger.warning("the price that was told is not noted: %s", error.message)
        return price

    def charged(self, request: VideoRequest, amount: int | None) -> None:
        """Remember a charge, and ask anew for a quote that it has shown to be too low; the higher of both counts."""
        if amount is None:
            return
        self._charged[_kind(request)] = amount
        cached = self._quotes.get(_kind(request))
        if cached is not None and amount > cached[1].credits:
            self.doubt(request)

    def doubt(self, request: VideoRequest) -> None:
        """Ask anew for a quote that the service has shown to be too low."""
        self._quotes.pop(_kind(request), None)

    async def explain(self, refusal: AvmError, request: VideoRequest) -> AvmError:
        """Return a refusal with what helps the user: another step, or the balance and what it would buy."""
        if isinstance(refusal, InvalidInput):
            # Our own checks had passed, so no field that the caller could correct is to blame.
            return refusal.amend(next_step=Action.SEE_ACCOUNT())
        if isinstance(refusal, BudgetExceeded):
            self.doubt(request)
            return refusal.amend(next_step=Action.QUOTE_ANEW())
        if not isinstance(refusal, InsufficientCredits):
            return refusal
        account = None
        if self._client is not None:
            with suppress(AvmError):
                account = await self._client.account()
        known = await self.of(request)
        price = f"this costs {'' if known.basis == 'quote' else 'up to '}{known.credits} credits"
        if account is None or account.balance is None:
            has = "the service does not say how many are left"
        else:
            has = f"the balance is {account.balance}"
            fits = affordable(account.balance)
            has += f". {fits}" if fits else ""
        return InsufficientCredits(f"Not started, nothing charged: {price}, {has}".rstrip(".") + ".")

    async def _quote(self, request: VideoRequest) -> Quote | None:
        cached = self._quotes.get(_kind(request))
        if cached and self._store.clock() - cached[0] < QUOTE_LIFE:
            return cached[1]
        if self._client is None or anyio.current_time() < self._silent_until:
            return None
        quote: Quote | None = None
        with anyio.move_on_after(QUOTE_TIMEOUT) as timeout:
            try:
                quote = await self._client.quote(request.model, quote_fields(request))
                self._refused = False
            except AvmError as error:
                self._refused = isinstance(error, AuthFailed)
                logger.warning("no quote for %s: %s", request.model, error.message)
        if timeout.cancelled_caught:
            self._silent_until = anyio.current_time() + QUOTE_PAUSE
        if quote is not None:
            self._quotes[_kind(request)] = (self._store.clock(), quote)
        return quote


def _at_most(price: Price) -> str:
    return "" if price.basis == "quote" else "up to "


def _kind(request: VideoRequest) -> _Kind:
    return request.model, request.seconds, request.resolution, request.quality


def _shortened(request: VideoRequest, seconds: int) -> VideoRequest:
    """Return the first so many seconds of a request."""
    return replace(request, seconds=seconds, prompts=request.prompts[: seconds // catalog.SEGMENT_SECONDS])


def affordable(balance: int) -> str | None:
    """Return in words what a balance would still buy; None where that is nothing."""
    offers = [(catalog.estimate(catalog.sample(m.name, m.durations[0])), m) for m in catalog.MODELS.values()]
    price, model = min(offers, key=lambda offer: offer[0])
    return f"A {model.durations[0]} s {model.name} costs about {price}" if price <= balance else None
