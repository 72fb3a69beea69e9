"""P1, P2: a paid request whose answer was lost is found again, never paid twice, never guessed about."""

import json

import anyio
import pytest
from PIL import Image

from avm_mcp.sandbox import faults
from tests.clock import Skewed
from tests.stack import error, fields

CALL = {"prompt": "a fox in the snow", "wait_seconds": 0}


async def until(client, task_id, *words, seconds=3600):
    """Look as a patient model would, and return the first result with one of these statuses."""
    with anyio.fail_after(seconds):
        while True:
            result = await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 40})
            if fields(result).get("status") in words:
                return fields(result)


@pytest.mark.parametrize("profile", ["live", "seed"])
@pytest.mark.parametrize(
    "fault", [faults.drop(after=True), faults.http_error(502, after=True), faults.cut(), faults.cut_json()]
)
async def test_an_answer_lost_after_the_charge_is_found_within_the_call(stack, profile, fault):
    """P1: one task, one charge, although the answer never came."""
    stack.sandbox.change(profile=profile)
    stack.sandbox.faults.next("generate", fault)
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "SUBMITTED", reply
        assert reply["task_id"] == stack.sandbox.tasks()[0].id
    assert stack.sandbox.posts == 1
    assert len(stack.sandbox.entries("charge")) == 1


async def lost(stack, client, **more):
    """Have an answer lost after the charge, with the list out of order just then, and return what was told."""
    stack.sandbox.faults.next("generate", faults.drop(after=True))
    stack.sandbox.faults.next("list", faults.http_error(500), count=4)
    reply = fields(await client.call_tool("text_to_video", CALL | more))
    assert reply["status"] == "UNKNOWN", reply
    assert reply["error"]["code"] == "SUBMISSION_UNKNOWN"
    return reply


async def test_without_keys_two_tasks_for_one_lost_answer_are_none(stack):
    """P1: with two tasks that both fit, one of them made elsewhere, taking either would be a guess."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client(AVM_STATE_DIR=str(stack.folder / "elsewhere"), AVM_SAVE="off") as other:
        await other.call_tool("text_to_video", CALL)
    async with stack.client() as client:
        first = await lost(stack, client)
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["status"] == "UNKNOWN"
        assert again["task_id"] == first["task_id"]
        assert "take=2" not in again["next_step"]
        await anyio.sleep(3600)
        reply = fields(await client.call_tool("get_task", {"task_id": first["task_id"]}))
        assert reply["status"] == "UNKNOWN"
        assert "repeat the call with take=2" in reply["next_step"], "the way on, once looking has not helped"
        assert "paid twice" in reply["next_step"]
    assert stack.sandbox.posts == 2


async def test_without_keys_equal_requests_that_were_all_lost_share_out_what_is_found(stack):
    """P2, P3: three takes in one outage are three tasks, and three videos: which is whose makes no difference."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        reply = [await lost(stack, client, take=take) for take in (1, 2, 3)]
        ends = [await until(client, one["task_id"], "COMPLETED") for one in reply]
    assert sorted(end["task_id"] for end in ends) == sorted(task.id for task in stack.sandbox.tasks())
    assert len({end["file"] for end in ends}) == 3
    assert stack.sandbox.posts == 3


