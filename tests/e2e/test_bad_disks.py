"""P1, P2, P3, P8: full, read-only and damaged disks, and states of other versions."""

import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from avm_mcp.domain.accounts import account_of
from avm_mcp.store import migrations
from tests.e2e.workspace import FAST, Workers, Workspace, avm, names, open_workspace, side_by_side, until, workers

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX mounts and limits"),
]

SLOW = replace(FAST, durations={"t2v": 400.0})
"""A video takes two seconds, so it is unfinished when its process ends."""


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Workers]:
    async with workers(tmp_path / "workers") as nursery:
        yield nursery


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk at a folder; yield a function that mounts it again with other options."""
    at.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", at], check=True) and None
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


# --- full ---


async def test_a_process_whose_disk_fills_up_pays_for_nothing_that_it_cannot_record(tmp_path, nursery):
    """P1, P2: a limit on file sizes ends the space after some requests. Every request that was sent is found again."""
    prompts = [f"kite number {n}" for n in range(10)]
    async with open_workspace(tmp_path) as workspace:
        await nursery.run(workspace, rounds=[])
        printed = await nursery.run(workspace, rounds=[[prompt] for prompt in prompts], file_limit=100_000)
        reply = {one["prompt"]: one for one in printed if "prompt" in one}
        refused = {prompt: one["error"] for prompt, one in reply.items() if "error" in one}
        assert 0 < len(refused) < len(reply) == 10
        assert {(error["code"], error["charged"]) for error in refused.values()} == {("STATE_UNAVAILABLE", "no")}
        # The row was written and the mark before the send was not, so it was not sent, and the answer says so.
        unsent = {prompt for prompt, one in reply.items() if one.get("status") == "NOT_CREATED"}
        assert workspace.posts == len(workspace.charges) == len(workspace.tasks) == 10 - len(refused) - len(unsent)
        again = {one["prompt"]: one for one in (await nursery.run(workspace, rounds=[prompts], wait="download"))[1:]}
        fresh = {prompt for prompt, one in again.items() if not one.get("deduplicated")}
        assert set(refused) <= fresh <= {*refused, *unsent}
        assert workspace.posts == len(workspace.charges) == 10
        workspace.only_whole_videos(10)


async def test_on_a_full_state_disk_paid_calls_are_refused_until_there_is_space(tmp_path, nursery):
    """P1, P8: by a process that runs when the disk fills up, and by one that starts then."""
    async with open_workspace(tmp_path) as workspace:
        with small_disk(workspace.state, "1m"):
            await nursery.run(workspace, rounds=[["the one before"]], wait="download")
            posts = workspace.posts
            crowd = {"crowd": 2, "meet": str(tmp_path / "meet")}
            running = await (await nursery.start(workspace, rounds=[["a red kite"]], **crowd)).up()
            ballast = fill(workspace.state)
            started = await nursery.start(workspace, rounds=[["a blue kite"]], **crowd)
            for worker in (running, started):
                error = (await worker.end())[-1]["error"]
                assert (error["code"], error["charged"]) == ("STATE_UNAVAILABLE", "no")
            assert workspace.posts == posts
            ballast.unlink()
            reply = (await nursery.run(workspace, rounds=[["a red kite"]], wait="download"))[-1]
            assert (reply["status"], reply.get("deduplicated", False)) == ("COMPLETED", False)
            assert workspace.posts == len(workspace.charges) == posts + 1


async def test_a_first_start_on_a_full_disk_pays_nothing_either(tmp_path):
    """P1, P8: it does not run from memory instead. The next start finds space."""
    async with open_workspace(tmp_path) as workspace:
        with small_disk(workspace.state, "1m"):
            ballast = fill(workspace.state)
            reply = await avm(workspace, "text-to-video", "a red kite")
            assert (reply["error"]["code"], reply["error"]["charged"]) == ("STATE_UNAVAILABLE", "no")
            assert reply["_stderr"].count("The disk is full") == 1
            assert workspace.posts == 0
            ballast.unlink()
            assert (await avm(workspace, "text-to-video", "a red kite"))["status"] == "COMPLETED"
            workspace.only_whole_videos(1)


async def test_with_a_damaged_state_on_a_read_only_disk_it_runs_from_memory(tmp_path, nursery):
    """P1, P7: the state can neither be read nor renamed. The request is found in the service's list."""
    async with open_workspace(tmp_path, SLOW) as workspace:
        with small_disk(workspace.state, "1m") as mount_again:
            await damaged(workspace, nursery, garbage_at_the_start)
            mount_again("ro")
            reply = await avm(workspace, "text-to-video", "a red kite")
            assert reply["task_id"] == workspace.tasks[0].id
            assert reply["_stderr"].count("for a while") == 1
            assert workspace.posts == len(workspace.charges) == 1


