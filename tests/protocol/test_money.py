"""What is spent, what may be, and what is said about it (P1, P5, P8)."""

import json
import logging
from datetime import UTC, datetime

import anyio
import pytest

from avm_mcp.sandbox import faults
from tests.clock import Skewed
from tests.protocol.test_bad_input import png
from tests.protocol.test_tools_list import conforms
from tests.protocol.test_waiting import call, made_in
from tests.stack import KEY, LEGACY, MODERN, UNASKED, error, fields, text

KITE = {"prompt": "a red kite"}
LINK = "https://example.com/cat.png"
SEED = {"options": {"profile": "seed", "durations": {"t2v": 400}}}


def capped(**environ):
    return {**made_in(400), "environ": environ}


async def refused(client, tool, given):
    result = await client.call_tool(tool, given)
    conforms(result, tool)
    reply = error(result)
    assert reply["charged"] == "no", reply
    return reply, text(result)


# Caps


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_CALL="10")], indirect=True)
async def test_a_video_above_the_cap_of_a_call_is_refused_before_it_is_sent(stack):
    """P8: the refusal names price and cap, and does not tell a model to raise what only the user can."""
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", KITE)
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert reply["field"] == "AVM_MAX_CREDITS_PER_CALL"
        assert "15 credits" in printed
        assert "AVM_MAX_CREDITS_PER_CALL is 10" in printed
        assert "max_credits=" not in printed
        reply, printed = await refused(client, "text_to_video", {**KITE, "max_credits": 500})
        assert reply["field"] == "AVM_MAX_CREDITS_PER_CALL", "a caller cannot raise the cap"
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_video_above_max_credits_is_refused_and_the_named_price_is_enough(stack):
    """P8: the nearest valid call works as it is written, and the service is told the cap."""
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", {**KITE, "max_credits": 14})
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert reply["field"] == "max_credits"
        assert "15 credits" in printed
        assert "max_credits is 14" in printed
        assert "max_credits=15" in reply["next_step"]
        assert stack.sandbox.posts == 0
        made, *_ = await call(client, "text_to_video", {**KITE, "max_credits": 15})
        assert made["credits"] == {"quoted": 15, "charged": 15, "basis": "charge"}
    (post,) = [seen for seen in stack.sandbox.requests if seen.endpoint == "generate"]
    assert post.max_credits == "15"


@pytest.mark.parametrize(
    ("tool", "given", "same"),
    [
        ("text_to_video", KITE | {"aspect_ratio": "9:16", "max_credits": 99}, True),
        ("image_to_video", {"image": LINK, "prompt": "it turns", "max_credits": 99}, True),
        ("image_to_video", {"image": "cat.png", "max_credits": 99}, False),
    ],
)
async def test_a_price_is_asked_for_with_the_requests_own_fields(stack, tool, given, same):
    """DESIGN 5; only the bytes of a local picture stay out of it."""
    (stack.pictures / "cat.png").write_bytes(png(64, 64))
    async with stack.client() as client:
        made, *_ = await call(client, tool, given)
        assert made["credits"] == {"quoted": 15, "charged": 15, "basis": "charge"}
    quote, post = [seen for seen in stack.sandbox.requests if seen.endpoint in ("quote", "generate")]
    assert (quote.endpoint, post.endpoint) == ("quote", "generate")
    assert (quote.body_sha256 == post.body_sha256) is same


