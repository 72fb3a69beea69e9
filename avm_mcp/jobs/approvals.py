"""A person's approval of a price above the threshold. It is advice: an agent's word is all that a server hears.

It is the answer to a question, where the host can ask one. Elsewhere it is `max_credits` at or above the price, but
only if that price was told a short while before, by a quote or by the refusal of the same request: a habitual
`max_credits` is no approval, nor is one in a call that was made beside the quote or the refused one.
"""

from collections.abc import Awaitable, Callable

from avm_mcp.domain.errors import ApprovalRequired
from avm_mcp.domain.job import Job, Price
from avm_mcp.domain.next_steps import Action, Cheaper
from avm_mcp.store import Store

WITHIN = 900.0
"""Seconds after a price was told during which naming it counts as approval."""

TAKES = 1.0
"""Seconds between a told price and a call that can be the answer to it: nobody is asked sooner."""


class Approvals:
    """What needs a yes, and whether there is one.

    Args:
        journal: Remembers which prices were told, for all processes of a state.
        above: The threshold: a video that costs more credits needs approval.
        cheaper: Finds what else would cost no more than so many credits.
    """

    def __init__(
        self, store: Store, above: int, cheaper: Callable[[Job, Price, int], Awaitable[Cheaper | None]]
    ) -> None:
        self._store = store
        self._above = above
        self._cheaper = cheaper

    async def missing(self, draft: Job, price: Price, max_credits: int | None, *, began: float) -> bool:
        """Return whether this video needs a yes that was not given by naming its price.

        Args:
            draft: The request.
            price: What it costs.
            max_credits: The price that the caller names; None where it names none.
            began: When the call came, by `Journal.clock`.
        """
        if price.credits <= self._above:
            return False
        enough = max_credits is not None and max_credits >= price.credits
        return not (enough and await self._store.asked(draft, began - WITHIN, began - TAKES))

    async def require(
        self, draft: Job, price: Price, max_credits: int | None, *, said: bool | None, began: float
    ) -> None:
        """Return if the video may be started; `said` is what a person said to the question, if one was asked.

        Raises:
            ApprovalRequired: There is no yes. The refusal is noted, so that naming the price can be one.
        """
        if said or not await self.missing(draft, price, max_credits, began=began):
            return
        named = max_credits is not None and max_credits >= price.credits
        at_once = named and await self._store.asked(draft, began - TAKES, began)
        await self._store.ask(draft)
        usd = f" (${price.credits / 100:.2f})" if price.basis == "quote" else ""
        why = " The user was asked and did not agree." if said is False else ""
        if at_once and said is None:
            why = f" The same was refused less than {TAKES:g} s ago, and nobody answers that fast."
        raise ApprovalRequired(
            f"Not started: this costs {price.credits} credits{usd}; above {self._above} it needs approval.{why}",
            field="max_credits",
            allowed=f"{price.credits} or more, once that is agreed",
            next_step=(Action.RECONSIDER_PRICE if said is False else Action.APPROVE_PRICE)(
                credits=price.credits, cheaper=await self._cheaper(draft, price, self._above)
            ),
        )
