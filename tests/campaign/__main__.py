"""Run the campaign: `python -m tests.campaign --schedules 10000 --jobs 2`, or one schedule: `--seed 1234 -v`."""

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.campaign.breaks import BREAKS, broken
from tests.campaign.judge import Verdict, judge
from tests.campaign.schedule import draw
from tests.campaign.world import Record, run

CHUNK = 20


def workplace() -> str | None:
    """Return the folder for temporary files: memory, where there is such a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def one(seed: int, folder: Path, *, loud: bool = False) -> tuple[Record, Verdict]:
    """Run the schedule of a seed, and judge it."""
    record = run(draw(seed), folder, loud=loud)
    return record, judge(record)


def many(seeds: Iterable[int], rule: str | None, *, first: bool = False) -> dict[str, Any]:
    """Run schedules; return counts, excuses, and the violations by seed. `first`: stop after one that fails."""
    counts: Counter[str] = Counter()
    excuses: Counter[str] = Counter()
    failed: dict[int, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="avm-campaign-", dir=workplace()) as name, broken(rule):
        for seed in seeds:
            gc.disable()  # when it runs is chance, and it would be a fifth of the time
            try:
                record, verdict = one(seed, Path(name))
            except Exception as error:
                failed[seed] = [f"the run itself failed: {error!r}"]
                counts["schedules"] += 1
                continue
            finally:
                gc.enable()
                gc.collect(1)
            counts.update(record.counts)
            counts["schedules"] += 1
            excuses.update(set(verdict.excuses))
            if verdict.violations:
                failed[seed] = verdict.violations
                if first:
                    break
    return {"counts": counts, "excuses": excuses, "failed": failed, "cpu": time.process_time()}


def _chunk(given: tuple[range, str | None]) -> dict[str, Any]:
    before = time.process_time()
    done = many(*given)
    done["cpu"] = time.process_time() - before
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--break", dest="rule", choices=BREAKS, help="break a rule on purpose")
    parser.add_argument("-v", dest="loud", action="store_true", help="print everything that happened")
    args = parser.parse_args()
    if args.seed is not None:
        return _replay(args.seed, args.rule, loud=args.loud)
    began = time.monotonic()
    seeds = range(args.start, args.start + args.schedules)
    chunks = [(seeds[i : i + CHUNK], args.rule) for i in range(0, len(seeds), CHUNK)]
    counts: Counter[str] = Counter()
    excuses: Counter[str] = Counter()
    failed: dict[int, list[str]] = {}
    cpu = 0.0
    with contextlib.ExitStack() as stack:
        work = map if args.jobs == 1 else stack.enter_context(ProcessPoolExecutor(args.jobs)).map
        for done in work(_chunk, chunks):
            counts.update(done["counts"])
            excuses.update(done["excuses"])
            failed |= done["failed"]
            cpu += done["cpu"]
            for seed, violations in done["failed"].items():
                print(f"seed {seed}:", *violations, _command(seed, args.rule), sep="\n  ", file=sys.stderr)
    took = time.monotonic() - began
    faults = {name[6:]: n for name, n in sorted(counts.items()) if name.startswith("fault ")}
    kinds = Counter(line.split(":")[0] for lines in failed.values() for line in {v.split(":")[0]: v for v in lines})
    summary = {
        "schedules": counts.pop("schedules"),
        "failed": len(failed),
        "violations": dict(kinds),
        "seconds": round(took, 1),
        "cpu_seconds": round(cpu, 1),
        "virtual_hours": round(counts.pop("virtual_seconds") / 3600),
        **{name: n for name, n in sorted(counts.items()) if not name.startswith("fault ")},
        "faults": faults,
        "faults_in_all": sum(faults.values()),
        "excuses": dict(excuses),
        "failed_seeds": sorted(failed)[:50],
    }
    print(json.dumps(summary))
    return 1 if failed else 0


def _command(seed: int, rule: str | None) -> str:
    return f"replay: python -m tests.campaign --seed {seed} -v" + (f" --break {rule}" if rule else "")


def _replay(seed: int, rule: str | None, *, loud: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="avm-campaign-", dir=workplace()) as name, broken(rule):
        record, verdict = one(seed, Path(name), loud=loud)
    if loud:
        print(*record.schedule.lines(), sep="\n")
        for at, text in record.timeline:
            print(f"{at:10.3f}  {text}")
        print("on disk:", record.videos)
        print("tasks:", record.statuses)
        for excuse in verdict.excuses:
            print("excused:", excuse)
    for violation in verdict.violations:
        print("VIOLATION", violation)
    print(f"{len(verdict.violations)} violations; {_command(seed, rule)}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
