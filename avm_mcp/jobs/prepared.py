"""A paid request on its way: as it was asked for, and once it has a price."""

from dataclasses import dataclass

from avm_mcp.domain.job import Job, Price
from avm_mcp.domain.request import VideoRequest
from avm_mcp.store import Limits


@dataclass(frozen=True, slots=True)
class Order:
    """A paid request as its caller asked for it.

    Attributes:
        request: What is wanted.
        caller: Whose budget and whose duplicates.
        max_credits: The price that the caller itself allows; None where it names none.
        approval: A person's answer to the price; None where nobody was asked.
        began: When the call came, by `Store.clock`.
        window: Seconds in which an equal request that has completed is still a duplicate.
    """

    request: VideoRequest
    caller: str
    max_credits: int | None
    approval: bool | None
    began: float
    window: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that has a price, and that the caps allow as far as can be known before its row is written.

    Attributes:
        order: What was asked for.
        price: What it costs.
        draft: The row to be written.
        limits: What the row is checked against in the transaction that writes it.
        approved: Whether it may start without asking a person.
    """

    order: Order
    price: Price
    draft: Job
    limits: Limits
    approved: bool = False
