"""A service that is slow to answer, or whose answer is lost, makes nobody pay twice (Must-show 8; P1, P2, P4)."""

from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

from avm_mcp.jobs.upstream import ASK_TIMEOUT
from avm_mcp.sandbox import faults
from tests.protocol.test_tools_list import conforms
from tests.protocol.test_waiting import SLACK, call, made_in
from tests.stack import KEY, LEGACY, MODERN, error, text

KITE = {"prompt": "a red kite"}
SLOW = [faults.hang(20, after=True), faults.hang(20)]
SIDES = ["charged at once", "charged late"]

# A service that keeps no keys and shows no list: nothing can be found out, so nothing may be guessed.
MUTE = {"options": {"durations": {"t2v": 400}, "honours_idempotency": False, "list_delay_seconds": 10**6}}


def assert_paid_once(stack, posts=1):
    assert stack.sandbox.posts == posts
    assert len(stack.sandbox.tasks()) == 1
    assert len(stack.sandbox.entries("charge")) == 1
    assert stack.sandbox.balance(KEY) == 1000 - 15


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("wait", [0, 10])
@pytest.mark.parametrize("slow", SLOW, ids=SIDES)
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_post_of_twenty_seconds_is_told_as_being_sent(stack, mode, wait, slow):
    """Must-show 8, P4: SUBMITTING within 3 s and the wait, with an id that works for good."""
    stack.sandbox.faults.next("generate", slow)
    async with stack.client(mode=mode) as client:
        reply, took, printed = await call(client, "text_to_video", {**KITE, "wait_seconds": wait})
        assert took <= 3 + wait + SLACK
        assert reply["status"] == "SUBMITTING"
        assert reply["done"] is False
        assert reply["task_id"].startswith("sub_")
        assert f'get_task(task_id="{reply["task_id"]}")' in reply["next_step"]
        assert "Do not call text_to_video again for this video" in printed
        ours = reply["task_id"]
        later, *_ = await call(client, "get_task", {"task_id": ours, "wait_seconds": 30})
        (task,) = stack.sandbox.tasks()
        assert later["task_id"] == task.id
        assert later["status"] in ("SUBMITTED", "PROGRESS")
        ready, *_ = await call(client, "get_task", {"task_id": ours, "wait_seconds": 600})
        assert ready["status"] == "COMPLETED"
        assert ready["task_id"] == task.id
    assert Path(ready["file"]).is_file()
    assert_paid_once(stack)


@pytest.mark.parametrize("slow", SLOW, ids=SIDES)
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_the_same_call_again_returns_the_same_task_at_every_stage(stack, slow):
    """Must-show 8, P1: while it is sent, while it is made, and when it is ready."""
    stack.sandbox.faults.next("generate", slow)
    async with stack.client() as client:
        first, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
        for seconds, status in ((1, "SUBMITTING"), (25, None), (60, None), (600, "COMPLETED")):
            await anyio.sleep(seconds)
            again, took, printed = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
            assert again["deduplicated"] is True
            assert status in (None, again["status"])
            nothing = "This call sent nothing" if again["status"] == "SUBMITTING" else "No new video was started"
            assert printed.startswith(nothing)
            same, *_ = await call(client, "get_task", {"task_id": first["task_id"], "wait_seconds": 0})
            assert same["task_id"] == again["task_id"]
            assert took <= 3 + SLACK
            assert ("take=2" in again["next_step"]) is (again["status"] != "SUBMITTING")
    assert_paid_once(stack)


@pytest.mark.parametrize("many", [2, 7])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_the_same_call_many_times_at_once_is_one_request(stack, many):
    """P1: a unique key decides, not a read before a write."""
    seen = []
    async with stack.client() as client:

        async def ask():
            seen.append((await call(client, "text_to_video", {**KITE, "wait_seconds": 600}))[0])

        async with anyio.create_task_group() as group:
            for _ in range(many):
                group.start_soon(ask)
    assert len({reply["task_id"] for reply in seen}) == 1
    assert {reply["status"] for reply in seen} == {"COMPLETED"}
    assert sum("deduplicated" not in reply for reply in seen) == 1
    assert_paid_once(stack)


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("slow", SLOW, ids=SIDES)
@pytest.mark.parametrize("after", [0.001, 3.5, 19.999])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_host_that_gives_a_call_up_changes_nothing(stack, mode, slow, after):
    """Must-show 8, P1, P2: the call is cancelled at any moment; one POST, one charge, and the task is found."""
    stack.sandbox.faults.next("generate", slow)
    async with stack.client(mode=mode) as client:
        with anyio.move_on_after(after):
            await client.call_tool("text_to_video", {**KITE, "wait_seconds": 60})
        await anyio.sleep(0.1)
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        assert reply["status"] == "COMPLETED"
        assert reply.get("deduplicated") is True or after <= 0.001
    assert_paid_once(stack)


