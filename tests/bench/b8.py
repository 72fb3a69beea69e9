"""B8: what 100,000 finished jobs in the state cost: start, first page of `list_tasks`, `get_task`, and a submit.

Two real servers over stdio, one on a state with so many jobs of two years, one on a state with nothing but the newest
20 of them: the page that is listed is the same, so that the ratio is of the state alone. They are started and called in
turns; the sandbox is a third process. `start` is from the start of a cold process to its first answer from the state.
Only the ratios mean anything: `ratios` is of medians, `least` of the fastest of each, which other load distorts less.
"""

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

from avm_mcp.domain.accounts import account_of
from avm_mcp.store import FILE_NAME
from tests.bench.parts import KEY, SERVER, Stdio, aged, environ, started, upstream

PAGE = 20
SPAN = 2 * 365 * 24 * 3600.0
"""Seconds over which the jobs were made."""

STATUSES = ("COMPLETED",) * 17 + ("FAILED", "CANCEL", "NOT_CREATED")

CALLS = 6
"""Lists for each start: each takes one of ten questions, and the bench refills the bucket only in between."""

Times = dict[str, dict[str, list[float]]]


def rows(count: int, account: str, now: float) -> Iterator[dict[str, object]]:
    """Return jobs, the newest first."""
    for number in range(count):
        at = now - 7200 - number * SPAN / 100_000
        status = STATUSES[number % len(STATUSES)] if number >= PAGE else "COMPLETED"
        made = status != "NOT_CREATED"
        yield {
            "id": f"sub_{number:012x}",
            "account": account,
            "caller": "",
            "identity": f"{number:064x}",
            "live": 0,
            "mine": 1,
            "idempotency_key": f"avm-{number:032x}",
            "input": json.dumps({"prompt": f"a red kite, number {number}", "duration": "5", "aspectRatio": "16:9"}),
            "task_id": f"ckbench{number:018d}" if made else None,
            "model": "t2v",
            "seconds": 5,
            "prompt": f"a red kite over a grey sea, number {number}, handheld, morning light",
            "aspect_ratio": "16:9",
            "take": 1,
            "status": status,
            "day": time.strftime("%Y-%m-%d", time.gmtime(at)),
            "created_at": at,
            "started": at,
            "settled_at": at + 300,
            "completed_at": at + 300 if made else None,
            "credits_quoted": 15,
            "credits_basis": "quote",
            "credits_charged": 15 if made else None,
            "video_url": f"https://files.example/{number}.mp4" if status == "COMPLETED" else None,
            "expires_at": at + 300 + 86_400 if status == "COMPLETED" else None,
            "download": "off" if status == "COMPLETED" else "none",
            "attempt": 1,
        }


def filled(folder: Path, count: int, account: str) -> None:
    """Begin a state two days ago, and put finished jobs into it."""
    aged(folder)
    with closing(sqlite3.connect(folder / "state" / FILE_NAME)) as state, state:
        for row in rows(count, account, time.time()):
            marks = ", ".join("?" * len(row))
            state.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", [*row.values()])
            if row["status"] == "COMPLETED":
                learned = (account, row["task_id"], "t2v", 5, 300.0, row["settled_at"])
                state.execute("INSERT INTO durations VALUES (?, ?, ?, ?, ?, ?)", learned)


def refill(folder: Path) -> None:
    """Let the next server ask as often as it likes."""
    with closing(sqlite3.connect(folder / "state" / FILE_NAME)) as state, state:
        state.execute("DELETE FROM buckets")


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def one_round(number: int, folders: dict[str, Path], base_url: str, times: Times) -> None:
    """Start both servers, one after the other, and call them in turns."""
    order = list(folders) if number % 2 else list(folders)[::-1]
    hosts: dict[str, Stdio] = {}
    newest = {"task_id": f"ckbench{0:018d}", "wait_seconds": 0}
    for folder in folders.values():
        refill(folder)
    with_state = {name: environ(base_url, folder) for name, folder in folders.items()}
    began = time.perf_counter()
    with started(SERVER, with_state[order[0]]) as first:
        hosts[order[0]] = Stdio(first)
        hosts[order[0]].call("get_task", newest)
        times["start"][order[0]].append(time.perf_counter() - began)
        began = time.perf_counter()
        with started(SERVER, with_state[order[1]]) as second:
            hosts[order[1]] = Stdio(second)
            hosts[order[1]].call("get_task", newest)
            times["start"][order[1]].append(time.perf_counter() - began)
            for call in range(CALLS + 1):
                prompt = {"prompt": f"a blue kite, {number} {call}", "wait_seconds": 0}
                works = {
                    "list_tasks": ("list_tasks", {"limit": PAGE}),
                    "get_task": ("get_task", newest),
                    "submit": ("text_to_video", prompt),
                }
                for what, (tool, arguments) in works.items():
                    for name in order if call % 2 else order[::-1]:
                        host = hosts[name]
                        took = timed(lambda h=host, t=tool, a=arguments: h.call(t, a))
                        if call:  # the first ones open connections and fill caches
                            times[what][name].append(took)


def measured(jobs: int, rounds: int) -> dict[str, object]:
    times: Times = {what: {"full": [], "empty": []} for what in ("start", "list_tasks", "get_task", "submit")}
    with tempfile.TemporaryDirectory() as name, upstream(answer_delay_seconds=0.005, query_limit=None) as base_url:
        folders = {"full": Path(name) / "full", "empty": Path(name) / "empty"}
        account = account_of(KEY, base_url)
        for state, count in (("full", jobs), ("empty", PAGE)):
            filled(folders[state], count, account)
        size = (folders["full"] / "state" / FILE_NAME).stat().st_size
        for number in range(rounds + 1):
            spare: Times = {what: {"full": [], "empty": []} for what in times}
            one_round(number, folders, base_url, times if number else spare)  # the first round warms the disk's cache
    ms = {what: {name: round(1000 * median(taken), 1) for name, taken in of.items()} for what, of in times.items()}
    ratios, least = [
        {what: round(pick(of["full"]) / pick(of["empty"]), 2) for what, of in times.items()} for pick in (median, min)
    ]
    found = {"ratios": ratios, "least": least, "ms": ms}
    return {"bench": "B8", "jobs": jobs, "rounds": rounds, "mb": size >> 20, "limit": 1.1, **found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.b8", description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    print(json.dumps(measured(given.jobs, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
