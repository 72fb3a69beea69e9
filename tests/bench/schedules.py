"""Distributions written as text, the best schedule that knows one, and the schedules that others use.

A distribution is a mixture of lognormals: `ln:390,.25` has median 390 s and standard deviation .25 of its logarithm;
`.95*ln:240,.3+.05*ln:720,.3` is a heavy tail; `ln:390,.25>ln:200,.25` shifts from the first to the second in mid-run.

The best schedule. Somebody who knows the distribution F of seconds from submit to completion, and may look again
between 2 and 30 s after the last look, minimises lateness + price * queries. Let W(t) be that cost from a look at t on
at which the video was still being made, times the probability of it:

    W(t) = price * (1 - F(t)) + min over gaps g of [ integral from t to t + g of (F(u) - F(t)) du + W(t + g) ]

The integral is the lateness of videos that end within the gap, and the price is paid by the videos that are still being
made at t. It is solved backwards over whole seconds from where less than a millionth of the videos are left. Each price
gives a number of queries and a lateness that no other schedule can better both of; the price is varied until the number
of queries is the one asked for, and between two such points is a straight line, which a coin could reach.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from statistics import NormalDist, mean

SHORTEST, LONGEST = 2, 30
_CDF = NormalDist().cdf


@dataclass(frozen=True)
class Distribution:
    """A mixture of lognormals: (weight, median, sigma) each."""

    parts: tuple[tuple[float, float, float], ...]

    def draw(self, rng: random.Random) -> float:
        (_, median, sigma), *_ = rng.choices(self.parts, [weight for weight, _, _ in self.parts])
        return rng.lognormvariate(math.log(median), sigma)

    def done(self, seconds: float) -> float:
        if seconds <= 0:
            return 0.0
        total = sum(weight for weight, _, _ in self.parts)
        return sum(w * _CDF(math.log(seconds / median) / sigma) for w, median, sigma in self.parts) / total

    def after(self, share: float) -> float:
        """Return the seconds after which this share of the videos is done."""
        low, high = 1e-3, 1e6
        for _ in range(80):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.done(middle) < share else (low, middle)
        return high

    def sample(self, videos: int, rng: random.Random) -> list[float]:
        """Return so many durations in random order, one from each of as many equally likely strata.

        So a sample of a few hundred is as long as the distribution says, and what is measured on it is stable.
        """
        drawn = [self.after((number + rng.random()) / videos) for number in range(videos)]
        rng.shuffle(drawn)
        return drawn

    @cached_property
    def shares(self) -> list[float]:
        """The share of videos done after 0, 1, 2 ... seconds, until all are."""
        shares = [0.0]
        while shares[-1] < 1 - 1e-6 and len(shares) < 20_000:
            shares.append(self.done(len(shares)))
        return [*shares[:-1], 1.0]


def parsed(text: str) -> list[Distribution]:
    """Return the distribution that a text writes, or several that follow each other in a run."""
    return [Distribution(tuple(_part(part) for part in phase.split("+"))) for phase in text.split(">")]


def _part(text: str) -> tuple[float, float, float]:
    weight, _, rest = text.rpartition("*")
    kind, _, numbers = rest.strip().partition(":")
    if kind != "ln":
        raise ValueError(f"{text!r}: only ln:MEDIAN,SIGMA is known")
    median, sigma = (float(number) for number in numbers.split(","))
    return float(weight or 1), median, sigma


# --- the best one ---


@lru_cache(maxsize=512)
def solved(known: Distribution, price: float) -> tuple[float, float]:
    """Return the mean number of looks and the mean lateness of the best schedule at a price of a look in seconds."""
    done = known.shares
    last = len(done) - 1
    area = [0.0]  # the integral of the share done
    for before, after in pairwise(done):
        area.append(area[-1] + (before + after) / 2)
    area += [area[-1] + beyond for beyond in range(1, LONGEST + 1)]
    cost = [0.0] * (last + LONGEST + 1)
    intervals = [LONGEST] * (last + 1)
    for at in range(last - 1, -1, -1):
        least, interval = min(
            (area[at + g] - g * done[at] + cost[at + g], g) for g in range(SHORTEST, LONGEST + 1)
        )  # fmt: skip
        cost[at] = price * (1 - done[at]) + least - area[at]
        intervals[at] = interval
    polls = late = 0.0
    at = 0
    while at < last:
        interval = intervals[at]
        polls += 1 - done[at]
        late += area[at + interval] - area[at] - interval * done[at]
        at += interval
    return polls, late


def best(known: Distribution, polls: float) -> float:
    """Return the least mean lateness that can be had for this many looks at each video, on average."""
    low, high = 1e-3, 50.0  # prices; a higher one buys fewer looks
    for _ in range(18):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if solved(known, middle)[0] > polls else (low, middle)
    (more, less_late), (fewer, later) = solved(known, low), solved(known, high)
    if more <= polls or more == fewer:
        return less_late if more <= polls else later
    share = min(1.0, max(0.0, (polls - fewer) / (more - fewer)))
    return share * less_late + (1 - share) * later


def frontier(known: Distribution, prices: list[float]) -> list[tuple[float, float]]:
    """Return looks and lateness of the best schedules at these prices."""
    return [solved(known, price) for price in prices]


# --- what others do ---


def fixed(seconds: float) -> Callable[[], Iterator[float]]:
    def intervals() -> Iterator[float]:
        while True:
            yield seconds

    return intervals


def exponential(first: float = 2.0, factor: float = 1.5, longest: float = 60.0) -> Callable[[], Iterator[float]]:
    """A backoff as task queues have it: ever longer gaps from each video's submit on."""

    def intervals() -> Iterator[float]:
        interval = first
        while True:
            yield interval
            interval = min(longest, interval * factor)

    return intervals


OTHERS: dict[str, Callable[[], Iterator[float]]] = {
    "fixed 2 s": fixed(2),
    "fixed 5 s": fixed(5),
    "fixed 10 s": fixed(10),
    "fixed 20 s": fixed(20),
    "exponential 2 to 60 s": exponential(),
}


def simulated(intervals: Callable[[], Iterator[float]], videos: list[float]) -> tuple[float, float]:
    """Return queries for each video, with the one that fetches the output, and lateness, of a poller of each video."""
    polls, late = [], []
    for video in videos:
        at, asked = 0.0, 0
        for interval in intervals():
            at, asked = at + interval, asked + 1
            if at >= video:
                break
        polls.append(asked + 1)
        late.append(at - video)
    return mean(polls), mean(late)
