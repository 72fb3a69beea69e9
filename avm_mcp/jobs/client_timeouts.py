"""The patience of hosts, as this state knows it: `hosts` says what a cut teaches, here it is kept and looked up.

For a call nothing here raises: it is worth more than what is known of its caller.
"""

from collections.abc import Callable
from contextlib import suppress

from avm_mcp.domain import client_timeouts
from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.store import Store


class ClientTimeouts:
    """How long the calls of each host may wait, by the name that it gives and by what it has cut.

    Args:
        journal: Where it is kept, for all processes of a state.
        now: Wall clock, seconds since 1970.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def of(self, name: str) -> client_timeouts.Host:
        """Return how long calls of this host may wait."""
        cuts = client_timeouts.Cuts()
        with suppress(StateUnavailable):
            cuts = await self._store.cuts(name)
        return client_timeouts.host(name, cuts, self._now())

    async def cut(self, name: str, age: float) -> None:
        """Learn from a call that its host has cut at this age, in seconds."""
        with suppress(StateUnavailable):
            await self._store.learn_cuts(name, lambda cuts: cuts.after_cut(age, self._now()))

    async def waited(self, name: str, age: float) -> None:
        """Learn from a call that its host has waited for so long, in seconds."""
        with suppress(StateUnavailable):
            if (cuts := await self._store.cuts(name)) != cuts.after_answer(age):
                await self._store.learn_cuts(name, lambda cuts: cuts.after_answer(age))

    async def limits(self) -> dict[str, float]:
        """Return after how many seconds hosts were seen to cut calls, by the names that they give.

        Raises:
            StateUnavailable: It cannot be read.
        """
        known = await self._store.hosts_that_cut()
        limits = {name: cuts.limit(self._now()) for name, cuts in known.items()}
        return {name: limit for name, limit in limits.items() if limit is not None}
