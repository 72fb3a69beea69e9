"""How long videos take: a learned distribution, the next look that is worth its question, and true progress.

The distribution, of the seconds from submit to completion, for one model and video length of one account. It is a
predictive density in log time (generation times are positive, skewed to the right, and scale with load):

- Each of the last `MEMORY` videos is a normal kernel (kernel density estimate; Silverman, Density Estimation, 1986),
  so that two kinds of videos under one name stay two. It weighs half as much as one `HALF_LIFE` videos newer
  (exponential forgetting), so that a service which has become faster is believed after some ten videos.
- The kernels' width is the mean over `WIDTHS` by their leave-one-out likelihood (Stone 1974; Duin 1976) under a weak
  preference for `USUAL_WIDTH`. A video far from all others is taken for one that the prior explains, so it widens
  nothing: one outlier costs its own small weight and moves nothing else.
- The catalogue's prior weighs as much as `PRIOR_WEIGHT` videos (a Dirichlet process mixture's base measure).
- `TAIL_WEIGHT` of all videos take much longer than usual, whatever was seen: one i2v_v3 took 13 minutes where six
  were usual. Far out its hazard falls with time, so that a task which overruns is asked about ever more rarely.

The next look. Between two looks g seconds apart, videos that end wait R(g) = sum of the integrals of their conditional
chance to have ended, seconds in all; the question itself is worth `price` seconds of waiting. The gap that minimises
(price + R(g)) / g, the cost per second (renewal reward; Barlow and Proschan, Mathematical Theory of Reliability, 1965;
Keller, Optimum Checking Schedules, Management Science 21, 1974), is where g R'(g) - R(g) reaches the price. The left
side never falls, R' is the number of videos expected to have ended, and the chances of several videos, each started at
a time of its own, simply add up: one rule for one video and for a hundred. For one video it costs about 4 % more
lateness than dynamic programming over all looks to come; `tests/bench/b3.py` measures that.

Progress. At e seconds a video of T has come e/T of its way; what is said is the mean of that over the videos that are
still being made then, made never to fall by isotonic regression (pool adjacent violators, weighted by the time that
videos spend there). So it is calibrated: over all moments at which 50 % is said, half of the time has
passed on average.
The assumed tail is left out of it: with it, whatever outlived the usual videos stood at 80 % until it was done, for two
minutes with one video in ten, and was further along than that; what overruns is told in words (`overdue`). What is left
is honest: of videos that spread by a quarter, one that is at 90 % of its way is told 77 % in the middle, since many
that are as old as it still have long to go.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

from avm_mcp.domain.catalog import MODELS
from avm_mcp.domain.timings import STANDARD, Timings

MEMORY = 60
HALF_LIFE = 20.0
"""How many videos are remembered, and after how many newer ones a video counts half."""

PRIOR_WEIGHT = 3.0
UNKNOWN_TYPICAL, UNKNOWN_SPREAD = 360.0, 0.5
"""The prior of a model that is not in the catalogue."""

WIDTHS = (0.05, 0.08, 0.12, 0.17, 0.25, 0.35)
USUAL_WIDTH, WIDTH_DOUBT = 0.15, 0.7

TAIL_WEIGHT = 0.04
TAIL_STRETCH = 1.8
TAIL_SPREAD = 0.6

OUTLIER_WEIGHT, OUTLIER_SPREAD = 0.1, 1.2
"""What explains a video that neither the prior nor any other video does, while the width is chosen."""

PRICE = 0.6
SOLITUDE = 0.5
"""Seconds of waiting that one question is worth, and the share of it that a lone video is spared: of the allowance
shared by all, one video takes four questions a minute; many take more, besides what their users ask."""

STEP = 1 / 64
REACH = 5.0
"""Grid of the tables: steps of the logarithm of time, and how many spreads it goes beyond the outermost part."""

_ROOT_2 = math.sqrt(2)
_ROOT_2_PI = math.sqrt(2 * math.pi)


class Part(NamedTuple):
    """One normal component of the logarithm of seconds."""

    weight: float
    centre: float
    spread: float


@dataclass(frozen=True, slots=False, eq=False)
class Durations:
    """The distribution of seconds from submit to completion for one kind of video.

    Args:
        body: How videos usually go; the weights add up to 1.
        tail: Those that overrun; its weight is their share of all.
    """

    body: tuple[Part, ...]
    tail: Part

    def share_done(self, seconds: float) -> float:
        """Return the probability that a video is finished this long after its submit."""
        if seconds <= 0:
            return 0.0
        at = (math.log(seconds) - self._start) / STEP
        if at <= 0:
            return 0.0
        table, index = self._share, int(at)
        if index >= len(table) - 1:
            return 1.0
        return table[index] + (at - index) * (table[index + 1] - table[index])

    @property
    def typical(self) -> float:
        """Return the median of the videos that go as usual, in seconds."""
        return self._tables[1]

    def interval_after(self, elapsed: float) -> float:
        """Return the seconds until the next look at a lone video that was still being made `elapsed` after submit."""
        return next_poll([(self, elapsed, 1)], price(1)).interval

    def percent(self, elapsed: float) -> float:
        """Return how much of the whole time has passed, 0 to 99, as far as experience can tell; it never falls."""
        if elapsed <= 0:
            return 0.0
        at = (math.log(elapsed) - self._start) / STEP
        table = self._progress
        if at <= 0:
            share = table[0] * math.exp(at * STEP)
        elif at >= len(table) - 1:
            share = table[-1]
        else:
            index = int(at)
            share = table[index] + (at - index) * (table[index + 1] - table[index])
        return min(99.0, 100 * share)

    def overdue(self, elapsed: float) -> bool:
        """Return whether nine of ten videos would be finished by now."""
        return self.share_done(elapsed) > 0.9

    # --- tables over the logarithm of time ---

    @cached_property
    def _start(self) -> float:
        """The logarithm of the seconds at which the tables begin."""
        return min(part.centre - REACH * part.spread for part in (*self.body, self.tail))

    @cached_property
    def _share(self) -> list[float]:
        return self._tables[0]

    @cached_property
    def _tables(self) -> tuple[list[float], float]:
        """The probability to be finished at each step, and the median of the body."""
        end = max(part.centre + REACH * part.spread for part in (*self.body, self.tail))
        steps = math.ceil((end - self._start) / STEP) + 1
        body = self._distribution(self.body, steps)
        high = max(1, bisect_left(body, 0.5))
        rise = body[high] - body[high - 1]
        median = math.exp(self._start + (high - (body[high] - 0.5) / rise) * STEP)
        late = self._distribution((self.tail,), steps)
        share = [(1 - self.tail.weight) * usual + odd for usual, odd in zip(body, late, strict=True)]
        share[0] = 0.0
        return list(accumulate((min(1.0, value) for value in share), max)), median

    def _distribution(self, parts: Iterable[Part], steps: int) -> list[float]:
        """Return the sum of the parts' distribution functions at each step; a part is computed where it rises only."""
        sums = [0.0] * steps
        whole = [0.0] * (steps + 1)
        for weight, centre, spread in parts:
            low = max(0, int((centre - REACH * spread - self._start) / STEP))
            high = min(steps, int((centre + REACH * spread - self._start) / STEP) + 1)
            z, dz = (self._start + low * STEP - centre) / (spread * _ROOT_2), STEP / (spread * _ROOT_2)
            for index in range(low, high):
                sums[index] += 0.5 * weight * math.erfc(-z)
                z += dz
            whole[high] += weight
        return [value + done for value, done in zip(sums, accumulate(whole), strict=False)]

    @cached_property
    def _progress(self) -> list[float]:
        """The calibrated share of the way at each step: see the head of this module."""
        share, start = self._distribution(self.body, len(self._share)), self._start
        times = [math.exp(start + index * STEP) for index in range(len(share))]
        ahead = 0.0  # the integral of dF / t from here on
        means = [0.0] * len(share)
        for index in range(len(share) - 1, -1, -1):
            alive = 1 - share[index]
            means[index] = min(1.0, times[index] * ahead / alive) if alive > 1e-9 else 1.0
            if index:
                ahead += (share[index] - share[index - 1]) / math.sqrt(times[index] * times[index - 1])
        return isotonic(means, [max(1e-12, 1 - done) * at for done, at in zip(share, times, strict=True)])


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nearest sequence that never falls, by weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, mass, count = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            before, more, length = blocks.pop()
            mean = (before * more + mean * mass) / (more + mass)
            mass, count = mass + more, count + length
        blocks.append((mean, mass, count))
    # Means of equals may differ in the last digit.
    return list(accumulate((mean for mean, _, count in blocks for _ in range(count)), max))


