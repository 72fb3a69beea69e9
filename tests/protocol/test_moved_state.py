"""The state moved from under a living server: it is noticed, and nothing is paid twice or forgotten (issue 10 M)."""

import shutil
import sqlite3

import anyio
import pytest

from avm_mcp.sandbox import faults
from avm_mcp.store import FILE_NAME, open_store
from tests.protocol.test_waiting import made_in
from tests.stack import fields
from tests.unit.test_store import NOW, draft, reserve

CALL = {"prompt": "a red kite", "wait_seconds": 0}


def deleted(stack):
    shutil.rmtree(stack.state)


def set_aside(stack):
    for part in stack.state.glob(f"{FILE_NAME}*"):
        part.rename(part.with_name(f"{part.name}.damaged"))


def restored(stack):
    deleted(stack)
    shutil.copytree(stack.folder / "backup", stack.state)


@pytest.mark.parametrize("stack", [made_in(90)], indirect=True)
@pytest.mark.parametrize("move", [deleted, set_aside, restored])
async def test_a_state_that_is_moved_from_under_a_server_is_noticed(stack, move):
    """P1, P2, P3: before, it wrote into a file without a name, and the same request was paid again."""
    await stack.with_history()
    shutil.copytree(stack.state, stack.folder / "backup")
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
        assert first["status"] == "SUBMITTED"
        move(stack)
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["task_id"] == first["task_id"]
        await anyio.sleep(200)
        later = fields(await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 0}))
    assert later["file"]
    assert len(stack.sandbox.entries("charge")) == 1
    async with stack.client() as other:
        assert fields(await other.call_tool("text_to_video", CALL))["task_id"] == first["task_id"]
    assert len(stack.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_an_answer_that_comes_after_the_move_is_kept(stack, move):
    """P2: the row is in no state any more; it is written anew."""
    await stack.with_history()
    stack.sandbox.faults.next("generate", faults.hang(20))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "SUBMITTING"
        move(stack)
        await anyio.sleep(30)
    async with stack.client() as other:
        later = fields(await other.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
    assert later["task_id"].startswith("ck")
    assert len(stack.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_a_request_whose_row_is_gone_is_not_sent(stack, move):
    """P1: after a 429 that was waited out, no state knows the request; what is said is true."""
    await stack.with_history()
    stack.sandbox.faults.next("generate", faults.rate_limited(30))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        move(stack)
        await anyio.sleep(60)
        later = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
        assert later["error"]["charged"] == "no"
    assert not stack.sandbox.tasks()


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_a_request_whose_row_goes_while_the_list_is_read_is_not_sent(stack, move, caplog):
    """P1: a young state looks in the service's list first; what the caller is told is true, and no bug is logged."""
    async with stack.client() as client:
        before = fields(await client.call_tool("text_to_video", CALL))
        deleted(stack)
        stack.sandbox.faults.next("list", faults.hang(2), count=3)
        async with anyio.create_task_group() as group:
            reply = []

            async def call():
                reply.append(fields(await client.call_tool("text_to_video", CALL | {"wait_seconds": 5})))

            group.start_soon(call)
            await anyio.sleep(1)
            move(stack)
        assert len(stack.sandbox.entries("charge")) == 1
    assert reply[0].get("task_id") == before["task_id"] or reply[0]["error"]["charged"] == "no"
    assert not [record for record in caplog.records if record.exc_info]


async def test_to_close_the_old_file_takes_nothing_from_the_new_one(tmp_path):
    """SQLite deletes a write-ahead log by its name when it closes: not that of the file that came after."""
    first = await open_store(tmp_path, now=NOW)
    await reserve(first, draft("i1"))
    for part in tmp_path.glob(f"{FILE_NAME}*"):
        part.unlink()
    second = await open_store(tmp_path, now=NOW)
    await reserve(second, draft("i2"))
    await reserve(first, draft("i3"))
    assert first.moved == 1
    await reserve(second, draft("i4"))
    with sqlite3.connect(tmp_path / FILE_NAME) as reader:
        assert [row[0] for row in reader.execute("SELECT identity FROM jobs ORDER BY identity")] == ["i2", "i3", "i4"]
    first.close()
    second.close()


async def test_a_take_that_was_made_before_the_state_was_lost_is_not_paid_for_again(stack):
    """P1: of the videos in the service's list that no state knows, a request is given the one of its take."""
    await stack.with_history()
    async with stack.client() as client:
        made = [fields(await client.call_tool("text_to_video", CALL | {"take": take}))["task_id"] for take in (1, 2)]
    shutil.rmtree(stack.state)
    async with stack.client() as client:
        again = [fields(await client.call_tool("text_to_video", CALL | {"take": take})) for take in (2, 1, 2)]
        third = fields(await client.call_tool("text_to_video", CALL | {"take": 3}))
    assert [reply["task_id"] for reply in again] == [made[1], made[0], made[1]]
    assert all(reply["deduplicated"] for reply in again)
    assert third["task_id"] not in made
    assert len(stack.sandbox.entries("charge")) == 3
