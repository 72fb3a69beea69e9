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
from tests.e2e.workspace import FAST, Workers, Workspace, avm, names, open_workspace, side_by_side, until, workers

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


async def together(nursery: Workers, workspace: Workspace, count: int, **job: Any) -> list[list[dict[str, Any]]]:
    """Run so many workers on one state that begin each round at the same instant; return what each was told."""
    meet = {"crowd": count, "meet": str(workspace.folder / "meet")}
    reply = await side_by_side([partial(nursery.run, workspace, **meet, **job)] * count, count)
    return [[one for one in printed if "prompt" in one] for printed in reply]


async def test_the_same_request_from_two_processes_at_one_instant_is_one_task_twenty_times(tmp_path, nursery):
    """P1."""
    prompts = [f"kite number {n}" for n in range(20)]
    async with open_workspace(tmp_path) as workspace:
        first, second = await together(nursery, workspace, 2, rounds=[[prompt] for prompt in prompts], wait="task")
        assert workspace.posts == len(workspace.tasks) == len(workspace.charges) == 20
    for one, other in zip(first, second, strict=True):
        assert one["prompt"] == other["prompt"]
        assert one["task_id"] == other["task_id"]
        assert sorted(reply.get("deduplicated", False) for reply in (one, other)) == [False, True]


async def test_two_processes_that_begin_a_new_state_at_one_instant_share_it(tmp_path, nursery):
    """P1. Both make the file, both migrate it, both ask for the same video."""
    async with open_workspace(tmp_path) as service:
        spots = [service.mine(f"new{n}") for n in range(6)]
        job = {"rounds": [["a red kite"]], "open_together": True, "wait": "task"}
        reply = await side_by_side([partial(together, nursery, workspace, 2, **job) for workspace in spots], 3)
        for workspace, ((one,), (other,)) in zip(spots, reply, strict=True):
            assert workspace.posts == len(workspace.charges) == 1
            assert one["task_id"] == other["task_id"] == workspace.tasks[0].id
            assert [name for name in names(workspace.state) if "damaged" in name] == []


async def test_of_twenty_parallel_calls_against_a_cap_that_admits_three_three_are_made(tmp_path, nursery):
    """P8. Four processes, five calls each, at one instant."""
    cap = 4 * PRICE - 1
    async with open_workspace(tmp_path) as workspace:
        crowd = {"crowd": 4, "meet": str(tmp_path / "meet"), "environ": {"AVM_MAX_CREDITS_PER_DAY": str(cap)}}

        async def five(worker: int) -> list[dict[str, Any]]:
            return await nursery.run(workspace, rounds=[[f"kite {worker}-{n}" for n in range(5)]], wait="task", **crowd)

        printed = await side_by_side([partial(five, worker) for worker in range(4)])
        reply = [one for some in printed for one in some if "prompt" in one]
        assert len(workspace.tasks) == len(workspace.charges) == workspace.posts == 3
        spent = await avm(workspace, "account", AVM_MAX_CREDITS_PER_DAY=str(cap))
    refused = [one["error"] for one in reply if "error" in one]
    print(f"{len(reply)} calls, cap {cap}: {len(reply) - len(refused)} tasks, {len(refused)} refused: {refused[0]}")
    assert Counter(error["code"] for error in refused) == {"BUDGET_EXCEEDED": 17}
    assert {error["charged"] for error in refused} == {"no"}
    assert spent["spent_today"] == 3 * PRICE == -sum(entry.credits for entry in workspace.charges)


async def test_two_processes_watch_download_and_settle_the_same_tasks_and_each_video_is_there_once(tmp_path, nursery):
    """P3, P6. What is asked is asked once for both, and both are told the same."""
    prompts = [f"kite number {n}" for n in range(6)]
    async with open_workspace(tmp_path) as workspace:
        first, second = await together(nursery, workspace, 2, rounds=[prompts], wait="download")
        workspace.only_whole_videos(6)
        assert workspace.posts == len(workspace.charges) == 6
        assert len(workspace.requests("file")) <= 12, "at most one look each at what the other has saved"
        facts = ("task_id", "status", "file", "credits", "completed_at")
        reply = [{one["prompt"]: [one[name] for name in facts] for one in some} for some in (first, second)]
        assert reply[0] == reply[1]
        assert {Path(one["file"]) for one in first} == set(workspace.saved())
        assert (await avm(workspace, "account"))["spent_today"] == 6 * PRICE


