"""How long videos take: a learned distribution, the interval until the next poll, and calibrated progress.

**Distribution.** `Durations` is a predictive density of the seconds from submit to completion, for one account, model
and video length. It is a mixture of normal densities in the logarithm of time, since generation times are positive and
skewed to the right, and scale with load.

- Each of the last `MEMORY` videos is one kernel (kernel density estimate; Silverman, Density Estimation, 1986), so two
  groups of videos stay two peaks. A video weighs half as much as one that is `HALF_LIFE` videos newer (exponential
  forgetting), so the estimate follows a faster service within about ten videos.
- All kernels have the same width. It is the mean of `WIDTHS`, weighted by leave-one-out likelihood (Stone 1974; Duin
  1976) and by a weak prior around `USUAL_WIDTH`. A broad component of small weight explains outliers, so that one
  outlier does not widen the kernels.
- The catalogue's usual time is a component that weighs as much as `PRIOR_WEIGHT` videos (the base measure of a
  Dirichlet process mixture).
- A tail of weight `TAIL_WEIGHT` is always assumed, since single videos take about twice as long as usual (one i2v_v3
  took 13 minutes, usually 6). The tail's hazard falls with time, so a late task is polled less and less often.

**Next poll.** Let R(g) be the expected seconds that videos wait, after their end, for a poll g seconds after the last
one: the integral, from 0 to g, of the expected number that have ended. A query is worth `price` seconds of waiting. The
cost per second is (price + R(g)) / g (renewal reward; Barlow and Proschan, Mathematical Theory of Reliability, 1965;
Keller, Optimum Checking Schedules, Management Science 21, 1974). It is least where g R'(g) - R(g) = price. The left
side never falls and R' is a sum over the videos, so one rule serves one video and a hundred. For one video the mean
lateness is about 4 % above that of dynamic programming over all later polls, as `tests/bench/b3.py` measures.

**Progress.** A video of T seconds is at e/T of its way after e seconds. The reported share is the mean of e/T over the
videos that last longer than e, made monotonic by isotonic regression (pool adjacent violators, weighted by the time
that videos spend there). It is calibrated: over all moments at which 50 % is reported, half of the time has passed on
average. The assumed tail is left out, because with it the share of a late video stood at 80 % for minutes; that it is
late is reported by `is_overdue`. Where durations spread by a quarter, a video at 90 % of its way is reported at 77 % in
the median.
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
"""Videos that the estimate is made from."""

HALF_LIFE = 20.0
"""Newer videos after which a video weighs half."""

PRIOR_WEIGHT = 3.0
"""Weight of the catalogue's usual time, in videos."""

UNKNOWN_TYPICAL, UNKNOWN_SPREAD = 360.0, 0.5
"""Median in seconds, and spread of its logarithm, of a model that is not in the catalogue."""

WIDTHS = (0.05, 0.08, 0.12, 0.17, 0.25, 0.35)
"""Widths of the kernels that are compared, in the logarithm of seconds."""

USUAL_WIDTH, USUAL_WIDTH_SPREAD = 0.15, 0.7
"""Centre and spread, in the width's logarithm, of the prior over `WIDTHS`."""

TAIL_WEIGHT, TAIL_STRETCH, TAIL_SPREAD = 0.04, 1.8, 0.6
"""The tail: its share of all videos, its median as a multiple of the usual one, and its spread."""

OUTLIER_WEIGHT, OUTLIER_SPREAD = 0.1, 1.2
"""The component that explains outliers while the width is chosen: its share of the prior, and its spread."""

QUERY_PRICE = 0.6
"""Seconds of waiting that one query is worth while many videos are in flight."""

LONE_DISCOUNT = 0.5
"""Share by which a query is cheaper for a lone video, which takes only about 4 of the 55 queries a minute."""

STEP = 1 / 64
"""Step of the tables, in the logarithm of seconds."""

REACH = 5.0
"""Spreads by which the tables reach beyond the outermost components."""

_ROOT_2 = math.sqrt(2)
_ROOT_2_PI = math.sqrt(2 * math.pi)


class Component(NamedTuple):
    """One normal density of the logarithm of seconds."""

    weight: float
    centre: float
    spread: float


