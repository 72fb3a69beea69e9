"""Spreads large transfers over time."""

import anyio


class Pace:
    """Lets large transfers go one after another: each is over before the next takes memory and the event loop.

    Args:
        rate: Bytes a second; the first one never waits.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0

    async def turn(self, size: int) -> None:
        """Wait for the turn of a transfer of `size` bytes."""
        begin = max(anyio.current_time(), self._next)
        self._next = begin + size / self._rate
        await anyio.sleep(max(0.0, begin - anyio.current_time()))
