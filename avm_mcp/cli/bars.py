"""Progress at a terminal: a bar that moves, or a plain line at intervals."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from avm_mcp.cli.terminal import Terminal, harmless
from avm_mcp.domain.job import Job
from avm_mcp.jobs.views import Beat, Progress
from avm_mcp.presentation.audience import standing

if TYPE_CHECKING:
    import rich.progress

PLAIN_EVERY = 30.0
"""Seconds between two plain lines about one state."""


@contextmanager
def show_progress(terminal: Terminal) -> Generator[Beat]:
    """Give what a wait reports its progress to, until the wait ends."""
    if not terminal.is_interactive:
        yield PlainLines(terminal)
        return
    with draw_bars(terminal) as bars:
        yield Bar(bars)


@contextmanager
def draw_bars(terminal: Terminal, *, stays: bool = False) -> "Generator[rich.progress.Progress]":
    """Give bars is_interactive on stderr; they vanish at the end unless they should stay."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(file=terminal.err)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TaskProgressColumn())
    tail = TextColumn("{task.fields[tail]}", markup=False)
    with Progress(*columns, tail, console=console, transient=not stays) as bars:
        yield bars


class PlainLines:
    """A line when the state changes, and every half minute."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._state: tuple[str, str] | None = None
        self._last = 0.0

    async def __call__(self, job: Job, progress: Progress) -> None:
        now, state = anyio.current_time(), (job.public_id, job.status)
        if state == self._state and now - self._last < PLAIN_EVERY:
            return
        self._state, self._last = state, now
        self._terminal.note(f"Task {job.public_id}: {standing(job, progress)}")


class Bar:
    """One bar for one job."""

    def __init__(self, bars: "rich.progress.Progress") -> None:
        self._bars = bars
        self._task = bars.add_task("", total=100, tail="")
        self._percent = 0.0

    async def __call__(self, job: Job, progress: Progress) -> None:
        self._percent = max(self._percent, progress.percent)  # a newer estimate may be lower; a bar never goes back
        name, _, tail = standing(job, progress).partition(", ")
        name = f"{harmless(job.public_id)} {name}"
        self._bars.update(self._task, completed=self._percent, description=name, tail=tail)
