"""The constants of time that tests shorten, in one object that the composition root gives to whoever waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Intervals, leases and the query limit. Times are in seconds. A constant that no test shortens is not here."""

    heartbeat_interval: float = 5.0
    """Between two marks, in the row of a paid request, that its process still waits for the answer."""

    heartbeat_lifetime: float = 15.0
    """How long such a mark counts. Three intervals, so that one late write does not make a living process look dead."""

    poll_lease: float = 15.0
    """How long a process polls for an account without renewing its lease. After a death another takes over then."""

    follow_interval: float = 1.0
    """Between two readings of the store by a process that does not poll, while a call waits in it."""

    idle_follow_interval: float = 5.0
    """The same while no call waits."""

    rest_interval: float = 30.0
    """Between two readings of the store while there is nothing to poll or to download: the process that did it may have
    died."""

    shortest_poll_interval: float = 2.0
    """The least time between two queries of the poller: 30 of the 55 a minute."""

    longest_poll_interval: float = 30.0
    """The most time between two polls of a task, however unlikely its end is."""

    poll_freshness: float = 5.0
    """A task that was polled less long ago is not polled again because somebody asks for it. A task that is younger
    when it is first seen counts as just submitted; an older one may have ended long ago, and is polled at once."""

    reconcile_interval: float = 5.0
    """Between the first two searches for lost answers. The interval doubles with each search."""

    longest_reconcile_interval: float = 300.0
    """Where the doubling ends."""

    idle_reconcile_interval: float = 15.0
    """Between two readings of the store while no answer is lost: a process that waits for one may die."""

    reconcile_lease: float = 30.0
    """How long one process of a store searches for lost answers without renewing its lease."""

    longest_download_turn: float = 300.0
    """How long a download counts among those that run side by side. After that a slow host holds up no other."""

    bucket_capacity: float = 10.0
    """Queries that may be sent at once."""

    bucket_refill: float = 0.75
    """Queries a second after that: 10 + 60 × 0.75 = 55 in any minute, below the API's 60 a minute and IP address."""


STANDARD = Timings()