async def test_a_video_waits_for_space_in_its_folder_and_is_saved_then(tmp_path, nursery):
    """P3: the folder has room for half of it."""
    async with open_workspace(tmp_path) as workspace:
        with small_disk(workspace.videos, "12k") as mount_again:
            worker = await nursery.start(workspace, rounds=[["a red kite"]], wait="download")
            await until(lambda: len(workspace.requests("file")) > 1, "a second try")
            assert [name for name in names(workspace.videos) if not name.startswith(".")] == []
            seen = await avm(workspace, "get", workspace.tasks[0].id, "--wait", "0")
            assert "the disk is full" in seen["message"], seen
            mount_again("size=1m")
            reply = (await worker.end())[-1]
            assert reply["file"] == str(workspace.saved()[0])
            workspace.only_whole_videos(1)
        assert workspace.posts == len(workspace.charges) == 1


# --- read-only ---


async def test_on_a_read_only_state_disk_it_runs_from_memory_with_a_warning_and_pays_once(tmp_path):
    """P1, P7, P8: earlier requests are found in the service's list, and a daily cap refuses new ones."""
    async with open_workspace(tmp_path) as workspace:
        with small_disk(workspace.state, "1m") as mount_again:
            first = await avm(workspace, "text-to-video", "a red kite", "--wait", "0")
            mount_again("ro")
            again = await avm(workspace, "text-to-video", "a red kite")
            assert again["_stderr"].count("for a while") == 1, again["_stderr"]
            assert again["task_id"] == first["task_id"]
            assert Path(again["file"]) in workspace.saved()
            capped = await avm(workspace, "text-to-video", "a blue kite", AVM_MAX_CREDITS_PER_DAY="1000")
            assert capped["error"]["charged"] == "no"
            assert workspace.posts == len(workspace.charges) == 1


# --- damaged ---


