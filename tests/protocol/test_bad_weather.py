"""What keeps a finished video from being fetched passes, or its link ends: only the link's end, or the API's own word
said again and again, is final (P3). A link that is refused is asked for anew, within the query limit (P6)."""

import os
from pathlib import Path

import anyio
import pytest

from avm_mcp.sandbox import faults
from avm_mcp.store import FILE_LIFE
from tests import names
from tests.protocol.test_waiting import call, made_in

KITE = {"prompt": "a red kite"}
HOURS = 3600.0
VIDEOS = "https://videos.example.com"

APART = {"options": {**made_in(25)["options"], "file_base": VIDEOS}}
"""Videos on another host than the API, as in life: its name is looked up."""


async def video_of(client, task_id):
    reply, *_ = await call(client, "get_task", {"task_id": task_id})
    return reply["download"]


WEATHER = {
    "403 of a firewall": faults.http_error(403, body="error code: 1010"),
    "404": faults.refuse(404, None),
    "login page": faults.html(200),
    "503": faults.http_error(503),
    "redirect into the hotel": faults.redirect("http://192.168.1.1/login"),
    "redirect for ever": faults.redirect("/files/x"),
}


@pytest.mark.parametrize("weather", WEATHER.values(), ids=WEATHER)
@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_hours_of_bad_weather_at_the_file_host_cost_no_video_and_few_questions(stack, weather):
    """With AVM_FULL=1 it lasts for 20 hours, else for 24 minutes."""
    hours = 20 if os.environ.get("AVM_FULL") else 0.4
    stack.sandbox.faults.next("file", weather, lasts=hours * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(hours * HOURS - 10)
        assert await video_of(client, reply["task_id"]) == "pending"
        await anyio.sleep(600)
        assert await video_of(client, reply["task_id"]) == "saved"
    asked = stack.sandbox.counts
    assert asked["file"] <= (12 * hours + 20) * (6 if weather.location == "/files/x" else 1)  # as many redirects
    assert asked["task"] + asked["list"] <= 12 * hours + 20
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("addresses", [names.FAKE, names.PRIVATE, ("10.0.0.1", "93.184.216.34"), ()])
@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_what_a_proxy_or_a_hotel_answers_for_dns_passes(stack, addresses):
    """P5, P3: private addresses are never connected to; a local proxy's stand-in is, over https."""
    stack.names.addresses = addresses
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1500)
        if addresses == names.FAKE:
            assert await video_of(client, reply["task_id"]) == "saved"
            return
        assert await video_of(client, reply["task_id"]) == "pending"
        assert stack.sandbox.counts["file"] == 0
        stack.names.addresses = names.PUBLIC
        await anyio.sleep(600)
        assert await video_of(client, reply["task_id"]) == "saved"
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("stack", [{"options": {**APART["options"], "link_seconds": 60}}], indirect=True)
async def test_a_link_signed_for_a_minute_is_asked_for_anew(stack):
    """The file host is down for longer than the signature lives, and so is the process."""
    stack.sandbox.faults.next("file", faults.http_error(503), lasts=900)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1500)
        assert await video_of(client, reply["task_id"]) == "saved"
        stack.sandbox.faults.next("file", faults.http_error(503), lasts=300)
        for number in range(4):
            await call(client, "text_to_video", {"prompt": f"kite {number}"})
    await anyio.sleep(10 * HOURS)
    async with stack.client() as client:
        await anyio.sleep(300)
    assert len(list(stack.videos.glob("*.mp4"))) == 5
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("stack", [{"options": {**APART["options"], "link_seconds": 60}}], indirect=True)
async def test_many_videos_with_links_that_have_run_out_are_asked_for_in_one_list(stack):
    """P6: not one question for each."""
    stack.sandbox.faults.next("file", faults.http_error(503), lasts=900)
    async with stack.client() as client:
        for number in range(20):
            await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 0})
        await anyio.sleep(1800)
    assert len(list(stack.videos.glob("*.mp4"))) == 20
    assert stack.sandbox.counts["list"] + stack.sandbox.counts["task"] < 80
    assert stack.sandbox.busiest_minute() <= 40


@pytest.mark.parametrize("trouble", ["503", "404"])
@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_one_answer_with_a_date_two_days_ahead_gives_no_video_up(stack, trouble):
    stack.sandbox.faults.next("file", WEATHER["404"] if trouble == "404" else WEATHER["503"], lasts=120)
    for endpoint in ("status", "task"):
        stack.sandbox.faults.next(endpoint, faults.wrong_date(2 * 86400))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        assert reply["video_url"]
        assert "dead" not in str(reply)
        await anyio.sleep(600)
        assert await video_of(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_a_clock_of_ours_that_jumps_two_days_ahead_gives_no_video_up(stack):
    """The service is asked for its time before a video is given up."""
    stack.sandbox.faults.next("file", WEATHER["503"], lasts=300)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        service = stack.sandbox._now
        stack.sandbox._now = lambda: service() - 2 * 86400
        stack.wall.skew += 2 * 86400
        await anyio.sleep(900)
        assert await video_of(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("weather", WEATHER.values(), ids=WEATHER)
@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_a_video_whose_link_has_ended_is_given_up_and_asked_for_no_more(stack, weather):
    stack.sandbox.faults.next("file", weather, lasts=100 * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(600)
        stack.wall.skew += FILE_LIFE - HOURS  # both clocks: hours in which the machine slept
        await anyio.sleep(600)
        assert await video_of(client, reply["task_id"]) == "pending"
        stack.wall.skew += HOURS
        await anyio.sleep(700)
        assert await video_of(client, reply["task_id"]) == "lost"
        asked = len(stack.sandbox.requests)
        await anyio.sleep(900)
        assert len(stack.sandbox.requests) <= asked + 1


@pytest.mark.parametrize("stack", [APART], indirect=True)
async def test_a_link_that_the_service_tells_hours_late_is_followed(stack):
    """COMPLETED without a link for longer than an hour: that is neither the link's end nor a word of the service."""
    stack.sandbox.faults.next("task", faults.no_url(), lasts=1.2 * HOURS)
    stack.sandbox.faults.next("list", faults.no_url(), lasts=1.2 * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1.1 * HOURS)
        assert await video_of(client, reply["task_id"]) == "pending"
        await anyio.sleep(0.3 * HOURS)
        assert await video_of(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("stack", [{"options": {**APART["options"], "link_seconds": 60}}], indirect=True)
async def test_a_video_saved_by_hand_gets_a_fresh_link_at_once(stack):
    """As `avm save` does it; nothing waits for a schedule."""
    async with stack.client(AVM_SAVE="off") as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
    await anyio.sleep(3 * HOURS)
    runtime = stack.runtime(AVM_SAVE="off")
    async with runtime:
        found = await runtime.service.save(reply["task_id"])
    assert Path(found.job.file_path).is_file()
