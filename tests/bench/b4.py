"""B4: what our care costs a paid call: `text_to_video(wait_seconds=0)` over a bare tool that only POSTs.

Both are real servers over stdio, called in turns by the same raw host; the sandbox is a third process, answers every
request in 20 ms, and is the same for both. No caps are set, so that no price is asked for; the state is two days old,
so that no guard looks at the service's list. Ours writes the intent to the disk before the request and the task after
it (two transactions, each synced), checks the input against the catalogue, and tells the result twice.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.bench.parts import SERVER, Stdio, aged, environ, started, upstream


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measured(calls: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name, upstream(answer_delay_seconds=0.02, query_limit=None) as base_url:
        folder = Path(name)
        aged(folder)
        env = environ(base_url, folder)
        bare = [sys.executable, "-m", "tests.bench.bare", "stdio"]
        with started(SERVER, env) as our_process, started(bare, env) as bare_process:
            ours, theirs = Stdio(our_process), Stdio(bare_process)
            times: dict[str, list[float]] = {"ours": [], "bare": []}
            for number in range(calls + 5):
                prompt = f"a red kite, number {number}"
                for_ours = timed(lambda p=prompt: ours.call("text_to_video", {"prompt": p, "wait_seconds": 0}))
                for_bare = timed(lambda p=prompt: theirs.call("post", {"prompt": p}))
                if number >= 5:  # the first ones open connections
                    times["ours"].append(for_ours)
                    times["bare"].append(for_bare)
    ms = {name: round(1000 * median(taken), 1) for name, taken in times.items()}
    return {
        "bench": "B4",
        "calls": calls,
        "bare_ms": ms["bare"],
        "ours_ms": ms["ours"],
        "ratio": round(median(times["ours"]) / median(times["bare"]), 2),
        "limit": 2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b4", description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=150)
    print(json.dumps(measured(parser.parse_args().calls)), flush=True)


if __name__ == "__main__":
    main()
