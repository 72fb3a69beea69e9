"""A process that ends takes no job with it, and two that share a state are one house (Must-show 7; P1, P2, P3, P6)."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from avm_mcp import worker
from avm_mcp.sandbox import faults
from tests.protocol.test_tools_list import conforms
from tests.protocol.test_waiting import SLACK, Received, call, made_in
from tests.stack import KEY, LEGACY, MODERN, fields

KITE = {"prompt": "a red kite"}


def assert_one(stack):
    assert stack.sandbox.posts == 1
    assert len(stack.sandbox.entries("charge")) == 1
    assert stack.sandbox.balance(KEY) == 1000 - 15
    assert stack.sandbox.busiest_minute() <= 55


async def thrown_away(stack, after, given=None, **settings):
    """Start a process, let it start a video, and throw it away so many seconds later; return what it told."""
    reply = {}

    async def process():
        async with stack.client(**settings) as client:
            reply.update(fields(await client.call_tool("text_to_video", {**KITE, "wait_seconds": 0, **(given or {})})))
            await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 3600})

    async with anyio.create_task_group() as group:
        group.start_soon(process)
        await anyio.sleep(after)
        group.cancel_scope.cancel()
    return reply


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("away", [1, 60, 1000, 20 * 3600])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_process_that_is_thrown_away_takes_no_job_with_it(stack, mode, away):
    """Must-show 7, P2, P3: get_task returns it, one POST in all, the video is saved."""
    reply = await thrown_away(stack, 100, mode=mode)
    await anyio.sleep(away)
    async with stack.client(mode=mode) as client:
        ready, took, _ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 600})
        assert ready["task_id"] == reply["task_id"]
        assert ready["status"] == "COMPLETED"
        assert took <= max(0, 300 - away) + 45
        assert Path(ready["file"]).read_bytes()[4:8] == b"ftyp"
        if away < 3600:
            again, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
            assert again["task_id"] == reply["task_id"]
    assert_one(stack)


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_the_video_is_saved_by_the_next_process_though_nobody_asks_for_it(stack):
    """P3: recovery puts what was left unfinished on the board."""
    reply = await thrown_away(stack, 30)
    async with stack.client():
        await anyio.sleep(600)
    videos = list(stack.videos.glob("*.mp4"))
    assert len(videos) == 1
    assert reply["task_id"] in videos[0].name
    assert_one(stack)


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_link_that_died_meanwhile_is_said_and_not_waited_for(stack):
    """P3: a video that is past saving is told as such."""
    reply = await thrown_away(stack, 30)
    await anyio.sleep(26 * 3600)
    async with stack.client() as client:
        await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 60})
        await anyio.sleep(120)
        late, took, printed = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 60})
    assert late["status"] == "COMPLETED"
    assert took <= 10
    assert "file" not in late
    assert "could not be saved" in printed
    assert "give the user the link" not in printed


@pytest.mark.parametrize("environ", [{}, {"AVM_SAVE": "off"}], ids=["saved", "not saved"])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_link_that_is_dead_is_not_handed_out(stack, environ):
    """P3: after 24 hours there is the file, or nothing, and that is said."""
    async with stack.client(**environ) as client:
        made, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        assert made["video_url"]
        await anyio.sleep(25 * 3600)
        late, _, printed = await call(client, "get_task", {"task_id": made["task_id"]})
        _, _, listed = await call(client, "list_tasks", {})
    assert "video_url" not in late
    assert made["video_url"] not in printed + listed
    assert "Its link is dead" in printed
    assert "the link exactly as written" not in late["next_step"]
    assert ("file" in late) is not bool(environ)


@pytest.mark.parametrize("after", [0.5, 5, 19])
@pytest.mark.parametrize("slow", [faults.hang(20, after=True), faults.hang(20)], ids=["charged at once", "late"])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_process_thrown_away_while_it_sends_has_sent_once(stack, after, slow):
    """P1, P2: the row came before the request; the next process finds the task."""
    stack.sandbox.faults.next("generate", slow)
    await thrown_away(stack, after)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900})
        assert reply["deduplicated"] is True
        assert reply["status"] == "COMPLETED"
        assert Path(reply["file"]).is_file()
    assert_one(stack)


@pytest.mark.parametrize("times", [6])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_host_that_starts_a_process_for_every_call_gets_its_video(stack, times):
    """DESIGN 4: some frameworks start one per tool call; each call sees the same task."""
    seen = []
    for _ in range(times):
        async with stack.client() as client:
            seen.append((await call(client, "text_to_video", {**KITE, "wait_seconds": 0}))[0])
        await anyio.sleep(100)
    assert {reply["task_id"] for reply in seen} == {seen[0]["task_id"]}
    assert seen[-1]["status"] == "COMPLETED"
    async with stack.client() as client:
        reply, *_ = await call(client, "get_task", {"task_id": seen[0]["task_id"]})
        assert Path(reply["file"]).is_file()
    assert_one(stack)


# Two processes at once


def agents(stack):
    """Count the questions by the process that asked them."""
    return Counter(seen.headers["user-agent"] for seen in stack.sandbox.requests if seen.endpoint in ("status", "task"))


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_two_processes_at_once_make_one_request_and_only_one_of_them_asks(stack):
    """P1, P6: the same call in both; both see the end, with progress; the watch is held by one."""
    seen = {}

    async def process(name):
        received = Received()
        async with stack.client(AVM_USER_AGENT=name) as client:
            reply, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900}, received)
            assert max(received.intervals(took)) <= 5 + SLACK
            seen[name] = reply
            await anyio.sleep(60)

    async with anyio.create_task_group() as group:
        group.start_soon(process, "one")
        group.start_soon(process, "two")
    assert {reply["status"] for reply in seen.values()} == {"COMPLETED"}
    assert len({reply["task_id"] for reply in seen.values()}) == 1
    assert len({reply["file"] for reply in seen.values()}) == 1
    assert sum("deduplicated" in reply for reply in seen.values()) == 1
    assert len(agents(stack)) == 1, agents(stack)
    assert len(list(stack.videos.glob("*.mp4"))) == 1
    assert_one(stack)


@pytest.mark.parametrize("many", [5])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_many_processes_keep_to_one_allowance_and_save_each_video_once(stack, many):
    """P6: all processes that share a state together."""

    async def process(number):
        async with stack.client(AVM_USER_AGENT=f"p{number}") as client:
            mine, *_ = await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 900})
            assert mine["status"] == "COMPLETED"
            for _ in range(5):
                await call(client, "list_tasks", {})

    async with anyio.create_task_group() as group:
        for number in range(many):
            group.start_soon(process, number)
    assert stack.sandbox.posts == many
    assert stack.sandbox.counts["429"] == 0
    assert stack.sandbox.busiest_minute() <= 55
    assert len(list(stack.videos.glob("*.mp4"))) == many


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_when_the_process_that_asks_ends_the_other_takes_over(stack):
    """P2: the watch is a lease; a caller in the other process notices nothing but the end."""
    async with stack.client(AVM_USER_AGENT="two") as client, anyio.create_task_group() as group:

        async def first():
            async with stack.client(AVM_USER_AGENT="one") as other:
                await other.call_tool("text_to_video", {**KITE, "wait_seconds": 900})

        group.start_soon(first)
        await anyio.sleep(50)
        assert set(agents(stack)) == {"one"}
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            reply, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900})
    assert reply["status"] == "COMPLETED"
    assert took <= 350 + 45
    assert set(agents(stack)) == {"one", "two"}
    assert Path(reply["file"]).is_file()
    assert_one(stack)


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_process_that_comes_later_shows_what_the_first_is_doing(stack):
    """P2: SUBMITTING, then its task, seen from a process that did not send it."""
    stack.sandbox.faults.next("generate", faults.hang(20, after=True))
    async with stack.client() as one, stack.client() as two:
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
    assert_one(stack)


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_background_worker_outlives_a_state_that_cannot_be_written_for_a_while(stack, monkeypatch):
    """P3: nobody starts another one, since the host is gone."""
    async with stack.client() as client:
        await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
    monkeypatch.setattr("avm_mcp.worker.Runtime", lambda _settings: stack.runtime())
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run_worker, stack.settings())
        await anyio.sleep(30)
        with closing(sqlite3.connect(stack.state / "journal.db", isolation_level=None)) as backup:
            backup.execute("BEGIN IMMEDIATE")
            await anyio.sleep(45)
            backup.execute("ROLLBACK")
    assert len(list(stack.videos.glob("*.mp4"))) == 1
    assert_one(stack)