async def test_a_task_is_not_taken_from_an_equal_request_that_still_waits_for_its_answer(stack):
    """P1: without keys the first request, which never arrived, must not get the second one's task."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        stack.sandbox.faults.next("generate", faults.drop())
        stack.sandbox.faults.next("list", faults.http_error(500), count=4)
        never = fields(await client.call_tool("text_to_video", CALL))
        stack.sandbox.faults.next("generate", faults.hang(60, after=True))
        slow = fields(await client.call_tool("text_to_video", CALL | {"take": 2}))
        assert (never["status"], slow["status"]) == ("UNKNOWN", "SUBMITTING")
        slow = await until(client, slow["task_id"], "COMPLETED")
        assert slow["task_id"] == stack.sandbox.tasks()[0].id
        reply = fields(await client.call_tool("get_task", {"task_id": never["task_id"]}))
        assert reply["status"] in ("UNKNOWN", "NOT_CREATED")
    assert len(stack.sandbox.entries("charge")) == 1


async def test_a_request_that_lay_with_the_service_for_minutes_is_found(stack):
    """P2, P3: made six minutes late it is not said to have come to nothing, and its video is saved."""
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        stack.sandbox.faults.next("generate", faults.hang(360))
        reply = fields(await client.call_tool("text_to_video", CALL))
        reply = await until(client, reply["task_id"], "COMPLETED", "NOT_CREATED")
        assert reply["file"]
    assert len(stack.sandbox.entries("charge")) == 2


async def test_a_task_goes_to_the_request_that_was_sent_just_before_it(stack):
    """P1: one that never arrived, minutes earlier and alike in all that the list shows, does not get it."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    for name, colour in (("red.png", "red"), ("blue.png", "blue")):
        Image.new("RGB", (640, 360), colour).save(stack.pictures / name)
    call = {"prompt": "it turns", "wait_seconds": 0}
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        stack.sandbox.faults.next("generate", faults.drop())
        never = fields(await client.call_tool("image_to_video", call | {"image": str(stack.pictures / "red.png")}))
        await anyio.sleep(300)
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        stack.sandbox.faults.next("list", faults.http_error(500), count=4)
        found = fields(await client.call_tool("image_to_video", call | {"image": str(stack.pictures / "blue.png")}))
        assert (never.get("status"), found.get("status")) == ("UNKNOWN", "UNKNOWN"), (never, found)
        found = await until(client, found["task_id"], "COMPLETED")
        never = await until(client, never["task_id"], "NOT_CREATED", "COMPLETED")
        assert never["status"] == "NOT_CREATED"
        assert found["task_id"] == stack.sandbox.tasks()[-1].id
    assert len(stack.sandbox.entries("charge")) == 2


async def test_a_task_that_shows_up_after_it_was_said_never_created_is_taken_up_again(stack):
    """P1, P2, P3: a list that lagged twenty minutes made us wrong; the video comes all the same, and guards again."""
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(1300)
        stack.sandbox.change(list_delay_seconds=1200)
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        reply = fields(await client.call_tool("text_to_video", CALL))
        denied = await until(client, reply["task_id"], "NOT_CREATED")
        assert "never created" in denied["message"]
        await anyio.sleep(1200)
        found = await until(client, reply["task_id"], "COMPLETED")
        assert found["file"]
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["deduplicated"] is True
        assert again["task_id"] == found["task_id"]
    assert stack.sandbox.posts == 2


async def test_a_refusal_is_told_as_itself_wherever_it_is_asked_about(stack):
    """P2: another process, which did not hear the refusal, must not call the same request safe to repeat."""
    await stack.with_history()
    stack.sandbox.change(balance=3)
    stack.sandbox.faults.next("generate", faults.hang(30))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "SUBMITTING"
        await anyio.sleep(60)
    async with stack.client() as client:
        reply = fields(await client.call_tool("get_task", {"task_id": reply["task_id"]}))
        assert reply["status"] == "NOT_CREATED"
        assert "add credits" in reply["next_step"]


async def test_where_keys_are_kept_a_request_that_never_arrived_is_sent_again_with_the_same_key(stack):
    """P1: the same bytes and key, so that a first one that did arrive would be answered instead of made again."""
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        stack.sandbox.faults.next("generate", faults.drop())
        reply = fields(await client.call_tool("text_to_video", CALL))
        reply = await until(client, reply["task_id"], "COMPLETED")
    sent = [seen for seen in stack.sandbox.requests if seen.endpoint == "generate"][1:]
    assert len({(seen.idempotency_key, seen.body_sha256) for seen in sent}) == 1
    assert len(stack.sandbox.entries("charge")) == 2
    assert reply["file"]


@pytest.mark.parametrize("again", [faults.refuse(402, "INSUFFICIENT_CREDITS"), faults.drop()], ids=["refused", "lost"])
async def test_it_is_sent_again_three_times_at_most_and_what_is_refused_then_proves_nothing(stack, again):
    """P1: the first send may have come through all the same; only the lists say that it did not."""
    await stack.with_history()
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        stack.sandbox.faults.next("generate", faults.drop())
        stack.sandbox.faults.next("generate", again, count=9)
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "UNKNOWN"
        await anyio.sleep(300)
        polled = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
        assert polled["status"] == "UNKNOWN"
        assert polled["error"]["charged"] == "unknown"
        await until(client, reply["task_id"], "NOT_CREATED")
    sent = [seen for seen in stack.sandbox.requests if seen.endpoint == "generate"][1:]
    assert len(sent) == 4
    assert len({seen.idempotency_key for seen in sent}) == 1


