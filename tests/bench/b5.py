"""B5: a thousand calls that wait over HTTP in one process, at both eras of the protocol.

Ours is `avm-mcp serve`, the other a bare server whose tool only waits and reports progress every three seconds
(`tests/bench/bare.py`); both are processes of their own under uvicorn, one after the other, called by the same raw
client. Ours watches `--tasks` videos of a sandbox that is five times as fast as the API, so that many of them end
while the calls wait; each video is waited for by several calls.

- `memory_kb`: what the process holds once all calls wait, less what it held before, for each call; and the ratio;
- `beat_p99`: seconds between two signs of life to one caller, from its request to its result;
- `queries_per_minute`: the most that the sandbox was asked in any 60 s.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.parts import (
    LEGACY,
    MODERN,
    PERMITTED,
    SERVER,
    Call,
    aged,
    asked,
    busiest,
    environ,
    rss,
    started,
    upstream,
)

RAMP = 10.0
"""Seconds over which the calls come in."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def up(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the server does not listen")


async def crowd(pid: int, calls: Iterator[Call], count: int) -> tuple[float, list[float], float]:
    """Let calls wait; return the kilobytes that each costs, the gaps between beats, and the longest first answer."""
    before = rss(pid)
    running: list[asyncio.Task[None]] = []
    waiting: list[Call] = []
    for call in calls:
        waiting.append(call)
        running.append(asyncio.create_task(call.run()))
        await asyncio.sleep(RAMP / count)
    await asyncio.gather(*(call.waiting.wait() for call in waiting))
    await asyncio.sleep(5)
    cost = (rss(pid) - before) / 1024 / sum(call.result is None for call in waiting)
    await asyncio.gather(*running)
    return (
        cost,
        [interval for call in waiting for interval in call.intervals],
        max(call.intervals[0] for call in waiting),
    )


def reply(costs: tuple[float, list[float], float]) -> dict[str, float]:
    memory, intervals, first = costs
    ordered = sorted(intervals)
    return {
        "memory_kb": round(memory, 1),
        "beats": len(ordered),
        "beat_p99": round(ordered[int(0.99 * len(ordered))], 2),
        "beat_max": round(ordered[-1], 2),
        "first_answer_max": round(first, 2),
    }


async def of(pid: int, port: int, calls: Callable[[str, float], Iterator[Call]], version: str, count: int, wait: float):
    """Let a few calls come and go first, so that what is loaded once is not counted."""
    await up(port)
    few = [call for call, _ in zip(calls(version, 2), range(50), strict=False)]
    await asyncio.gather(*(call.run() for call in few))
    await asyncio.sleep(2)
    return reply(await crowd(pid, calls(version, wait), count))


def ours(version: str, count: int, tasks: int, wait: float) -> dict[str, Any]:
    port = free_port()
    sandbox = upstream(speed=5, query_limit=60, t2v="ln:390,.25")
    with tempfile.TemporaryDirectory() as name, sandbox as base_url:
        folder = Path(name)
        aged(folder)
        command = [*SERVER, "serve", "--port", str(port)]
        with started(command, environ(base_url, folder)) as process:

            async def main() -> dict[str, Any]:
                await up(port)
                ids: list[str] = []
                for number in range(tasks):
                    prompt = {"prompt": f"kite {number}", "wait_seconds": 0}
                    call = Call(port, "text_to_video", prompt, version)
                    await call.run()
                    assert call.result is not None
                    ids.append(call.result["structuredContent"]["task_id"])

                def calls(version: str, seconds: float) -> Iterator[Call]:
                    for number in range(count):
                        given = {"task_id": ids[number % tasks], "wait_seconds": int(seconds)}
                        yield Call(port, "get_task", given, version)

                return await of(process.pid, port, calls, version, count, wait)

            found = asyncio.run(main())
            times, refused = asked(base_url)
    return {**found, "queries_per_minute": busiest(times), "answers_429": refused}


def bare(version: str, count: int, wait: float) -> dict[str, Any]:
    port = free_port()
    with started([sys.executable, "-m", "tests.bench.bare", str(port)], None) as process:

        def calls(version: str, seconds: float) -> Iterator[Call]:
            for _ in range(count):
                yield Call(port, "wait", {"seconds": seconds}, version)

        return asyncio.run(of(process.pid, port, calls, version, count, wait))


def measured(count: int, tasks: int, wait: float) -> dict[str, Any]:
    found: dict[str, Any] = {"bench": "B5", "calls": count, "tasks": tasks}
    for version in (MODERN, LEGACY):
        us, them = ours(version, count, tasks, wait), bare(version, count, wait)
        found[version] = {"ours": us, "bare": them, "memory_ratio": round(us["memory_kb"] / them["memory_kb"], 2)}
    return {**found, "limits": {"memory_ratio": 1.3, "beat_p99": 6, "queries_per_minute": PERMITTED}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b5", description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--wait", type=float, default=60, help="seconds that each call waits")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3 * given.calls:  # a connection each, here and there
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * given.calls + 100), hard))
    print(json.dumps(measured(given.calls, given.tasks, given.wait)), flush=True)


if __name__ == "__main__":
    main()
