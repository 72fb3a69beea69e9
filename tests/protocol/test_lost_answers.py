"""P1, P2: a paid request whose answer was lost is found again, never paid twice, never guessed about."""

import json

import anyio
import pytest
from PIL import Image

from avm_mcp.sandbox import faults
from tests.clock import Skewed
from tests.house import error, fields

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
async def test_an_answer_lost_after_the_charge_is_found_within_the_call(house, profile, fault):
    """P1: one task, one charge, although the answer never came."""
    house.sandbox.change(profile=profile)
    house.sandbox.faults.next("generate", fault)
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "SUBMITTED", told
        assert told["task_id"] == house.sandbox.tasks()[0].id
    assert house.sandbox.posts == 1
    assert len(house.sandbox.entries("charge")) == 1


async def lost(house, client, **more):
    """Have an answer lost after the charge, with the list out of order just then, and return what was told."""
    house.sandbox.faults.next("generate", faults.drop(after=True))
    house.sandbox.faults.next("list", faults.http_error(500), count=4)
    told = fields(await client.call_tool("text_to_video", CALL | more))
    assert told["status"] == "UNKNOWN", told
    assert told["error"]["code"] == "SUBMISSION_UNKNOWN"
    return told


async def test_without_keys_two_tasks_for_one_lost_answer_are_none(house):
    """P1: with two tasks that both fit, one of them made elsewhere, taking either would be a guess."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client(AVM_STATE_DIR=str(house.folder / "elsewhere"), AVM_SAVE="off") as other:
        await other.call_tool("text_to_video", CALL)
    async with house.client() as client:
        first = await lost(house, client)
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["status"] == "UNKNOWN"
        assert again["task_id"] == first["task_id"]
        assert "take=2" not in again["next_step"]
        await anyio.sleep(3600)
        told = fields(await client.call_tool("get_task", {"task_id": first["task_id"]}))
        assert told["status"] == "UNKNOWN"
        assert "repeat the call with take=2" in told["next_step"], "the way on, once looking has not helped"
        assert "paid twice" in told["next_step"]
    assert house.sandbox.posts == 2


async def test_without_keys_equal_requests_that_were_all_lost_share_out_what_is_found(house):
    """P2, P3: three takes in one outage are three tasks, and three videos: which is whose makes no difference."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        told = [await lost(house, client, take=take) for take in (1, 2, 3)]
        ends = [await until(client, one["task_id"], "COMPLETED") for one in told]
    assert sorted(end["task_id"] for end in ends) == sorted(task.id for task in house.sandbox.tasks())
    assert len({end["file"] for end in ends}) == 3
    assert house.sandbox.posts == 3


async def test_a_task_is_not_taken_from_an_equal_request_that_still_waits_for_its_answer(house):
    """P1: without keys the first request, which never arrived, must not get the second one's task."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        house.sandbox.faults.next("generate", faults.drop())
        house.sandbox.faults.next("list", faults.http_error(500), count=4)
        never = fields(await client.call_tool("text_to_video", CALL))
        house.sandbox.faults.next("generate", faults.hang(60, after=True))
        slow = fields(await client.call_tool("text_to_video", CALL | {"take": 2}))
        assert (never["status"], slow["status"]) == ("UNKNOWN", "SUBMITTING")
        slow = await until(client, slow["task_id"], "COMPLETED")
        assert slow["task_id"] == house.sandbox.tasks()[0].id
        told = fields(await client.call_tool("get_task", {"task_id": never["task_id"]}))
        assert told["status"] in ("UNKNOWN", "NOT_CREATED")
    assert len(house.sandbox.entries("charge")) == 1


async def test_a_request_that_lay_with_the_service_for_minutes_is_found(house):
    """P2, P3: made six minutes late it is not said to have come to nothing, and its video is saved."""
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        house.sandbox.faults.next("generate", faults.hang(360))
        told = fields(await client.call_tool("text_to_video", CALL))
        told = await until(client, told["task_id"], "COMPLETED", "NOT_CREATED")
        assert told["file"]
    assert len(house.sandbox.entries("charge")) == 2


async def test_a_task_goes_to_the_request_that_was_sent_just_before_it(house):
    """P1: one that never arrived, minutes earlier and alike in all that the list shows, does not get it."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    for name, colour in (("red.png", "red"), ("blue.png", "blue")):
        Image.new("RGB", (640, 360), colour).save(house.pictures / name)
    call = {"prompt": "it turns", "wait_seconds": 0}
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        house.sandbox.faults.next("generate", faults.drop())
        never = fields(await client.call_tool("image_to_video", call | {"image": str(house.pictures / "red.png")}))
        await anyio.sleep(300)
        house.sandbox.faults.next("generate", faults.drop(after=True))
        house.sandbox.faults.next("list", faults.http_error(500), count=4)
        found = fields(await client.call_tool("image_to_video", call | {"image": str(house.pictures / "blue.png")}))
        assert (never.get("status"), found.get("status")) == ("UNKNOWN", "UNKNOWN"), (never, found)
        found = await until(client, found["task_id"], "COMPLETED")
        never = await until(client, never["task_id"], "NOT_CREATED", "COMPLETED")
        assert never["status"] == "NOT_CREATED"
        assert found["task_id"] == house.sandbox.tasks()[-1].id
    assert len(house.sandbox.entries("charge")) == 2


