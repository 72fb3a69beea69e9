"""Stories that run side by side, because most of their time is waiting; each test waits for the end of its own."""

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from tests.e2e.background_workers import background_workers
from tests.e2e.workspace import Workspace

G = TypeVar("G", bound=Workspace)

Story = Callable[[G], Awaitable[dict[str, Any]]]
Reply = Callable[[str], Awaitable[dict[str, Any]]]


@dataclass
class RunningStory:
    """One story on its way."""

    over: anyio.Event = field(default_factory=anyio.Event)
    end: dict[str, Any] | None = None
    failure: BaseException | None = None

    async def tell(self, story: Story[G], workspace: G, places: anyio.CapacityLimiter) -> None:
        try:
            async with places:
                self.end = await story(workspace)
        except Exception as failure:
            self.failure = failure
        except BaseException as failure:
            self.failure = failure
            raise
        finally:
            self.over.set()
            for pid in background_workers(workspace):
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def run_stories(
    stories: Mapping[str, Story[G]], workspace: Callable[[str], G], *, seconds: float, at_once: int = 20
) -> AsyncGenerator[Reply]:
    """Begin all stories, each on its own ground, so many at once; `await told(name)` is the end of one.

    Args:
        stories: By name.
        spot: Makes the ground of a story.
        seconds: How long a test waits for its story at most.
        at_once: Stories side by side.
    """
    running = {name: RunningStory() for name in stories}
    places = anyio.CapacityLimiter(at_once)

    async def end_of(name: str) -> dict[str, Any]:
        with anyio.fail_after(seconds):
            await running[name].over.wait()
        if (failure := running[name].failure) is not None:
            raise failure
        end = running[name].end
        assert end is not None
        return end

    async with anyio.create_task_group() as group:
        for name, story in stories.items():
            group.start_soon(running[name].tell, story, workspace(name), places)
        yield end_of
        group.cancel_scope.cancel()
