"""What a value of the upstream can mean, and so how much of it is believed.

A number is a whole number of credits within what any video or balance can be, or it was not told.
"""

import math
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

MOST_CREDITS = 1_000_000
"""No video costs more (10,000 USD); a price above counts as this one, which passes every sensible cap."""

MOST_BALANCE = 10**9
"""No account has more."""

LONGEST_VIDEO = 24 * 3600
"""Seconds; a video that is said to be longer counts as one of unknown length."""

LONGEST_MAKING = 2 * 24 * 3600.0
"""Seconds; nothing is learned from a video that is said to have taken longer."""

DATE_SLACK = 3600.0
"""Seconds by which a date may lie outside of when it can have been: two clocks, and time on the way."""


def price(value: object) -> int | None:
    """Return the credits that a value of the upstream means; None where it is no whole number from 0 on."""
    amount = _whole(value)
    return None if amount is None or amount < 0 else min(amount, MOST_CREDITS)


def balance(value: object) -> int | None:
    """Return the balance that a value of the upstream means; a debt is a balance of 0."""
    amount = _whole(value)
    return None if amount is None else max(0, min(amount, MOST_BALANCE))


def rate(value: object) -> float | None:
    """Return the dollars that a credit is said to cost; None where that is no price."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


def refund(refunded: int | None, paid: int | None) -> int | None:
    """Return what came back: at most what was paid, where that is known."""
    return refunded if refunded is None or paid is None else min(refunded, paid)


def finished(said: float | None, began: float, now: float, read: float | None) -> float:
    """Return when a video was finished, by the service's clock, in seconds since 1970.

    Args:
        said: The service's date; None where it gave none.
        began: When its request was made, by our clock.
        now: Our clock.
        read: The service's clock at the answer that holds the date; None where it is not known.

    A date before the request or after the answer counts as none. Then it is the later of the two clocks: the
    link's life counts from it. A link that is thought to live too long costs a few tries, one thought dead the video.
    """
    read = now if read is None else read
    if said is None or not read - (now - began) - DATE_SLACK <= said <= read + DATE_SLACK:
        return max(now, read)
    return said


def _whole(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


# The same as types of fields.

Credits = Annotated[int, BeforeValidator(price)]
"""No other number can be a price: it would count against a cap, or not fit into the journal."""

Rate = Annotated[float | None, BeforeValidator(rate)]

Balance = Annotated[int | None, BeforeValidator(balance)]
"""What is no amount is not told; an account is read all the same."""

Link = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")]
"""One line: a link is told as it is, so nothing else may come along in it."""


def _dated(value: datetime) -> datetime:
    """Take a date without a zone for UTC; one that is far off is none, since it could not even be told."""
    if not 2000 <= value.year < 2200:
        raise ValueError(value.year)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Date = Annotated[datetime, AfterValidator(_dated)]
