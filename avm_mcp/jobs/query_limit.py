"""The query limit as one process keeps it: it waits until the bucket that all processes share grants a query (P6)."""

import secrets

import anyio

from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.domain.rate_limit import MAX_RETRY_AFTER, PendingQuery
from avm_mcp.domain.timings import Timings
from avm_mcp.store import Store


class QueryLimit:
    """The limit of one service as one address may query it.

    Args:
        store: Holds the bucket.
        egress: Name of the bucket.
        account: For whom this process queries; accounts take turns.
        timings: The bucket's capacity and refill.
    """

    def __init__(self, store: Store, egress: str, account: str, timings: Timings) -> None:
        self._store = store
        self._egress = egress
        self._account = account
        self._timings = timings
        # The queries of this process stand in line and only the first asks the store: a crowd would do nothing else.
        self._lines = {urgent: (anyio.Lock(), secrets.token_hex(8)) for urgent in (True, False)}
        self._failed: tuple[float, StateUnavailable] | None = None

    async def wait(self, urgent: bool) -> None:
        """Return once a query may be sent.

        Raises:
            StateUnavailable: The store could not be written.
        """
        began = anyio.current_time()
        line, name = self._lines[urgent]
        async with line:
            if self._failed is not None and self._failed[0] > began:  # who stood behind it has waited as long
                raise self._failed[1].amend()
            while True:
                query = PendingQuery(self._account, urgent, anyio.current_time() - began, name)
                try:
                    wait = await self._store.take_token(self._egress, self._store.clock(), query, self._timings)
                except StateUnavailable as error:
                    self._failed = anyio.current_time(), error
                    raise
                if wait <= 0:
                    return
                await anyio.sleep(wait)  # others take from the same bucket, so it asks again afterwards

    async def close(self, seconds: float) -> None:
        """Let no process query for so long, after a 429."""
        await self._store.close_bucket(self._egress, self._store.clock() + min(seconds, MAX_RETRY_AFTER))
