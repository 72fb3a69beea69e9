"""P3: half a video in a complete response is not accepted at once, and is never thrown away."""

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


def saved_videos(stack) -> list[Path]:
    return [path for path in stack.videos.iterdir() if not path.name.startswith(".")]


async def wait_for_file(client, task_id, seconds):
    with anyio.fail_after(seconds):
        while "file" not in (reply := fields(await client.call_tool("get_task", {"task_id": task_id}))):
            await anyio.sleep(20)
    return reply


@pytest.mark.parametrize("count", [1, 4])
async def test_half_a_video_in_a_complete_response_is_fetched_again_until_it_is_whole(stack, count):
    """Content-Length and ftyp are right, so only the boxes show it."""
    stack.sandbox.faults.next("file", faults.half(), count=count)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        assert reply["status"] == "COMPLETED"
        reply = await wait_for_file(client, reply["task_id"], 300)
    (video,) = saved_videos(stack)
    assert reply["file"] == str(video)
    assert video_is_whole(video)
    assert "looks cut" not in str(reply)
    assert stack.sandbox.counts["file"] == count + 1


async def test_half_a_video_after_a_long_outage_is_not_accepted_at_once(stack):
    """The 15 minutes after completion have passed, but the cause of the outage may also deliver half a video."""
    stack.sandbox.faults.next("file", faults.html(403), lasts=400 + 1300)
    stack.sandbox.faults.next("file", faults.half(), count=4)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await wait_for_file(client, reply["task_id"], 3000)
    (video,) = saved_videos(stack)
    assert video_is_whole(video)


async def test_with_a_clock_an_hour_ahead_no_half_video_is_accepted_too_early(stack):
    """The 15 minutes are counted by the service's clock, which also dated the completion."""
    stack.sandbox.change(clock_skew_seconds=-3600)
    stack.sandbox.faults.next("file", faults.half(), count=4)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await wait_for_file(client, reply["task_id"], 300)
    (video,) = saved_videos(stack)
    assert video_is_whole(video)


async def test_with_a_clock_a_day_ahead_a_video_is_not_given_up(stack):
    """The end of the link is counted by the service's clock, and the link is still shown."""
    stack.sandbox.change(clock_skew_seconds=-25 * 3600)
    stack.sandbox.faults.next("file", faults.http_error(503))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", KITE))
        assert reply["video_url"]
        reply = await wait_for_file(client, reply["task_id"], 300)
    (video,) = saved_videos(stack)
    assert reply["file"] == str(video)


async def test_until_a_video_is_whole_the_result_says_why_there_is_no_file(stack):
    stack.sandbox.faults.next("file", faults.half(), count=99)
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", KITE)
    assert "still being saved (The video looks cut" in text(result)
    assert "file" not in fields(result)
    assert saved_videos(stack) == []


async def test_a_video_that_stays_cut_for_15_minutes_is_saved_with_a_note(stack):
    """The service may have no more of it, and half a video is more than none."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        begun = anyio.current_time()
        reply = fields(await client.call_tool("text_to_video", KITE))
        reply = await wait_for_file(client, reply["task_id"], 2000)
        assert anyio.current_time() - begun > 900
        (video,) = saved_videos(stack)
        assert reply["file"] == str(video)
        assert "looks cut" in str(reply["notes"])
        again = await client.call_tool("text_to_video", KITE)
        assert "looks cut" in text(again)
    assert stack.sandbox.counts["file"] < 20


async def test_long_after_completion_any_process_saves_a_cut_video(stack):
    """Programs that start a process for each call never run for 15 minutes. The job's own times outlive them."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", KITE))
    await anyio.sleep(900)
    async with stack.client() as client:
        reply = await wait_for_file(client, first["task_id"], 30)
    assert reply["file"] == str(saved_videos(stack)[0])
    assert "looks cut" in str(reply["notes"])


async def test_a_cut_video_is_saved_when_its_link_is_about_to_end(stack):
    """A process that starts a few minutes before the end cannot wait for 15 minutes."""
    stack.sandbox.faults.next("file", faults.half(), count=999)
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", {**KITE, "wait_seconds": 0}))
    await anyio.sleep(24 * 3600 + 200)
    async with stack.client() as client:
        reply = fields(await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 60}))
        reply = await wait_for_file(client, reply["task_id"], 90)
    assert len(saved_videos(stack)) == 1
    assert "looks cut" in str(reply["notes"])


async def test_slow_downloads_do_not_delay_other_videos(stack, caplog):
    """P3: three run side by side; one that exceeds its turn no longer counts among them."""
    stack.sandbox.faults.next("file", faults.hang(25), count=9)
    async with stack.client(timings=Timings(longest_download_turn=5)) as client:
        for number in range(4):
            await client.call_tool("text_to_video", {"prompt": f"kite {number}", "wait_seconds": 0})
        await anyio.sleep(900)
    assert len(saved_videos(stack)) == 4
    assert "lost" not in caplog.text


async def test_a_repeated_failure_is_logged_once(stack, caplog):
    """A folder that cannot be written for an hour is one line, not a hundred."""
    stack.videos.write_text("a file where the folder should be")
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 0})
        await anyio.sleep(3600)
        assert caplog.text.count("it is tried again") == 1
        stack.videos.unlink()
        await anyio.sleep(600)
    assert len(saved_videos(stack)) == 1
