"""P1, P2, P3: death before every step between the request and the saved video, and what the next process makes of it.

A worker on trio counts its scheduling steps from the request on, that is, every await that really yields, and every
change of name in the output folder. It is killed with SIGKILL before step 1, before step 2, and so on; then a second
process on the same state is asked for the same video, as an agent would. The service's ledger and the disk are judge.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workspace import FAST, Workers, Workspace, names, open_workspace, side_by_side, whole, workers

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL as POSIX has them"),
]

FULL = os.environ.get("AVM_FULL") == "1"
SPREAD, ENDS = 40, 10
"""Points of a profile in a normal run, and how many of them are its first and its last."""

AT_ONCE = 8
PROMPT = "a red kite over the sea"


@dataclass
class Death:
    """One death, and the retry after it."""

    point: str
    at: str
    posts_before: int
    workspace: Workspace
    reply: dict[str, Any]

    def wrong(self) -> list[str]:
        """Return what is not as promised, by the ledger and the disk."""
        before = self.workspace.tasks[0]
        tasks = [task for task in self.workspace.tasks if task is not before]
        charges = [entry for entry in self.workspace.charges if entry.task_id != before.id]
        posts = self.workspace.posts - 1
        if self.reply["status"] == "UNKNOWN":
            return [*self._wrong_unknown(posts), *(["a task, and told UNKNOWN"] if tasks or charges else [])]
        found = names(self.workspace.videos)
        truths = {
            "one task": len(tasks) == 1,
            "one charge": len(charges) == 1,
            "one whole video, and nothing else": len(found) == 1 and whole(self.workspace.videos / found[0]),
            "told COMPLETED": self.reply["status"] == "COMPLETED" and self.reply["done"] is True,
            "told the task's id": [self.reply["task_id"]] == [task.id for task in tasks],
            "told where the video is": [self.reply.get("file")]
            == [str(self.workspace.videos / name) for name in found],
            "told what was charged": self.reply["credits"].get("charged") in (None, -charges[0].credits),
            "told that it was there already": self.reply.get("deduplicated", False) or self.posts_before == 0,
        }
        return [f"not: {truth}" for truth, holds in truths.items() if not holds]

    def _wrong_unknown(self, posts: int) -> list[str]:
        """Without keys, a request that was written down and never arrived is neither sent again nor called harmless."""
        truths = {
            "only on an API without keys": not self.workspace.sandbox.live,
            "not sent again": posts == self.posts_before,  # one whose body was torn off by the death was sent
            "no video": names(self.workspace.videos) == [],
            "charged: unknown": self.reply["error"]["charged"] == "unknown",
            "told as lost": self.reply["error"]["code"] == "SUBMISSION_UNKNOWN" and self.reply["done"] is False,
            "known from before": self.reply["deduplicated"] is True,
        }
        return [f"not: {truth}" for truth, holds in truths.items() if not holds]


async def die_and_ask_again(service: Workspace, nursery: Workers, name: str, point: str) -> Death:
    workspace = service.mine(name)
    await workspace.made_before()
    steps = workspace.folder / "steps"
    asked = {"backend": "trio", "rounds": [[PROMPT]], "wait": "download", "unclear": 2.5}
    first = await nursery.start(workspace, **asked, steps=str(steps), crash_at=point)
    await first.end()
    died_at = steps.read_text().splitlines()[-1].partition(": ")[2] if first.status == -9 else ""
    posts_before = workspace.posts - 1
    *_, reply = await nursery.run(workspace, **asked)
    return Death(point, died_at, posts_before, workspace, reply)


def chosen(count: int) -> list[int]:
    """Return all points in a full run; else the first, the last, and the rest evenly spread."""
    if FULL:
        return list(range(1, count + 1))
    ends = {*range(1, ENDS + 1), *range(count - ENDS + 1, count + 1)}
    between = SPREAD - len(ends)
    spread = {ENDS + round((n + 0.5) * (count - 2 * ENDS) / between) for n in range(between)}
    return sorted(ends | spread)


def places(occurrences: Iterable[str]) -> set[str]:
    """Return the places without the numbers of their occurrence."""
    return {re.sub(r" #\d+$", "", occurrence) for occurrence in occurrences}


def lines(occurrences: Iterable[str]) -> set[str]:
    """Return the lines of ours, without what they wait in."""
    return {at.partition(" in ")[0] for at in places(occurrences)}


def summary(steps: Sequence[str], path: Path) -> str:
    """Return the list of steps by place, in the order of their first occurrence."""
    numbers: dict[str, list[str]] = {}
    for step in steps:
        number, _, occurrence = step.partition(": ")
        numbers.setdefault(re.sub(r" #\d+$", "", occurrence), []).append(number)
    lines = [f"  {', '.join(found)}: {where}" for where, found in numbers.items()]
    return "\n".join([f"{len(steps)} steps at {len(numbers)} places, listed in {path}", *lines])


@pytest.mark.parametrize("profile", ["live", "seed"])
async def test_after_a_kill_before_any_step_the_same_request_comes_to_one_task_one_charge_one_video(profile, tmp_path):
    """P1, P2, P3."""
    options = replace(FAST, profile=profile)
    async with open_workspace(tmp_path, options) as service, workers(tmp_path / "workers") as nursery:
        dry = service.mine("dry")
        await dry.made_before()
        listing = tmp_path / f"crash_points_{profile}.txt"
        asked = {"backend": "trio", "rounds": [[PROMPT]], "wait": "download"}
        await nursery.run(dry, **asked, steps=str(listing))
        steps = listing.read_text().splitlines()
        print(f"\n{profile}: {summary(steps, listing)}")
        occurrences = [step.partition(": ")[2] for step in steps]
        begins = next(n for n, at in enumerate(occurrences) if "Jobs.reserve" in at)
        renames = occurrences.index("os.link video #1")
        assert 0 < begins < renames

        def deaths(points: Iterable[int | str], kind: str) -> list[Any]:
            def one(number: int, point: str) -> Any:
                return lambda: die_and_ask_again(service, nursery, f"{kind}{number}", point)

            return [one(number, str(point)) for number, point in enumerate(points)]

        died = await side_by_side(deaths(chosen(len(steps)), "n"), AT_ONCE)
        # Steps shift by a few from run to run, as the network pleases: whatever place was not met is aimed at by name.
        met = places(death.at for death in died)
        left = [at for at in occurrences if at.endswith(" #1") and not places([at]) & met]
        died += await side_by_side(deaths(left, "p"), AT_ONCE)

    between = occurrences[begins : renames + 1]
    # Which of a library's functions waits is the network's affair; our lines are ours.
    missed = lines(between) - lines(death.at for death in died)
    wrong = [f"{death.point} ({death.at}): {death.wrong()} {death.reply}" for death in died if death.wrong()]
    unclear = [death.at for death in died if death.reply["status"] == "UNKNOWN"]
    died_at = lines(between) - missed
    print(
        f"{profile}: from reserve (step {begins + 1}) to the video's name (step {renames + 1}) {len(between)} steps at"
        f" {len(places(between))} places, {len(lines(between))} lines of ours. {len(died)} deaths before"
        f" {len({death.point for death in died})} steps and at {len(died_at)} of these lines: {len(wrong)} wrong,"
        f" {len(unclear)} stay UNKNOWN {unclear}"
    )
    assert not wrong, "\n".join(wrong)
    assert not missed, "lines at which nobody died: " + ", ".join(missed)
    assert profile == "seed" or not unclear
