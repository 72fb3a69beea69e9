"""Another program holds the state's file: every call says so within three seconds, and blames nobody else (P4)."""

import sqlite3
from contextlib import contextmanager

import anyio
import pytest

from tests.stack import error, fields, text

PROMISED = 3.0
"""Seconds: a submit answers within them, so what cannot be written must be given up before."""

LINK = "https://example.com/cat.png"


@contextmanager
def locked(stack, how="IMMEDIATE"):
    """Hold the state as a backup program, a file scanner or another process of ours would."""
    other = sqlite3.connect(stack.state / "journal.db", timeout=0, isolation_level=None)
    other.execute(f"BEGIN {how}")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


PAID = {
    "text_to_video": {"prompt": "behind the lock", "wait_seconds": 0},
    "image_to_video": {"image": LINK, "wait_seconds": 0},
    "long_video": {"image": LINK, "prompts": ["a kite"], "wait_seconds": 0},
}


@pytest.mark.parametrize("tool", PAID)
async def test_a_paid_call_behind_a_lock_says_so_in_time_and_pays_nothing(stack, tool):
    """P1, P4."""
    await stack.with_history()
    async with stack.client() as client:
        await client.call_tool("get_account", {})
        with locked(stack):
            began = anyio.current_time()
            reply = error(await client.call_tool(tool, PAID[tool]))
            took = anyio.current_time() - began
        assert took <= PROMISED
        assert reply["code"] == "STATE_UNAVAILABLE"
        assert reply["retryable"] is True
        assert reply["charged"] == "no"
        assert str(stack.state / "journal.db") in reply["message"]
        assert "service" not in reply["message"]
        assert stack.sandbox.entries() == []
        again = await client.call_tool(tool, PAID[tool])  # once the lock is gone
        assert not again.is_error or error(again)["code"] == "APPROVAL_REQUIRED"  # a long one is dear


@pytest.mark.parametrize("tool", ["get_account", "list_tasks", "get_task", "quote_video", "cancel_task"])
async def test_a_call_that_only_looks_says_that_it_is_the_state(stack, tool):
    """P4: what it can tell it tells, and it does not say that the service did not answer."""
    await stack.with_history()
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", {"prompt": "before the lock", "wait_seconds": 0}))
        given = {
            "get_task": {"task_id": first["task_id"], "wait_seconds": 0},
            "cancel_task": {"task_id": first["task_id"]},
            "quote_video": {"model": "t2v", "duration": 5},
        }.get(tool, {})
        await anyio.sleep(20)
        with locked(stack):
            began = anyio.current_time()
            result = await client.call_tool(tool, given)
            took = anyio.current_time() - began
        assert took <= PROMISED
        printed = text(result)
        assert "did not answer" not in printed
        assert "service could not be" not in printed
        if tool in ("get_account", "list_tasks"):  # these have to be counted before they are asked
            assert str(stack.state / "journal.db") in printed
        if tool == "list_tasks":
            assert first["task_id"] in printed
        elif tool == "get_account":
            assert error(result)["code"] == "STATE_UNAVAILABLE"
        elif tool == "cancel_task":  # it is being made by now, which cannot be read either
            assert error(result)["code"] in ("STATE_UNAVAILABLE", "NOT_CANCELLABLE")
            assert error(result)["task_id"] == first["task_id"]
        else:
            assert not result.is_error


async def test_a_list_of_nothing_behind_a_lock_is_an_error_of_the_state(stack):
    """P2: to find nothing where nobody was asked is no answer."""
    await stack.with_history()
    async with stack.client() as client:
        with locked(stack):
            reply = error(await client.call_tool("list_tasks", {}))
    assert reply["code"] == "STATE_UNAVAILABLE"


async def test_forty_calls_behind_a_lock_are_told_together(stack):
    """P4: whoever stands behind another does not begin to wait when that one has ended."""
    await stack.with_history()
    took = []

    async def ask(client, number):
        began = anyio.current_time()
        reply = error(await client.call_tool("text_to_video", {"prompt": f"kite {number}", "wait_seconds": 0}))
        took.append(anyio.current_time() - began)
        assert reply["code"] == "STATE_UNAVAILABLE"

    async with stack.client() as client:
        await client.call_tool("get_account", {})
        with locked(stack):
            async with anyio.create_task_group() as group:
                for number in range(40):
                    group.start_soon(ask, client, number)
    assert len(took) == 40
    assert max(took) <= PROMISED


async def test_all_who_look_behind_a_lock_are_told_together(stack):
    """P4: they stand in one line for their turn to ask, and the last is not told that the service is silent."""
    await stack.with_history()
    took = []

    async def ask(client):
        began = anyio.current_time()
        reply = error(await client.call_tool("get_account", {}))
        took.append(anyio.current_time() - began)
        assert reply["code"] == "STATE_UNAVAILABLE"

    async with stack.client() as client:
        await client.call_tool("get_account", {})
        with locked(stack):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(ask, client)
        assert not (await client.call_tool("get_account", {})).is_error
    assert len(took) == 10
    assert max(took) <= PROMISED


async def test_a_wait_behind_a_lock_ends_in_time_with_what_is_known(stack):
    """P4: a wait that runs out is a normal result, also where its end cannot be noted."""
    await stack.with_history()
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", {"prompt": "a kite", "wait_seconds": 0}))
        with locked(stack):
            began = anyio.current_time()
            result = await client.call_tool("get_task", {"task_id": first["task_id"], "wait_seconds": 30})
            assert anyio.current_time() - began <= 30 + PROMISED
        assert fields(result)["task_id"] == first["task_id"]


async def test_a_lock_that_is_let_go_in_time_is_waited_for(stack):
    """P4: a backup holds the file for a second; no call is refused for it."""
    await stack.with_history()
    async with stack.client() as client, anyio.create_task_group() as group:

        async def hold():
            with locked(stack):
                await anyio.sleep(1.5)

        group.start_soon(hold)
        await anyio.sleep(0.1)
        assert not (await client.call_tool("text_to_video", {"prompt": "a kite", "wait_seconds": 0})).is_error