async def test_a_task_that_shows_up_after_it_was_said_never_created_is_taken_up_again(house):
    """P1, P2, P3: a list that lagged twenty minutes made us wrong; the video comes all the same, and guards again."""
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(1300)
        house.sandbox.change(list_delay_seconds=1200)
        house.sandbox.faults.next("generate", faults.drop(after=True))
        told = fields(await client.call_tool("text_to_video", CALL))
        denied = await until(client, told["task_id"], "NOT_CREATED")
        assert "never created" in denied["message"]
        await anyio.sleep(1200)
        found = await until(client, told["task_id"], "COMPLETED")
        assert found["file"]
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["deduplicated"] is True
        assert again["task_id"] == found["task_id"]
    assert house.sandbox.posts == 2


async def test_a_refusal_is_told_as_itself_wherever_it_is_asked_about(house):
    """P2: another process, which did not hear the refusal, must not call the same request safe to repeat."""
    await house.grown_up()
    house.sandbox.change(balance=3)
    house.sandbox.faults.next("generate", faults.hang(30))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "SUBMITTING"
        await anyio.sleep(60)
    async with house.client() as client:
        told = fields(await client.call_tool("get_task", {"task_id": told["task_id"]}))
        assert told["status"] == "NOT_CREATED"
        assert "add credits" in told["next_step"]


async def test_where_keys_are_kept_a_request_that_never_arrived_is_sent_again_with_the_same_key(house):
    """P1: the same bytes and key, so that a first one that did arrive would be answered instead of made again."""
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        house.sandbox.faults.next("generate", faults.drop())
        told = fields(await client.call_tool("text_to_video", CALL))
        told = await until(client, told["task_id"], "COMPLETED")
    sent = [seen for seen in house.sandbox.requests if seen.endpoint == "generate"][1:]
    assert len({(seen.idempotency_key, seen.body_sha256) for seen in sent}) == 1
    assert len(house.sandbox.entries("charge")) == 2
    assert told["file"]


@pytest.mark.parametrize("again", [faults.refuse(402, "INSUFFICIENT_CREDITS"), faults.drop()], ids=["refused", "lost"])
async def test_it_is_sent_again_three_times_at_most_and_what_is_refused_then_proves_nothing(house, again):
    """P1: the first send may have come through all the same; only the lists say that it did not."""
    await house.grown_up()
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        house.sandbox.faults.next("generate", faults.drop())
        house.sandbox.faults.next("generate", again, count=9)
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "UNKNOWN"
        await anyio.sleep(300)
        polled = fields(await client.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 0}))
        assert polled["status"] == "UNKNOWN"
        assert polled["error"]["charged"] == "unknown"
        await until(client, told["task_id"], "NOT_CREATED")
    sent = [seen for seen in house.sandbox.requests if seen.endpoint == "generate"][1:]
    assert len(sent) == 4
    assert len({seen.idempotency_key for seen in sent}) == 1