@pytest.mark.parametrize("slow", [*SLOW, faults.hang(8, after=True), faults.hang(8)], ids=[*SIDES, "8 s", "8 s late"])
@pytest.mark.parametrize("after", [0.5, 3.5])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_host_that_ends_the_server_meanwhile_changes_nothing(stack, slow, after):
    """Must-show 8, P1, P2: the whole process is asked to end while the request waits for its answer."""
    stack.sandbox.faults.next("generate", slow)
    began = anyio.current_time()
    async with stack.client() as client, anyio.create_task_group() as group:
        group.start_soon(_gone, client)
        await anyio.sleep(after)
        group.cancel_scope.cancel()
    assert anyio.current_time() - began <= after + 15, "a process that is asked to end must end"
    await anyio.sleep(30)
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 60})
        assert reply["deduplicated"] is True
        assert reply["status"] in ("SUBMITTED", "PROGRESS", "UNKNOWN")
        reply, *_ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 900})
        assert reply["status"] == "COMPLETED"
        assert Path(reply["file"]).is_file()
    assert_paid_once(stack)


async def _gone(client):
    await client.call_tool("text_to_video", KITE)


# Lost answers

LOST = {
    "dropped": faults.drop(after=True),
    "reset": faults.drop(after=True, reset=True),
    "cut": faults.cut(),
    "half of the JSON": faults.cut_json(),
    "500": faults.http_error(500, after=True),
    "500 without envelope": faults.http_error(500, after=True, body="oops"),
    "502": faults.html(502, after=True),
    "200 HTML": faults.html(200, after=True),
    "200 empty": faults.empty(200, after=True),
    "time-out": faults.hang(120, after=True),
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("stack", [MUTE], indirect=True)
async def test_a_lost_answer_is_a_normal_result_that_says_so(stack, lost):
    """Must-show 8, P1, DESIGN 3: status UNKNOWN, the code in the structured part, and never a second POST."""
    stack.sandbox.faults.next("generate", LOST[lost])
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", {**KITE, "wait_seconds": 100})
        reply, printed = conforms(result, "text_to_video"), text(result)
        assert not result.is_error
        assert reply["status"] == "UNKNOWN"
        assert reply["done"] is False
        assert reply["task_id"].startswith("sub_")
        assert reply["error"]["code"] == "SUBMISSION_UNKNOWN"
        assert reply["error"]["charged"] == "unknown"
        assert reply["error"]["retryable"] is False
        assert reply["error"]["task_id"] == reply["task_id"]
        assert "Unclear whether the video was started" in printed
        assert "Do not call text_to_video again for this video" in reply["next_step"]
        again, _, printed = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
        assert again["task_id"] == reply["task_id"]
        assert again["deduplicated"] is True
        assert again["status"] == "UNKNOWN"
        assert printed.startswith("This call sent nothing")
        assert "nothing was charged" not in printed, "that is not known"
        assert "take=" not in printed, "not while it is being looked for"
        await anyio.sleep(300)
        later, *_ = await call(client, "get_task", {"task_id": reply["task_id"]})
        assert later["status"] == "UNKNOWN"
    assert_paid_once(stack)


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_lost_answer_is_found_where_it_can_be(stack, lost, honours):
    """P1, P2: the list shows it, so the video comes under the id that was given, for one price."""
    stack.sandbox.change(honours_idempotency=honours)
    stack.sandbox.faults.next("generate", LOST[lost])
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        ready, *_ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 900})
        assert ready["status"] == "COMPLETED"
        assert Path(ready["file"]).is_file()
    assert_paid_once(stack)


@pytest.mark.parametrize("stack", [MUTE], indirect=True)
async def test_what_is_unclear_cannot_be_cancelled_and_says_why(stack):
    """P2: an error after a submit carries the id, and does not pretend to know what was charged."""
    stack.sandbox.faults.next("generate", faults.drop(after=True))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", KITE)
        result = await client.call_tool("cancel_task", {"task_id": reply["task_id"]})
        refused = conforms(result, "cancel_task")["error"]
    assert refused["code"] == "NOT_CANCELLABLE"
    assert refused["charged"] == "unknown"
    assert refused["task_id"] == reply["task_id"]


# Provably nothing


@pytest.mark.parametrize("failure", ["ConnectError", "ConnectTimeout", "PoolTimeout"])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_request_that_never_left_is_sent_again(stack, failure):
    """P1: provably nothing came of it."""
    stack.link.next(failure, "connect", match=_paid)
    async with stack.client() as client:
        reply, took, _ = await call(client, "text_to_video", KITE)
    assert reply["status"] == "SUBMITTED"
    assert took <= 3 + SLACK
    assert_paid_once(stack)


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_service_out_of_reach_is_a_refusal_that_charged_nothing(stack):
    """P1: and the same call later starts the video."""
    stack.link.next("ConnectError", "connect", match=_paid, times=20)
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", {**KITE, "wait_seconds": 60})
        conforms(result, "text_to_video")
        reply = error(result)
        assert reply["code"] == "UPSTREAM_UNAVAILABLE"
        assert reply["charged"] == "no"
        assert reply["retryable"] is True
        stack.link._faults.clear()
        again, *_ = await call(client, "text_to_video", KITE)
        assert again["status"] == "SUBMITTED"
        assert "deduplicated" not in again
    assert_paid_once(stack)


