"""The client time-outs that all processes of a state have learned; `domain.client_timeouts` says how they are learned.

What a call needs raises nothing: a call goes on whether or not its host's limit can be read or written.
"""

from collections.abc import Callable
from contextlib import suppress

from avm_mcp.domain import client_timeouts
from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.store import Store


class ClientTimeouts:
    """How long the calls of each host may wait.

    Args:
        store: Where the cuts of each host are kept.
        now: Wall clock, seconds since 1970.
    """

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def find_host(self, name: str) -> client_timeouts.Host:
        """Return how long calls of this host may wait."""
        cuts = client_timeouts.Cuts()
        with suppress(StateUnavailable):
            cuts = await self._store.cuts(name)
        return client_timeouts.host(name, cuts, self._now())

    async def record_cut(self, name: str, age: float) -> None:
        """Learn from a call that its host cut at this age, in seconds."""
        with suppress(StateUnavailable):
            await self._store.learn_cuts(name, lambda cuts: cuts.after_cut(age, self._now()))

    async def record_answer(self, name: str, age: float) -> None:
        """Learn from a call that was answered at this age, in seconds."""
        with suppress(StateUnavailable):
            if (cuts := await self._store.cuts(name)) != cuts.after_answer(age):
                await self._store.learn_cuts(name, lambda cuts: cuts.after_answer(age))

    async def limits(self) -> dict[str, float]:
        """Return the learned limits in seconds, by the names of the hosts.

        Raises:
            StateUnavailable: It cannot be read.
        """
        known = await self._store.hosts_that_cut()
        limits = {name: cuts.limit(self._now()) for name, cuts in known.items()}
        return {name: limit for name, limit in limits.items() if limit is not None}
