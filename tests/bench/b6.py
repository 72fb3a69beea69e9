"""B6: twenty real processes on one state, and a hundred tasks: what they ask the API together.

Each process is a stdio server of ours with a host that starts its share of the videos and then waits for them with
`get_task`, call after call, as agents do. The sandbox is a process of its own with the real limit of 60 queries a
minute, and five times as fast as the API, so that a video takes about 80 seconds and ends come thick.

- `queries_per_minute`: the most that the sandbox was asked in any 60 s, by all processes;
- `answers_429`: how often it refused;
- `late`: seconds from the end of a video until it stood in the shared state, which every process reads once a second.
"""

import argparse
import json
import sqlite3
import tempfile
import threading
import time
import urllib.request
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import mean

from avm_mcp.store import FILE_NAME
from tests.bench.parts import PERMITTED, SERVER, Stdio, aged, asked, busiest, environ, started, upstream


def host(base_url: str, folder: Path, number: int, videos: int, reply: set[str], failed: list[str]) -> None:
    """Be one host with its server: start videos, then wait for each of them."""
    try:
        with started(SERVER, environ(base_url, folder)) as process:
            stdio = Stdio(process)
            ids: list[str] = []
            for video in range(videos):
                started_one = stdio.call("text_to_video", {"prompt": f"kite {number}.{video}", "wait_seconds": 0})
                ids.append(started_one["structuredContent"]["task_id"])
                time.sleep(1)
            for task_id in ids:
                give_up = time.monotonic() + 600
                while task_id not in reply:
                    fields = stdio.call("get_task", {"task_id": task_id, "wait_seconds": 30})["structuredContent"]
                    if fields["done"]:
                        reply.add(task_id)
                        assert fields["status"] == "COMPLETED", fields
                        break
                    assert time.monotonic() < give_up, fields
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}")


def ends(base_url: str) -> dict[str, float]:
    """Return when each task ended, as the API itself would tell."""
    with urllib.request.urlopen(f"{base_url}/_control/tasks") as answer:
        rows = json.load(answer)["tasks"]
    return {row["id"]: datetime.fromisoformat(row["endsAt"]).timestamp() for row in rows}


def seen(folder: Path) -> dict[str, float]:
    """Return when the end of each task was written to the state."""
    with closing(sqlite3.connect(folder / "state" / FILE_NAME)) as state:
        return dict(state.execute("SELECT task_id, settled_at FROM jobs"))


def measured(processes: int, tasks: int, speed: float) -> dict[str, object]:
    reply: set[str] = set()
    failed: list[str] = []
    began = time.monotonic()
    sandbox = upstream(speed=speed, query_limit=60, t2v="ln:390,.25")
    with tempfile.TemporaryDirectory() as name, sandbox as base_url:
        folder = Path(name)
        aged(folder)
        share = tasks // processes
        threads = [
            threading.Thread(target=host, args=(base_url, folder, number, share, reply, failed))
            for number in range(processes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        times, refused = asked(base_url)
        done, settled = ends(base_url), seen(folder)
    assert not failed, failed
    assert len(reply) == share * processes
    return {
        "bench": "B6",
        "processes": processes,
        "tasks": len(reply),
        "seconds": round(took),
        "queries": len(times),
        "queries_per_minute": busiest(times),
        "answers_429": refused,
        "late": round(mean(settled[task] - done[task] for task in reply), 2),
        "limits": {"queries_per_minute": PERMITTED, "answers_429": 0},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b6", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--speed", type=float, default=5, help="how many times as fast as the API the sandbox is")
    given = parser.parse_args()
    print(json.dumps(measured(given.processes, given.tasks, given.speed)), flush=True)


if __name__ == "__main__":
    main()
