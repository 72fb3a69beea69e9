"""A process that ends takes no job with it, and two that share a state are one house (Must-show 7; P1, P2, P3, P6)."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from avm_mcp import worker
from avm_mcp.sandbox import faults
from tests.house import KEY, LEGACY, MODERN, fields
from tests.protocol.test_tools_list import conforms
from tests.protocol.test_waiting import SLACK, Heard, call, made_in

KITE = {"prompt": "a red kite"}


def assert_one(house):
    assert house.sandbox.posts == 1
    assert len(house.sandbox.entries("charge")) == 1
    assert house.sandbox.balance(KEY) == 1000 - 15
    assert house.sandbox.busiest_minute() <= 55


async def thrown_away(house, after, given=None, **settings):
    """Start a process, let it start a video, and throw it away so many seconds later; return what it told."""
    told = {}

    async def process():
        async with house.client(**settings) as client:
            told.update(fields(await client.call_tool("text_to_video", {**KITE, "wait_seconds": 0, **(given or {})})))
            await client.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 3600})

    async with anyio.create_task_group() as group:
        group.start_soon(process)
        await anyio.sleep(after)
        group.cancel_scope.cancel()
    return told


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("away", [1, 60, 1000, 20 * 3600])
@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_process_that_is_thrown_away_takes_no_job_with_it(house, mode, away):
    """Must-show 7, P2, P3: get_task returns it, one POST in all, the video is saved."""
    told = await thrown_away(house, 100, mode=mode)
    await anyio.sleep(away)
    async with house.client(mode=mode) as client:
        ready, took, _ = await call(client, "get_task", {"task_id": told["task_id"], "wait_seconds": 600})
        assert ready["task_id"] == told["task_id"]
        assert ready["status"] == "COMPLETED"
        assert took <= max(0, 300 - away) + 45
        assert Path(ready["file"]).read_bytes()[4:8] == b"ftyp"
        if away < 3600:
            again, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
            assert again["task_id"] == told["task_id"]
    assert_one(house)


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_the_video_is_saved_by_the_next_process_though_nobody_asks_for_it(house):
    """P3: recovery puts what was left unfinished on the board."""
    told = await thrown_away(house, 30)
    async with house.client():
        await anyio.sleep(600)
    videos = list(house.videos.glob("*.mp4"))
    assert len(videos) == 1
    assert told["task_id"] in videos[0].name
    assert_one(house)


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_link_that_died_meanwhile_is_said_and_not_waited_for(house):
    """P3: a video that is past saving is told as such."""
    told = await thrown_away(house, 30)
    await anyio.sleep(26 * 3600)
    async with house.client() as client:
        await call(client, "get_task", {"task_id": told["task_id"], "wait_seconds": 60})
        await anyio.sleep(120)
        late, took, said = await call(client, "get_task", {"task_id": told["task_id"], "wait_seconds": 60})
    assert late["status"] == "COMPLETED"
    assert took <= 10
    assert "file" not in late
    assert "could not be saved" in said
    assert "give the user the link" not in said


@pytest.mark.parametrize("environ", [{}, {"AVM_SAVE": "off"}], ids=["saved", "not saved"])
@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_link_that_is_dead_is_not_handed_out(house, environ):
    """P3: after 24 hours there is the file, or nothing, and that is said."""
    async with house.client(**environ) as client:
        made, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        assert made["video_url"]
        await anyio.sleep(25 * 3600)
        late, _, said = await call(client, "get_task", {"task_id": made["task_id"]})
        _, _, listed = await call(client, "list_tasks", {})
    assert "video_url" not in late
    assert made["video_url"] not in said + listed
    assert "Its link is dead" in said
    assert "the link exactly as written" not in late["next_step"]
    assert ("file" in late) is not bool(environ)


@pytest.mark.parametrize("after", [0.5, 5, 19])
@pytest.mark.parametrize("slow", [faults.hang(20, after=True), faults.hang(20)], ids=["charged at once", "late"])
@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_process_thrown_away_while_it_sends_has_sent_once(house, after, slow):
    """P1, P2: the row came before the request; the next process finds the task."""
    house.sandbox.faults.next("generate", slow)
    await thrown_away(house, after)
    async with house.client() as client:
        told, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900})
        assert told["deduplicated"] is True
        assert told["status"] == "COMPLETED"
        assert Path(told["file"]).is_file()
    assert_one(house)


@pytest.mark.parametrize("times", [6])
@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_host_that_starts_a_process_for_every_call_gets_its_video(house, times):
    """DESIGN 4: some frameworks start one per tool call; each call sees the same task."""
    seen = []
    for _ in range(times):
        async with house.client() as client:
            seen.append((await call(client, "text_to_video", {**KITE, "wait_seconds": 0}))[0])
        await anyio.sleep(100)
    assert {told["task_id"] for told in seen} == {seen[0]["task_id"]}
    assert seen[-1]["status"] == "COMPLETED"
    async with house.client() as client:
        told, *_ = await call(client, "get_task", {"task_id": seen[0]["task_id"]})
        assert Path(told["file"]).is_file()
    assert_one(house)


# Two processes at once


def agents(house):
    """Count the questions by the process that asked them."""
    return Counter(seen.headers["user-agent"] for seen in house.sandbox.requests if seen.endpoint in ("status", "task"))


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_two_processes_at_once_make_one_request_and_only_one_of_them_asks(house):
    """P1, P6: the same call in both; both see the end, with progress; the watch is held by one."""
    seen = {}

    async def process(name):
        heard = Heard()
        async with house.client(AVM_USER_AGENT=name) as client:
            told, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900}, heard)
            assert max(heard.intervals(took)) <= 5 + SLACK
            seen[name] = told
            await anyio.sleep(60)

    async with anyio.create_task_group() as group:
        group.start_soon(process, "one")
        group.start_soon(process, "two")
    assert {told["status"] for told in seen.values()} == {"COMPLETED"}
    assert len({told["task_id"] for told in seen.values()}) == 1
    assert len({told["file"] for told in seen.values()}) == 1
    assert sum("deduplicated" in told for told in seen.values()) == 1
    assert len(agents(house)) == 1, agents(house)
    assert len(list(house.videos.glob("*.mp4"))) == 1
    assert_one(house)


@pytest.mark.parametrize("many", [5])
@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_many_processes_keep_to_one_allowance_and_save_each_video_once(house, many):
    """P6: all processes that share a state together."""

    async def process(number):
        async with house.client(AVM_USER_AGENT=f"p{number}") as client:
            mine, *_ = await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 900})
            assert mine["status"] == "COMPLETED"
            for _ in range(5):
                await call(client, "list_tasks", {})

    async with anyio.create_task_group() as group:
        for number in range(many):
            group.start_soon(process, number)
    assert house.sandbox.posts == many
    assert house.sandbox.counts["429"] == 0
    assert house.sandbox.busiest_minute() <= 55
    assert len(list(house.videos.glob("*.mp4"))) == many


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_when_the_process_that_asks_ends_the_other_takes_over(house):
    """P2: the watch is a lease; a caller in the other process notices nothing but the end."""
    async with house.client(AVM_USER_AGENT="two") as client, anyio.create_task_group() as group:

        async def first():
            async with house.client(AVM_USER_AGENT="one") as other:
                await other.call_tool("text_to_video", {**KITE, "wait_seconds": 900})

        group.start_soon(first)
        await anyio.sleep(50)
        assert set(agents(house)) == {"one"}
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            told, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900})
    assert told["status"] == "COMPLETED"
    assert took <= 350 + 45
    assert set(agents(house)) == {"one", "two"}
    assert Path(told["file"]).is_file()
    assert_one(house)


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_process_that_comes_later_shows_what_the_first_is_doing(house):
    """P2: SUBMITTING, then its task, seen from a process that did not send it."""
    house.sandbox.faults.next("generate", faults.hang(20, after=True))
    async with house.client() as one, house.client() as two:
        sent, *_ = await call(one, "text_to_video", {**KITE, "wait_seconds": 0})
        seen, *_ = await call(two, "get_task", {"task_id": sent["task_id"], "wait_seconds": 0})
        assert seen["status"] == "SUBMITTING"
        seen, *_ = await call(two, "get_task", {"task_id": sent["task_id"], "wait_seconds": 60})
        assert seen["status"] in ("SUBMITTED", "PROGRESS")
        assert not seen["task_id"].startswith("sub_")
        result = await two.call_tool("cancel_task", {"task_id": sent["task_id"]})
        assert conforms(result, "cancel_task")["error"]["code"] == "NOT_CANCELLABLE"
        ready, *_ = await call(two, "get_task", {"task_id": sent["task_id"], "wait_seconds": 900})
        assert ready["status"] == "COMPLETED"
    assert_one(house)


@pytest.mark.parametrize("house", [made_in(400)], indirect=True)
async def test_a_background_worker_outlives_a_state_that_cannot_be_written_for_a_while(house, monkeypatch):
    """P3: nobody starts another one, since the host is gone."""
    async with house.client() as client:
        await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
    monkeypatch.setattr("avm_mcp.worker.Runtime", lambda _settings: house.runtime())
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run_worker, house.settings())
        await anyio.sleep(30)
        with closing(sqlite3.connect(house.state / "journal.db", isolation_level=None)) as backup:
            backup.execute("BEGIN IMMEDIATE")
            await anyio.sleep(45)
            backup.execute("ROLLBACK")
    assert len(list(house.videos.glob("*.mp4"))) == 1
    assert_one(house)
