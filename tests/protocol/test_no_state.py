"""Where the state folder cannot be written: two windows pay once, or not at all (P1, P7, issue 10 M)."""

import anyio
import pytest

from avm_mcp import app as runtime_module
from avm_mcp.sandbox import faults
from avm_mcp.settings import shared_folders
from tests.house import error, fields

CALL = {"prompt": "a red kite", "wait_seconds": 0}


@pytest.fixture
def blocked(house, monkeypatch):
    """A state folder that nobody can make, root neither, and temporary folders of the test's own."""
    (house.folder / "a file").write_text("not a folder")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(house.folder / "run"))
    (house.folder / "run").mkdir(mode=0o700)
    return {"AVM_STATE_DIR": str(house.folder / "a file" / "state")}


async def test_two_windows_without_a_state_folder_pay_once(house, blocked):
    """Before, each had a journal in its memory; while the first answer was awaited, no list told of it: two charges."""
    house.sandbox.faults.next("generate", faults.hang(2))
    async with house.client(**blocked) as one, house.client(**blocked) as other:
        first = fields(await one.call_tool("text_to_video", CALL))
        again = fields(await other.call_tool("text_to_video", CALL))
    assert first["task_id"] == again["task_id"]
    assert len(house.sandbox.entries("charge")) == 1


async def test_two_windows_whose_first_answer_takes_long_pay_once(house, blocked):
    house.sandbox.faults.next("generate", faults.hang(20))
    async with house.client(**blocked) as one, house.client(**blocked) as other:
        first = fields(await one.call_tool("text_to_video", CALL))
        again = fields(await other.call_tool("text_to_video", CALL))
        assert first["status"] == again["status"] == "SUBMITTING"
        assert again["deduplicated"]
        await anyio.sleep(30)
    assert len(house.sandbox.entries("charge")) == 1


async def test_where_nothing_at_all_can_be_written_nothing_is_paid_but_all_else_works(house, blocked, monkeypatch):
    """P7: tools are listed, tasks and the account are told; AVM_ALLOW_MEMORY_STATE=on pays all the same."""
    monkeypatch.setattr(runtime_module, "shared_folders", lambda _state: ())
    async with house.client(**blocked) as client:
        assert len((await client.list_tools()).tools) == 8
        refused = error(await client.call_tool("text_to_video", CALL))
        assert (refused["code"], refused["charged"]) == ("STATE_UNAVAILABLE", "no")
        assert "AVM_ALLOW_MEMORY_STATE" in refused["next_step"]
        assert fields(await client.call_tool("list_tasks", {}))["tasks"] == []
    assert house.sandbox.posts == 0
    async with house.client(**blocked, AVM_ALLOW_MEMORY_STATE="on") as client:
        assert fields(await client.call_tool("text_to_video", CALL))["status"] == "SUBMITTED"


@pytest.mark.parametrize("bad", ["open to others", "a link", "a file"])
async def test_a_temporary_folder_that_is_not_ours_alone_is_not_used(house, blocked, bad):
    """P5, P9: another user of the machine may have made it."""
    first, *others = shared_folders(house.settings(**blocked).AVM_STATE_DIR)
    assert first.parent == house.folder / "run"
    if bad == "open to others":
        first.mkdir()
        first.chmod(0o777)
    elif bad == "a link":
        (house.folder / "elsewhere").mkdir(mode=0o700)
        first.symlink_to(house.folder / "elsewhere")
    else:
        first.write_text("")
    async with house.runtime(**blocked) as runtime:
        assert str(first) not in (runtime.store.warning or "")
        assert any(str(other) in (runtime.store.warning or "") for other in others)
    for other in others:
        for part in other.glob("*"):
            part.unlink()
        other.rmdir()
