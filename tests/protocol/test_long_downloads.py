"""Downloads that take long or are interrupted often: bounded in each pause, not in all (P3)."""

from pathlib import Path

import anyio
import pytest

from avm_mcp.sandbox import faults
from avm_mcp.sandbox.video_host import clip
from tests.protocol.test_waiting import call, made_in

KITE = {"prompt": "a red kite"}


def with_options(seconds, **more):
    return {"options": {**made_in(seconds)["options"], **more}}


async def saved_after(stack, seconds, most_requests):
    """Make a video, wait, and return the saved bytes, after checking them and the number of requests."""
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        await anyio.sleep(seconds)
        reply, *_ = await call(client, "get_task", {"task_id": reply["task_id"]})
    assert reply["download"] == "saved", reply
    assert stack.sandbox.counts["file"] <= most_requests
    video = Path(reply["file"]).read_bytes()
    assert video.startswith(clip("wide"))
    assert len(video) == stack.sandbox.options.video_bytes
    return video


THOUSAND = with_options(25, video_bytes=400_000, file_rate=400)
"""400,000 bytes at 400 bytes a second take 1,000 s."""


@pytest.mark.parametrize("validators", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("stack", [THOUSAND], indirect=True)
async def test_a_download_of_a_thousand_seconds_completes(stack, validators, ranges):
    """P3: a slow download is not ended by us, from any kind of host."""
    stack.sandbox.change(file_validators=validators, file_ranges=ranges)
    await saved_after(stack, 1010, 1)


@pytest.mark.parametrize("stack", [with_options(25, video_bytes=400_000, file_validators=False)], indirect=True)
async def test_a_download_without_validators_is_continued(stack):
    """P3: each response has half of the rest, so a download that starts over would hardly ever end."""
    stack.sandbox.faults.next("file", faults.truncated(), count=6)
    video = await saved_after(stack, 300, 8)
    ranges = [seen.headers.get("range") for seen in stack.sandbox.requests if seen.endpoint == "file"]
    assert ranges[0] is None
    assert None not in ranges[1:]
    assert video[-8:] == bytes(8)


@pytest.mark.parametrize("stack", [with_options(25, video_bytes=400_000, file_rate=400)], indirect=True)
async def test_slow_downloads_do_not_keep_another_video_waiting(stack):
    """P3: five slow ones are all saved."""
    stack.sandbox.change(file_rate=4000)

    async def make(client, number):
        await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 60})

    async with stack.client() as client:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(make, client, number)
        await anyio.sleep(220)
        assert len(list(stack.videos.glob("*.mp4"))) == 5


@pytest.mark.parametrize("stack", [with_options(25, video_bytes=400_000, file_rate=400)], indirect=True)
async def test_a_download_at_a_byte_in_ten_seconds_is_ended_and_tried_again(stack):
    """P3: it would take longer than its link lives."""
    stack.sandbox.change(file_rate=None)
    stack.sandbox.faults.next("file", faults.trickle(10))
    await saved_after(stack, 1200, 4)
