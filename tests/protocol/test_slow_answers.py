"""Answers that trickle, and first bytes that are late: every exchange is bounded as a whole (P2, P3, P4)."""

import anyio
import pytest

from avm_mcp.sandbox import faults
from tests.protocol.test_waiting import SLACK, call, made_in

KITE = {"prompt": "a red kite"}
QUESTION_BOUND = 50 + SLACK
"""Seconds: AVM_READ_TIMEOUT, and AVM_CONNECT_TIMEOUT for a place in the pool and for the connection."""

POST_BOUND = 110 + SLACK


@pytest.mark.parametrize("endpoint", ["status", "task"])
@pytest.mark.parametrize("stack", [made_in(25)], indirect=True)
async def test_one_answer_that_trickles_stops_the_poll_no_longer_than_its_bound(stack, endpoint):
    """P3, P4: a byte each 10 s is never silent for long, so only a bound of the whole ends it."""
    stack.sandbox.faults.next(endpoint, faults.trickle(10))
    async with stack.client() as client:
        reply, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 900})
    assert len(stack.sandbox.faults) == 0
    assert reply["status"] == "COMPLETED"
    assert took <= 25 + QUESTION_BOUND + 30


@pytest.mark.parametrize("stack", [made_in(25)], indirect=True)
async def test_one_list_that_trickles_stops_the_poll_no_longer_than_its_bound(stack):
    stack.sandbox.faults.next("list", faults.trickle(10))
    took = []

    async def make(client, number):
        reply, seconds, _ = await call(client, "text_to_video", {"prompt": f"kite {number}", "wait_seconds": 900})
        assert reply["status"] == "COMPLETED"
        took.append(seconds)

    async with stack.client() as client, anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(make, client, number)
    assert len(stack.sandbox.faults) == 0
    assert max(took) <= 25 + QUESTION_BOUND + 60


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_paid_answer_that_trickles_is_unknown_within_its_bound_and_then_found(stack):
    """P1, P2: nobody's heartbeat keeps the search away for longer than the answer is waited for."""
    stack.sandbox.faults.next("generate", faults.trickle(10))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
        assert reply["status"] == "SUBMITTING"
        await anyio.sleep(POST_BOUND + 30)
        reply, *_ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 0})
        (task,) = stack.sandbox.tasks()
        assert reply["task_id"] == task.id
        reply, *_ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 600})
        assert reply["status"] == "COMPLETED"
    assert stack.sandbox.posts == 1
    assert len(stack.sandbox.entries("charge")) == 1


@pytest.mark.parametrize("late", [6, 29])
@pytest.mark.parametrize("stack", [made_in(25)], indirect=True)
async def test_a_file_host_that_is_late_with_its_first_byte_is_read(stack, late):
    """P3: as patiently as AVM_READ_TIMEOUT (30 s) says, at the first try."""
    stack.sandbox.change(file_first_byte_seconds=late)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        await anyio.sleep(late + SLACK)
        reply, *_ = await call(client, "get_task", {"task_id": reply["task_id"]})
    assert reply["download"] == "saved"
    assert stack.sandbox.counts["file"] == 1
