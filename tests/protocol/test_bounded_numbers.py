"""P8: a number of the service's counts for at most what it can mean."""

import json

import anyio
import pytest

from avm_mcp.provider.wire import Accepted, Account, Quote, TaskSnapshot
from avm_mcp.sandbox.faults import Fault
from avm_mcp.store import open_store
from tests.protocol.test_waiting import made_in
from tests.stack import error, fields

ODD = ["NaN", "Infinity", "-Infinity", "1e308", "-1", "true", "false", '"NaN"', '"inf"', "9" * 400, "[]", "{}", "null"]


def shown(stack, **more):
    """Return a list in which every task has these fields besides its own."""
    rows = []
    for task in stack.sandbox.tasks():
        row = {
            "id": task.id,
            "status": task.status(stack.sandbox.tick()),
            "model": "t2v",
            "input": {"prompt": "x", "duration": "5"},
            "output": None,
            "creditsCharged": 15,
            "creditsRefunded": 0,
        }
        rows.append(row | more)
    return rows


def listed(stack, **more):
    return Fault(kind="answer", status=200, body=json.dumps({"tasks": shown(stack, **more)}))


@pytest.mark.parametrize("status", ["SUBMITTED", "PROGRESS", "FAILED", "CANCEL", "COMPLETED"])
@pytest.mark.parametrize("refund", [100_000, 15, 2**62])
@pytest.mark.parametrize("stack", [made_in(3000)], indirect=True)
async def test_no_refund_lets_more_be_spent_than_came_back(stack, status, refund):
    """P8: twelve paid requests went out under a cap of 30 once a list had shown `creditsRefunded: 100000`."""
    await stack.with_history()
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="30") as client:
        await client.call_tool("text_to_video", {"prompt": "first"})
        stack.sandbox.faults.next("list", listed(stack, status=status, creditsRefunded=refund))
        await client.call_tool("list_tasks", {})
        account = fields(await client.call_tool("get_account", {}))
        back = 15 if status in ("FAILED", "CANCEL") else 0
        assert account["spent_today"] == 15 - back
        assert account["today"]["refunded"] == back
        for number in range(12):
            await client.call_tool("text_to_video", {"prompt": f"more {number}"})
        assert stack.sandbox.posts == (3 if back else 2)
        assert fields(await client.call_tool("get_account", {}))["spent_today"] == 30


async def test_a_row_that_was_written_before_is_summed_within_its_bounds(stack):
    """P8: clamped in the sums too, for what an earlier version wrote."""
    await stack.with_history()
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="30") as client:
        first = fields(await client.call_tool("text_to_video", {"prompt": "first"}))
        other = await open_store(stack.state, now=stack.wall(), save="mine")
        async with other._driver.writing() as tx:
            await tx.run("UPDATE jobs SET credits_refunded = 100000, status = 'FAILED', live = 0")
        other.close()
        account = fields(await client.call_tool("get_account", {}))
        assert (account["spent_today"], account["today"]["refunded"]) == (0, 15)
        reply = fields(await client.call_tool("get_task", {"task_id": first["task_id"]}))
        assert reply["credits"]["refunded"] == 15
        for number in range(12):
            await client.call_tool("text_to_video", {"prompt": f"more {number}"})
        assert stack.sandbox.posts == 3


async def test_a_charge_that_is_told_lower_later_frees_nothing(stack):
    """P8: a refund is reported as one; a charge that shrinks is an error."""
    await stack.with_history()
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="30") as client:
        for number in range(6):
            await client.call_tool("text_to_video", {"prompt": f"kite {number}"})
            stack.sandbox.faults.next("list", listed(stack, creditsCharged=0))
            await client.call_tool("list_tasks", {})
        assert stack.sandbox.posts == 2