def garbage_at_the_start(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xde\xad\xbe\xef" * 64)


def garbage_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xde\xad\xbe\xef" * ((path.stat().st_size - 4096) // 8))


def half_of_it(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


DAMAGES = (garbage_at_the_start, garbage_in_the_middle, half_of_it)


async def damaged(workspace: Workspace, nursery: Workers, damage: Callable[[Path], None]) -> str:
    """Let a state with an unfinished task be damaged; return the digest of the damaged file."""
    await nursery.run(workspace, rounds=[["a red kite"]], wait="task")
    path = workspace.state / "journal.db"
    assert names(workspace.state) == ["journal.db"]
    damage(path)
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_state_is_renamed_and_its_tasks_are_discovered(tmp_path, nursery, damage):
    """P1, P2, P3: one warning; the request is known, the video is saved, and the spending counts."""
    async with open_workspace(tmp_path, SLOW) as workspace:
        digest = await damaged(workspace, nursery, damage)
        reply = await avm(workspace, "text-to-video", "a red kite")
        assert reply["_stderr"].count("The state is damaged") == reply["_stderr"].count("a new one was started") == 1
        assert reply["deduplicated"] is True
        assert reply["task_id"] == workspace.tasks[0].id
        assert Path(reply["file"]) in workspace.saved()
        (renamed,) = [name for name in names(workspace.state) if "damaged" in name]
        assert sha256((workspace.state / renamed).read_bytes()).hexdigest() == digest
        after = await avm(workspace, "account", AVM_MAX_CREDITS_PER_DAY="1000")
        assert "The state is damaged" not in after["_stderr"]
        assert after["spent_today"] == 15
        assert workspace.posts == len(workspace.charges) == 1
        workspace.only_whole_videos(1)


async def test_two_processes_that_find_a_damaged_state_together_rename_it_once(tmp_path, nursery):
    """P1: the second must not rename the new state of the first."""
    async with open_workspace(tmp_path, SLOW) as service:

        async def story(number: int) -> None:
            workspace = service.mine(f"damaged{number}")
            digest = await damaged(workspace, nursery, garbage_at_the_start)
            crowd = {"crowd": 2, "meet": str(workspace.folder / "meet"), "open_together": True}
            two = [partial(nursery.run, workspace, rounds=[["a red kite"]], wait="download", **crowd)] * 2
            reply = [printed[-1] for printed in await side_by_side(two)]
            renamed = [name for name in names(workspace.state) if "damaged" in name]
            assert [sha256((workspace.state / name).read_bytes()).hexdigest() for name in renamed] == [digest]
            assert {one["task_id"] for one in reply} == {workspace.tasks[0].id}
            assert workspace.posts == len(workspace.charges) == 1
            workspace.only_whole_videos(1)

        await side_by_side([partial(story, number) for number in range(6)], 3)


# --- other versions ---


async def test_a_state_of_a_newer_version_is_refused_and_left_alone(tmp_path, nursery):
    """P1: its meaning is not known, so nothing is paid."""
    async with open_workspace(tmp_path) as workspace:
        await nursery.run(workspace, rounds=[])
        path = workspace.state / "journal.db"
        with closing(sqlite3.connect(path)) as state:
            state.execute("PRAGMA user_version = 99")
        reply = await avm(workspace, "text-to-video", "a red kite")
        assert reply["error"]["code"] == "STATE_UNAVAILABLE"
        assert "update avm-mcp" in reply["error"]["next_step"]
        assert "Traceback" not in reply["_stderr"]
        assert workspace.posts == 0
        assert [name for name in names(workspace.state) if "damaged" in name] == []


BEFORE_0007 = {"download": "film", "file_path": "film_path"}
"""What columns were called before the migration that renamed them."""


def insert(state: sqlite3.Connection, **values: Any) -> None:
    """Insert a job, with a value in every required column of this schema."""
    columns = state.execute("PRAGMA table_info(jobs)").fetchall()
    if not any(name == "download" for _, name, *_ in columns):
        values = {BEFORE_0007.get(name, name): value for name, value in values.items()}
    for _, name, kind, required, default, _ in columns:
        if required and default is None:
            values.setdefault(name, "" if kind == "TEXT" else 0)
    marks = ", ".join("?" * len(values))
    state.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", [*values.values()])


@pytest.mark.parametrize("version", [number for number, _ in migrations()])
async def test_a_state_of_each_earlier_schema_is_migrated_with_its_rows(tmp_path, version):
    """P2, P3: a saved video stays known, and an unfinished one is saved."""
    async with open_workspace(tmp_path, SLOW) as workspace:
        await workspace.made_before("a red kite")
        workspace.state.mkdir(parents=True)
        common = {
            "account": account_of(workspace.key, workspace.url),
            "mine": 1,
            "model": "t2v",
            "seconds": 5,
            "take": 1,
            "credits_quoted": 15,
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        old = {"id": "sub_000000000001", "identity": "old", "idempotency_key": "avm-old", "task_id": "ckold"}
        new = {
            "id": "sub_000000000002",
            "identity": "new",
            "idempotency_key": "avm-new",
            "task_id": workspace.tasks[0].id,
        }
        download, path = ("film", "film_path") if version < 7 else ("download", "file_path")
        done = {"status": "COMPLETED", download: "saved", path: "/nowhere/old.mp4", "prompt": "an old one"}
        running = {"status": "SUBMITTED", download: "none", "prompt": "a red kite", "live": 1}
        with closing(sqlite3.connect(workspace.state / "journal.db", isolation_level=None)) as state:
            for number, sql in migrations():
                if number <= version:
                    state.executescript(sql)
            state.execute(f"PRAGMA user_version = {version}")
            state.execute("INSERT INTO facts (name, value) VALUES ('born', 1000000000)")
            insert(state, **common, **old, **done, created_at=time.time() - 9000, completed_at=time.time() - 8600)
            began = {"started": time.time()} if version >= 5 else {}  # newer schemas have it by the state's clock
            insert(state, **common, **new, **running, **began, created_at=time.time())
        reply = await avm(workspace, "get", "sub_000000000002")
        assert (reply["task_id"], reply["status"]) == (workspace.tasks[0].id, "COMPLETED")
        workspace.only_whole_videos(1)
        listed = await avm(workspace, "list")
        assert {"ckold", workspace.tasks[0].id} <= {task["task_id"] for task in listed["tasks"]}
        with closing(sqlite3.connect(workspace.state / "journal.db")) as state:
            assert state.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
