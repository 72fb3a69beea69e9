"""B9: a cold process on its way to the paid answer, and what it then holds in memory, over a bare tool that POSTs.

Each round starts both servers over stdio, one after the other, and times each from the start of its process to the
answer of its first paid call: `initialize`, `text_to_video(wait_seconds=0)`. Memory is the resident set of the process
right after that answer, and `cpu` the seconds that all its threads have used by then (Linux). The sandbox is a third
process and answers every request in 20 ms; no caps are set, and the state is two days old, so that no guard asks the
service anything before it pays.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.b1 import cpu
from tests.bench.parts import SERVER, Stdio, aged, environ, rss, started, upstream

BARE = [sys.executable, "-m", "tests.bench.bare", "stdio"]


def paid(
    command: Sequence[str], env: Mapping[str, str], tool: str, arguments: dict[str, Any]
) -> tuple[float, float, int]:
    """Return the seconds until the first paid answer of a cold process, its CPU's, and the bytes that it holds then."""
    began = time.perf_counter()
    with started(command, env) as process:
        Stdio(process).call(tool, arguments)
        return time.perf_counter() - began, cpu(process.pid), rss(process.pid)


def measured(rounds: int) -> dict[str, object]:
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    used: dict[str, list[float]] = {"ours": [], "bare": []}
    memory: dict[str, list[int]] = {"ours": [], "bare": []}
    with tempfile.TemporaryDirectory() as name, upstream(answer_delay_seconds=0.02, query_limit=None) as base_url:
        folder = Path(name)
        aged(folder)
        env = environ(base_url, folder)
        for number in range(rounds + 1):
            prompt = {"prompt": f"a red kite, number {number}"}
            both = {"ours": (SERVER, "text_to_video", prompt | {"wait_seconds": 0}), "bare": (BARE, "post", prompt)}
            for which in ("ours", "bare") if number % 2 else ("bare", "ours"):
                command, tool, arguments = both[which]
                took, worked, held = paid(command, env, tool, arguments)
                if number:  # the first round warms the disk's cache
                    seconds[which].append(took)
                    used[which].append(worked)
                    memory[which].append(held)
    return {
        "bench": "B9",
        "rounds": rounds,
        "limit": 1.15,
        "start_ratio": round(median(seconds["ours"]) / median(seconds["bare"]), 3),
        "least_start_ratio": round(min(seconds["ours"]) / min(seconds["bare"]), 3),
        "cpu_ratio": round(median(used["ours"]) / median(used["bare"]), 3),
        "memory_ratio": round(median(memory["ours"]) / median(memory["bare"]), 3),
        "seconds": {which: round(median(took), 3) for which, took in seconds.items()},
        "cpu": {which: round(median(worked), 3) for which, worked in used.items()},
        "memory_mb": {which: round(median(held) / 2**20, 1) for which, held in memory.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b9", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    print(json.dumps(measured(parser.parse_args().rounds)), flush=True)


if __name__ == "__main__":
    main()
