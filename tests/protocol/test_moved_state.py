"""The journal moved from under a living server: it is noticed, and nothing is paid twice or forgotten (issue 10 M)."""

import shutil
import sqlite3

import anyio
import pytest

from avm_mcp.sandbox import faults
from avm_mcp.store import FILE_NAME, open_store
from tests.house import fields
from tests.protocol.test_waiting import made_in
from tests.unit.test_store import NOW, draft, reserve

CALL = {"prompt": "a red kite", "wait_seconds": 0}


def deleted(house):
    shutil.rmtree(house.state)


def set_aside(house):
    for part in house.state.glob(f"{FILE_NAME}*"):
        part.rename(part.with_name(f"{part.name}.damaged"))


def restored(house):
    deleted(house)
    shutil.copytree(house.folder / "backup", house.state)


@pytest.mark.parametrize("house", [made_in(90)], indirect=True)
@pytest.mark.parametrize("move", [deleted, set_aside, restored])
async def test_a_journal_that_is_moved_from_under_a_server_is_noticed(house, move):
    """P1, P2, P3: before, it wrote into a file without a name, and the same request was paid again."""
    await house.grown_up()
    shutil.copytree(house.state, house.folder / "backup")
    async with house.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
        assert first["status"] == "SUBMITTED"
        move(house)
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["task_id"] == first["task_id"]
        await anyio.sleep(200)
        later = fields(await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 0}))
    assert later["file"]
    assert len(house.sandbox.entries("charge")) == 1
    async with house.client() as other:
        assert fields(await other.call_tool("text_to_video", CALL))["task_id"] == first["task_id"]
    assert len(house.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_an_answer_that_comes_after_the_move_is_kept(house, move):
    """P2: the row is in no journal any more; it is written anew."""
    await house.grown_up()
    house.sandbox.faults.next("generate", faults.hang(20))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "SUBMITTING"
        move(house)
        await anyio.sleep(30)
    async with house.client() as other:
        later = fields(await other.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 0}))
    assert later["task_id"].startswith("ck")
    assert len(house.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_a_request_whose_row_is_gone_is_not_sent(house, move):
    """P1: after a 429 that was waited out, no journal knows the request; what is said is true."""
    await house.grown_up()
    house.sandbox.faults.next("generate", faults.rate_limited(30))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        move(house)
        await anyio.sleep(60)
        later = fields(await client.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 0}))
        assert later["error"]["charged"] == "no"
    assert not house.sandbox.tasks()


@pytest.mark.parametrize("move", [deleted, set_aside])
async def test_a_request_whose_row_goes_while_the_list_is_read_is_not_sent(house, move, caplog):
    """P1: a young journal looks in the service's list first; what the caller is told is true, and no bug is logged."""
    async with house.client() as client:
        before = fields(await client.call_tool("text_to_video", CALL))
        deleted(house)
        house.sandbox.faults.next("list", faults.hang(2), count=3)
        async with anyio.create_task_group() as group:
            told = []

            async def call():
                told.append(fields(await client.call_tool("text_to_video", CALL | {"wait_seconds": 5})))

            group.start_soon(call)
            await anyio.sleep(1)
            move(house)
        assert len(house.sandbox.entries("charge")) == 1
    assert told[0].get("task_id") == before["task_id"] or told[0]["error"]["charged"] == "no"
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


async def test_a_take_that_was_made_before_the_state_was_lost_is_not_paid_for_again(house):
    """P1: of the videos in the service's list that no journal knows, a request is given the one of its take."""
    await house.grown_up()
    async with house.client() as client:
        made = [fields(await client.call_tool("text_to_video", CALL | {"take": take}))["task_id"] for take in (1, 2)]
    shutil.rmtree(house.state)
    async with house.client() as client:
        again = [fields(await client.call_tool("text_to_video", CALL | {"take": take})) for take in (2, 1, 2)]
        third = fields(await client.call_tool("text_to_video", CALL | {"take": 3}))
    assert [told["task_id"] for told in again] == [made[1], made[0], made[1]]
    assert all(told["deduplicated"] for told in again)
    assert third["task_id"] not in made
    assert len(house.sandbox.entries("charge")) == 3