@pytest.mark.parametrize("then", ["another is started", "another was idle all the time"])
async def test_after_a_kill_during_a_download_another_process_saves_the_video(tmp_path, nursery, then):
    """P2, P3."""
    async with open_workspace(tmp_path) as workspace:
        idle = await (await nursery.start(workspace, rounds=[], linger=60)).up() if "idle" in then else None
        workspace.sandbox.faults.next("file", faults.stall(60))
        worker = await nursery.start(workspace, rounds=[["a red kite"]], wait="download")
        part = await until(lambda: [name for name in names(workspace.videos) if name.endswith(".part")], "a download")
        await until(lambda: (workspace.videos / part[0]).stat().st_size > 0, "some bytes")
        worker.kill()
        await worker.end()
        if idle is None:
            *_, reply = await nursery.run(workspace, rounds=[["a red kite"]], wait="download")
            assert reply["deduplicated"] is True
            assert Path(reply["file"]) in workspace.saved()
        await until(lambda: workspace.saved() and len(names(workspace.videos)) == 1, "the video, and nothing else")
        workspace.only_whole_videos(1)
        assert workspace.posts == len(workspace.charges) == 1
        if idle is not None:
            idle.kill()


async def test_a_process_that_was_idle_watches_on_when_the_one_that_asked_is_killed(tmp_path, nursery):
    """P2, P3. Without a background worker, whoever is alive goes on."""
    slow = replace(FAST, durations={"t2v": 400.0})
    async with open_workspace(tmp_path, slow) as workspace:
        idle = await (await nursery.start(workspace, rounds=[], linger=60)).up()
        worker = await nursery.start(workspace, rounds=[["a red kite"]], wait="download")
        await until(lambda: workspace.tasks, "a task")
        await until(lambda: workspace.requests("status"), "a look")
        worker.kill()
        await until(lambda: workspace.saved() and len(names(workspace.videos)) == 1, "the video")
        workspace.only_whole_videos(1)
        idle.kill()


@pytest.mark.parametrize("profile", ["live", "seed"])
async def test_a_lost_answer_that_another_process_asks_for_again_is_found(tmp_path, nursery, profile):
    """P1. The connection dies after the charge, in both generations of the API."""
    async with open_workspace(tmp_path, replace(FAST, profile=profile)) as workspace:
        workspace.sandbox.faults.next("generate", faults.drop(after=True))
        first, second = await together(nursery, workspace, 2, rounds=[["a red kite"]], wait="download")
        assert workspace.posts == len(workspace.tasks) == len(workspace.charges) == 1
        workspace.only_whole_videos(1)
        assert {one["task_id"] for one in (*first, *second)} == {workspace.tasks[0].id}


async def test_an_agent_that_repeats_a_call_whose_answer_is_slow_gets_the_same_task(tmp_path, nursery):
    """P1, P4. The host has timed out; the repetition comes from another process while the first still sends."""
    async with open_workspace(tmp_path) as workspace:
        workspace.sandbox.faults.next("generate", faults.hang(5, after=True))
        worker = await nursery.start(workspace, rounds=[["a red kite"]], linger=20)
        await until(lambda: workspace.posts, "the first is sending")
        begun = anyio.current_time()
        *_, reply = await nursery.run(workspace, rounds=[["a red kite"]])
        assert anyio.current_time() - begun < 4
        assert (reply["status"], reply["deduplicated"]) == ("SUBMITTING", True)
        *_, reply = await nursery.run(workspace, rounds=[["a red kite"]], wait="download")
        assert reply["task_id"] == workspace.tasks[0].id
        workspace.only_whole_videos(1)
        assert workspace.posts == len(workspace.charges) == 1
        worker.kill()