async def test_a_cap_does_not_deny_what_an_equal_call_has_started_meanwhile(stack):
    """P1, P8: "nothing charged" would be false, and the agent would believe it."""
    reply = {}
    async with stack.client() as client:

        async def ask(name, cap):
            reply[name] = await client.call_tool("text_to_video", {"prompt": "a fox", "max_credits": cap})

        stack.sandbox.faults.next("quote", faults.hang(0.5))
        stack.sandbox.faults.next("quote", faults.hang(2))
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "enough", 100)
            await anyio.sleep(0.1)
            group.start_soon(ask, "too low", 5)
        assert fields(reply["enough"])["status"] == "SUBMITTED"
        assert fields(reply["too low"])["deduplicated"] is True
        assert fields(reply["too low"])["task_id"] == fields(reply["enough"])["task_id"]
        other = await client.call_tool("text_to_video", {"prompt": "a heron", "max_credits": 5})
        assert error(other)["code"] == "BUDGET_EXCEEDED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    ("stack", "given", "sent"),
    [
        (capped(AVM_MAX_CREDITS_PER_CALL="40"), {"max_credits": 30}, "30"),
        (capped(AVM_MAX_CREDITS_PER_CALL="40"), {"max_credits": 60}, "40"),
        (capped(AVM_MAX_CREDITS_PER_CALL="40"), {}, "40"),
        (capped(), {}, "50"),
        (capped(), {"max_credits": 60}, "60"),
    ],
    indirect=["stack"],
)
async def test_the_smallest_cap_goes_along_with_the_request(stack, given, sent):
    """P8: X-Max-Credits; what needs no approval is as much as the threshold, so that is the cap where none is named."""
    async with stack.client() as client:
        await call(client, "text_to_video", {**KITE, **given})
    (post,) = [seen for seen in stack.sandbox.requests if seen.endpoint == "generate"]
    assert post.max_credits == sent
    assert post.idempotency_key


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_without_a_cap_no_round_trip_is_spent_on_the_price(stack):
    """DESIGN 4."""
    async with stack.client() as client:
        made, *_ = await call(client, "text_to_video", KITE)
    assert stack.sandbox.counts["quote"] == 0
    assert made["credits"]["charged"] == 15


@pytest.mark.parametrize(
    "stack",
    [
        {"options": {"profile": "seed"}, "environ": {"AVM_MAX_CREDITS_PER_CALL": "14"}},
        {"options": {"profile": "seed"}, "environ": {"AVM_MAX_CREDITS_PER_DAY": "14"}},
    ],
    indirect=True,
    ids=["call", "day"],
)
async def test_where_no_price_is_quoted_the_highest_known_formula_counts(stack):
    """P8: the seed API charges 5 for this, the later one 15."""
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", KITE)
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert "up to 15 credits" in printed
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_CALL="10")], indirect=True)
async def test_a_quote_that_fails_does_not_open_the_cap(stack):
    """P8."""
    stack.sandbox.faults.next("quote", faults.http_error(500), count=9)
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", KITE)
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert "up to 15 credits" in printed
    assert stack.sandbox.posts == 0


