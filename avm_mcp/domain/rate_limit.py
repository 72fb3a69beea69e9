"""How fast, how often, and whether again: no clock and no I/O of their own."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from avm_mcp.domain.timings import STANDARD, Timings

MAX_RETRY_AFTER = 120.0
"""Seconds. A longer `Retry-After` is not waited out inside a call: the caller is told instead."""

LONGEST_PAUSE = 24 * 3600.0
"""Seconds; a pause that is asked for is told as this at most."""

RETRIES = 4
"""How often a question that is safe to repeat is repeated before the caller is told."""

RESERVE = 3.0
"""Questions that looks in the background leave in the bucket for those who call."""

TIMEOUT = 10.0
"""Seconds after which a look in the background goes first, one in as many seconds: no storm of calls starves it."""

RENEWED, WANTED_FOR = 1.0, 3.0
"""Seconds between two tries of a question that others go before, and how long it keeps its place without one."""

OUT_OF_ORDER = 10.0
"""Seconds by which one process's reading of the clock may be older than another's that was served before it: a process
reads the clock, and waits for the lock then."""

SHORTEST_WAIT = 0.01
"""Seconds; less than this may be lost in the rounding of a date, and would be asked for again and again."""

NOTHING_HAPPENED_WITHOUT_ENVELOPE = frozenset(
    {301, 302, 307, 308, 401, 403, 404, 405, 407, 411, 413, 414, 415, 421, 431, 451}
)
"""Answers that say by their definition (RFC 9110) that the request was not acted on, whoever gave them."""


def backoff(attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait before repeat number `attempt` (1 is the first): 0.5 s doubling to 15 s, full jitter.

    Never below half of the nominal delay, so that a crowd spreads without anyone hammering.
    """
    nominal = min(15.0, 0.5 * 2 ** (attempt - 1))
    return nominal * (0.5 + 0.5 * rng.random())


def retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, in either of its forms (RFC 9110, 10.2.3).

    None where it is absent or unreadable; never negative; a day at most, so that callers can see an absurd one.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(LONGEST_PAUSE, float(text[:9]))
    when = http_date(text)
    return None if when is None else min(LONGEST_PAUSE, max(0.0, when - now))


def http_date(header: str | None) -> float | None:
    """Return the seconds since 1970 that an HTTP date means; None where it is absent or unreadable."""
    try:
        when = parsedate_to_datetime(header or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


class ServiceClock:
    """The service's clock, by the `Date` of its answers, any one of which may be wrong.

    Args:
        now: Our wall clock, seconds since 1970.

    Attributes:
        heard: How many answers have told the time.
    """

    KEPT, TRUSTED = 5, 3
    """Answers that are remembered, and how many it takes to trust them against our own clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._skews: deque[float] = deque(maxlen=self.KEPT)
        self.heard = 0

    def hear(self, header: str | None) -> None:
        """Take note of the `Date` of an answer that just came."""
        if (date := http_date(header)) is not None:
            self._skews.append(date - self._now())
            self.heard += 1

    @property
    def skew(self) -> float | None:
        """Seconds that it was ahead of ours at the last answer; None before one."""
        return self._skews[-1] if self._skews else None

    def at_least(self) -> float:
        """Return the earliest time that it can be: by the last answers, and by our clock while they are few.

        What is over by this clock is given up, so neither one wrong `Date` nor a jump of our clock may move it ahead.
        """
        few = len(self._skews) < self.TRUSTED
        return self._now() + min((*self._skews, 0.0) if few else self._skews)


def nothing_happened(status: int, enveloped: bool) -> bool:
    """Return whether an answer with this HTTP status proves that a paid request created nothing.

    Proof is a 429, or a 4xx that carries the API's own error envelope, or one of the few that mean it by
    definition. A 5xx proves nothing with or without an envelope: the charge may have come before the fault.
    """
    if status == 429:
        return True
    return (400 <= status < 500 and enveloped) or status in NOTHING_HAPPENED_WITHOUT_ENVELOPE


ALONE: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Bucket:
    """The allowance for questions to the API, shared by every process behind one address.

    Attributes:
        tokens: Questions that may be asked at once.
        filled_at: When `tokens` was true, by the clock that all of them share (`Journal.clock`). It never goes back.
        closed_until: Nobody asks before this, after a 429.
        polled_at: When a look in the background was last granted.
    """

    tokens: float
    filled_at: float
    closed_until: float = 0.0
    polled_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Want:
    """A question that somebody wants to ask.

    Attributes:
        account: For whom; accounts take turns.
        urgent: Somebody has called for it; others are looks in the background.
        waited: Seconds that it has waited so far.
        name: Tells it apart from all others that wait; without one it keeps no place.
    """

    account: str = ""
    urgent: bool = True
    waited: float = 0.0
    name: str = ""


ANY = Want()


def take(
    bucket: Bucket,
    now: float,
    want: Want = ANY,
    others: Iterable[Want] = (),
    served: Mapping[str, float] = ALONE,
    *,
    timings: Timings = STANDARD,
) -> tuple[Bucket, float]:
    """Return the bucket after one question was asked for, and the seconds to wait before asking again (0: granted).

    A process reads the clock before it waits for the lock, so readings come out of order: an older one must not set
    `filled_at` back, or the same seconds would refill twice. That holds for readings that differ by any amount, as of
    two machines: no second refills more than once. A closure that is further off than a 429 may ask for is void.

    Args:
        bucket: What all share.
        now: Seconds, by the shared clock.
        want: What is asked for.
        others: Who else waits. Those who go before `want` find their questions in the bucket when they come for them.
        served: When each account was served last.
        timings: The bucket's capacity and refill.
    """
    capacity, refill = timings.bucket_capacity, timings.bucket_refill
    filled_at = max(now, bucket.filled_at)
    tokens = min(capacity, bucket.tokens + (filled_at - bucket.filled_at) * refill)
    closed = bucket.closed_until if bucket.closed_until - now <= MAX_RETRY_AFTER + OUT_OF_ORDER else 0.0
    current = Bucket(tokens, filled_at, closed, bucket.polled_at)
    if closed > now:
        return current, closed - now
    overdue = abs(now - bucket.polled_at) > TIMEOUT
    # A full bucket serves whoever comes: those who go before had the time to, and no longer ask.
    needed = min(capacity, 1.0 + _before(want, others, served, overdue=overdue))
    if tokens < needed:
        wait = max(SHORTEST_WAIT, (needed - tokens) / refill)
        return current, wait if needed == 1.0 else min(wait, RENEWED)
    return replace(current, tokens=tokens - 1.0, polled_at=bucket.polled_at if want.urgent else now), 0.0


def _before(want: Want, others: Iterable[Want], served: Mapping[str, float], *, overdue: bool) -> float:
    """Return how many questions have to stay in the bucket for others.

    Calls go before looks in the background, then the account that was served longest ago, then who has waited longest.
    """
    # All who wait must see the same order, or each may let the other go first for ever: by name where times are equal.
    queue = sorted(
        [want, *others], key=lambda one: (not one.urgent, served.get(one.account, 0.0), -one.waited, one.name)
    )
    starving = next((one for one in queue if not one.urgent and one.waited > TIMEOUT), None) if overdue else None
    if starving is not None:
        queue.remove(starving)
        queue.insert(0, starving)
    return queue.index(want) + (0.0 if want.urgent or want is starving else RESERVE)


def day_of(now: float) -> str:
    """Return the UTC day, which is what the API's own daily limits count by."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()
