"""The state as the rest of the program uses it: one object with every statement, over any driver."""

from typing import Literal

from avm_mcp.store.driver import Driver
from avm_mcp.store.jobs import Jobs
from avm_mcp.store.known_prices import KnownPrices
from avm_mcp.store.machine import Machine
from avm_mcp.store.merging import Merging
from avm_mcp.store.reading import Reading
from avm_mcp.store.shared import Shared
from avm_mcp.store.spending import Sums


class Store(Jobs, Reading, Merging, KnownPrices, Sums, Shared):
    """The state, over any driver."""

    def __init__(
        self,
        driver: Driver,
        *,
        save: Literal["mine", "all", "off"] = "mine",
        warning: str | None = None,
        born: float = 0.0,
        full: bool = False,
        machine: Machine,
        ahead: float,
    ) -> None:
        self._driver = driver
        self.machine = machine
        self._ahead = ahead
        self.moved = 0
        """How often another file has taken the place of the one that was written."""
        self.save = save
        self.warning = warning
        self.born = born
        """When it was begun, by `clock`: what was started before, it cannot know."""
        self.full = full

    def clock(self) -> float:
        """Return the time of this state in seconds: the clock of all durations that processes share.

        All processes of one start of a machine read the same, and nobody sets it: it is the machine's boot clock plus
        what was written when the state was first opened since that start. That was the wall clock's reading then, so
        that durations across a restart of the machine are the wall clock's, but never less than what had been reached.
        For dates it is of no use: see `now` where there is one.
        """
        return self.machine.seconds() + self._ahead

    def set_state(self, *, born: float, ahead: float) -> None:
        """Take over what another file says of itself."""
        self.born, self._ahead = born, ahead
        self.moved += 1

    @property
    def durable(self) -> bool:
        """Return whether what is written outlives the process."""
        return self._driver.durable

    @property
    def mode(self) -> str:
        """Return how the database makes writes safe, in its own word."""
        return self._driver.journal_mode

    async def check(self) -> None:
        """Read everything that is stored, and replace it where it is damaged: `warning` says so then."""
        await self._driver.check()

    def close(self) -> None:
        self._driver.close()