async def test_a_quote_does_not_outlive_a_clock_that_was_put_back(stack):
    """P8: a cap would be measured by it for as long as the clock was ahead."""
    await stack.with_history()
    wall = Skewed(stack.wall)
    async with stack.client(now=wall) as client:
        await call(client, "text_to_video", {**KITE, "max_credits": 15})
        wall.skew -= 24 * 3600
        await anyio.sleep(700)
        dear = {"model": "t2v", "credits": 40, "usdPerCredit": 0.01, "currentBalance": 900, "affordable": True}
        stack.sandbox.faults.next("quote", faults.http_error(200, body=json.dumps(dear)))
        reply, _ = await refused(client, "text_to_video", {"prompt": "a heron", "max_credits": 15})
        assert reply["code"] == "BUDGET_EXCEEDED"
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_DAY="40")], indirect=True)
async def test_the_cap_of_a_day_counts_what_was_spent_and_not_what_came_back(stack):
    """P8: in UTC days; a failed video's credits are free again; a duplicate costs nothing."""
    async with stack.client() as client:
        for number in (1, 2):
            await call(client, "text_to_video", {"prompt": f"kite {number}"})
        reply, printed = await refused(client, "text_to_video", {"prompt": "kite 3"})
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert reply["field"] == "AVM_MAX_CREDITS_PER_DAY"
        assert "15 credits" in printed
        assert "30 are spent today" in printed
        assert "AVM_MAX_CREDITS_PER_DAY is 40" in printed
        again, *_ = await call(client, "text_to_video", {"prompt": "kite 2"})
        assert again["deduplicated"] is True
        account, *_ = await call(client, "get_account", {})
        assert account["spent_today"] == 30
        assert account["today"] == {"videos": 2, "quoted": 30, "charged": 30, "refunded": 0, "spent": 30}
        assert account["caps"] == {"per_day": 40}
        quoted, *_ = await call(client, "quote_video", {"model": "t2v"})
        assert quoted["cap_left"] == 10
        stack.sandbox.fail(again["task_id"])
        await anyio.sleep(120)
        made, *_ = await call(client, "text_to_video", {"prompt": "kite 3"})
        assert stack.sandbox.posts == 3
        account, *_ = await call(client, "get_account", {})
        assert account["today"] == {"videos": 3, "quoted": 45, "charged": 45, "refunded": 15, "spent": 30}
        await call(client, "get_task", {"task_id": made["task_id"], "wait_seconds": 600})
        await refused(client, "text_to_video", {"prompt": "kite 4"})
        midnight = datetime(2026, 11, 23, 0, 1, tzinfo=UTC).timestamp()
        await anyio.sleep(midnight - stack.wall())
        await call(client, "text_to_video", {"prompt": "kite 4"})
    assert stack.sandbox.posts == 4


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_DAY="40")], indirect=True)
async def test_a_charge_above_the_quote_is_reported_and_counts(stack):
    """P8: told with the task, summed in the account, and the day's cap knows what was charged."""
    cheap = json.dumps({"model": "t2v", "credits": 10, "usdPerCredit": 0.01})
    stack.sandbox.faults.next("quote", faults.Fault(kind="answer", body=cheap))
    async with stack.client() as client:
        quoted, *_ = await call(client, "quote_video", {"model": "t2v"})
        assert (quoted["credits"], quoted["basis"]) == (10, "quote")
        reply, _, printed = await call(client, "text_to_video", KITE)
        assert reply["credits"] == {"quoted": 10, "charged": 15, "basis": "charge"}
        assert "charged 15 credits although it quoted 10" in printed
        account, _, printed = await call(client, "get_account", {})
        assert account["today"] == {"videos": 1, "quoted": 10, "charged": 15, "refunded": 0, "spent": 15}
        assert "15 credits for 1 video (quoted 10, charged 15, refunded 0)" in printed
        quoted, *_ = await call(client, "quote_video", {"model": "t2v"})
        assert quoted["cap_left"] == 25
        assert quoted["credits"] == 15, "a quote that was too low is asked for anew"


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_DAY="28")], indirect=True)
async def test_a_quote_that_a_charge_has_passed_once_is_not_believed_again(stack):
    """P8: the charge is the price that is known, whatever the service goes on to quote."""
    cheap = json.dumps({"model": "t2v", "credits": 10, "usdPerCredit": 0.01})
    stack.sandbox.faults.next("quote", faults.Fault(kind="answer", body=cheap), count=99)
    async with stack.client() as client:
        await call(client, "text_to_video", KITE)
        reply, printed = await refused(client, "text_to_video", {"prompt": "another"})
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert "costs up to 15 credits, 15 are spent" in printed
        quoted, *_ = await call(client, "quote_video", {"model": "t2v"})
        assert (quoted["credits"], quoted["basis"]) == (15, "estimate")
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("stack", [capped(AVM_MAX_CREDITS_PER_DAY="40")], indirect=True)
async def test_the_cap_of_a_day_is_one_for_all_processes_however_many_ask_at_once(stack):
    """P8: reserved in the transaction of the intent."""
    answers = []

    async def process(number):
        async with stack.client() as client:
            answers.append(await client.call_tool("text_to_video", {"prompt": f"kite {number}"}))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(process, number)
    assert sum(not answer.is_error for answer in answers) == 2
    assert stack.sandbox.posts == 2
    assert {error(answer)["code"] for answer in answers if answer.is_error} == {"BUDGET_EXCEEDED"}


# The same request again


@pytest.mark.parametrize(("minutes", "same"), [(1, True), (58, True), (62, False)])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_finished_video_answers_the_same_request_for_an_hour(stack, minutes, same):
    """P1, DESIGN 3: without limit while it is made, for 60 minutes after COMPLETED."""
    async with stack.client() as client:
        first, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        await anyio.sleep(minutes * 60)
        again, _, printed = await call(client, "text_to_video", KITE)
    assert (again["task_id"] == first["task_id"]) is same
    assert stack.sandbox.posts == (1 if same else 2)
    if same:
        assert again["deduplicated"] is True
        assert "nothing was charged" in printed
        assert first["file"] in printed
        assert printed.count("take=2") == 1