@pytest.mark.parametrize("odd", ODD)
async def test_no_number_breaks_a_result_or_a_sum(stack, odd):
    """Every place of a number, with every odd one, in each answer that has it: results stay valid JSON."""
    await stack.with_history()
    names = ("currentBalance", "credits", "usdPerCredit", "listPriceUsd", "creditsCharged", "creditsRefunded")
    numbers = ", ".join(f'"{name}": {odd}' for name in names)
    account = f'{{"ok": true, "supportedModels": ["t2v"], {numbers}, "dailyCreditLimit": {odd}}}'
    quote = f'{{"model": "t2v", "affordable": {odd}, {numbers}}}'
    row = f'{{"id": "ck1", "model": "t2v", "status": "COMPLETED", "input": {{"duration": {odd}}}, {numbers}}}'
    async with stack.client(AVM_MAX_CREDITS_PER_DAY="1000000") as client:
        for endpoint, body in {
            "account": account,
            "quote": quote,
            "list": f'{{"tasks": [{row}]}}',
            "task": row,
            "generate": f'{{"taskId": "ck1", "status": "SUBMITTED", {numbers}}}',
        }.items():
            stack.sandbox.faults.next(endpoint, Fault(kind="answer", status=200, body=body), count=9)
        for tool, given in (
            ("get_account", {}),
            ("quote_video", {"model": "t2v"}),
            ("list_tasks", {}),
            ("get_task", {"task_id": "ck1"}),
            ("text_to_video", {"prompt": "kite", "max_credits": 10**6}),
            ("get_account", {}),
        ):
            reply = fields(await client.call_tool(tool, given))
            json.dumps(reply, allow_nan=False)
            if "balance" in reply:
                assert type(reply["balance"]) is int
                assert 0 <= reply["balance"] <= 10**9
            if "spent_today" in reply:
                assert 0 <= reply["spent_today"] <= 10**6
            for amount in (reply.get("credits") or {}).values() if isinstance(reply.get("credits"), dict) else ():
                assert amount == "charge" or isinstance(amount, str) or 0 <= amount <= 10**6


@pytest.mark.parametrize(
    ("value", "read"),
    [(15, 15), (15.0, 15), ("15", 15), (0, 0), (10**7, 10**6), (1e308, 10**6), (2**70, 10**6), (-1, None), (1.5, None),
     (True, None), (False, None), (float("nan"), None), (float("inf"), None), ("1e3", None), ("many", None),
     ([15], None)],
)  # fmt: skip
def test_what_counts_as_credits(value, read):
    """A price far above all others stays one that no cap lets through; what is no number counts as missing."""
    assert Accepted.read({"taskId": "x", "creditsCharged": value}).credits_charged == read
    task = TaskSnapshot.read({"id": "x", "status": "FAILED", "creditsCharged": value, "creditsRefunded": value})
    assert (task.credits_charged, task.credits_refunded) == (read, read)
    quote = Quote.read({"credits": value})
    assert (quote and quote.credits) == read


@pytest.mark.parametrize(("charged", "refunded", "back"), [(15, 100_000, 15), (15, 5, 5), (0, 7, 0), (None, 7, 7)])
def test_a_refund_is_at_most_the_charge(charged, refunded, back):
    task = TaskSnapshot.read({"id": "x", "status": "FAILED", "creditsCharged": charged, "creditsRefunded": refunded})
    assert task.credits_refunded == back


@pytest.mark.parametrize(
    ("value", "read"), [(415, 415), (0, 0), (-3, 0), (True, None), (None, None), (1e308, 10**9), ("no", None)]
)
def test_what_counts_as_a_balance(value, read):
    account = Account.read({"currentBalance": value})
    assert account is not None
    assert account.balance == read


@pytest.mark.parametrize(
    "completed",
    ["2001-01-01T00:00:00Z", "2026-11-20T00:00:00Z", "2027-11-22T12:00:00Z", "2199-01-01T00:00:00Z"],
)
@pytest.mark.parametrize("stack", [made_in(100)], indirect=True)
async def test_a_date_that_cannot_be_neither_ends_nor_prolongs_the_life_of_a_link(stack, completed):
    """P3: a finished video whose `completedAt` is years away is downloaded, and its link lives a day."""
    await stack.with_history()
    async with stack.client(AVM_SAVE="off") as client:
        first = fields(await client.call_tool("text_to_video", {"prompt": "kite", "wait_seconds": 1}))
        row = {"id": first["task_id"], "status": "COMPLETED", "model": "t2v", "completedAt": completed}
        row |= {"createdAt": stack.wall.date().isoformat(), "output": {"url": "https://static.img2video.ai/a.mp4"}}
        stack.sandbox.faults.next("status", Fault(kind="answer", status=200, body='{"status": "COMPLETED"}'))
        stack.sandbox.faults.next("task", Fault(kind="answer", status=200, body=json.dumps(row)), count=9)
        reply = fields(await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 300}))
    assert reply["status"] == "COMPLETED"
    assert reply["video_url"] == "https://static.img2video.ai/a.mp4"
    assert reply["expires_at"].startswith("2026-11-25T12:0")
    assert reply["elapsed_seconds"] <= 300


async def test_a_pause_is_told_as_a_day_at_most(stack):
    for header in ("9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT", str(10**8)):
        stack.sandbox.faults.next("account", Fault(kind="answer", status=429, retry_after=header, body="{}"))
        async with stack.client() as client:
            assert 120 < error(await client.call_tool("get_account", {}))["retry_after"] <= 86400
        await anyio.sleep(200)
