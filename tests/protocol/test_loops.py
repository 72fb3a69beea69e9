"""What runs in the background ends with the process and with nothing else: somebody has paid for these videos (P2, P3).

A bug cannot be ordered from the sandbox, so here the journal fails where it should not, a few times, and is then well.
"""

import anyio
import pytest

from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.sandbox import faults
from tests.stack import KEY, fields, text

CALL = {"prompt": "a red kite", "wait_seconds": 0}
ERRORS = [StateUnavailable("the disk is gone for a moment"), RuntimeError("a bug")]


def fails(store, method, error, times=3):
    """Let a method of the journal fail so many times from now on; return how often it was called."""
    real, calls = getattr(store, method), []

    async def failing(*given, **named):
        calls.append(given)
        if len(calls) <= times:
            raise error
        return await real(*given, **named)

    setattr(store, method, failing)
    return calls


@pytest.mark.parametrize("error", ERRORS, ids=["an error", "a bug"])
@pytest.mark.parametrize("method", ["in_flight", "lease", "record_snapshot", "wanted_downloads", "record_download"])
async def test_a_video_is_saved_whatever_fails_on_its_way(stack, method, error):
    async with stack.client(runtime=(runtime := stack.runtime())) as client:
        task_id = fields(await client.call_tool("text_to_video", CALL))["task_id"]
        calls = fails(runtime.store, method, error)
        await anyio.sleep(2400)
        reply = fields(await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 60}))
    assert len(calls) > 3
    assert reply["status"] == "COMPLETED"
    assert len(list(stack.videos.glob("*.mp4"))) == 1


@pytest.mark.parametrize("error", ERRORS, ids=["an error", "a bug"])
@pytest.mark.parametrize("method", ["unanswered", "find_claimed", "record_accepted"])
async def test_a_lost_answer_is_found_whatever_fails_on_the_way(stack, method, error):
    """P1: and it is not sent again."""
    await stack.with_history()
    async with stack.client(runtime=(runtime := stack.runtime())) as client:
        stack.sandbox.faults.next("generate", faults.drop(after=True))
        stack.sandbox.faults.next("list", faults.http_error(500), count=9)
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "UNKNOWN"
        calls = fails(runtime.store, method, error)
        await anyio.sleep(2400)
        reply = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 60}))
    assert len(calls) > 3
    assert reply["status"] == "COMPLETED"
    assert stack.sandbox.posts == len(stack.sandbox.tasks()) == 1


@pytest.mark.parametrize("error", ERRORS, ids=["an error", "a bug"])
async def test_tasks_made_elsewhere_are_found_whatever_fails_on_the_way(stack, error):
    async with stack.client(AVM_STATE_DIR=str(stack.folder / "elsewhere"), AVM_SAVE="off") as other:
        await other.call_tool("text_to_video", CALL)
    async with stack.runtime(AVM_SAVE="all") as runtime:
        calls = fails(runtime.store, "add_discovered", error)
        await anyio.sleep(2400)
    assert len(calls) > 3
    assert len(list(stack.videos.glob("*.mp4"))) == 1


@pytest.mark.parametrize("method", ["reserve", "live"])
async def test_a_bug_before_the_request_pays_nothing_and_claims_nothing(stack, method):
    """P1: the row comes first, so where it cannot be written nothing is sent. A bug says only what it knows."""
    async with stack.client(runtime=(runtime := stack.runtime())) as client:
        fails(runtime.store, method, RuntimeError("a bug"), times=1)
        reply = fields(await client.call_tool("text_to_video", CALL))["error"]
        assert (reply["code"], reply["charged"]) == ("INTERNAL", "unknown")
        assert stack.sandbox.posts == 0
        assert fields(await client.call_tool("text_to_video", CALL))["status"] == "SUBMITTED"
    assert stack.sandbox.posts == 1


async def test_a_bug_after_the_request_is_told_as_unclear_and_the_task_is_found(stack):
    """P1, P2: the row still says that it was sent, so that recovery takes over when its pulse stops."""
    await stack.with_history()
    async with stack.client(runtime=(runtime := stack.runtime())) as client:
        fails(runtime.store, "record_accepted", RuntimeError("a bug"), times=1)
        reply = fields(await client.call_tool("text_to_video", CALL))
        assert reply["status"] == "UNKNOWN"
        assert reply["error"]["code"] == "SUBMISSION_UNKNOWN"
        assert "inside avm-mcp" in reply["error"]["message"]
        await anyio.sleep(2400)
        found = fields(await client.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 60}))
        assert found["status"] == "COMPLETED"
        again = fields(await client.call_tool("text_to_video", CALL))
        assert again["deduplicated"]
    assert stack.sandbox.posts == 1
    assert len(list(stack.videos.glob("*.mp4"))) == 1


async def test_a_bug_at_the_start_names_no_key_and_no_password(stack, caplog):
    """P5: whatever a library puts into its words."""
    runtime = stack.runtime()
    fails(runtime, "_client", RuntimeError(f"no way to socks5://me:hunter2@proxy:1080 with {KEY}"), times=1)
    async with stack.client(runtime=runtime) as client:
        reply = await client.call_tool("get_account", {})
    assert fields(reply)["error"]["code"] == "INTERNAL"
    assert "no way to socks5://***@" in text(reply)
    for secret in (KEY, "hunter2"):
        assert secret not in text(reply) + caplog.text
