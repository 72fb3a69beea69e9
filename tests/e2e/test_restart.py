"""P1, P2, P3: `avm-mcp` over stdio, killed while a task runs, and started again, with production's time spans."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from avm_mcp.sandbox import faults
from tests.e2e.workspace import FAST, Workspace, host, names, open_workspace, side_by_side

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="SIGKILL as POSIX has it"),
]

CALL = {"prompt": "a red kite over the sea", "wait_seconds": 0}


async def killed_while_it_is_made(workspace: Workspace) -> None:
    """It has its id; the next server is asked for it."""
    async with host(workspace) as server:
        first = await server.call("text_to_video", **CALL)
        server.process.kill()
    assert first["task_id"] == workspace.tasks[0].id
    await ended_well(workspace, first["task_id"])


async def killed_while_it_is_sent(service: Workspace, name: str, profile: str) -> None:
    """The answer had not come when the process died; all that the model has is an id of ours."""
    async with open_workspace(service.folder / name, replace(FAST, profile=profile)) as workspace:
        workspace.sandbox.faults.next("generate", faults.hang(8, after=True))
        async with host(workspace) as server:
            first = await server.call("text_to_video", **CALL)
            server.process.kill()
        assert first["status"] == "SUBMITTING"
        assert first["task_id"].startswith("sub_")
        await ended_well(workspace, first["task_id"])


async def ended_well(workspace: Workspace, task_id: str) -> None:
    """Start again, ask for the task, repeat the request: there is one task, and its video is on the disk."""
    async with host(workspace) as server:
        reply = await server.call("get_task", 70, task_id=task_id, wait_seconds=60)
        assert reply["status"] == "COMPLETED", reply
        assert reply["task_id"] == workspace.tasks[0].id
        again = await server.call("text_to_video", **CALL)
        assert again["deduplicated"] is True
        assert again["task_id"] == reply["task_id"]
        assert [reply["file"]] == [again["file"]] == [str(workspace.videos / name) for name in names(workspace.videos)]
        listed = await server.call("list_tasks")
        assert [task["task_id"] for task in listed["tasks"]] == [reply["task_id"]]
    workspace.only_whole_videos(1)
    assert workspace.posts == len(workspace.tasks) == len(workspace.charges) == 1


async def test_after_a_kill_the_next_server_returns_the_task_and_saves_its_video_for_one_post(tmp_path: Path):
    """P1, P2, P3. Killed while the video was made, and while the paid request waited for its answer, on both APIs."""
    async with open_workspace(tmp_path) as service:
        stories = [
            partial(killed_while_it_is_made, service.mine("made")),
            partial(killed_while_it_is_sent, service, "sent_live", "live"),
            partial(killed_while_it_is_sent, service, "sent_seed", "seed"),
        ]
        await side_by_side(stories)
