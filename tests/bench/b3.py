"""B3: questions for each finished video, and how late its end is seen. Virtual time, the whole stack, the sandbox.

    python -m tests.bench.b3                                   # the four distributions of DESIGN 11
    python -m tests.bench.b3 --durations "ln:390,.25>ln:200,.25" --videos 100

For each distribution a real store, client, poller and service is set up before the sandbox; 50 videos are
made so that there is experience (where the distribution shifts, 50 before the shift and 50 after), and then

- `alone`: `--videos` videos one after the other, in `--houses` states: queries (status, one detail) and lateness,
  beside the best schedule that knows the distribution and looks as often (`schedules.py`), and the ratio of the two;
- `ten` and `hundred`: so many videos started over five minutes: queries in all, by the minute, and lateness;
- `cold`: the first five videos of a state that knows nothing but the catalogue's prior, alone;
- `shifting`, where it shifts: the ten videos right after the shift;
- `others`: pollers of each video, on as many videos as give stable figures; they are computed, not run.

A video is seen when the one who waits for it is told. Lateness is in seconds, means of all videos.
"""

import argparse
import json
import math
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import anyio
import trio.testing

from avm_mcp.domain.request import VideoRequest
from avm_mcp.jobs.service import Service
from avm_mcp.sandbox import SandboxOptions
from avm_mcp.sandbox.faults import QUERIES
from tests.bench import schedules
from tests.bench.schedules import Distribution, parsed
from tests.clock import VirtualWall
from tests.stack import Stack

FOUR = {
    "a": "ln:390,.25",
    "b": ".5*ln:180,.15+.5*ln:390,.15",
    "c": ".95*ln:240,.3+.05*ln:720,.3",
    "d": "ln:390,.25>ln:200,.25",
}
WARM = 50
OVER = 300.0
"""Seconds over which a crowd of videos is started."""

COLD = 5

INTERVAL = 7.0
"""Seconds between two videos that follow each other."""


class Run:
    """One house in virtual time: videos of a distribution, each with when it was done and seen."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self.stack = stack
        self.service: Service
        self._rng = rng
        self._made = 0

    def draw(self, distribution: Distribution, videos: int) -> None:
        """Let the next so many videos take a sample of the distribution."""
        durations = iter(distribution.sample(videos, self._rng))
        self.stack.sandbox.change(durations={"t2v": lambda _chance: next(durations)})

    @property
    def queries(self) -> int:
        return sum(self.stack.sandbox.counts[endpoint] for endpoint in QUERIES)

    async def video(self, late: list[float]) -> None:
        self._made += 1
        request = VideoRequest("t2v", 5, (f"kite {self._made}",), "16:9")
        found = await self.service.wait(await self.service.submit(request), 24 * 3600)
        assert found.job.status == "COMPLETED", found.job
        assert found.job.task_id is not None
        late.append(self.stack.wall() - self.stack.sandbox.ledger.tasks[found.job.task_id].ends_at)

    async def one_by_one(self, videos: int) -> tuple[list[int], list[float]]:
        """Return questions and lateness of each video."""
        asked: list[int] = []
        late: list[float] = []
        for _ in range(videos):
            before = self.queries
            await self.video(late)
            asked.append(self.queries - before)
            await anyio.sleep(INTERVAL)
        return asked, late

    async def crowd(self, videos: int, over: float) -> tuple[int, list[float], float, int]:
        """Return questions, lateness, minutes from the first start to the last end, and the most in a minute."""
        late: list[float] = []
        before, began, first = self.queries, anyio.current_time(), len(self.stack.sandbox.requests)

        async def one(delay: float) -> None:
            await anyio.sleep(delay)
            await self.video(late)

        async with anyio.create_task_group() as group:
            for number in range(videos):
                group.start_soon(one, over * number / videos)
        minutes = (anyio.current_time() - began) / 60
        return self.queries - before, late, minutes, _busiest(self.stack.sandbox.requests[first:])


def _busiest(requests: list[Any]) -> int:
    times = [seen.at for seen in requests if seen.endpoint in QUERIES]
    return max((sum(start <= at < start + 60 for at in times[i : i + 200]) for i, start in enumerate(times)), default=0)


def in_virtual_time(job: Callable[[Run], Coroutine[Any, Any, Any]], seed: int) -> Any:
    """Run a job in a house of its own, whose state is old enough that no guard has to look, and return its result."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

    async def main() -> Any:
        options = SandboxOptions(render=False, says_speed=False, balance=10**9, seed=seed)
        stack = Stack(folder, VirtualWall(), options, {"AVM_SAVE": "off"})
        await stack.with_history()
        run = Run(stack, random.Random(seed))
        async with stack.runtime() as runtime:
            run.service = runtime.service
            result = await job(run)
        assert stack.sandbox.counts["429"] == 0, "an answer 429"
        assert stack.sandbox.busiest_minute() <= 55
        return result

    try:
        clock = trio.testing.MockClock(autojump_threshold=0)
        return anyio.run(main, backend="trio", backend_options={"clock": clock})
    finally:
        shutil.rmtree(folder)


