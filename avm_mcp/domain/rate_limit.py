"""The query limit, and whether and when a request is repeated: arithmetic, without a clock or I/O of its own."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from avm_mcp.domain.timings import STANDARD, Timings

MAX_RETRY_AFTER = 120.0
"""Seconds. A longer `Retry-After` is not waited for inside a call: the call ends with an error that names it."""

LONGEST_PAUSE = 24 * 3600.0
"""Seconds. A longer `Retry-After` is read as this."""

RETRIES = 4
"""How often a query is repeated before its call ends with an error."""

RESERVED_FOR_CALLS = 3.0
"""Tokens that background polls leave in the bucket for queries that a call waits for."""

BACKGROUND_TIMEOUT = 10.0
"""Seconds after which a waiting background poll goes before all calls. One does in each such period: calls never starve
the polls."""

RETRY_INTERVAL = 1.0
"""Seconds between two tries of a query while others go before it."""

PLACE_LIFETIME = 3.0
"""Seconds for which a waiting query keeps its place without a new try. After that its process counts as dead."""

OUT_OF_ORDER = 10.0
"""Seconds by which a reading of the shared clock may be older than that of a process that was served before. A process
reads the clock first and then waits for the lock."""

SHORTEST_WAIT = 0.01
"""Seconds. A shorter wait may be lost in the rounding of a float, and the query would be tried again and again."""

NOTHING_HAPPENED_WITHOUT_ENVELOPE = frozenset(
    {301, 302, 307, 308, 401, 403, 404, 405, 407, 411, 413, 414, 415, 421, 431, 451}
)
"""Statuses whose definition (RFC 9110) says that the request was not acted on, whoever sent the answer."""


def backoff(attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait before repeat number `attempt` (1 is the first): 0.5 s doubling to 15 s, with jitter.

    The jitter takes at most half, so that many callers spread and none comes back at once.
    """
    nominal = min(15.0, 0.5 * 2 ** (attempt - 1))
    return nominal * (0.5 + 0.5 * rng.random())


def retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, in either of its forms (RFC 9110, 10.2.3).

    None where it is absent or unreadable. Never negative, and a day at most.
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
    """The service's clock, as the `Date` headers of its answers show it. Any single header may be wrong.

    Args:
        now: Our wall clock, seconds since 1970.

    Attributes:
        heard: How many answers had a `Date`.
    """

    KEPT, TRUSTED = 5, 3
    """How many answers are remembered, and how many of them are trusted more than our own clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._skews: deque[float] = deque(maxlen=self.KEPT)
        self.heard = 0

    def hear(self, header: str | None) -> None:
        """Remember the `Date` of an answer that has just arrived."""
        if (date := http_date(header)) is not None:
            self._skews.append(date - self._now())
            self.heard += 1

    @property
    def skew(self) -> float | None:
        """Return the seconds by which it was ahead of ours at the last answer; None before the first."""
        return self._skews[-1] if self._skews else None

    def at_least(self) -> float:
        """Return the earliest time that it can be, by the last answers, and by our clock too while they are few.

        What has expired by this time is given up, so neither one wrong `Date` nor a jump of our clock may advance it.
        """
        few = len(self._skews) < self.TRUSTED
        return self._now() + min((*self._skews, 0.0) if few else self._skews)


def nothing_happened(status: int, enveloped: bool) -> bool:
    """Return whether an answer with this HTTP status proves that a paid request created nothing.

    Proof is a 429, a 4xx with the API's own error envelope, or one of the few statuses that mean it by definition.
    A 5xx proves nothing, with or without an envelope: the charge may have come before the failure.
    """
    if status == 429:
        return True
    return (400 <= status < 500 and enveloped) or status in NOTHING_HAPPENED_WITHOUT_ENVELOPE


NONE_SERVED: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Bucket:
    """The token bucket of the query limit, shared by every process behind one address. A query takes one token.

    Attributes:
        tokens: Queries that may be sent at once.
        filled_at: When `tokens` was true, by the clock that all processes share (`Store.clock`). It never goes back.
        closed_until: No query is sent before this, after a 429.
        polled_at: When a background poll last got a token.
    """

    tokens: float
    filled_at: float
    closed_until: float = 0.0
    polled_at: float = 0.0


@dataclass(frozen=True, slots=True)
class PendingQuery:
    """A query that waits for its token.

    Attributes:
        account: Whose it is. Accounts take turns.
        urgent: A call waits for it; else it is a background poll.
        waited: Seconds that it has waited so far.
        name: Tells it apart from all others that wait. Without one it keeps no place.
    """

    account: str = ""
    urgent: bool = True
    waited: float = 0.0
    name: str = ""


ANY_QUERY = PendingQuery()


def take_token(
    bucket: Bucket,
    now: float,
    query: PendingQuery = ANY_QUERY,
    others: Iterable[PendingQuery] = (),
    served: Mapping[str, float] = NONE_SERVED,
    *,
    timings: Timings = STANDARD,
) -> tuple[Bucket, float]:
    """Return the bucket after a query has tried to take a token, and the seconds to the next try (0: it has one).

    A process reads the clock before it waits for the lock, so readings come out of order. An older one must not set
    `filled_at` back, or the same seconds would refill twice. This also holds for the clocks of two machines, however
    far apart: no second refills more than once. A closure that lasts longer than a 429 may ask for is void.

    Args:
        bucket: What all processes share.
        now: Seconds, by the shared clock.
        query: Which query tries.
        others: The other queries that wait. The tokens of those that go before `query` stay in the bucket for them.
        served: When each account got its last token.
        timings: The bucket's capacity and refill.
    """
    capacity, refill = timings.bucket_capacity, timings.bucket_refill
    filled_at = max(now, bucket.filled_at)
    tokens = min(capacity, bucket.tokens + (filled_at - bucket.filled_at) * refill)
    closed = bucket.closed_until if bucket.closed_until - now <= MAX_RETRY_AFTER + OUT_OF_ORDER else 0.0
    current = Bucket(tokens, filled_at, closed, bucket.polled_at)
    if closed > now:
        return current, closed - now
    poll_is_due = abs(now - bucket.polled_at) > BACKGROUND_TIMEOUT
    # A full bucket serves any query: those that go before it had the time to come, and no longer do.
    needed = min(capacity, 1.0 + _count_before(query, others, served, poll_is_due=poll_is_due))
    if tokens < needed:
        wait = max(SHORTEST_WAIT, (needed - tokens) / refill)
        return current, wait if needed == 1.0 else min(wait, RETRY_INTERVAL)
    return replace(current, tokens=tokens - 1.0, polled_at=bucket.polled_at if query.urgent else now), 0.0


def _count_before(
    query: PendingQuery, others: Iterable[PendingQuery], served: Mapping[str, float], *, poll_is_due: bool
) -> float:
    """Return how many tokens have to stay in the bucket for others.

    Calls go before background polls, then the account that was served longest ago, then the query that has waited
    longest.
    """
    # All processes must see the same order, or two queries may let each other go first for ever. Names break ties.
    queue = sorted(
        [query, *others], key=lambda one: (not one.urgent, served.get(one.account, 0.0), -one.waited, one.name)
    )
    overdue = (one for one in queue if not one.urgent and one.waited > BACKGROUND_TIMEOUT)
    first = next(overdue, None) if poll_is_due else None
    if first is not None:
        queue.remove(first)
        queue.insert(0, first)
    return queue.index(query) + (0.0 if query.urgent or query is first else RESERVED_FOR_CALLS)


def day_of(now: float) -> str:
    """Return the UTC day as `2026-11-28`: the day of the daily cap, and of the API's own limits."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()