# --- the next look ---


class NextPoll(NamedTuple):
    """When the next look is worth its question, in seconds from the last one, and what looking so costs per second."""

    interval: float
    cost: float


def price(videos: int) -> float:
    """Return how many seconds of waiting one question is worth with so many videos in flight."""
    return PRICE * (1 - SOLITUDE / max(1, videos))


def next_poll(videos: Iterable[tuple[Durations, float, int]], price: float, timings: Timings = STANDARD) -> NextPoll:
    """Return when to look next at videos that were all being made at the last look.

    Args:
        videos: The distribution, the seconds since submit at the last look (below 0: not yet submitted then), and
            how many such videos there are.
        price: Seconds of waiting that the question is worth.
        timings: The bounds of the interval.
    """
    pending = [
        (durations, elapsed, done, count / (1 - done))
        for durations, elapsed, count in videos
        if (done := durations.share_done(elapsed)) < 1 - 1e-9
    ]
    shortest, longest = timings.shortest_poll_interval, timings.longest_poll_interval
    waited = ended = 0.0
    interval, reached = 0.0, -price
    while interval < longest:
        interval += 1.0
        before, ended = ended, 0.0
        for durations, elapsed, done, weight in pending:
            ended += (durations.share_done(elapsed + interval) - done) * weight
        waited += (before + ended) / 2
        missing, reached = reached, interval * ended - waited - price
        if reached >= 0 and interval >= shortest:
            exact = interval - reached / (reached - missing) if missing < 0 else interval
            return NextPoll(min(longest, max(shortest, exact)), (price + waited) / interval)
    return NextPoll(longest, (price + waited) / longest)