async def test_what_lists_did_not_show_before_a_resend_is_no_proof_after_it(house):
    """P1: ten minutes on, a resend is lost as well, but charged: the lists that are older than it say nothing of it."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        house.sandbox.faults.next("generate", faults.drop())
        told = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(400)
        house.sandbox.change(honours_idempotency=True)  # the first row that carries a key
        await client.call_tool("text_to_video", {"prompt": "the one after", "wait_seconds": 0})
        house.sandbox.faults.next("generate", faults.drop(after=True))
        ends = ("NOT_CREATED", "SUBMITTED", "PROGRESS", "COMPLETED")
        assert (await until(client, told["task_id"], *ends))["status"] != "NOT_CREATED"
    assert len(house.sandbox.entries("charge")) == 3


@pytest.mark.parametrize("seconds", [80, 400])
async def test_a_request_is_not_sent_again_while_another_process_sends_it_again(house, seconds):
    """P1: what the service makes of two requests with one key at once is not known; one that hangs is given up."""
    await house.grown_up()
    async with house.client() as client, house.client():
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        house.sandbox.faults.next("generate", faults.drop())
        house.sandbox.faults.next("generate", faults.hang(seconds))
        told = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(75)
        assert len([seen for seen in house.sandbox.requests if seen.endpoint == "generate"]) == 3
        told = await until(client, told["task_id"], "COMPLETED")
        assert told["file"]
    assert len(house.sandbox.entries("charge")) == 2


async def test_without_keys_it_is_never_sent_again_and_said_never_created_after_ten_minutes_of_good_lists(house):
    """P1: NOT_CREATED needs three good lists over ten minutes; then repeating is safe, and is allowed."""
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(60)
        house.sandbox.faults.next("generate", faults.drop())
        started = anyio.current_time()
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "UNKNOWN"
        told = await until(client, told["task_id"], "NOT_CREATED")
        assert anyio.current_time() - started >= 600
        assert "never created" in told["message"]
        assert house.sandbox.posts == 2
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["status"] == "SUBMITTED"
    assert house.sandbox.posts == 3


async def test_a_list_that_is_cut_before_the_send_proves_nothing(house):
    """P1: with five newer tasks in a list of five, the lost one may be just beyond its end."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False, list_cap=2)
    async with house.client() as client:
        house.sandbox.faults.next("generate", faults.drop(after=True))
        house.sandbox.faults.next("list", faults.http_error(500), count=4)
        told = fields(await client.call_tool("text_to_video", CALL))
        for number in range(3):
            await client.call_tool("text_to_video", {"prompt": f"another {number}", "wait_seconds": 0})
        await anyio.sleep(7200)
        assert fields(await client.call_tool("get_task", {"task_id": told["task_id"]}))["status"] == "UNKNOWN"


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
async def test_an_odd_upstream_is_still_understood(house, options, keys):
    """P1: a clock five minutes off, an input stored in other words, a list that lags."""
    house.sandbox.change(honours_idempotency=keys, **options)
    house.sandbox.faults.next("generate", faults.drop(after=True))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        told = await until(client, told["task_id"], "COMPLETED")
        assert told["file"]
    assert len(house.sandbox.entries("charge")) == 1


async def test_a_request_that_dies_with_its_process_is_found_by_the_next(house):
    """P2: the row was written before the request, so the next process looks for it."""
    house.sandbox.faults.next("generate", faults.hang(30, after=True))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "SUBMITTING"
    async with house.client() as client:
        told = await until(client, told["task_id"], "COMPLETED")
    assert house.sandbox.posts == 1


async def test_a_new_state_looks_at_the_list_before_it_pays(house, tmp_path):
    """P1: a state that was lost cannot guard, so in its first hour the service's own list does."""
    async with house.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    async with house.client(AVM_STATE_DIR=str(tmp_path / "another")) as client:
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["task_id"] == first["task_id"]
        assert again["deduplicated"] is True
    assert house.sandbox.posts == 1


@pytest.mark.parametrize(
    ("made_in", "minutes", "later", "same"),
    [
        (400, "0", 300, True),  # it is being made still
        (5000, "60", 4000, True),
        (1200, "60", 4000, True),  # it was ready 47 minutes ago
        (1200, "60", 5000, False),
    ],
)
async def test_what_guards_in_a_new_state_is_what_would_in_the_old_one(house, tmp_path, made_in, minutes, later, same):
    """P1: a task that is being made is the same request's however old, one that is ready for an hour from then."""
    house.sandbox.change(durations={"t2v": made_in})
    async with house.client(AVM_DEDUPE_MINUTES=minutes) as client:
        first = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(later)
    async with house.client(AVM_STATE_DIR=str(tmp_path / "another"), AVM_DEDUPE_MINUTES=minutes) as client:
        again = fields(await client.call_tool("text_to_video", CALL))
        assert (again["task_id"] == first["task_id"]) is same
    assert house.sandbox.posts == (1 if same else 2)


def damage(house):
    for part in house.state.glob("journal.db*"):
        part.write_bytes(b"this is no database" * 400)


