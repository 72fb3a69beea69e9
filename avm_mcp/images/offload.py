"""Blocking reads of pictures, moved off the event loop: disks and network drives may not answer in time (P4)."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from avm_mcp.domain.errors import FileRefused
from avm_mcp.domain.next_steps import Action

T = TypeVar("T")

READ_TIMEOUT = 2.5
"""Seconds for reading and checking a picture. A submit must answer within three."""

MAX_THREADS = 4
"""Pictures that are read at the same time. Each may be in memory several times, with ten megabytes."""


class Offload(Protocol):
    """Runs blocking work and returns its result. The work must not use the event loop."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class ThreadOffload:
    """Runs work in threads.

    Raises:
        FileRefused: The work took longer than `READ_TIMEOUT`. Its thread goes on, and the result is dropped.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(MAX_THREADS)

    async def __call__(self, work: Callable[[], T], /) -> T:
        with anyio.move_on_after(READ_TIMEOUT):
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        raise FileRefused(
            f"The picture could not be read within {READ_TIMEOUT:g} s: its disk, network drive or cloud folder does not"
            " answer, or this machine is very busy.",
            field="image",
            next_step=Action.COPY_PICTURE(),
        )


async def inline(work: Callable[[], T], /) -> T:
    """Run the work on the loop: for programs with one call, and for virtual time, which jumps while a thread works."""
    return work()