@pytest.mark.parametrize("retry_after", [1, None])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_429_is_waited_out_and_the_request_sent_again(stack, retry_after):
    """P1: a 429 is provably nothing."""
    stack.sandbox.faults.next("generate", faults.rate_limited(retry_after))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 10})
    assert reply["status"] in ("SUBMITTED", "PROGRESS")
    assert_paid_once(stack, posts=2)


@pytest.mark.parametrize("retry_after", [300, 86400])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_429_that_asks_for_too_long_is_a_refusal_with_the_time(stack, retry_after):
    """DESIGN 3: RATE_LIMITED, retry_after, charged no; the text says how long, too."""
    stack.sandbox.faults.next("generate", faults.rate_limited(retry_after))
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", KITE)
    reply = error(result)
    assert reply["code"] == "RATE_LIMITED"
    assert reply["retry_after"] == retry_after
    assert reply["charged"] == "no"
    assert ("5 min" if retry_after == 300 else "24 h") in text(result)
    assert stack.sandbox.posts == 1
    assert stack.sandbox.entries("charge") == []


def _paid(request: httpx2.Request) -> bool:
    return "/generate/" in request.url.path


@pytest.mark.parametrize("stack", [MUTE], indirect=True)
async def test_what_another_process_found_out_is_told_to_who_waits_here(stack):
    """P4: also where this process watches other videos meanwhile."""
    async with stack.client() as client, stack.runtime() as other:
        await call(client, "text_to_video", {"prompt": "another", "wait_seconds": 0})
        await anyio.sleep(3)
        stack.sandbox.faults.next("generate", faults.drop())
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 0})
        assert reply["status"] == "UNKNOWN"

        async def found_out():
            await anyio.sleep(30)
            await other.store.record_refused(reply["task_id"], "NOT_CREATED", "Nothing was made.", stack.wall())

        async with anyio.create_task_group() as group:
            group.start_soon(found_out)
            later, took, _ = await call(client, "get_task", {"task_id": reply["task_id"], "wait_seconds": 200})
    assert later["status"] == "NOT_CREATED"
    assert took < 60


async def test_what_another_process_was_refused_is_told_to_who_waits_here(stack):
    """P4: of two hosts with the same request, the second does not wait for an answer that the first has had."""
    await stack.with_history()
    async with stack.client() as client, stack.client() as other, anyio.create_task_group() as group:
        await call(client, "text_to_video", {"prompt": "another", "wait_seconds": 0})
        await anyio.sleep(3)
        slow = replace(faults.refuse(402, "INSUFFICIENT_CREDITS"), seconds=10)
        stack.sandbox.faults.next("generate", slow)
        group.start_soon(other.call_tool, "text_to_video", KITE)
        await anyio.sleep(1)
        reply, took, _ = await call(client, "text_to_video", {**KITE, "wait_seconds": 200})
    assert reply["status"] == "NOT_CREATED"
    assert reply["deduplicated"]
    assert took < 60
    assert stack.sandbox.posts == 2


async def test_what_is_asked_during_a_pause_is_answered_before_hosts_give_up(stack):
    """P4: after a 429 everybody waits for two minutes; a call says so, with the id it is about."""
    async with stack.client() as client:
        made, *_ = await call(client, "text_to_video", KITE)
        stack.sandbox.faults.next("account", faults.rate_limited(120), count=9)
        stack.sandbox.faults.next("cancel", faults.rate_limited(120), count=9)
        asked = {
            "get_account": {},
            "get_task": {"task_id": "made-elsewhere"},
            "cancel_task": {"task_id": made["task_id"]},
        }
        for tool, given in asked.items():
            began = anyio.current_time()
            reply = error(await client.call_tool(tool, given))
            assert anyio.current_time() - began <= ASK_TIMEOUT + SLACK
            assert reply["code"] == "UPSTREAM_UNAVAILABLE"
            assert "asked everybody for a pause" in reply["message"]
        assert reply["task_id"] == made["task_id"]
        assert "to see whether it was cancelled" in reply["next_step"]
        assert reply["charged"] == "unknown"
        listed, took, _ = await call(client, "list_tasks", {})
        assert took <= ASK_TIMEOUT + SLACK
        assert [row["task_id"] for row in listed["tasks"]] == [made["task_id"]]
        assert any("This is what is known here" in note for note in listed["notes"])
