"""How long films take: a learned distribution, the next look that is worth its question, and true progress.

The model. The logarithm of the time from submit to completion is taken as normal (generation times are
positive, skewed to the right, and scale with load). Its mean and spread start from the catalogue's prior, which
weighs as much as `PRIOR_WEIGHT` films, and move to the median and the median absolute deviation of the last
`MEMORY` films of the same model and length, so that one outlier moves nothing. On top, `TAIL_WEIGHT` of all
films are taken to need `TAIL_STRETCH` times as long: one i2v_v3 took 13 minutes where six were usual.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from avm_mcp.catalog import MODELS

PRIOR_WEIGHT = 4
MEMORY = 50
TAIL_WEIGHT = 0.06
TAIL_STRETCH = 2.5
MIN_SPREAD = 0.08

SHORTEST_GAP = 2.0
LONGEST_GAP = 30.0
"""Seconds between two looks at one task."""

WORTH = 0.08
"""A look is worth its question when the task has ended since the last one with this probability."""

_STANDARD = NormalDist()


@dataclass(frozen=True, slots=True)
class Durations:
    """The distribution of seconds from submit to completion for one kind of film."""

    mu: float
    sigma: float

    def share_done(self, seconds: float) -> float:
        """Return the probability that a film is finished this long after its submit."""
        if seconds <= 0:
            return 0.0
        z = (math.log(seconds) - self.mu) / self.sigma
        late = z - math.log(TAIL_STRETCH) / self.sigma
        return (1 - TAIL_WEIGHT) * _STANDARD.cdf(z) + TAIL_WEIGHT * _STANDARD.cdf(late)

    @property
    def typical(self) -> float:
        """Return the median, in seconds."""
        return math.exp(self.mu)

    def gap_after(self, elapsed: float) -> float:
        """Return the seconds until the next look at a task that was still being made `elapsed` seconds after submit."""
        alive = 1 - self.share_done(elapsed)
        if alive < 1e-6:
            return min(LONGEST_GAP, max(SHORTEST_GAP, elapsed * 0.03))
        low, high = SHORTEST_GAP, LONGEST_GAP
        for _ in range(12):
            middle = (low + high) / 2
            ended = (self.share_done(elapsed + middle) - self.share_done(elapsed)) / alive
            low, high = (low, middle) if ended >= WORTH else (middle, high)
        return high

    def expected_total(self, elapsed: float) -> float:
        """Return the median total time of those usual films that are not finished after `elapsed` seconds.

        The tail is left out: with it, the expectation would leap just when the usual films are done, and progress
        would go back. A film that late is told as overdue instead.
        """
        if elapsed <= 0:
            return self.typical
        # 1 - cdf would be rounding alone, far out.
        alive = 0.5 * math.erfc((math.log(elapsed) - self.mu) / (self.sigma * math.sqrt(2)))
        if alive < 1e-300:
            return elapsed
        return max(elapsed, math.exp(self.mu - self.sigma * _STANDARD.inv_cdf(alive / 2)))

    def percent(self, elapsed: float) -> float:
        """Return how much of the whole time has passed, 0 to 99, as far as experience can tell; it never goes back."""
        return min(99.0, 100 * max(0.0, elapsed) / self.expected_total(elapsed))

    def overdue(self, elapsed: float) -> bool:
        """Return whether nine of ten films would be finished by now."""
        return self.share_done(elapsed) > 0.9


def learned(model: str, seconds: Sequence[float], *, speed: float = 1.0) -> Durations:
    """Return the distribution for `model`, given how long its last films took (newest first).

    Args:
        model: The API's name of the model; one that is not in the catalogue gets a broad guess.
        seconds: Observed times from submit to completion.
        speed: How many times faster than the real API the upstream runs; above 1 only in a sandbox.
    """
    known = MODELS.get(model)
    prior_mu = math.log((known.typical_seconds if known else 360.0) / speed)
    prior_sigma = known.spread if known else 0.5
    logs = [math.log(s) for s in seconds[:MEMORY] if s > 0]
    if not logs:
        return Durations(prior_mu, prior_sigma)
    centre = median(logs)
    weight = len(logs) / (len(logs) + PRIOR_WEIGHT)
    mu = weight * centre + (1 - weight) * prior_mu
    # 1.4826 makes the median absolute deviation an estimate of a normal distribution's standard deviation.
    spread = 1.4826 * median(abs(x - centre) for x in logs) if len(logs) > 2 else prior_sigma
    return Durations(mu, max(MIN_SPREAD, weight * spread + (1 - weight) * prior_sigma))
