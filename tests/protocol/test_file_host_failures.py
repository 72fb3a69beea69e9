"""Failures of the file host are retried until the link ends, which alone is final, unless the API repeatedly denies a
task without a link (P3). A refused link is replaced by a fresh one, within the query limit (P6)."""

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

OTHER_HOST = {"options": {**made_in(25)["options"], "file_base": VIDEOS}}
"""Videos are on another host than the API, as with the real service, so its name is resolved."""


async def download_state(client, task_id):
    reply, *_ = await call(client, "get_task", {"task_id": task_id})
    return reply["download"]


FAILURES = {
    "403 of a firewall": faults.http_error(403, body="error code: 1010"),
    "404": faults.refuse(404, None),
    "login page": faults.html(200),
    "503": faults.http_error(503),
    "redirect into the hotel": faults.redirect("http://192.168.1.1/login"),
    "redirect for ever": faults.redirect("/files/x"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_hours_of_failures_of_the_file_host_cost_no_video_and_few_queries(stack, failure):
    """With AVM_FULL=1 they last for 20 hours, otherwise for 24 minutes."""
    hours = 20 if os.environ.get("AVM_FULL") else 0.4
    stack.sandbox.faults.next("file", failure, lasts=hours * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(hours * HOURS - 10)
        assert await download_state(client, reply["task_id"]) == "pending"
        await anyio.sleep(600)
        assert await download_state(client, reply["task_id"]) == "saved"
    asked = stack.sandbox.counts
    assert asked["file"] <= (12 * hours + 20) * (6 if failure.location == "/files/x" else 1)  # as many redirects
    assert asked["task"] + asked["list"] <= 12 * hours + 20
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("addresses", [names.FAKE, names.PRIVATE, ("10.0.0.1", "93.184.216.34"), ()])
@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_private_addresses_from_dns_are_not_final(stack, addresses):
    """P5, P3: private addresses are never connected to. That of a local proxy is, over https."""
    stack.names.addresses = addresses
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1500)
        if addresses == names.FAKE:
            assert await download_state(client, reply["task_id"]) == "saved"
            return
        assert await download_state(client, reply["task_id"]) == "pending"
        assert stack.sandbox.counts["file"] == 0
        stack.names.addresses = names.PUBLIC
        await anyio.sleep(600)
        assert await download_state(client, reply["task_id"]) == "saved"
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("stack", [{"options": {**OTHER_HOST["options"], "link_seconds": 60}}], indirect=True)
async def test_an_expired_link_is_replaced_by_a_fresh_one(stack):
    """The file host, and then the process, is down for longer than the minute for which a link is signed."""
    stack.sandbox.faults.next("file", faults.http_error(503), lasts=900)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1500)
        assert await download_state(client, reply["task_id"]) == "saved"
        stack.sandbox.faults.next("file", faults.http_error(503), lasts=300)
        for number in range(4):
            await call(client, "text_to_video", {"prompt": f"kite {number}"})
    await anyio.sleep(10 * HOURS)
    async with stack.client() as client:
        await anyio.sleep(300)
    assert len(list(stack.videos.glob("*.mp4"))) == 5
    assert stack.sandbox.busiest_minute() <= 20


@pytest.mark.parametrize("stack", [{"options": {**OTHER_HOST["options"], "link_seconds": 60}}], indirect=True)
async def test_many_expired_links_are_replaced_by_one_query(stack):
    """P6: not by one query for each."""
    stack.sandbox.faults.next("file", faults.http_error(503), lasts=900)
    async with stack.client() as client:
        for number in range(20):
            await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 0})
        await anyio.sleep(1800)
    assert len(list(stack.videos.glob("*.mp4"))) == 20
    assert stack.sandbox.counts["list"] + stack.sandbox.counts["task"] < 80
    assert stack.sandbox.busiest_minute() <= 40


@pytest.mark.parametrize("trouble", ["503", "404"])
@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_one_response_with_a_date_two_days_ahead_gives_no_video_up(stack, trouble):
    stack.sandbox.faults.next("file", FAILURES["404"] if trouble == "404" else FAILURES["503"], lasts=120)
    for endpoint in ("status", "task"):
        stack.sandbox.faults.next(endpoint, faults.wrong_date(2 * 86400))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        assert reply["video_url"]
        assert "dead" not in str(reply)
        await anyio.sleep(600)
        assert await download_state(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_a_jump_of_our_clock_by_two_days_gives_no_video_up(stack):
    """The service is asked for its time before a video is given up."""
    stack.sandbox.faults.next("file", FAILURES["503"], lasts=300)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        service = stack.sandbox._now
        stack.sandbox._now = lambda: service() - 2 * 86400
        stack.wall.skew += 2 * 86400
        await anyio.sleep(900)
        assert await download_state(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_a_video_whose_link_has_ended_is_given_up_without_further_queries(stack, failure):
    stack.sandbox.faults.next("file", failure, lasts=100 * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(600)
        stack.wall.skew += FILE_LIFE - HOURS  # both clocks, as while the machine sleeps
        await anyio.sleep(600)
        assert await download_state(client, reply["task_id"]) == "pending"
        stack.wall.skew += HOURS
        await anyio.sleep(700)
        assert await download_state(client, reply["task_id"]) == "lost"
        asked = len(stack.sandbox.requests)
        await anyio.sleep(900)
        assert len(stack.sandbox.requests) <= asked + 1


@pytest.mark.parametrize("stack", [OTHER_HOST], indirect=True)
async def test_a_link_that_the_service_adds_an_hour_late_is_used(stack):
    """COMPLETED without a link is neither the end of the link nor a denial of the task."""
    stack.sandbox.faults.next("task", faults.no_url(), lasts=1.2 * HOURS)
    stack.sandbox.faults.next("list", faults.no_url(), lasts=1.2 * HOURS)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1.1 * HOURS)
        assert await download_state(client, reply["task_id"]) == "pending"
        await anyio.sleep(0.3 * HOURS)
        assert await download_state(client, reply["task_id"]) == "saved"


@pytest.mark.parametrize("stack", [{"options": {**OTHER_HOST["options"], "link_seconds": 60}}], indirect=True)
async def test_a_video_that_a_person_saves_gets_a_fresh_link_at_once(stack):
    """As by `avm save`, without waiting for a retry."""
    async with stack.client(AVM_SAVE="off") as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
    await anyio.sleep(3 * HOURS)
    runtime = stack.runtime(AVM_SAVE="off")
    async with runtime:
        found = await runtime.service.save(reply["task_id"])
    assert Path(found.job.file_path).is_file()
