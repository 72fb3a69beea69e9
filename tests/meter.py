"""How long an event loop is kept from its other tasks: in steps of Python, which are the same on every machine."""

import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel


@dataclass
class Meter:
    """What a heartbeat task has seen.

    Attributes:
        steps: Lines of Python that ran in all, the heartbeat's own aside.
        longest: The most lines that ran between two beats.
        seconds: The longest time between two beats, by this machine's clock: to be told, not to be asserted on.
        beats: How often the loop came round.
    """

    steps: int = 0
    longest: int = 0
    seconds: float = 0.0
    beats: int = 0
    _since: int = 0

    def beat(self) -> None:
        self.longest = max(self.longest, self.steps - self._since)
        self._since = self.steps
        self.beats += 1

    def trace(self, frame: FrameType, _event: str, _arg: object) -> Any:
        if frame.f_code.co_filename == __file__:
            return None
        self.steps += 1
        return self.trace


@asynccontextmanager
async def metered(*, steps: bool = True) -> AsyncGenerator[Meter]:
    """Beat beside what runs inside; with `steps`, count what Python runs (ten times slower)."""
    meter = Meter()

    async def heartbeat() -> None:
        last = time.perf_counter()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.perf_counter()
            meter.seconds, last = max(meter.seconds, now - last), now
            meter.beat()

    before = sys.gettrace()
    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat)
        await anyio.lowlevel.checkpoint()
        if steps:
            sys.settrace(meter.trace)
        try:
            yield meter
        finally:
            sys.settrace(before)
            meter.beat()
            group.cancel_scope.cancel()
