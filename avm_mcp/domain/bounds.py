"""What a value of the upstream can mean, and so how much of it is believed.

A number is a whole number of credits within what any video or balance can be, or it was not told. An id is plain, or it
is kept for the upstream and not shown; a link is one of the web's in its plainest form, or none; a status or a model is
one word.
"""

import ipaddress
import math
import re
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

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


LONGEST_ID = 2000
"""Characters; with more it could not be asked for, since it is a part of an address."""

LONGEST_LINK = 8000
"""Characters; presigned links have up to about 2,000, and servers refuse from 8,000 on."""

LONGEST_TEXT = 2000
LONGEST_WORD = 40

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_LEGAL = "!$&'()*+,;=:@/?#[]~%"
"""What RFC 3986 allows in what follows a host, besides letters, digits and `_.-`."""


def plain_id(text: str) -> bool:
    """Return whether a task's id can be shown: nothing in it means anything to a model, a shell or a file system.

    One that begins as our own ids do is not shown either: it would name a job of ours.
    """
    return _PLAIN_ID.fullmatch(text) is not None and not text.lower().startswith("sub_")


def word(text: str) -> str:
    """Return a status or a model's name as one word of letters, digits and `_.-`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text[:LONGEST_WORD])


def link(text: str) -> str | None:
    """Return a link of the web as RFC 3986 writes it; None where it is none, or holds blanks, controls or a password.

    What a browser would understand is kept: letters of other scripts are percent-encoded, or IDNA in a host.
    """
    given = text.strip()
    if len(given) > LONGEST_LINK or not given.isprintable() or " " in given or "\\" in given:
        return None
    try:
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            host = f"[{ipaddress.IPv6Address(host)}]"
        elif not _HOST.fullmatch(host := host.encode("idna").decode()):
            return None
    except ValueError:  # UnicodeError is one
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    rest = quote(given[len(parts.scheme) + 3 + len(parts.netloc) :], safe=_LEGAL)
    found = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{rest}"
    return found if len(found) <= LONGEST_LINK else None


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

TaskId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]

Word = Annotated[str, AfterValidator(word)]

Text = Annotated[str, AfterValidator(lambda text: text[:LONGEST_TEXT])]
"""Prose of the upstream's: quoted wherever it is shown."""


def _linked(text: str) -> str:
    found = link(text)
    if found is None:
        raise ValueError("no link")
    return found


Link = Annotated[str, AfterValidator(_linked)]


def _dated(value: datetime) -> datetime:
    """Take a date without a zone for UTC; one that is far off is none, since it could not even be told."""
    if not 2000 <= value.year < 2200:
        raise ValueError(value.year)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Date = Annotated[datetime, AfterValidator(_dated)]