async def test_what_lists_did_not_show_before_a_resend_is_no_proof_after_it(stack):
    """P1: ten minutes on, a resend is lost as well, but charged: the lists that are older than it say nothing of it."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        stack.sandbox.faults.next("generate", faults.drop())
        reply = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(400)
        stack.sandbox.change(honours_idempotency=True)  # the first row that carries a key
        await client.call_tool("text_to_video", {"prompt": "the one after", "wait_seconds": 0})
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        ends = ("NOT_CREATED", "SUBMITTED", "PROGRESS", "COMPLETED")
        assert (await until(client, reply["task_id"], *ends))["status"] != "NOT_CREATED"
    assert len(stack.sandbox.entries("charge")) == 3


@pytest.mark.parametrize("seconds", [80, 400])
async def test_a_request_is_not_sent_again_while_another_process_sends_it_again(stack, seconds):
    """P1: what the service makes of two requests with one key at once is not known; one that hangs is given up."""
    await stack.with_history()
    async with stack.client() as client, stack.client():
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        stack.sandbox.faults.next("generate", faults.drop())
        stack.sandbox.faults.next("generate", faults.hang(seconds))
        reply = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(75)
        assert len([seen for seen in stack.sandbox.requests if seen.endpoint == "generate"]) == 3
        reply = await until(client, reply["task_id"], "COMPLETED")
        assert reply["file"]
    assert len(stack.sandbox.entries("charge")) == 2


async def test_without_keys_it_is_never_sent_again_and_said_never_created_after_ten_minutes_of_good_lists(stack):
    """P1: NOT_CREATED needs three good lists over ten minutes; then repeating is safe, and is allowed."""
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        stack.sandbox.faults.next("generate", faults.drop())
        started = anyio.current_time()
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "UNKNOWN"
        reply = await until(client, reply["task_id"], "NOT_CREATED")
        assert anyio.current_time() - started >= 600
        assert "never created" in reply["message"]
        assert stack.sandbox.posts == 2
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 3


async def test_a_list_that_is_cut_before_the_send_proves_nothing(stack):
    """P1: with five newer tasks in a list of five, the lost one may be just beyond its end."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False, list_cap=2)
    async with stack.client() as client:
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        stack.sandbox.faults.next("list", faults.http_error(500), count=4)
        reply = fields(await client.call_tool("text_to_video", CALL))
        for number in range(3):
            await client.call_tool("text_to_video", {"prompt": f"another {number}", "wait_seconds": 0})
        await anyio.sleep(7200)
        assert fields(await client.call_tool("get_task", {"task_id": reply["task_id"]}))["status"] == "UNKNOWN"


@pytest.mark.parametrize(
    "options",
    [
        {"clock_skew_seconds": 300},
        {"clock_skew_seconds": -300},
        {"stores_other_bytes": True},
        {"list_delay_seconds": 45},
    ],
)
@pytest.mark.parametrize("keys", [True, False])
async def test_an_odd_upstream_is_still_understood(stack, options, keys):
    """P1: a clock five minutes off, an input stored in other words, a list that lags."""
    stack.sandbox.change(honours_idempotency=keys, **options)
    stack.sandbox.faults.next("generate", faults.drop(after=True))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        reply = await until(client, reply["task_id"], "COMPLETED")
        assert reply["file"]
    assert len(stack.sandbox.entries("charge")) == 1


async def test_a_request_that_dies_with_its_process_is_found_by_the_next(stack):
    """P2: the row was written before the request, so the next process looks for it."""
    stack.sandbox.faults.next("generate", faults.hang(30, after=True))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "SUBMITTING"
    async with stack.client() as client:
        reply = await until(client, reply["task_id"], "COMPLETED")
    assert stack.sandbox.posts == 1


async def test_a_new_state_looks_at_the_list_before_it_pays(stack, tmp_path):
    """P1: a state that was lost cannot guard, so in its first hour the service's own list does."""
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    async with stack.client(AVM_STATE_DIR=str(tmp_path / "another")) as client:
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["task_id"] == first["task_id"]
        assert again["deduplicated"] is True
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    ("made_in", "minutes", "later", "same"),
    [
        (400, "0", 300, True),  # it is being made still
        (5000, "60", 4000, True),
        (1200, "60", 4000, True),  # it was ready 47 minutes ago
        (1200, "60", 5000, False),
    ],
)
async def test_what_guards_in_a_new_state_is_what_would_in_the_old_one(stack, tmp_path, made_in, minutes, later, same):
    """P1: a task that is being made is the same request's however old, one that is ready for an hour from then."""
    stack.sandbox.change(durations={"t2v": made_in})
    async with stack.client(AVM_DEDUPE_MINUTES=minutes) as client:
        first = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(later)
    async with stack.client(AVM_STATE_DIR=str(tmp_path / "another"), AVM_DEDUPE_MINUTES=minutes) as client:
        again = fields(await client.call_tool("text_to_video", CALL))
        assert (again["task_id"] == first["task_id"]) is same
    assert stack.sandbox.posts == (1 if same else 2)


