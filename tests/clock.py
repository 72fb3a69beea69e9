"""Dates for tests: virtual time has durations only, and the product takes its dates from one injected callable."""

import itertools
from datetime import UTC, datetime

import anyio

from avm_mcp.store.machine import Machine

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


class Skewed:
    """A process's own wall clock: `true` plus `skew` seconds, which may be set again at any time, as a clock is put."""

    def __init__(self, true: VirtualWall, skew: float = 0.0) -> None:
        self.true = true
        self.skew = skew

    def __call__(self) -> float:
        return self.true() + self.skew


class VirtualMachine:
    """A machine in virtual time: its boot clock goes with `true`, and every process has a name of its own.

    All processes of one machine read one clock, whatever their wall clocks (`Skewed`) say. `dead` holds the names of
    those that a harness has ended without their knowing; a `restart` ends them all and begins the clock anew.
    """

    def __init__(self, true: VirtualWall, name: str = "machine") -> None:
        self.true = true
        self.name = name
        self.dead: set[str] = set()
        self._starts = 1
        self._zero = true() - 1000.0
        self._numbers = itertools.count(1)

    def process(self) -> Machine:
        """Return the machine as a new process of it sees it."""
        boot, zero = f"{self.name}-{self._starts}", self._zero
        return Machine(boot, lambda: self.true() - zero, f"{boot}/{next(self._numbers)}", self._gone)

    def restart(self) -> None:
        self._starts += 1
        self._zero = self.true()

    def _gone(self, process: str) -> bool | None:
        boot = process.partition("/")[0]
        if not boot.startswith(f"{self.name}-"):
            return None
        return process in self.dead or boot != f"{self.name}-{self._starts}"