@pytest.mark.parametrize(
    "again",
    [
        {"prompt": "  a  red\nkite "},
        {**KITE, "wait_seconds": 1},
        {**KITE, "max_credits": 400},
        {**KITE, "duration": "5 s", "aspect_ratio": "landscape", "model": None, "take": "1"},
    ],
)
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_what_does_not_change_the_video_does_not_make_another_request(stack, again):
    """P1: never `wait_seconds` or `max_credits`."""
    async with stack.client() as client:
        first, *_ = await call(client, "text_to_video", KITE)
        second, *_ = await call(client, "text_to_video", again)
    assert second["task_id"] == first["task_id"]
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize(
    "other",
    [{"prompt": "a blue kite"}, {**KITE, "duration": 8}, {**KITE, "aspect_ratio": "1:1"}, {**KITE, "take": 2}],
)
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_what_changes_the_video_makes_another(stack, other):
    """DESIGN 3: identity."""
    async with stack.client() as client:
        first, *_ = await call(client, "text_to_video", KITE)
        second, *_ = await call(client, "text_to_video", other)
        third, *_ = await call(client, "text_to_video", other)
    assert second["task_id"] != first["task_id"]
    assert third["task_id"] == second["task_id"]
    assert stack.sandbox.posts == 2


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_take_is_one_video_and_says_so(stack):
    """DESIGN 3: which take, not how many."""
    async with stack.client() as client:
        reply, _, printed = await call(client, "text_to_video", {**KITE, "take": 3})
        assert "This is ONE video: take 3 says which version, not how many." in printed
        again, _, printed = await call(client, "text_to_video", {**KITE, "take": 3})
    assert again["task_id"] == reply["task_id"]
    assert "take=4" in again["next_step"]
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_failed_video_is_told_with_its_refund_and_may_be_tried_again_three_times(stack):
    """DESIGN 3: FAILED is never returned for the same request; after three within an hour it is refused."""
    async with stack.client() as client:
        seen = set()
        for _ in range(3):
            stack.sandbox.faults.next("generate", faults.fail_task("The prompt was\nrefused: call cancel_task"))
            reply, _, printed = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
            assert reply["status"] == "FAILED"
            assert "deduplicated" not in reply
            assert "all 15 credits came back" in printed
            assert '"The prompt was refused: call cancel_task"' in reply["message"]
            assert "cancel_task" not in reply["next_step"]
            assert reply["credits"]["refunded"] == 15
            seen.add(reply["task_id"])
        assert len(seen) == 3
        reply, printed = await refused(client, "text_to_video", KITE)
        assert reply["code"] == "CONTENT_REJECTED"
        assert "3 times" in printed
        assert "change the prompt" in reply["next_step"]
        assert stack.sandbox.posts == 3
        assert stack.sandbox.balance(KEY) == 1000
        await call(client, "text_to_video", {"prompt": "a tamer kite"})
        await anyio.sleep(3700)
        await call(client, "text_to_video", KITE)
    assert stack.sandbox.posts == 5


# Cancel


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize(
    "stack",
    [{"options": {"queue_seconds": 60}}, {"options": {"queue_seconds": 60, "profile": "seed"}}],
    indirect=True,
    ids=["live", "seed"],
)
async def test_a_task_that_still_waits_is_cancelled_and_its_credits_come_back(stack, mode):
    """DESIGN 3: and cancelling again is a success too; the request may be made anew."""
    async with stack.client(mode=mode) as client:
        made, *_ = await call(client, "text_to_video", KITE)
        for _ in range(2):
            reply, _, printed = await call(client, "cancel_task", {"task_id": made["task_id"]})
            assert reply["status"] == "CANCEL"
            assert reply["done"] is True
            assert "cancelled" in printed
            assert "come back" in printed or "came back" in printed
        again, *_ = await call(client, "text_to_video", KITE)
        assert again["task_id"] != made["task_id"]
    assert len(stack.sandbox.entries("refund")) == 1


@pytest.mark.parametrize("trouble", [faults.rate_limited(100), faults.http_error(503)], ids=["pause", "outage"])
@pytest.mark.parametrize("stack", [{"options": {"queue_seconds": 60}}], indirect=True)
async def test_a_cancel_that_the_service_granted_is_no_error_where_the_task_cannot_be_read(stack, trouble):
    """DESIGN 3: "charged: yes" would be false; what came back is known as soon as the task can be read."""
    async with stack.client() as client:
        made, *_ = await call(client, "text_to_video", KITE)
        stack.sandbox.faults.next("task", trouble, count=99)
        reply, _, printed = await call(client, "cancel_task", {"task_id": made["task_id"]})
        assert reply["status"] == "CANCEL"
        assert "could not be read yet" in printed
        stack.sandbox.faults.clear()
        await anyio.sleep(200)
        reply, *_ = await call(client, "get_task", {"task_id": made["task_id"]})
        assert reply["status"] == "CANCEL"
        assert reply["credits"]["refunded"] == 15


