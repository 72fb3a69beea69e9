"""How long a host waits for a call: the hosts that are known, and a limit that is learned from calls that were cut.

A host has a limit of its own when it cuts two calls in succession at the same age. What people do teaches nothing: a
stop comes once, or at another age; several calls that one stop ends are one cut; and a call that lived longer shows
that its age is no limit. So a limit is forgotten when a call lives longer than it, and after `KEPT` in any case, since
who keeps to it never sees that it is gone. Names are what hosts call themselves, and many frameworks only say "mcp":
the shortest limit of those that share a name holds for all of them. No clock and no I/O of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

SAME_AGE, SAME_SHARE = 0.5, 0.01
"""Two calls are of the same age within this many seconds, or this share of it: how far timers of hosts are off."""

YOUNGEST = 2.0
"""Seconds. Below any host's limit; a call that is cut younger was stopped by somebody."""

KEPT = 30 * 24 * 3600.0
"""Seconds that a limit is kept to, and that a cut waits for a second one."""

SLACK, SLACK_SHARE = 1.0, 0.05
"""Seconds, or share of the limit, that an answer is sure to come before it."""

SAVING = 5.0
"""Seconds that a video on its way to the disk may add to a wait, and never more than the wait itself (DESIGN 8)."""

MAX_NAME = 100
"""Characters of a name that are kept."""


@dataclass(frozen=True, slots=True)
class Host:
    """How long calls of a host may wait, in seconds.

    Attributes:
        longest: No call waits longer, whatever it asks for; None where no limit is known.
        get_task: The wait of `get_task` where none was asked for; None where the host is not known.
    """

    longest: int | None = None
    get_task: int | None = None


HOSTS: Mapping[str, Host] = {
    # Measured with real hosts of November 2026. Over stdio this one cuts at 5 s whether it asked for progress or not.
    "google-adk": Host(longest=2, get_task=1),
    # No limit that a wait comes near over stdio; a call over 2 minutes is moved to the background.
    "claude-code": Host(get_task=110),
}


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is kept of a host: its last cut, and the limit that was learned, if any. Dates in seconds since 1970."""

    cut_age: float | None = None
    cut_at: float | None = None
    seconds: float | None = None
    learned_at: float | None = None

    def after_cut(self, age: float, now: float) -> "Cuts":
        """Return what is known once a call was cut at this age, in seconds."""
        if age < YOUNGEST or (self.cut_at is not None and now - age < self.cut_at - SAME_AGE <= now):
            return self  # a call that was on its way at the last cut may have been ended by the same stop
        last = self.cut_age if _recent(self.cut_at, now) else None
        known = self.after_answer(age)
        if last is not None and not _longer(age, last) and not _longer(last, age):
            known = replace(known, seconds=min(age, last), learned_at=now)
        return replace(known, cut_age=age, cut_at=now)

    def after_answer(self, age: float) -> "Cuts":
        """Return what is known once a call lived so long, in seconds: no shorter age is a limit."""
        known = self
        if known.cut_age is not None and _longer(age, known.cut_age):
            known = replace(known, cut_age=None)
        if known.seconds is not None and _longer(age, known.seconds):
            known = replace(known, seconds=None, learned_at=None)
        return known

    def limit(self, now: float) -> float | None:
        """Return the age at which the host cuts calls, in seconds; None where none is known."""
        return self.seconds if _recent(self.learned_at, now) else None


def host(name: str, cuts: Cuts, now: float) -> Host:
    """Return how long calls of a host may wait, by its name and by what it has cut."""
    known = HOSTS.get(name, Host())
    limit = cuts.limit(now)
    if limit is None:
        return known
    learned = _longest(limit)
    return replace(known, longest=learned if known.longest is None else min(known.longest, learned))


def _longest(limit: float) -> int:
    """Return the longest wait, in whole seconds, that is answered before the limit, a video's saving included."""
    room = limit - max(SLACK, SLACK_SHARE * limit)
    return max(0, int(room - SAVING if room > 2 * SAVING else room / 2))


def _longer(age: float, other: float) -> bool:
    return age > other + max(SAME_AGE, SAME_SHARE * other)


def _recent(at: float | None, now: float) -> bool:
    """A date from before the wall clock jumped back is as good as its distance."""
    return at is not None and abs(now - at) <= KEPT