def damage(stack):
    for part in stack.state.glob("journal.db*"):
        part.write_bytes(b"this is no database" * 400)


async def test_a_damaged_state_is_set_aside_and_its_tasks_and_spending_are_rebuilt(stack, caplog):
    """P2, P8: nothing is deleted, the day's spending is known again, and videos are saved."""
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    damage(stack)
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        await anyio.sleep(1)
        assert len(list(stack.state.glob("*damaged*"))) >= 1
        assert "damaged" in caplog.text
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "BUDGET_EXCEEDED"
        reply = await until(client, first["task_id"], "COMPLETED")
        assert reply["file"]
    assert stack.sandbox.posts == 1


async def test_a_damaged_state_is_rebuilt_by_another_process_where_the_first_ends_too_early(stack):
    """P3, P8: a host that starts a process for each call; a call that comes before that is refused, not capped by 0."""
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    damage(stack)
    stack.sandbox.faults.next("list", faults.hang(20))
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "STATE_UNAVAILABLE"
        assert refused["retryable"]
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        assert not (await client.call_tool("get_task", {"task_id": first["task_id"]})).is_error
        await anyio.sleep(60)
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "BUDGET_EXCEEDED"
        assert (await until(client, first["task_id"], "COMPLETED"))["file"]
    assert stack.sandbox.posts == 1


async def test_a_process_that_is_asked_to_end_gives_a_paid_request_time_for_its_answer(stack):
    """P2: the connection pools outlive the task group in which requests are sent."""
    stack.sandbox.faults.next("generate", faults.hang(4, after=True))
    async with stack.client() as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "SUBMITTING"
    async with stack.runtime(AVM_API_KEY="ak_0123456789abcdef") as runtime:
        job = await runtime.store.find(runtime.service.account, reply["task_id"])
        assert job is not None
        assert job.task_id == stack.sandbox.tasks()[0].id


@pytest.mark.parametrize(
    "odd",
    [{"status": None}, {"status": 7}, {"status": []}, {"status": "SUBMITTED", "createdAt": None}],
    ids=["no status", "a number", "a list", "no date"],
)
async def test_a_row_that_cannot_be_read_or_dated_proves_nothing(stack, odd):
    """P1: it may be the lost task, so that it never came to be is not said; nor is it taken, for it may be older."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        reply = await lost(stack, client)
        (made,) = stack.sandbox.tasks()
        date = "2026-01-02T00:00:00Z"
        rows = [
            {"id": "older", "status": "COMPLETED", "model": "t2v", "createdAt": "2026-01-01T00:00:00Z"},
            {"id": made.id, "model": "t2v", "createdAt": date, "input": made.input, **odd},
        ]
        stack.sandbox.faults.next("list", faults.http_error(200, body=json.dumps({"tasks": rows})), count=99)
        await anyio.sleep(3600)
        later = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
    assert later["status"] == "UNKNOWN"


async def test_a_wall_clock_that_was_ahead_at_the_send_loses_no_task(stack):
    """P1, P2: put right after the send, it seems to say that the lost task was made before."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    wall = Skewed(stack.wall)
    async with stack.client(now=wall) as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(100)
        wall.skew += 3600
        reply = await lost(stack, client)
        wall.skew -= 3600
        assert (await until(client, reply["task_id"], "COMPLETED"))["file"]
    assert len(stack.sandbox.entries("charge")) == 2


@pytest.mark.parametrize("rows", [[], [{"id": "old", "status": "FAILED", "createdAt": "2026-01-01T00:00:00Z"}]])
async def test_a_list_that_lacks_a_task_that_was_made_just_before_proves_nothing(stack, rows):
    """P1: what is empty, or as it was long ago, although a video is being made, does not show the lost task either."""
    await stack.with_history()
    stack.sandbox.change(honours_idempotency=False)
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(100)
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        stack.sandbox.faults.next("list", faults.http_error(200, body=json.dumps({"tasks": rows})), count=999)
        reply = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(3600)
        later = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
        assert later["status"] == "UNKNOWN"
        stack.sandbox.faults.clear()
        assert (await until(client, reply["task_id"], "COMPLETED"))["file"]