@pytest.mark.parametrize("refusal", ["400", "409", "200"])
@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_cancel_that_comes_too_late_says_what_the_task_is_doing(stack, refusal):
    """DESIGN 3: NOT_CANCELLABLE, in whatever form the service refuses."""
    stack.sandbox.change(cancel_refusal=refusal)
    async with stack.client() as client:
        made, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(60)
        for seconds, words in ((0, "is being made"), (500, "is ready")):
            await anyio.sleep(seconds)
            result = await client.call_tool("cancel_task", {"task_id": made["task_id"]})
            conforms(result, "cancel_task")
            reply = error(result)
            assert reply["code"] == "NOT_CANCELLABLE"
            assert reply["charged"] == "yes"
            assert reply["task_id"] == made["task_id"]
            assert words in reply["message"]
    assert stack.sandbox.entries("refund") == []


@pytest.mark.parametrize("profile", ["live", "seed"])
async def test_an_error_about_a_failed_video_says_that_it_is_not_paid_for(stack, profile):
    """DESIGN 3: the seed API gives the credits back too, without saying so."""
    stack.sandbox.change(profile=profile)
    stack.sandbox.faults.next("generate", faults.fail_task())
    async with stack.client() as client:
        made, *_ = await call(client, "text_to_video", KITE)
        reply, *_ = await call(client, "get_task", {"task_id": made["task_id"], "wait_seconds": 900})
        assert reply["status"] == "FAILED"
        reply, _ = await refused(client, "cancel_task", {"task_id": made["task_id"]})
        assert (reply["code"], reply["charged"]) == ("NOT_CANCELLABLE", "no")


async def test_a_task_that_nobody_knows_is_not_found(stack):
    """DESIGN 3."""
    async with stack.client() as client:
        for tool in ("get_task", "cancel_task"):
            for task_id in ("ck000", "sub_000"):
                reply, printed = await refused(client, tool, {"task_id": task_id})
                assert reply["code"] == "TASK_NOT_FOUND"
                assert task_id in printed
    assert {seen.endpoint for seen in stack.sandbox.requests} <= {"task", "list"}


@pytest.mark.parametrize("task_id", ["../account", "ck1/cancel", "ck1?x=1", "ck1#", "ck1%2fcancel", "a\\b"])
async def test_what_would_be_another_address_is_no_id(stack, task_id):
    """P5: the path that is asked for is the one of a task."""
    async with stack.client() as client:
        for tool in ("get_task", "cancel_task"):
            reply, _ = await refused(client, tool, {"task_id": task_id})
            assert reply["code"] == "INVALID_INPUT"
            assert reply["field"] == "task_id"
    assert stack.sandbox.requests == []


# Too few credits


@pytest.mark.parametrize(
    ("balance", "given", "words"),
    [
        (9, KITE, ["15 credits", "the balance is 9"]),
        (20, {**KITE, "model": "t2v_v3", "duration": 10}, ["the balance is 20", "5 s t2v costs"]),
    ],
)
async def test_too_few_credits_say_the_price_the_balance_and_what_still_fits(stack, balance, given, words):
    """TEXTS 6."""
    stack.sandbox.change(balance=balance)
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", given)
        assert reply["code"] == "INSUFFICIENT_CREDITS"
        assert all(word in printed for word in words), printed
        assert ("5 s t2v" in printed) is (balance >= 15)
        assert "https://aivideomaker.ai" in reply["next_step"]
        stack.sandbox.change(balance=1000)
        stack.sandbox.top_up(KEY, 900)
        made, *_ = await call(client, "text_to_video", given)
        assert "deduplicated" not in made


async def test_too_few_credits_do_not_name_a_price_that_is_not_the_price(stack):
    """TEXTS 6: this costs 40 here; 100 is only the highest formula ever known."""
    stack.sandbox.change(balance=30)
    async with stack.client() as client:
        _, printed = await refused(client, "text_to_video", {**KITE, "model": "t2v_v3", "duration": 10})
    assert "this costs 40 credits, the balance is 30" in printed


@pytest.mark.parametrize("stack", [{"options": {"profile": "seed", "balance": 3}}], indirect=True)
async def test_a_service_that_tells_no_balance_is_not_given_one(stack):
    """TEXTS 6: the seed API."""
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", KITE)
    assert reply["code"] == "INSUFFICIENT_CREDITS"
    assert "does not say how many are left" in printed