async def test_a_damaged_state_is_set_aside_and_its_tasks_and_spending_are_rebuilt(house, caplog):
    """P2, P8: nothing is deleted, the day's spending is known again, and videos are saved."""
    async with house.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    damage(house)
    async with house.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        await anyio.sleep(1)
        assert len(list(house.state.glob("*damaged*"))) >= 1
        assert "damaged" in caplog.text
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "BUDGET_EXCEEDED"
        told = await until(client, first["task_id"], "COMPLETED")
        assert told["file"]
    assert house.sandbox.posts == 1


async def test_a_damaged_state_is_rebuilt_by_another_process_where_the_first_ends_too_early(house):
    """P3, P8: a host that starts a process for each call; a call that comes before that is refused, not capped by 0."""
    async with house.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    damage(house)
    house.sandbox.faults.next("list", faults.hang(20))
    async with house.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "STATE_UNAVAILABLE"
        assert refused["retryable"]
    async with house.client(AVM_MAX_CREDITS_PER_DAY="20") as client:
        assert not (await client.call_tool("get_task", {"task_id": first["task_id"]})).is_error
        await anyio.sleep(60)
        refused = error(await client.call_tool("text_to_video", {"prompt": "one more"}))
        assert refused["code"] == "BUDGET_EXCEEDED"
        assert (await until(client, first["task_id"], "COMPLETED"))["file"]
    assert house.sandbox.posts == 1


async def test_a_process_that_is_asked_to_end_gives_a_paid_request_time_for_its_answer(house):
    """P2: the connection pools outlive the task group in which requests are sent."""
    house.sandbox.faults.next("generate", faults.hang(4, after=True))
    async with house.client() as client:
        told = fields(await client.call_tool("text_to_video", CALL))
        assert told["status"] == "SUBMITTING"
    async with house.runtime(AVM_API_KEY="ak_0123456789abcdef") as runtime:
        job = await runtime.store.find(runtime.service.account, told["task_id"])
        assert job is not None
        assert job.task_id == house.sandbox.tasks()[0].id


@pytest.mark.parametrize(
    "odd",
    [{"status": None}, {"status": 7}, {"status": []}, {"status": "SUBMITTED", "createdAt": None}],
    ids=["no status", "a number", "a list", "no date"],
)
async def test_a_row_that_cannot_be_read_or_dated_proves_nothing(house, odd):
    """P1: it may be the lost task, so that it never came to be is not said; nor is it taken, for it may be older."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        told = await lost(house, client)
        (made,) = house.sandbox.tasks()
        date = "2026-01-02T00:00:00Z"
        rows = [
            {"id": "older", "status": "COMPLETED", "model": "t2v", "createdAt": "2026-01-01T00:00:00Z"},
            {"id": made.id, "model": "t2v", "createdAt": date, "input": made.input, **odd},
        ]
        house.sandbox.faults.next("list", faults.http_error(200, body=json.dumps({"tasks": rows})), count=99)
        await anyio.sleep(3600)
        later = fields(await client.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 0}))
    assert later["status"] == "UNKNOWN"


async def test_a_wall_clock_that_was_ahead_at_the_send_loses_no_task(house):
    """P1, P2: put right after the send, it seems to say that the lost task was made before."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    wall = Skewed(house.wall)
    async with house.client(now=wall) as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(100)
        wall.skew += 3600
        told = await lost(house, client)
        wall.skew -= 3600
        assert (await until(client, told["task_id"], "COMPLETED"))["file"]
    assert len(house.sandbox.entries("charge")) == 2


@pytest.mark.parametrize("rows", [[], [{"id": "old", "status": "FAILED", "createdAt": "2026-01-01T00:00:00Z"}]])
async def test_a_list_that_lacks_a_task_that_was_made_just_before_proves_nothing(house, rows):
    """P1: what is empty, or as it was long ago, although a video is being made, does not show the lost task either."""
    await house.grown_up()
    house.sandbox.change(honours_idempotency=False)
    async with house.client() as client:
        await client.call_tool("text_to_video", {"prompt": "the one before", "wait_seconds": 0})
        await anyio.sleep(100)
        house.sandbox.faults.next("generate", faults.drop(after=True))
        house.sandbox.faults.next("list", faults.http_error(200, body=json.dumps({"tasks": rows})), count=999)
        told = fields(await client.call_tool("text_to_video", CALL))
        await anyio.sleep(3600)
        later = fields(await client.call_tool("get_task", {"task_id": told["task_id"], "wait_seconds": 0}))
        assert later["status"] == "UNKNOWN"
        house.sandbox.faults.clear()
        assert (await until(client, told["task_id"], "COMPLETED"))["file"]
