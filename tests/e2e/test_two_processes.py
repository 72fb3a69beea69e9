"""P1, P2, P3, P8: several processes on one state, at the same instant, one of them dying."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from avm_mcp.sandbox import faults
from tests.e2e.ground import FAST, Ground, Workers, avm, ground, names, side_by_side, until, workers

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL as POSIX has them"),
]

PRICE = 15
"""Credits of a video of t2v, five seconds."""


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Workers]:
    async with workers(tmp_path / "workers") as nursery:
        yield nursery


async def together(nursery: Workers, spot: Ground, count: int, **job: Any) -> list[list[dict[str, Any]]]:
    """Run so many workers on one state that begin each round at the same instant; return what each was told."""
    meet = {"crowd": count, "meet": str(spot.folder / "meet")}
    told = await side_by_side([partial(nursery.run, spot, **meet, **job)] * count, count)
    return [[one for one in said if "prompt" in one] for said in told]


async def test_the_same_request_from_two_processes_at_one_instant_is_one_task_twenty_times(tmp_path, nursery):
    """P1."""
    prompts = [f"kite number {n}" for n in range(20)]
    async with ground(tmp_path) as spot:
        first, second = await together(nursery, spot, 2, rounds=[[prompt] for prompt in prompts], wait="task")
        assert spot.posts == len(spot.tasks) == len(spot.charges) == 20
    for one, other in zip(first, second, strict=True):
        assert one["prompt"] == other["prompt"]
        assert one["task_id"] == other["task_id"]
        assert sorted(told.get("deduplicated", False) for told in (one, other)) == [False, True]


async def test_two_processes_that_begin_a_new_state_at_one_instant_share_it(tmp_path, nursery):
    """P1. Both make the file, both migrate it, both ask for the same video."""
    async with ground(tmp_path) as service:
        spots = [service.mine(f"new{n}") for n in range(6)]
        job = {"rounds": [["a red kite"]], "open_together": True, "wait": "task"}
        told = await side_by_side([partial(together, nursery, spot, 2, **job) for spot in spots], 3)
        for spot, ((one,), (other,)) in zip(spots, told, strict=True):
            assert spot.posts == len(spot.charges) == 1
            assert one["task_id"] == other["task_id"] == spot.tasks[0].id
            assert [name for name in names(spot.state) if "damaged" in name] == []


async def test_of_twenty_parallel_calls_against_a_cap_that_admits_three_three_are_made(tmp_path, nursery):
    """P8. Four processes, five calls each, at one instant."""
    cap = 4 * PRICE - 1
    async with ground(tmp_path) as spot:
        crowd = {"crowd": 4, "meet": str(tmp_path / "meet"), "environ": {"AVM_MAX_CREDITS_PER_DAY": str(cap)}}

        async def five(worker: int) -> list[dict[str, Any]]:
            return await nursery.run(spot, rounds=[[f"kite {worker}-{n}" for n in range(5)]], wait="task", **crowd)

        said = await side_by_side([partial(five, worker) for worker in range(4)])
        told = [one for some in said for one in some if "prompt" in one]
        assert len(spot.tasks) == len(spot.charges) == spot.posts == 3
        spent = await avm(spot, "account", AVM_MAX_CREDITS_PER_DAY=str(cap))
    refused = [one["error"] for one in told if "error" in one]
    print(f"{len(told)} calls, cap {cap}: {len(told) - len(refused)} tasks, {len(refused)} refused: {refused[0]}")
    assert Counter(error["code"] for error in refused) == {"BUDGET_EXCEEDED": 17}
    assert {error["charged"] for error in refused} == {"no"}
    assert spent["spent_today"] == 3 * PRICE == -sum(entry.credits for entry in spot.charges)


async def test_two_processes_watch_download_and_settle_the_same_tasks_and_each_video_is_there_once(tmp_path, nursery):
    """P3, P6. What is asked is asked once for both, and both are told the same."""
    prompts = [f"kite number {n}" for n in range(6)]
    async with ground(tmp_path) as spot:
        first, second = await together(nursery, spot, 2, rounds=[prompts], wait="download")
        spot.only_whole_videos(6)
        assert spot.posts == len(spot.charges) == 6
        assert len(spot.requests("file")) <= 12, "at most one look each at what the other has saved"
        facts = ("task_id", "status", "file", "credits", "completed_at")
        told = [{one["prompt"]: [one[name] for name in facts] for one in some} for some in (first, second)]
        assert told[0] == told[1]
        assert {Path(one["file"]) for one in first} == set(spot.saved())
        assert (await avm(spot, "account"))["spent_today"] == 6 * PRICE


@pytest.mark.parametrize("then", ["another is started", "another was idle all the time"])
async def test_after_a_kill_during_a_download_another_process_saves_the_video(tmp_path, nursery, then):
    """P2, P3."""
    async with ground(tmp_path) as spot:
        idle = await (await nursery.start(spot, rounds=[], linger=60)).up() if "idle" in then else None
        spot.sandbox.faults.next("file", faults.stall(60))
        worker = await nursery.start(spot, rounds=[["a red kite"]], wait="download")
        part = await until(lambda: [name for name in names(spot.videos) if name.endswith(".part")], "a download")
        await until(lambda: (spot.videos / part[0]).stat().st_size > 0, "some bytes")
        worker.kill()
        await worker.end()
        if idle is None:
            *_, told = await nursery.run(spot, rounds=[["a red kite"]], wait="download")
            assert told["deduplicated"] is True
            assert Path(told["file"]) in spot.saved()
        await until(lambda: spot.saved() and len(names(spot.videos)) == 1, "the video, and nothing else")
        spot.only_whole_videos(1)
        assert spot.posts == len(spot.charges) == 1
        if idle is not None:
            idle.kill()


async def test_a_process_that_was_idle_watches_on_when_the_one_that_asked_is_killed(tmp_path, nursery):
    """P2, P3. Without a background worker, whoever is alive goes on."""
    slow = replace(FAST, durations={"t2v": 400.0})
    async with ground(tmp_path, slow) as spot:
        idle = await (await nursery.start(spot, rounds=[], linger=60)).up()
        worker = await nursery.start(spot, rounds=[["a red kite"]], wait="download")
        await until(lambda: spot.tasks, "a task")
        await until(lambda: spot.requests("status"), "a look")
        worker.kill()
        await until(lambda: spot.saved() and len(names(spot.videos)) == 1, "the video")
        spot.only_whole_videos(1)
        idle.kill()


@pytest.mark.parametrize("profile", ["live", "seed"])
async def test_a_lost_answer_that_another_process_asks_for_again_is_found(tmp_path, nursery, profile):
    """P1. The connection dies after the charge, in both generations of the API."""
    async with ground(tmp_path, replace(FAST, profile=profile)) as spot:
        spot.sandbox.faults.next("generate", faults.drop(after=True))
        first, second = await together(nursery, spot, 2, rounds=[["a red kite"]], wait="download")
        assert spot.posts == len(spot.tasks) == len(spot.charges) == 1
        spot.only_whole_videos(1)
        assert {one["task_id"] for one in (*first, *second)} == {spot.tasks[0].id}


async def test_an_agent_that_repeats_a_call_whose_answer_is_slow_gets_the_same_task(tmp_path, nursery):
    """P1, P4. The host has timed out; the repetition comes from another process while the first still sends."""
    async with ground(tmp_path) as spot:
        spot.sandbox.faults.next("generate", faults.hang(5, after=True))
        worker = await nursery.start(spot, rounds=[["a red kite"]], linger=20)
        await until(lambda: spot.posts, "the first is sending")
        begun = anyio.current_time()
        *_, told = await nursery.run(spot, rounds=[["a red kite"]])
        assert anyio.current_time() - begun < 4
        assert (told["status"], told["deduplicated"]) == ("SUBMITTING", True)
        *_, told = await nursery.run(spot, rounds=[["a red kite"]], wait="download")
        assert told["task_id"] == spot.tasks[0].id
        spot.only_whole_videos(1)
        assert spot.posts == len(spot.charges) == 1
        worker.kill()