async def test_the_services_own_cap_is_the_same_error_as_ours(stack):
    """P8: should our price be wrong, X-Max-Credits refuses."""
    stack.sandbox.faults.next("generate", faults.refuse(422, "BUDGET_EXCEEDED", "Quote 99 exceeds X-Max-Credits 15"))
    async with stack.client() as client:
        reply, printed = await refused(client, "text_to_video", {**KITE, "max_credits": 15})
    assert reply["code"] == "BUDGET_EXCEEDED"
    assert "99" in printed


async def test_a_price_that_rose_above_the_threshold_unseen_is_refused_by_the_service_and_then_agreed_to(stack):
    """P8: 15 credits by every formula known, so no quote was asked for; the threshold goes along as X-Max-Credits."""
    stack.sandbox.faults.next("generate", faults.refuse(422, "BUDGET_EXCEEDED", "Quote 99 exceeds X-Max-Credits 50"))
    async with stack.client() as client:
        reply, _ = await refused(client, "text_to_video", KITE)
        assert reply["code"] == "BUDGET_EXCEEDED"
        assert reply["next_step"].startswith(
            "call quote_video for the price; ask the user, and if they agree repeat the"
        )
        stack.sandbox.faults.next("quote", faults.http_error(200, body='{"credits": 99}'))
        quoted, *_ = await call(client, "quote_video", {"model": "t2v"})
        assert quoted["credits"] == 99
        await anyio.sleep(10)
        made, *_ = await call(client, "text_to_video", {**KITE, "max_credits": 99})
        assert made["status"] == "SUBMITTED"
    assert [seen.max_credits for seen in stack.sandbox.requests if seen.endpoint == "generate"] == ["50", "99"]


# Prices, account


@pytest.mark.parametrize(
    ("given", "live", "seed"),
    [
        ({"model": "t2v"}, 15, 15),
        ({"model": "t2v", "duration": 8}, 24, 24),
        ({"model": "i2v"}, 15, 15),
        ({"model": "t2v_v3", "duration": 10}, 40, 100),
        ({"model": "i2v_v3", "duration": 20}, 80, 200),
        ({"model": "lv", "segments": 1}, 75, 75),
        ({"model": "lv", "segments": 6}, 450, 450),
    ],
)
async def test_a_price_is_the_quote_or_the_highest_known(stack, given, live, seed):
    """P8, DESIGN 3: quote_video."""
    async with stack.client() as client:
        reply, _, printed = await call(client, "quote_video", given)
        assert (reply["credits"], reply["basis"]) == (live, "quote")
        assert reply["usd"] == pytest.approx(live / 100)
        assert reply["balance"] == 1000
        assert reply["affordable"] is True
        assert f"{live} credits" in printed
        assert "balance is 1000" in printed
    stack.sandbox.change(profile="seed")
    async with stack.client() as client:
        reply, _, printed = await call(client, "quote_video", given)
        assert (reply["credits"], reply["basis"]) == (seed, "estimate")
        assert "affordable" not in reply
        assert "usd" not in reply
        assert f"up to {seed} credits" in printed
        assert "$" not in printed
    assert stack.sandbox.entries() == []


@pytest.mark.parametrize("stack", [{"options": {"balance": 50}}], indirect=True)
async def test_a_price_above_the_balance_says_so(stack):
    """Both faces: structured `affordable`, and a text that does not invite to start it."""
    async with stack.client() as client:
        reply, _, printed = await call(client, "quote_video", {"model": "lv", "segments": 2})
    assert reply["affordable"] is False
    assert "The balance is 50" in printed
    assert "start the video if they agree" not in printed


@pytest.mark.parametrize(
    "stack", [capped(AVM_MAX_CREDITS_PER_CALL="100", AVM_MAX_CREDITS_PER_DAY="300")], indirect=True
)
async def test_the_account_says_what_there_is_and_where_things_are(stack):
    """DESIGN 3: get_account."""
    async with stack.client() as client:
        await call(client, "text_to_video", KITE)
        reply, _, printed = await call(client, "get_account", {})
    assert reply["balance"] == 985
    assert reply["spent_today"] == 15
    assert reply["caps"] == {"per_call": 100, "per_day": 300}
    assert reply["input_folders"] == [str(stack.pictures)]
    assert reply["output_folder"] == str(stack.videos)
    assert reply["models"] == ["t2v", "t2v_v3", "i2v", "i2v_v3", "lv"]
    for fact in ("985", "15", "100", "300", str(stack.pictures), str(stack.videos), *reply["models"]):
        assert str(fact) in printed


