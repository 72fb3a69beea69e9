"""Reading pictures beside the event loop: disks, network drives and cloud folders answer when they like (P4)."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from avm_mcp.domain.errors import FileRefused
from avm_mcp.domain.next_steps import Action

T = TypeVar("T")

TIMEOUT = 2.5
"""Seconds for a picture to be read and looked at; a submit has to answer within three."""

MOST_AT_ONCE = 4
"""Pictures that are read at a time: each may have ten megabytes in memory several times over."""


class Offload(Protocol):
    """Does some work and returns its result; the work knows nothing of event loops."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


class Threads:
    """Does work in threads.

    Raises:
        FileRefused: It took longer than `TIMEOUT`; the thread is left alone, and what it returns is dropped.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def __call__(self, work: Callable[[], T], /) -> T:
        with anyio.move_on_after(TIMEOUT):
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        raise FileRefused(
            f"The picture could not be read within {TIMEOUT:g} s: its disk, network drive or cloud folder does not"
            " answer, or this machine is very busy.",
            field="image",
            next_step=Action.COPY_PICTURE(),
        )


async def inline(work: Callable[[], T], /) -> T:
    """Do work at once: for what runs nothing else, and for virtual time, which jumps while a thread works."""
    return work()
