"""A person's approval of a price above the threshold, AVM_APPROVE_ABOVE.

Approval is advice, since an agent's word is all that a server hears; the caps in `budget` are enforced. A host that can
ask a person brings their answer. Elsewhere `max_credits` at or above the price is the approval, but only if that price
was told a short while before, by a quote or by the refusal of the same request. A `max_credits` that an agent always
sends is therefore no approval, nor is one in a call that was made beside the quote or the refused call.
"""

from avm_mcp.domain.errors import ApprovalRequired
from avm_mcp.domain.next_steps import Action
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.prepared import Prepared
from avm_mcp.store import Store

WITHIN = 900.0
"""Seconds after a price was told during which naming it counts as approval."""

TAKES = 1.0
"""Seconds between a told price and a call that can be the answer to it. No person answers sooner."""


class Approvals:
    """Decides which videos need approval, and whether they have it.

    Args:
        store: Remembers which prices were told, for all processes of a state.
        prices: Knows the threshold, and what else would cost less.
    """

    def __init__(self, store: Store, prices: Prices) -> None:
        self._store = store
        self._prices = prices

    async def given(self, prepared: Prepared) -> bool:
        """Return whether this video may start without asking: it is cheap enough, or its told price was named."""
        if not self._prices.needs_approval(prepared.price.credits):
            return True
        began = prepared.order.began
        return _names_price(prepared) and await self._store.knows_price(prepared.draft, began - WITHIN, began - TAKES)

    async def require(self, prepared: Prepared) -> bool:
        """Return True if a person said yes, or none needs to be asked.

        Raises:
            ApprovalRequired: There is no approval. The refusal is noted, so that naming the price next can be one.
        """
        order, price = prepared.order, prepared.price
        if order.approval or await self.given(prepared):
            return True
        at_once = _names_price(prepared) and await self._store.knows_price(
            prepared.draft, order.began - TAKES, order.began
        )
        await self._store.record_refused_price(prepared.draft)
        usd = f" (${price.credits / 100:.2f})" if price.basis == "quote" else ""
        declined = order.approval is False
        why = " The user was asked and did not agree." if declined else ""
        if at_once and not declined:
            why = f" The same was refused less than {TAKES:g} s ago, and nobody answers that fast."
        above = self._prices.approve_above
        raise ApprovalRequired(
            f"Not started: this costs {price.credits} credits{usd}; above {above} it needs approval.{why}",
            field="max_credits",
            allowed=f"{price.credits} or more, once that is agreed",
            next_step=(Action.RECONSIDER_PRICE if declined else Action.APPROVE_PRICE)(
                credits=price.credits, cheaper=await self._prices.cheaper(order.request, price, above)
            ),
        )


def _names_price(prepared: Prepared) -> bool:
    named = prepared.order.max_credits
    return named is not None and named >= prepared.price.credits
