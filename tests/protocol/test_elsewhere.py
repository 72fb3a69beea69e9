"""P3: tasks made elsewhere with the same key are watched and saved, if that is asked for."""

from contextlib import asynccontextmanager

import anyio
import pytest

from tests.stack import fields

CALL = {"prompt": "a fox in the snow", "wait_seconds": 0}


@asynccontextmanager
async def elsewhere(stack):
    """Another machine of the same user: its own state, and no videos saved."""
    async with stack.client(AVM_STATE_DIR=str(stack.folder / "elsewhere"), AVM_SAVE="off") as client:
        yield client


@pytest.mark.parametrize("first", [True, False], ids=["made before the start", "made later"])
async def test_a_video_made_elsewhere_is_saved_here_if_all_are(stack, first):
    """P3: nobody asks this server for anything."""
    async with elsewhere(stack) as other:
        if first:
            await other.call_tool("text_to_video", CALL)
    async with stack.runtime(AVM_SAVE="all"):
        async with elsewhere(stack) as other:
            if not first:
                await anyio.sleep(60)
                await other.call_tool("text_to_video", CALL)
        await anyio.sleep(1800)
        videos = list(stack.videos.glob("*.mp4"))
        assert len(videos) == 1
        assert stack.sandbox.tasks()[0].id in videos[0].name
        await anyio.sleep(7200)
    polls = [seen for seen in stack.sandbox.requests if seen.endpoint == "list"]
    assert len(polls) < 40, "one look in ten minutes"
    assert len(stack.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("save", ["mine", "off"])
async def test_a_video_made_elsewhere_is_left_alone_unless_that_is_asked_for(stack, save):
    """Nobody's folder is filled with what a colleague makes; and nothing is asked of the service for it."""
    async with elsewhere(stack) as other:
        await other.call_tool("text_to_video", CALL)
    asked = len(stack.sandbox.requests)
    async with stack.runtime(AVM_SAVE=save):
        await anyio.sleep(3600)
    assert not list(stack.videos.glob("*"))
    assert len(stack.sandbox.requests) == asked


async def test_a_video_that_was_not_to_be_saved_is_once_all_are(stack):
    """P3: the setting is about the last day's videos, whatever it said when they were made or first seen here."""
    async with elsewhere(stack) as other:
        await other.call_tool("text_to_video", CALL)
    async with stack.client(AVM_SAVE="off") as client:
        await client.call_tool("text_to_video", CALL | {"prompt": "a heron"})
        await anyio.sleep(1800)
        listed = fields(await client.call_tool("list_tasks"))["tasks"]
        for row in listed:
            await client.call_tool("get_task", {"task_id": row["task_id"], "wait_seconds": 60})
    assert not list(stack.videos.glob("*"))
    async with stack.runtime(AVM_SAVE="all"):
        await anyio.sleep(300)
    assert len(list(stack.videos.glob("*.mp4"))) == 2


async def test_two_processes_look_for_tasks_made_elsewhere_once(stack):
    """P6: one question in ten minutes, however many windows are open; and one video."""
    async with elsewhere(stack) as other:
        await other.call_tool("text_to_video", CALL)
    await anyio.sleep(1200)
    before = len(stack.sandbox.requests)
    async with stack.runtime(AVM_SAVE="all"), stack.runtime(AVM_SAVE="all"), stack.runtime(AVM_SAVE="all"):
        await anyio.sleep(590)
        assert len(list(stack.videos.glob("*.mp4"))) == 1
        polls = [seen for seen in stack.sandbox.requests[before:] if seen.endpoint == "list"]
        assert len(polls) == 1


async def test_what_was_made_elsewhere_does_not_count_against_the_cap_here(stack):
    """P8: the cap of a day is about what is spent here."""
    async with elsewhere(stack) as other:
        await other.call_tool("text_to_video", CALL)
    async with stack.client(AVM_SAVE="all", AVM_MAX_CREDITS_PER_DAY="15") as client:
        await anyio.sleep(60)
        assert fields(await client.call_tool("get_account"))["spent_today"] == 0
        reply = fields(await client.call_tool("text_to_video", CALL | {"prompt": "a heron"}))
        assert reply["status"] == "SUBMITTED"


async def test_a_task_made_elsewhere_is_watched_to_its_end_by_its_id(stack):
    """P4: a model may bring an id from another machine; its video stays there unless all are to be saved."""
    async with elsewhere(stack) as other:
        made = fields(await other.call_tool("text_to_video", CALL))["task_id"]
    async with stack.client() as client:
        reply = fields(await client.call_tool("get_task", {"task_id": made, "wait_seconds": 1200}))
        assert reply["status"] == "COMPLETED"
        assert reply["video_url"]
        assert "file" not in reply
    assert not list(stack.videos.glob("*"))