@dataclass(frozen=True, slots=False, eq=False)
class Durations:
    """The distribution of seconds from submit to completion for one kind of video.

    Args:
        body: The usual videos. The weights add up to 1.
        tail: The late videos. Its weight is their share of all.
    """

    body: tuple[Component, ...]
    tail: Component

    def share_done(self, seconds: float) -> float:
        """Return the probability that a video has ended so long after its submit."""
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
        """Median of the usual videos, in seconds."""
        return self._tables[1]

    def percent(self, elapsed: float) -> float:
        """Return the estimated share of the whole time that has passed, 0 to 99. It never falls as `elapsed` grows."""
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

    def is_overdue(self, elapsed: float) -> bool:
        """Return whether nine of ten videos would have ended by now."""
        return self.share_done(elapsed) > 0.9

    # --- tables over the logarithm of time ---

    @cached_property
    def _start(self) -> float:
        """The logarithm of the seconds at which the tables begin."""
        return min(component.centre - REACH * component.spread for component in (*self.body, self.tail))

    @cached_property
    def _share(self) -> list[float]:
        return self._tables[0]

    @cached_property
    def _tables(self) -> tuple[list[float], float]:
        """The probability to have ended at each step, and the median of the body."""
        end = max(component.centre + REACH * component.spread for component in (*self.body, self.tail))
        steps = math.ceil((end - self._start) / STEP) + 1
        body = self._distribution(self.body, steps)
        high = max(1, bisect_left(body, 0.5))
        rise = body[high] - body[high - 1]
        median = math.exp(self._start + (high - (body[high] - 0.5) / rise) * STEP)
        late = self._distribution((self.tail,), steps)
        share = [(1 - self.tail.weight) * usual + odd for usual, odd in zip(body, late, strict=True)]
        share[0] = 0.0
        return list(accumulate((min(1.0, value) for value in share), max)), median

    def _distribution(self, components: Iterable[Component], steps: int) -> list[float]:
        """Return the weighted sum of the distribution functions at each step; each is computed only where it rises."""
        sums = [0.0] * steps
        whole = [0.0] * (steps + 1)
        for weight, centre, spread in components:
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
        """The reported share at each step: see the module's docstring."""
        share, start = self._distribution(self.body, len(self._share)), self._start
        times = [math.exp(start + index * STEP) for index in range(len(share))]
        ahead = 0.0  # the integral of dF / t from here on
        means = [0.0] * len(share)
        for index in range(len(share) - 1, -1, -1):
            alive = 1 - share[index]
            means[index] = min(1.0, times[index] * ahead / alive) if alive > 1e-9 else 1.0
            if index:
                ahead += (share[index] - share[index - 1]) / math.sqrt(times[index] * times[index - 1])
        return fit_isotonic(means, [max(1e-12, 1 - done) * at for done, at in zip(share, times, strict=True)])


def fit_isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nearest non-decreasing sequence by weighted squares (pool adjacent violators)."""
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


# --- the next poll ---


class NextPoll(NamedTuple):
    """Seconds from the last poll to the next one, and the cost per second of polling so, in seconds of waiting."""

    interval: float
    cost: float


def price_query(videos: int) -> float:
    """Return the seconds of waiting that one query is worth with so many videos in flight."""
    return QUERY_PRICE * (1 - LONE_DISCOUNT / max(1, videos))


def plan_next_poll(
    videos: Iterable[tuple[Durations, float, int]], price: float, timings: Timings = STANDARD
) -> NextPoll:
    """Return when to poll next for videos that had not ended at the last poll.

    Args:
        videos: The distribution, the seconds from the submit to the last poll (below 0: submitted after it), and the
            number of such videos.
        price: Seconds of waiting that the query is worth.
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


# --- estimation ---


def estimate_durations(model: str, seconds: Sequence[float], *, speed: float = 1.0) -> Durations:
    """Return the distribution for `model` by how long its last videos took, newest first.

    Args:
        model: The API's name of the model; one that is not in the catalogue gets a broad prior.
        seconds: Observed seconds from submit to completion; those that are not positive are ignored.
        speed: How many times faster than the real API the upstream runs; above 1 only in a sandbox.
    """
    return _estimate(model, tuple(s for s in seconds if s > 0)[:MEMORY], speed)


@lru_cache(maxsize=64)
def _estimate(model: str, seconds: tuple[float, ...], speed: float) -> Durations:
    known = MODELS.get(model)
    typical, spread = (known.typical_seconds, known.spread) if known else (UNKNOWN_TYPICAL, UNKNOWN_SPREAD)
    prior = Component(PRIOR_WEIGHT, math.log(typical / speed), spread)
    seen = [math.log(s) for s in seconds]
    weights = [0.5 ** (age / HALF_LIFE) for age in range(len(seen))]
    total = PRIOR_WEIGHT + sum(weights)
    width = _choose_width(seen, weights, prior) if seen else spread
    body = (
        Component(PRIOR_WEIGHT / total, prior.centre, prior.spread),
        *(Component(weight / total, centre, width) for weight, centre in zip(weights, seen, strict=True)),
    )
    usual = Durations(body, Component(0.0, prior.centre, prior.spread)).typical
    return Durations(body, Component(TAIL_WEIGHT, math.log(usual * TAIL_STRETCH), TAIL_SPREAD))


def _choose_width(seen: Sequence[float], weights: Sequence[float], prior: Component) -> float:
    """Return the mean of `WIDTHS`, weighted by how well each predicts every video from the others."""
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
        predicted = alone.copy()
        for i, x in enumerate(seen):
            for j in range(i):
                near = _density((x - seen[j]) / width) / width
                predicted[i] += weights[j] * near
                predicted[j] += weights[i] * near
        doubt = math.log(width / USUAL_WIDTH) / USUAL_WIDTH_SPREAD
        likelihood = sum(w * math.log(f / (others - w) + 1e-12) for w, f in zip(weights, predicted, strict=True))
        scores.append(likelihood - doubt * doubt / 2)
    best = max(scores)
    chances = [math.exp(score - best) for score in scores]
    return math.exp(sum(c * math.log(w) for c, w in zip(chances, WIDTHS, strict=True)) / sum(chances))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / _ROOT_2_PI
