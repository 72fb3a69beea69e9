"""Where the state folder cannot be written: two windows pay once, or not at all (P1, P7, issue 10 M)."""

import anyio
import pytest

from avm_mcp import app as runtime_module
from avm_mcp.sandbox import faults
from avm_mcp.settings import shared_folders
from tests.stack import error, fields

CALL = {"prompt": "a red kite", "wait_seconds": 0}


@pytest.fixture
def blocked(stack, monkeypatch):
    """A state folder that nobody can make, root neither, and temporary folders of the test's own."""
    (stack.folder / "a file").write_text("not a folder")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(stack.folder / "run"))
    (stack.folder / "run").mkdir(mode=0o700)
    return {"AVM_STATE_DIR": str(stack.folder / "a file" / "state")}


async def test_two_windows_without_a_state_folder_pay_once(stack, blocked):
    """Before, each had a journal in its memory; while the first answer was awaited, no list told of it: two charges."""
    stack.sandbox.faults.next("generate", faults.hang(2))
    async with stack.client(**blocked) as one, stack.client(**blocked) as other:
        first = fields(await one.call_tool("text_to_video", CALL))
        again = fields(await other.call_tool("text_to_video", CALL))
    assert first["task_id"] == again["task_id"]
    assert len(stack.sandbox.entries("charge")) == 1


async def test_two_windows_whose_first_answer_takes_long_pay_once(stack, blocked):
    stack.sandbox.faults.next("generate", faults.hang(20))
    async with stack.client(**blocked) as one, stack.client(**blocked) as other:
        first = fields(await one.call_tool("text_to_video", CALL))
        again = fields(await other.call_tool("text_to_video", CALL))
        assert first["status"] == again["status"] == "SUBMITTING"
        assert again["deduplicated"]
        await anyio.sleep(30)
    assert len(stack.sandbox.entries("charge")) == 1


async def test_where_nothing_at_all_can_be_written_nothing_is_paid_but_all_else_works(stack, blocked, monkeypatch):
    """P7: tools are listed, tasks and the account are told; AVM_ALLOW_MEMORY_STATE=on pays all the same."""
    monkeypatch.setattr(runtime_module, "shared_folders", lambda _state: ())
    async with stack.client(**blocked) as client:
        assert len((await client.list_tools()).tools) == 8
        refused = error(await client.call_tool("text_to_video", CALL))
        assert (refused["code"], refused["charged"]) == ("STATE_UNAVAILABLE", "no")
        assert "AVM_ALLOW_MEMORY_STATE" in refused["next_step"]
        assert fields(await client.call_tool("list_tasks", {}))["tasks"] == []
    assert stack.sandbox.posts == 0
    async with stack.client(**blocked, AVM_ALLOW_MEMORY_STATE="on") as client:
        assert fields(await client.call_tool("text_to_video", CALL))["status"] == "SUBMITTED"


@pytest.mark.parametrize("bad", ["open to others", "a link", "a file"])
async def test_a_temporary_folder_that_is_not_ours_alone_is_not_used(stack, blocked, bad):
    """P5, P9: another user of the machine may have made it."""
    first, *others = shared_folders(stack.settings(**blocked).AVM_STATE_DIR)
    assert first.parent == stack.folder / "run"
    if bad == "open to others":
        first.mkdir()
        first.chmod(0o777)
    elif bad == "a link":
        (stack.folder / "elsewhere").mkdir(mode=0o700)
        first.symlink_to(stack.folder / "elsewhere")
    else:
        first.write_text("")
    async with stack.runtime(**blocked) as runtime:
        assert str(first) not in (runtime.store.warning or "")
        assert any(str(other) in (runtime.store.warning or "") for other in others)
    for other in others:
        for part in other.glob("*"):
            part.unlink()
        other.rmdir()