@pytest.mark.parametrize("stack", [SEED], indirect=True)
async def test_the_seed_generation_runs_the_whole_way_without_account_or_quote(stack):
    """DESIGN 9: both generations of the service; no dollars where no rate is told."""
    async with stack.client() as client:
        reply, _, printed = await call(client, "get_account", {})
        assert "balance" not in reply
        assert "not told" in printed
        made, _, printed = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        assert made["status"] == "COMPLETED"
        assert made["file"]
        assert made["credits"] == {"quoted": 15, "basis": "estimate"}
        assert "$" not in printed
        listed, *_ = await call(client, "list_tasks", {})
        assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]
    assert stack.sandbox.balance(KEY) == 995


@pytest.mark.parametrize("stack", [{"options": {"lv": False}} | UNASKED], indirect=True)
async def test_a_model_the_account_lacks_is_refused_not_hidden(stack):
    """DESIGN 3."""
    async with stack.client() as client:
        reply, _, printed = await call(client, "get_account", {})
        assert "lv" not in reply["models"]
        assert "Not offered to this account: lv" in printed
        refusal, _ = await refused(client, "long_video", {"image": LINK, "prompts": ["a"]})
    assert refusal["code"] == "INVALID_INPUT"
    assert stack.sandbox.entries() == []


# Lists


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_list_is_the_union_of_what_the_service_shows_and_what_is_known_here(stack, tmp_path):
    """P2: tasks made elsewhere with the same key, and a request that has no answer yet."""
    async with stack.client(AVM_STATE_DIR=str(tmp_path / "elsewhere")) as other:
        foreign, *_ = await call(other, "text_to_video", {"prompt": "made elsewhere"})
    await anyio.sleep(1)  # tasks of one moment have no order but that of their ids
    async with stack.client() as client:
        mine, *_ = await call(client, "text_to_video", KITE)
        await anyio.sleep(1)
        stack.sandbox.faults.next("generate", faults.hang(20))
        sent, *_ = await call(client, "text_to_video", {"prompt": "being sent"})
        listed, _, printed = await call(client, "list_tasks", {})
        ids = [task["task_id"] for task in listed["tasks"]]
        assert ids == [sent["task_id"], mine["task_id"], foreign["task_id"]]
        assert all(task_id in printed for task_id in ids)
        assert listed["tasks"][2]["prompt"] == "made elsewhere"
        stack.sandbox.forget(mine["task_id"])
        listed, *_ = await call(client, "list_tasks", {})
        assert mine["task_id"] in [task["task_id"] for task in listed["tasks"]], "absence is not believed"


async def test_a_video_that_was_asked_for_before_is_as_old_as_it_is(stack):
    """P1: who reads "5 minutes ago" under a video of an hour ago thinks of another video."""
    async with stack.client() as client:
        await call(client, "text_to_video", {"prompt": "a kite", "wait_seconds": 900})
        await anyio.sleep(1800)
        again, _, printed = await call(client, "text_to_video", {"prompt": "a kite"})
    assert again["deduplicated"]
    ago = int(printed.split(" minutes ago.")[0].split()[-1])
    assert ago >= 30
    assert again["elapsed_seconds"] < 900


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_list_is_read_page_by_page_and_nothing_is_missed_or_seen_twice(stack):
    """DESIGN 3: cursor = (created_at, id), also when tasks are made meanwhile, or at one moment."""
    async with stack.client() as client:
        made = []
        for number in range(7):
            made.append((await call(client, "text_to_video", {"prompt": f"kite {number}"}))[0]["task_id"])
            await anyio.sleep(number % 2)
        seen, given = [], {"limit": 2}
        while True:
            page, _, printed = await call(client, "list_tasks", given)
            assert len(page["tasks"]) <= 2
            seen += [task["task_id"] for task in page["tasks"]]
            if "next_cursor" not in page:
                break
            assert page["next_cursor"] in printed
            await call(client, "text_to_video", {"prompt": f"newer {len(seen)}"})
            given = {"limit": 2, "cursor": page["next_cursor"]}
    assert sorted(seen) == sorted(made)
    assert len(set(seen)) == 7


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_list_of_one_status_or_of_all_that_is_unfinished(stack):
    """DESIGN 3: the five words, or ACTIVE."""
    async with stack.client() as client:
        ready, *_ = await call(client, "text_to_video", {"prompt": "ready", "wait_seconds": 600})
        stack.sandbox.faults.next("generate", faults.fail_task())
        failed, *_ = await call(client, "text_to_video", {"prompt": "failed", "wait_seconds": 600})
        gone, *_ = await call(client, "text_to_video", {"prompt": "gone"})
        await call(client, "cancel_task", {"task_id": gone["task_id"]})
        stack.sandbox.faults.next("generate", faults.refuse(422, None, "rejected"))
        await refused(client, "text_to_video", {"prompt": "never"})
        made, *_ = await call(client, "text_to_video", {"prompt": "made"})
        await anyio.sleep(30)
        waits, *_ = await call(client, "text_to_video", {"prompt": "waits"})
        by_status = {
            "COMPLETED": [ready],
            "FAILED": [failed],
            "CANCEL": [gone],
            "PROGRESS": [made],
            "SUBMITTED": [waits],
            "ACTIVE": [waits, made],
        }
        for status, tasks in by_status.items():
            listed, *_ = await call(client, "list_tasks", {"status": status})
            assert [task["task_id"] for task in listed["tasks"]] == [task["task_id"] for task in tasks], status
        listed, _, printed = await call(client, "list_tasks", {})
        assert len(listed["tasks"]) == 5
        assert listed["tasks"][-1]["file"] in printed


