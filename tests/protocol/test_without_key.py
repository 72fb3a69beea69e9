"""Without a key the tools are listed, and every call says what to set (Must-show 4, P7)."""

import sqlite3
from contextlib import closing

import pytest

from avm_mcp.app import Runtime
from avm_mcp.settings import Settings
from tests.protocol.test_bad_input import VALID
from tests.protocol.test_tools_list import PAID, TOOLS, conforms
from tests.stack import KEY, LEGACY, MODERN, error, text


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("value", ["", "  ", "${user_config.api_key}"])
async def test_the_tools_are_listed_without_a_key(stack, mode, value):
    """P7: also with what hosts pass on when a user left the field empty."""
    async with stack.client(mode=mode, AVM_API_KEY=value) as client:
        assert tuple(tool.name for tool in (await client.list_tools()).tools) == TOOLS
        assert client.instructions or mode == MODERN, "at that revision they travel in another answer"
        assert len((await client.list_prompts()).prompts) == 3
    assert stack.sandbox.requests == []


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("tool", [*PAID, "get_task", "list_tasks", "cancel_task"])
async def test_a_tool_that_needs_the_service_says_what_to_set(stack, mode, tool):
    """Must-show 4: NOT_CONFIGURED, where to get a key, where to put it."""
    async with stack.client(mode=mode, AVM_API_KEY="") as client:
        result = await client.call_tool(tool, VALID[tool])
    conforms(result, tool)
    reply, printed = error(result), text(result)
    assert reply["code"] == "NOT_CONFIGURED"
    assert reply["charged"] == "no"
    assert reply["retryable"] is False
    for fact in ("AVM_API_KEY", "https://aivideomaker.ai", "restart", "Nothing was started"):
        assert fact in printed
    assert stack.sandbox.requests == []


async def test_bad_input_is_still_the_first_thing_that_is_said(stack):
    """Must-show 5: checks need no key."""
    async with stack.client(AVM_API_KEY="") as client:
        reply = error(await client.call_tool("text_to_video", {"prompt": ""}))
    assert reply["code"] == "INVALID_INPUT"


async def test_what_needs_no_service_works(stack):
    """DESIGN 3: prices by the highest known formula; the account says that there is no key."""
    async with stack.client(AVM_API_KEY="") as client:
        price = conforms(await client.call_tool("quote_video", {"model": "t2v"}), "quote_video")
        assert (price["credits"], price["basis"]) == (15, "estimate")
        result = await client.call_tool("get_account", {})
        account = conforms(result, "get_account")
    assert "AVM_API_KEY" in text(result)
    assert "key_fingerprint" not in account
    assert account["sandbox"] is False
    assert stack.sandbox.requests == []


async def test_resources_say_it_too(stack):
    """P7: a resource of a task is an error in words, not a crash."""
    async with stack.client(AVM_API_KEY="") as client:
        with pytest.raises(Exception, match="no API key"):
            await client.read_resource("avm://tasks/ck1")


@pytest.mark.parametrize("name", ["AIVIDEO_API_KEY", "AVM_API_KEY"])
async def test_either_name_of_the_key_will_do(stack, name):
    """The existing skill calls it AIVIDEO_API_KEY."""
    environ = {"AVM_API_KEY": "", name: "ak_other"}
    async with stack.client(**environ) as client:
        reply = conforms(await client.call_tool("text_to_video", VALID["text_to_video"]), "text_to_video")
    assert reply["status"] == "SUBMITTED"


async def test_a_state_folder_that_cannot_be_written_does_not_stop_the_list_or_the_looking(stack):
    """P7, P8: it runs from memory; without durable state a daily cap refuses every paid call."""
    blocked = stack.folder / "a file"
    blocked.write_text("not a folder")
    async with stack.client(AVM_STATE_DIR=str(blocked / "state"), AVM_MAX_CREDITS_PER_DAY="100") as client:
        assert len((await client.list_tools()).tools) == 8
        listed = conforms(await client.call_tool("list_tasks", {}), "list_tasks")
        assert listed["tasks"] == []
        result = await client.call_tool("text_to_video", VALID["text_to_video"])
    conforms(result, "text_to_video")
    reply = error(result)
    assert reply["code"] == "BUDGET_EXCEEDED"
    assert reply["field"] == "AVM_STATE_DIR"
    assert reply["charged"] == "no"
    assert stack.sandbox.posts == 0


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("tool", VALID)
async def test_with_a_setting_that_is_refused_every_call_names_it(stack, mode, tool):
    """P7: the server stays up; nothing is asked of the service, and nothing is written."""
    settings, refusal = Settings.read({"AVM_API_KEY": KEY, "AVM_LOG_LEVEL": "LOUD", "AVM_STATE_DIR": str(stack.state)})
    runtime = Runtime(settings, refusal, now=stack.wall, transport=stack.link, download_transport=stack.link)
    async with stack.client(mode=mode, runtime=runtime) as client:
        assert len((await client.list_tools()).tools) == 8
        result = await client.call_tool(tool, VALID[tool])
        with pytest.raises(Exception, match="LOUD"):
            await client.read_resource("avm://tasks/ck1")
    conforms(result, tool)
    reply = error(result)
    assert reply["code"] == "NOT_CONFIGURED"
    assert reply["charged"] == "no"
    assert reply["field"] == "AVM_LOG_LEVEL"
    for fact in ("AVM_LOG_LEVEL", '"LOUD"', "'DEBUG', 'INFO', 'WARNING' or 'ERROR'", "restart"):
        assert fact in text(result)
    assert stack.sandbox.requests == []
    assert not stack.state.exists()


@pytest.mark.parametrize("tool", VALID)
async def test_with_the_journal_of_a_newer_version_every_call_says_so(stack, tool):
    """P7, P1: nothing is paid for beside a journal that cannot be read."""
    stack.state.mkdir()
    with closing(sqlite3.connect(stack.state / "journal.db")) as file:
        file.execute("PRAGMA user_version = 9999")
    async with stack.client() as client:
        result = await client.call_tool(tool, VALID[tool])
    conforms(result, tool)
    assert error(result)["code"] == "STATE_UNAVAILABLE"
    assert "9999" in text(result)
    assert "update avm-mcp" in text(result)
    assert stack.sandbox.posts == 0
