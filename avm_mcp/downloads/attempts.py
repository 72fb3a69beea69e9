"""What this process has seen of a video that is not saved yet, and when it tries again."""

import random
from dataclasses import dataclass

import anyio

from avm_mcp.domain import rate_limit
from avm_mcp.domain.job import Job
from avm_mcp.downloads.failures import VideoCut, VideoError

STALE_AFTER = 2
"""Failures of any kind after which a fresh link is requested. A link that was refused is replaced at once."""

SLOWEST_RETRY = 300.0
"""Longest time between two tries, in seconds. A link lives for a day."""

CUT_TIMEOUT = 900.0
"""Seconds after completion during which a video that looks cut is not accepted: its host may still be writing it. In
the last `CUT_TIMEOUT` seconds of its link it is always accepted."""

CUT_AGAIN = 20.0
"""Seconds for which this process must have seen a video cut before it accepts it, however old the video is: whatever
kept the video away until now may also deliver half of it."""


@dataclass
class Attempts:
    """The tries to save one video.

    Attributes:
        failures: Tries that failed.
        due: When the next try may start. Times are in seconds, by `anyio.current_time()`.
        link_refused: Whether a fresh link is needed.
        unknown_since: Since when the API says that there is no such task; None while it does not.
        cut_since: Since when the video looks cut; None while it does not, minus infinity if an earlier process saw it.
    """

    failures: int = 0
    due: float = 0.0
    link_refused: bool = False
    unknown_since: float | None = None
    cut_since: float | None = None

    def record_failure(self, error: VideoError) -> None:
        """Remember what a failed try says about the link and about the video."""
        if isinstance(error, VideoCut) and self.cut_since is None:
            self.cut_since = anyio.current_time()
            self.failures = 0  # the rest may come soon, however long the host was unreachable before
        if error.link_at_fault or self.failures >= STALE_AFTER:
            self.link_refused = True

    def schedule_retry(self, rng: random.Random, retry_after: float | None = None) -> None:
        """Set `due`: no sooner than our own backoff, and no later than `SLOWEST_RETRY`, whatever the host asks for."""
        self.failures += 1
        pause = max(retry_after or 0.0, rate_limit.backoff(1, rng) * 2 ** min(self.failures, 10))
        self.due = anyio.current_time() + min(SLOWEST_RETRY, pause)

    def accepts_cut(self, job: Job, service_time: float) -> bool:
        """Return whether a video that still looks cut is saved as it is.

        Its age is counted from the job's own times, which outlive a process.
        """
        if self.cut_since is None and VideoCut.LOOKS_CUT in (job.download_error or ""):
            self.cut_since = float("-inf")
        if self.cut_since is None or anyio.current_time() - self.cut_since < CUT_AGAIN:
            return False
        return service_time > (job.completed_at or job.created_at) + CUT_TIMEOUT