# --- learning ---


def learned(model: str, seconds: Sequence[float], *, speed: float = 1.0) -> Durations:
    """Return the distribution for `model`, given how long its last videos took (newest first).

    Args:
        model: The API's name of the model; one that is not in the catalogue gets a broad guess.
        seconds: Observed times from submit to completion.
        speed: How many times faster than the real API the upstream runs; above 1 only in a sandbox.
    """
    return _learned(model, tuple(s for s in seconds if s > 0)[:MEMORY], speed)


@lru_cache(maxsize=64)
def _learned(model: str, seconds: tuple[float, ...], speed: float) -> Durations:
    known = MODELS.get(model)
    typical, spread = (known.typical_seconds, known.spread) if known else (UNKNOWN_TYPICAL, UNKNOWN_SPREAD)
    prior = Part(PRIOR_WEIGHT, math.log(typical / speed), spread)
    seen = [math.log(s) for s in seconds]
    weights = [0.5 ** (age / HALF_LIFE) for age in range(len(seen))]
    total = PRIOR_WEIGHT + sum(weights)
    width = _width(seen, weights, prior) if seen else spread
    body = (
        Part(PRIOR_WEIGHT / total, prior.centre, prior.spread),
        *(Part(weight / total, centre, width) for weight, centre in zip(weights, seen, strict=True)),
    )
    usual = Durations(body, Part(0.0, prior.centre, prior.spread)).typical
    return Durations(body, Part(TAIL_WEIGHT, math.log(usual * TAIL_STRETCH), TAIL_SPREAD))


def _width(seen: Sequence[float], weights: Sequence[float], prior: Part) -> float:
    """Return the kernels' width: the mean of `WIDTHS` by how well each foretells every video from the others."""
    others = prior.weight + sum(weights)
    alone = [
        prior.weight
        * (
            (1 - OUTLIER_WEIGHT) * _density((x - prior.centre) / prior.spread) / prior.spread
            + OUTLIER_WEIGHT * _density((x - prior.centre) / OUTLIER_SPREAD) / OUTLIER_SPREAD
        )
        for x in seen
    ]
    scores: list[float] = []
    for width in WIDTHS:
        foretold = alone.copy()
        for i, x in enumerate(seen):
            for j in range(i):
                near = _density((x - seen[j]) / width) / width
                foretold[i] += weights[j] * near
                foretold[j] += weights[i] * near
        doubt = math.log(width / USUAL_WIDTH) / WIDTH_DOUBT
        likelihood = sum(w * math.log(f / (others - w) + 1e-12) for w, f in zip(weights, foretold, strict=True))
        scores.append(likelihood - doubt * doubt / 2)
    best = max(scores)
    chances = [math.exp(score - best) for score in scores]
    return math.exp(sum(c * math.log(w) for c, w in zip(chances, WIDTHS, strict=True)) / sum(chances))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / _ROOT_2_PI
