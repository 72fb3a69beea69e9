"""Dates for tests: virtual time has durations only, and the product takes its dates from one injected callable."""

from datetime import UTC, datetime

import anyio

EPOCH = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class VirtualWall:
    """A clock on the wall that goes as fast as the event loop's: `now` for a runtime, or for the sandbox.

    Calling it gives seconds since 1970, as `time.time` does. The first reading is the epoch, whatever the loop's clock
    says then; before and after a loop the clock stands still. Give each runtime one of its own and set `skew`
    (seconds) to let two of them disagree about the date.
    """

    def __init__(self, epoch: datetime = EPOCH, *, skew: float = 0.0) -> None:
        self.epoch = epoch
        self.skew = skew
        self._zero: float | None = None
        self._elapsed = 0.0

    def __call__(self) -> float:
        try:
            loop_time = anyio.current_time()
        except RuntimeError:  # no event loop: a plain test, or after one
            pass
        else:
            if self._zero is None:
                self._zero = loop_time
            self._elapsed = loop_time - self._zero
        return self.epoch.timestamp() + self._elapsed + self.skew

    def date(self) -> datetime:
        """Give the same as a date, in UTC."""
        return datetime.fromtimestamp(self(), UTC)