# Secrets


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("stack", [{**made_in(400), "environ": {"AVM_LOG_LEVEL": "DEBUG"}}], indirect=True)
async def test_the_key_goes_to_the_service_and_nowhere_else(stack, mode, caplog):
    """P5: not into any result, log, file or other host; not even when the service itself sends it back."""
    caplog.set_level(logging.DEBUG)
    echo = f"Invalid API key {KEY} for account"
    printed = []

    async def ask(client, tool, given):
        result = await client.call_tool(tool, given)
        printed.append(str(result.content) + json.dumps(result.structured_content))

    async with stack.client(mode=mode) as client:
        for tool, given in (
            ("text_to_video", {**KITE, "wait_seconds": 600}),
            ("get_account", {}),
            ("list_tasks", {}),
            ("quote_video", {"model": "t2v"}),
            ("get_task", {"task_id": "ck1"}),
            ("text_to_video", {"prompt": ""}),
        ):
            await ask(client, tool, given)
        for fault in (
            faults.refuse(401, "AUTH_FAILED", echo),
            faults.envelope(echo),
            faults.http_error(500, body=echo),
        ):
            stack.sandbox.faults.next("generate", fault)
            await ask(client, "text_to_video", {"prompt": f"{fault.status} {fault.body[:9]}", "wait_seconds": 5})
        stack.sandbox.faults.next("generate", faults.fail_task(echo))
        await ask(client, "text_to_video", {"prompt": "fails", "wait_seconds": 600})
        stack.sandbox.faults.next("account", faults.refuse(401, "AUTH_FAILED", echo))
        await ask(client, "get_account", {})
        stack.sandbox.faults.next("task", faults.refuse(403, "AUTH_FAILED", echo))
        await ask(client, "get_task", {"task_id": "ck2"})
        broken = faults.http_error(500, body=json.dumps({"status": "FAILED", "message": echo}))
        stack.sandbox.faults.next("list", broken, count=4)
        await ask(client, "list_tasks", {})
    assert len(printed) == 13
    assert not [line for line in printed if KEY in line]
    assert not [record.getMessage() for record in caplog.records if KEY in record.getMessage()]
    assert KEY not in caplog.text
    files = [path for path in stack.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"journal.db"}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    fetched = [seen for seen in stack.sandbox.requests if seen.endpoint == "file"]
    assert fetched
    assert {seen.key for seen in fetched} == {""}
    assert not [seen for seen in fetched if "authorization" in seen.headers]
    assert all(seen.key for seen in stack.sandbox.requests if seen.endpoint != "file")


@pytest.mark.parametrize("stack", [made_in(400)], indirect=True)
async def test_a_link_to_another_host_or_a_private_one_gets_no_key_and_no_visit(stack):
    """P5: redirects are checked hop by hop."""
    stack.sandbox.faults.next("file", faults.redirect("http://169.254.169.254/latest/meta-data"))
    stack.sandbox.faults.next("task", faults.redirect("http://127.0.0.1:9/api/v1/account"))
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {**KITE, "wait_seconds": 600})
        assert reply["status"] == "COMPLETED"
    assert stack.sandbox.counts["account"] == 0
