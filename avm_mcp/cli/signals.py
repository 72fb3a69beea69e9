"""SIGINT and SIGTERM as an event, so that a wait ends in order and its result is printed."""

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskStatus

T = TypeVar("T")

STOPPING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)

POLL = 0.2
"""Seconds between two checks of a flag, on systems whose event loop takes no signals."""


class Stopped(Exception):
    """A signal came before the work was done."""


@asynccontextmanager
async def stopping(stop: anyio.Event) -> AsyncGenerator[None]:
    """Set `stop` at the first signal that asks for an end; a second one ends the process at once."""
    async with anyio.create_task_group() as group:
        await group.start(_listen, stop)
        yield
        group.cancel_scope.cancel()


async def _listen(stop: anyio.Event, *, task_status: TaskStatus[None]) -> None:
    try:
        receiver = anyio.open_signal_receiver(*STOPPING)
        with receiver as received:
            task_status.started()
            async for number in received:
                _handle(stop, number)
    except NotImplementedError:  # Windows
        await _poll(stop, task_status)


async def _poll(stop: anyio.Event, task_status: TaskStatus[None]) -> None:
    received: list[int] = []
    before = {number: signal.signal(number, lambda got, _frame: received.append(got)) for number in STOPPING}
    try:
        task_status.started()
        while True:
            await anyio.sleep(POLL)
            while received:
                _handle(stop, received.pop(0))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(stop: anyio.Event, number: int) -> None:
    if stop.is_set():
        os._exit(128 + number)  # the state holds what matters, and it was printed at the first signal
    stop.set()


async def unless_stopped(stop: anyio.Event, work: Callable[[], Awaitable[T]], seconds: float = 0.0) -> T:
    """Return what `work` returns.

    Args:
        stop: Set when the user asks for an end.
        work: What to do; its exceptions are raised as they are.
        seconds: How long it may still run after that.

    Raises:
        Stopped: It had not ended by then, and was cancelled.
    """
    results: list[T] = []
    failures: list[Exception] = []

    async def give_up(scope: anyio.CancelScope) -> None:
        await stop.wait()
        await anyio.sleep(seconds)
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(give_up, group.cancel_scope)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised below, since the group would wrap it
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise Stopped
    return results[0]
