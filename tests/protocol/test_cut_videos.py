"""P3: half a video in a flawless answer is not a video, and still is never thrown away."""

from pathlib import Path

import anyio
import pytest

from avm_mcp.domain.timings import Timings
from avm_mcp.downloads.mp4 import video_is_whole
from avm_mcp.sandbox import faults
from tests.protocol.test_waiting import made_in
from tests.stack import fields, text

KITE = {"prompt": "a red kite", "wait_seconds": 600}
pytestmark = pytest.mark.parametrize("stack", [made_in(400)], indirect=True)


def videos(stack) -> list[Path]:
    return [path for path in stack.videos.iterdir() if not path.name.startswith(".")]


async def settled(client, task_id, seconds):
    with anyio.fail_after(seconds):
        while "file" not in (reply := fields(await client.call_tool("get_task", {"task_id": task_id}))):
            await anyio.sleep(20)
    return reply


@pytest.mark.parametrize("count", [1, 4])
async def test_half_a_video_in_a_flawless_answer_is_fetched_again_until_it_is_whole(stack, count):
    """Content-Length and ftyp are right; only the boxes tell."""
    stack.sandbox.faults.next("file", faults.half(), count=count)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        assert reply["status"] == "COMPLETED"
        reply = await settled(client, reply["task_id"], 300)
    (video,) = videos(stack)
    assert reply["file"] == str(video)
    assert video_is_whole(video)
    assert "looks cut" not in str(reply)
    assert stack.sandbox.counts["file"] == count + 1


async def test_half_a_video_that_comes_after_a_long_outage_is_not_taken_at_once(stack):
    """What kept the video away for twenty minutes may keep half of it too: its quarter of an hour was over by then."""
    stack.sandbox.faults.next("file", faults.html(403), lasts=400 + 1300)
    stack.sandbox.faults.next("file", faults.half(), count=4)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await settled(client, reply["task_id"], 3000)
    (video,) = videos(stack)
    assert video_is_whole(video)


async def test_a_clock_that_is_an_hour_ahead_takes_no_half_video_too_early(stack):
    """Its quarter of an hour is counted by the service's clock, which has dated its completion."""
    stack.sandbox.change(clock_skew_seconds=-3600)
    stack.sandbox.faults.next("file", faults.half(), count=4)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await settled(client, reply["task_id"], 300)
    (video,) = videos(stack)
    assert video_is_whole(video)


async def test_a_clock_that_is_a_day_ahead_does_not_give_a_video_up_after_one_try(stack):
    """Nor is its link said to be dead, which lives a day by the service's clock."""
    stack.sandbox.change(clock_skew_seconds=-25 * 3600)
    stack.sandbox.faults.next("file", faults.http_error(503))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        assert reply["video_url"]
        reply = await settled(client, reply["task_id"], 300)
    (video,) = videos(stack)
    assert reply["file"] == str(video)


async def test_until_it_is_whole_the_caller_is_told_why_there_is_no_file(stack):
    stack.sandbox.faults.next("file", faults.half(), count=99)
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", KITE)
    assert "still being saved (The video looks cut" in text(result)
    assert "file" not in fields(result)
    assert videos(stack) == []


async def test_what_stays_cut_for_a_quarter_of_an_hour_is_kept_with_a_note(stack):
    """The service may have stored it so: half a video is more than none."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        begun = anyio.current_time()
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await settled(client, reply["task_id"], 2000)
        assert anyio.current_time() - begun > 900
        (video,) = videos(stack)
        assert reply["file"] == str(video)
        assert "looks cut" in str(reply["notes"])
        again = await client.call_tool("text_to_video", KITE)
        assert "looks cut" in text(again)
    assert stack.sandbox.counts["file"] < 20


async def test_what_looks_cut_long_after_its_completion_is_kept_by_whoever_comes(stack):
    """A process for each call never waits for a quarter of an hour; the video's own times outlive them."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", KITE))
    await anyio.sleep(900)
    async with stack.client() as client:
        reply = await settled(client, first["task_id"], 30)
    assert reply["file"] == str(videos(stack)[0])
    assert "looks cut" in str(reply["notes"])


async def test_what_looks_cut_is_kept_when_its_link_is_about_to_die(stack):
    """A process that begins a minute before the end has no quarter of an hour."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", {**KITE, "wait_seconds": 0}))
    await anyio.sleep(24 * 3600 + 200)
    async with stack.client() as client:
        reply = fields(await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 60}))
        reply = await settled(client, reply["task_id"], 90)
    assert len(videos(stack)) == 1
    assert "looks cut" in str(reply["notes"])


async def test_videos_that_come_slowly_do_not_hold_up_the_others(stack, caplog):
    """P3: three are fetched side by side; what drips for longer than its turn lets the next one go first."""
    stack.sandbox.faults.next("file", faults.hang(25), count=9)
    async with stack.client(timings=Timings(longest_download_turn=5)) as client:
        for number in range(4):
            await client.call_tool("text_to_video", {"prompt": f"kite {number}", "wait_seconds": 0})
        await anyio.sleep(900)
    assert len(videos(stack)) == 4
    assert "lost" not in caplog.text


async def test_what_keeps_a_video_from_being_saved_is_logged_once(stack, caplog):
    """A folder that is missing for an hour is one line, not a hundred."""
    stack.videos.write_text("a file where the folder should be")
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 0})
        await anyio.sleep(3600)
        assert caplog.text.count("it is tried again") == 1
        stack.videos.unlink()
        await anyio.sleep(600)
    assert len(videos(stack)) == 1