async def warm(run: Run, phases: list[Distribution]) -> list[tuple[list[int], list[float]]]:
    """Make the videos that experience comes from; after a shift, return what its first ten cost."""
    shifting = []
    for number, phase in enumerate(phases):
        run.draw(phase, WARM)
        first = 10 if number else 0
        if first:
            shifting.append(await run.one_by_one(first))
        await run.crowd(WARM - first, 2 * OVER)
    return shifting


def alone(text: str, videos: int, seed: int) -> Any:
    phases = parsed(text)

    async def job(run: Run) -> Any:
        shifting = await warm(run, phases)
        run.draw(phases[-1], videos)
        return shifting, await run.one_by_one(videos)

    return in_virtual_time(job, seed)


def crowds(text: str, seed: int) -> Any:
    phases = parsed(text)

    async def job(run: Run) -> Any:
        await warm(run, phases)
        run.draw(phases[-1], 10)
        ten = await run.crowd(10, OVER)
        run.draw(phases[-1], 100)
        return ten, await run.crowd(100, OVER)

    return in_virtual_time(job, seed)


def cold(text: str, seed: int) -> Any:
    async def job(run: Run) -> Any:
        run.draw(parsed(text)[-1], COLD)
        return await run.one_by_one(COLD)

    return in_virtual_time(job, seed)


def measured(text: str, pool: Executor, *, videos: int, stacks: int, seed: int) -> dict[str, Any]:
    """Return the line of one distribution."""
    seeds = range(seed * 1000, seed * 1000 + stacks)
    lonely = [pool.submit(alone, text, videos // stacks, number) for number in seeds]
    crowded = [pool.submit(crowds, text, number) for number in seeds]
    fresh = [pool.submit(cold, text, number) for number in range(seeds.start, seeds.start + 3 * stacks)]
    known = parsed(text)[-1]
    asked = [n for job in lonely for n in job.result()[1][0]]
    late = [seconds for job in lonely for seconds in job.result()[1][1]]
    shifting = [part for job in lonely for part in job.result()[0]]
    drawn = known.sample(5000, random.Random(seed))
    found: dict[str, Any] = {
        "bench": "B3",
        "durations": text,
        "alone": _beside_best(known, asked, late),
        "ten": _summed([job.result()[0] for job in crowded]),
        "hundred": _summed([job.result()[1] for job in crowded]),
        "cold": _beside_best(
            known,
            [n for job in fresh for n in job.result()[0]],
            [seconds for job in fresh for seconds in job.result()[1]],
        ),
        "others": {
            name: dict(
                zip(("queries", "late"), (round(x, 1) for x in schedules.simulated(intervals, drawn)), strict=True)
            )
            for name, intervals in schedules.OTHERS.items()
        },
        "answers_429": 0,  # asserted in every run
    }
    if shifting:
        found["shifting"] = {
            "queries": round(mean(n for some, _ in shifting for n in some), 1),
            "late": round(mean(seconds for _, some in shifting for seconds in some), 2),
        }
    return found


def _beside_best(known: Distribution, asked: list[int], late: list[float]) -> dict[str, float]:
    bound = schedules.best(known, mean(asked) - 1)  # both fetch the output once
    return {
        "videos": len(late),
        "queries": round(mean(asked), 1),
        "late": round(mean(late), 2),
        "late_error": round(stdev(late) / math.sqrt(len(late)), 2),
        "best_late": round(bound, 2),
        "ratio": round(mean(late) / bound, 2),
    }


def _summed(runs: list[tuple[int, list[float], float, int]]) -> dict[str, float]:
    return {
        "queries": round(mean(queries for queries, *_ in runs), 1),
        "per_minute": round(mean(queries / minutes for queries, _, minutes, _ in runs), 1),
        "busiest_minute": max(busiest for *_, busiest in runs),
        "late": round(mean(seconds for _, late, *_ in runs for seconds in late), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b3", description=__doc__.split("\n")[0])
    parser.add_argument("--durations", action="append", help="a, b, c, d, or a text such as ln:390,.25; repeatable")
    parser.add_argument("--videos", type=int, default=400, help="videos that are measured alone")
    parser.add_argument("--houses", type=int, default=4, help="machines they are spread over, each with its own past")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        for text in given.durations or FOUR:
            found = measured(
                FOUR.get(text, text), pool, videos=given.videos, stacks=given.houses, seed=given.seed
            )  # fmt: skip
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
