"""The background worker of one state (`avm keep`) in virtual time: what ends it, and what does not (P2, P3)."""

import anyio
import pytest

from avm_mcp.sandbox import faults
from avm_mcp.worker import AUTH_TIMEOUT, run_worker
from tests.protocol.test_waiting import made_in
from tests.stack import KEY, fields

KITE = {"prompt": "a red kite", "wait_seconds": 0}
FIREWALL = faults.http_error(403, body="error code: 1010")


async def kept(stack, before=None):
    """Submit, leave, and return how long the worker lives."""
    async with stack.client() as client:
        fields(await client.call_tool("text_to_video", KITE))
    if before is not None:
        before()
    began = anyio.current_time()
    await run_worker(stack.settings(), stack.runtime())
    return anyio.current_time() - began


@pytest.mark.parametrize("seconds", [None, 1500])
@pytest.mark.parametrize("stack", [made_in(300)], indirect=True)
async def test_a_403_of_a_firewall_ends_no_worker(stack, seconds):
    """P3: one, or 25 minutes of it; nothing of the API's own is in it."""

    def weather():
        for endpoint in ("status", "task", "list"):
            stack.sandbox.faults.next(endpoint, FIREWALL, lasts=seconds)

    lived = await kept(stack, weather)
    assert len(list(stack.videos.glob("*.mp4"))) == 1
    assert lived <= max(300, seconds or 0) + 120


@pytest.mark.parametrize("stack", [made_in(300)], indirect=True)
async def test_a_key_that_is_refused_for_half_an_hour_ends_no_worker(stack):
    async with anyio.create_task_group() as group:

        async def back():
            await anyio.sleep(1800)
            stack.sandbox.revoke(KEY, revoked=False)

        group.start_soon(back)
        await kept(stack, lambda: stack.sandbox.revoke(KEY))
    assert len(list(stack.videos.glob("*.mp4"))) == 1


@pytest.mark.parametrize("stack", [made_in(300)], indirect=True)
async def test_a_key_that_stays_refused_ends_the_worker_and_costs_few_questions(stack):
    lived = await kept(stack, lambda: stack.sandbox.revoke(KEY))
    assert AUTH_TIMEOUT < lived < AUTH_TIMEOUT + 120
    assert len(stack.sandbox.requests) < 100


@pytest.mark.parametrize("stack", [made_in(25)], indirect=True)
async def test_a_refused_key_keeps_no_finished_video_from_being_saved(stack):
    """P3: its link takes no key."""
    stack.sandbox.faults.next("file", faults.http_error(503), lasts=1800)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {**KITE, "wait_seconds": 60})
    await kept(stack, lambda: stack.sandbox.revoke(KEY))
    assert len(list(stack.videos.glob("*.mp4"))) == 1
