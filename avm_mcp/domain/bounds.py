"""Bounds of the upstream's values: what each can mean, and what it becomes where it means nothing.

A number is a whole number of credits within what a video or a balance can be, or it counts as missing. An id that is
not plain is kept for the upstream and never shown. A link is an http(s) link in its plainest form, or none. A status
or a model is one word.
"""

import ipaddress
import math
import re
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, StringConstraints

MOST_CREDITS = 1_000_000
"""No video costs more (10,000 USD). A higher price counts as this one, which passes every sensible cap."""

MOST_BALANCE = 10**9
"""No account has more."""

LONGEST_VIDEO = 24 * 3600
"""Seconds. A longer video counts as one of unknown length."""

LONGEST_MAKING = 2 * 24 * 3600.0
"""Seconds. Nothing is learned from a video that took longer."""

DATE_SLACK = 3600.0
"""Seconds by which a date may lie outside of its possible time: two clocks differ, and answers travel."""


LONGEST_ID = 2000
"""Characters. A longer id does not fit into the address of a request."""

LONGEST_LINK = 8000
"""Characters. Presigned links have up to about 2,000, and servers refuse from 8,000 on."""

LONGEST_TEXT = 2000
LONGEST_WORD = 40

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_LEGAL = "!$&'()*+,;=:@/?#[]~%"
"""What RFC 3986 allows after a host, besides letters, digits and `_.-`."""


def is_plain_id(text: str) -> bool:
    """Return whether a task's id can be shown: a model, a shell or a file system reads nothing else in it.

    An id that begins as our own do cannot be shown either: it would name a job of ours.
    """
    return _PLAIN_ID.fullmatch(text) is not None and not text.lower().startswith("sub_")


def clean_word(text: str) -> str:
    """Return a status or a model's name as one word of letters, digits and `_.-`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text[:LONGEST_WORD])


def clean_link(text: str) -> str | None:
    """Return an http(s) link as RFC 3986 writes it; None for other text, with blanks, controls or a password.

    Letters of other scripts are percent-encoded, and in a host written in IDNA, as browsers do.
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


def read_price(value: object) -> int | None:
    """Return the credits that a value means; None where it is no whole number from 0 on."""
    amount = _read_whole(value)
    return None if amount is None or amount < 0 else min(amount, MOST_CREDITS)


def read_balance(value: object) -> int | None:
    """Return the balance that a value means; a debt is a balance of 0."""
    amount = _read_whole(value)
    return None if amount is None else max(0, min(amount, MOST_BALANCE))


def read_rate(value: object) -> float | None:
    """Return the dollars that a credit costs; None where the value is no price."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


def limit_refund(refunded: int | None, paid: int | None) -> int | None:
    """Return what was refunded: at most what was paid, where that is known."""
    return refunded if refunded is None or paid is None else min(refunded, paid)


def find_finish(date: float | None, began: float, now: float, read: float | None) -> float:
    """Return when a video was finished, by the service's clock, in seconds since 1970.

    Args:
        date: The service's date; None where it gave none.
        began: When its request was made, by our clock.
        now: Our clock.
        read: The service's clock at the answer that holds the date; None where it is not known.

    A date before the request or after the answer counts as none. The later of the two clocks holds then, because the
    link's life counts from it: a link that seems to live too long costs a few tries, one that seems dead the video.
    """
    read = now if read is None else read
    if date is None or not read - (now - began) - DATE_SLACK <= date <= read + DATE_SLACK:
        return max(now, read)
    return date


def _read_whole(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


# The same bounds as types of fields.

Credits = Annotated[int, BeforeValidator(read_price)]
"""Another number is no price: it would count against a cap, or not fit into the store."""

Rate = Annotated[float | None, BeforeValidator(read_rate)]

Balance = Annotated[int | None, BeforeValidator(read_balance)]
"""A value that is no amount counts as missing; the account is read all the same."""

TaskId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]

Word = Annotated[str, AfterValidator(clean_word)]

Text = Annotated[str, AfterValidator(lambda text: text[:LONGEST_TEXT])]
"""Prose of the upstream, which is quoted wherever it is shown."""


def _require_link(text: str) -> str:
    found = clean_link(text)
    if found is None:
        raise ValueError("no link")
    return found


Link = Annotated[str, AfterValidator(_require_link)]


def _read_date(value: datetime) -> datetime:
    """Read a date without a zone as UTC, and refuse one that is far off, since it cannot be shown."""
    if not 2000 <= value.year < 2200:
        raise ValueError(value.year)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


Date = Annotated[datetime, AfterValidator(_read_date)]
