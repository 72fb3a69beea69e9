"""What hosts add to a call is no reason to refuse it: the model did not write it, and cannot leave it out."""

import logging

import pytest

from avm_mcp.presentation.wishes import HOST_ARGUMENTS
from tests.protocol.test_bad_input import TAKING, VALID
from tests.protocol.test_tools_list import PAID, TOOLS, conforms, published
from tests.stack import UNASKED, error, fields

N8N = {
    "sessionId": "bea37d4f1436438caa8e4a42e1fdaf40",
    "action": "sendMessage",
    "chatInput": "make me a video of my secret project",
    "tool": "text_to_video",
    "toolCallId": "call_PbmpZfyZ75Y7Cul610pHwSnP",
}
"""What an agent behind n8n's chat trigger sends along with each call."""

UNKNOWN = {"get_task": "TASK_NOT_FOUND", "cancel_task": "TASK_NOT_FOUND"}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("stack", [UNASKED], indirect=True)
async def test_n8n_can_call_every_tool(stack, tool):
    """P1: and the request is the same as without, so a client that comes by another way gets the same video."""
    async with stack.client() as client:
        values = conforms(await client.call_tool(tool, {**N8N, **VALID[tool]}), tool)
        assert values.get("error", {}).get("code") == UNKNOWN.get(tool)
        assert "normalized" not in values
        if tool in PAID:
            again = fields(await client.call_tool(tool, VALID[tool]))
            assert again["task_id"] == values["task_id"]
            assert again["deduplicated"]


async def test_each_of_them_is_ignored_whatever_it_holds(stack):
    async with stack.client() as client:
        for name in HOST_ARGUMENTS:
            for value in (None, "", "x" * 10_000, 7, True, ["a"], {"a": {"b": 1}}):
                assert "tasks" in conforms(await client.call_tool("list_tasks", {name: value}), "list_tasks")


def test_none_of_them_is_a_parameter_of_ours():
    for tool in published().values():
        assert not set(HOST_ARGUMENTS) & set(tool["inputSchema"]["properties"])


async def test_they_are_logged_by_name_and_without_what_they_hold(stack, caplog):
    """P5: what a person has typed into a chat is not for a log."""
    caplog.set_level(logging.INFO, "avm_mcp")
    async with stack.client() as client:
        await client.call_tool("text_to_video", {**N8N, **VALID["text_to_video"]})
        await client.call_tool("get_account", {"chatInput": "secret", "a\nb" * 100: "secret"})
    reply = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert len(reply) == 2
    assert all(f'"{name}"' in reply[0] for name in N8N)
    assert "secret" not in caplog.text
    assert all("\n" not in line and len(line) < 300 for line in reply)


async def test_a_tool_without_parameters_ignores_all(stack):
    """Hosts and models put something there where an empty object is not allowed to be empty."""
    many = {str(number): number for number in range(500)}
    async with stack.client() as client:
        for given in ({"random_string": "x"}, {"verbose": True}, {"input": {}}, {"": None}, many):
            assert conforms(await client.call_tool("get_account", given), "get_account")["balance"] == 1000


@pytest.mark.parametrize("tool", TAKING)
async def test_what_only_looks_like_one_is_refused_with_all_that_there_is(stack, tool):
    """DESIGN 4: strictness stays in the server, so that a parameter's wrong name is never lost in silence."""
    async with stack.client() as client:
        for name in ("tools", "chat_input", "session_id", "toolCallID", "actions", "wait_for", "metadata_"):
            reply = error(await client.call_tool(tool, {**N8N, **VALID[tool], name: "x"}))
            assert (reply["code"], reply["field"]) == ("INVALID_INPUT", name)
            assert all(parameter in reply["message"] for parameter in published()[tool]["inputSchema"]["properties"])


async def test_a_wrong_name_beside_them_is_still_told_with_the_right_one(stack):
    async with stack.client() as client:
        reply = error(await client.call_tool("text_to_video", {**N8N, "promt": "a kite"}))
        assert "did you mean prompt?" in reply["message"]
    assert stack.sandbox.posts == 0
