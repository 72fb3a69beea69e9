"""Processes that are stopped between two steps, and go on later: SIGSTOP, a closed lid, a paused container.

Trio runs the tasks in its run queue. The queue of a stopped process holds its tasks back until it goes on, so that none
of its code runs meanwhile, while clocks, time-outs and the service go on. A time-out that passes during a stop is found
passed when the process goes on, as in life.
"""

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import trio


class Stoppable(Protocol):
    """A process, as the queue sees it."""

    stopped: bool
    held: list[trio.lowlevel.Task]


class RunQueue(deque[trio.lowlevel.Task]):
    """Trio's queue of tasks that can run now, without those of stopped processes."""

    def __init__(self, owner: ContextVar[Any]) -> None:
        super().__init__()
        self._owner = owner

    def append(self, task: trio.lowlevel.Task) -> None:
        process: Stoppable | None = task.context.get(self._owner)
        if process is not None and process.stopped:
            process.held.append(task)
        else:
            super().append(task)

    @classmethod
    def install(cls, owner: ContextVar[Any]) -> None:
        """Replace the queue of the loop that runs now; `owner` tells which process a task belongs to."""
        runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner
        queue = cls(owner)
        for task in runner.runq:
            queue.append(task)
        runner.runq = queue


def stop(process: Stoppable) -> None:
    """Let no task of a process run. Those that trio has begun a round with take one step more."""
    process.stopped = True


def go_on(process: Stoppable) -> None:
    """Let the tasks of a process run again, in the order in which they became ready."""
    process.stopped = False
    held, process.held = process.held, []
    for task in held:
        trio._core._run.GLOBAL_RUN_CONTEXT.runner.runq.append(task)


class Countdown(trio.abc.Instrument):
    """Does something after so many steps of the scheduler: between any two awaits of any process."""

    def __init__(self, steps: int, act: Callable[[], None]) -> None:
        self._left = steps
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left <= 0:
            trio.lowlevel.remove_instrument(self)
            self._act()
        self._left -= 1
