"""Client time-outs: how long a host lets a call wait, from a table of known hosts and from the calls that it has cut.

A host is the program that calls the tools, by the name that it gives. Three modules share the idea:

- this one holds the table (`HOSTS`), what a cut or an answer teaches (`Cuts`), and the wait that follows (`host`);
- `jobs.client_timeouts` keeps the cuts of each host in the store;
- `mcp_server.client_timeouts` observes which calls a host cuts, and how old calls are when they are answered.

A limit is learned from two cuts in succession at the same age. A person's stop comes once, or at another age, and the
calls that one stop ends are one cut, so stops teach nothing. A call that lived longer shows that its age is no limit. A
limit is forgotten when a call lives longer, and after `KEPT` seconds in any case, since a server that keeps to a limit
never sees that it is gone. Many frameworks only say "mcp", so the shortest limit of those that share a name holds for
all of them. No clock and no I/O of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

SAME_AGE, SAME_SHARE = 0.5, 0.01
"""Two calls are of the same age within this many seconds, or this share of the age: how far timers of hosts are off."""

YOUNGEST = 2.0
"""Seconds. No host has a shorter limit, so a call that is cut younger was stopped by a person."""

KEPT = 30 * 24 * 3600.0
"""Seconds that a limit is kept to, and that a cut waits for a second one."""

SLACK, SLACK_SHARE = 1.0, 0.05
"""Seconds, or share of the limit, by which an answer comes before the limit."""

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
    """What is kept of a host.

    Attributes:
        cut_age: Age of the last call that it cut, in seconds.
        cut_at: When, in seconds since 1970.
        seconds: The limit that was learned, as an age; None where none was.
        learned_at: When, in seconds since 1970.
    """

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
    """Return whether a date is at most `KEPT` seconds away; it lies ahead where the wall clock was set back since."""
    return at is not None and abs(now - at) <= KEPT
