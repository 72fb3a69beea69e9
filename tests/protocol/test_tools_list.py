"""The public API: what `tools/list` shows, held by a snapshot, and what a result of each tool must be (DESIGN, 3).

`conforms` is what the other tests of this folder hold every result to.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp.types import CallToolResult

from tests.stack import KEY, LEGACY, MODERN, UNASKED, fields, text

SNAPSHOT = Path(__file__).parent / "snapshots" / "tools.json"
PAID = ("text_to_video", "image_to_video", "long_video")
TOOLS = (*PAID, "get_task", "list_tasks", "cancel_task", "quote_video", "get_account")


def conforms(result: CallToolResult, tool: str) -> dict[str, Any]:
    """Hold a result to what every result must be, and return its structured content."""
    values, printed = fields(result), text(result)
    schema = published()[tool]["outputSchema"]
    Draft202012Validator(schema).validate(values)
    assert set(values) <= set(schema["properties"]), "a field that the output schema does not name"
    *_, last = printed.splitlines()
    assert last.startswith("Next: "), printed
    both = printed + json.dumps(values)
    assert KEY not in both
    assert not re.search(r"\{[a-z_]+\}|task_id=\"…\"", both), f"a template that nobody filled: {printed}"
    if "error" in values:
        _same_facts_of_an_error(values["error"], printed, schema)
    if "next_step" in values:
        assert last == f"Next: {values['next_step']}"
        assert " ".join(values["message"].split()) in " ".join(printed.split())
    for name in ("task_id", "file", "video_url"):
        assert values.get(name, "") in printed, f"{name} is not in the text: {printed}"
    for note in values.get("notes", []):
        assert note in printed
    for name, value in values.get("normalized", {}).items():
        assert name in printed
        assert str(value) in printed
    return values


def _same_facts_of_an_error(reply: dict[str, Any], printed: str, schema: dict[str, Any]) -> None:
    assert set(reply) <= set(schema["properties"]["error"]["properties"]), "a field that the schema does not name"
    assert {"code", "message", "retryable", "charged", "next_step"} <= set(reply)
    assert printed.splitlines()[-1] == f"Next: {reply['next_step']}"
    assert printed.startswith(reply["message"]) or reply["code"] == "SUBMISSION_UNKNOWN"
    refused = reply["code"] in ("INVALID_INPUT", "FILE_REFUSED")
    for name in ("task_id", "allowed", *(["field"] if refused else [])):
        assert str(reply.get(name, "")) in printed, f"{name} is not in the text: {printed}"
    if "retry_after" in reply:
        assert "before the next try" in printed
    if reply["charged"] == "no" and "task_id" not in reply:
        assert "nothing" in printed.lower(), "half of the hosts show only the text"


def published() -> dict[str, dict[str, Any]]:
    return {tool["name"]: tool for tool in json.loads(SNAPSHOT.read_text())}


async def listed(stack: Any, mode: str = LEGACY, **settings: str) -> list[dict[str, Any]]:
    async with stack.client(mode=mode, **settings) as client:
        tools = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


async def test_the_list_is_the_one_that_was_committed(stack):
    """DESIGN 3: names, parameters and texts are the public API; UPDATE_SNAPSHOTS=1 rewrites the file."""
    tools = json.dumps(await listed(stack), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(tools)
    assert SNAPSHOT.is_file(), "run once with UPDATE_SNAPSHOTS=1, read the file, commit it"
    assert tools == SNAPSHOT.read_text(), "tools/list changed: UPDATE_SNAPSHOTS=1 if that is meant"


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("key", ["ak_0123456789abcdef", ""])
async def test_the_list_is_the_same_without_a_key_and_at_both_eras(stack, mode, key):
    """P7: tools are listed without a key; the list is constant for a version."""
    assert await listed(stack, mode, AVM_API_KEY=key) == json.loads(SNAPSHOT.read_text())
    assert stack.sandbox.requests == []


def test_the_eight_tools_are_these():
    """DESIGN 3."""
    assert tuple(published()) == TOOLS


def test_the_list_is_small():
    """B2: name, description and input schema of all eight, compact UTF-8, at most 6.5 kB; 7.5 kB with every model."""
    shown = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in published().values()]
    assert len(json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()) <= 6500


# The keywords that every converter of `tests/converters` takes, of each type; a new one is tried there first.
INPUT_DIALECT = {
    "object": {"type", "properties", "required"},
    "string": {"type", "description", "default", "enum"},
    "integer": {"type", "description", "default", "minimum", "maximum"},
    "array": {"type", "description", "items", "minItems", "maxItems"},
}
OUTPUT_DIALECT = {
    "object": {"type", "properties"},
    "string": {"type", "enum"},
    "integer": {"type"},
    "number": {"type"},
    "boolean": {"type"},
    "array": {"type", "items"},
}


def strays(schema: Any, dialect: dict[str, set[str]], where: str = "") -> list[str]:
    """Return what a schema says that is not in its dialect."""
    if not isinstance(schema.get("type"), str) or schema["type"] not in dialect:
        return [f"{where}: type {schema.get('type')}"]
    found = [f"{where}: {keyword}" for keyword in sorted(set(schema) - dialect[schema["type"]])]
    if not all(isinstance(word, str) and word for word in schema.get("enum", [])):
        found.append(f"{where}: an enum of other than words")
    for name, part in schema.get("properties", {}).items():
        found += strays(part, dialect, f"{where}/{name}")
    if "items" in schema:
        found += strays(schema["items"], dialect, f"{where}[]")
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_the_schemas_speak_the_narrowest_dialect(tool):
    """DESIGN 4: plain `type`, enums of strings, no `nullable`, `additionalProperties`, `anyOf` or `title`."""
    reply = published()[tool]
    Draft202012Validator.check_schema(reply["inputSchema"])
    assert strays(reply["inputSchema"], INPUT_DIALECT, tool) == []
    assert strays(reply["outputSchema"], OUTPUT_DIALECT, tool) == []
    for name, parameter in reply["inputSchema"]["properties"].items():
        assert parameter["description"].strip().endswith("."), name


@pytest.mark.parametrize("tool", TOOLS)
def test_every_optional_parameter_has_a_default_that_is_legal_when_it_is_sent(tool):
    """DESIGN 4: strict modes make every parameter required, and then a model must not have to invent a value."""
    schema = published()[tool]["inputSchema"]
    for name, parameter in schema["properties"].items():
        assert ("default" in parameter) is (name not in schema.get("required", [])), name
        if "default" in parameter:
            Draft202012Validator(parameter).validate(parameter["default"])


def filled(tool: str) -> dict[str, Any]:
    """Return every parameter with its default, as a client fills it in for which all are required."""
    parameters = published()[tool]["inputSchema"]["properties"]
    return {name: parameter["default"] for name, parameter in parameters.items() if "default" in parameter}


NEEDED = {
    "text_to_video": {"prompt": "a kite"},
    "image_to_video": {"image": "https://example.com/a.png"},
    "long_video": {"image": "https://example.com/a.png", "prompts": ["dawn"]},
    "quote_video": {"model": "t2v"},
}


@pytest.mark.parametrize("tool", PAID)
@pytest.mark.parametrize("stack", [UNASKED], indirect=True)
async def test_a_call_with_every_default_spelled_out_is_the_call_without(stack, tool):
    """DESIGN 4: every default legal when sent, null too; and the same request, so nothing is paid twice."""
    async with stack.client() as client:
        first = conforms(await client.call_tool(tool, NEEDED[tool]), tool)
        for given in (filled(tool) | {"max_credits": 1000}, dict.fromkeys(filled(tool))):
            again = conforms(await client.call_tool(tool, given | NEEDED[tool]), tool)
            assert again["task_id"] == first["task_id"]
            assert again["deduplicated"]
            assert "normalized" not in again
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("tool", ["list_tasks", "quote_video", "get_account"])
@pytest.mark.parametrize("model", ["t2v", "i2v_v3", "lv"])
async def test_a_free_call_with_every_default_spelled_out_is_the_call_without(stack, tool, model):
    """DESIGN 4."""
    needed = {"model": model} if tool == "quote_video" else {}
    async with stack.client() as client:
        await client.call_tool("text_to_video", {"prompt": "a kite"})
        plain = conforms(await client.call_tool(tool, needed), tool)
        for given in (filled(tool), dict.fromkeys(filled(tool))):
            assert conforms(await client.call_tool(tool, given | needed), tool).keys() == plain.keys()


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_get_task_waits_as_the_host_allows_where_the_default_is_spelled_out(stack, mode):
    async with stack.client(mode=mode) as client:
        made = fields(await client.call_tool("text_to_video", {"prompt": "a kite"}))
        began = anyio.current_time()
        reply = conforms(
            await client.call_tool("get_task", filled("get_task") | {"task_id": made["task_id"]}), "get_task"
        )
        assert anyio.current_time() - began == pytest.approx(3, abs=1), "three seconds, where a host is not known"
    assert reply["status"] in ("SUBMITTED", "PROGRESS")
    assert "normalized" not in reply


@pytest.mark.parametrize("above", ["0", "7", "50", "1000000"])
async def test_one_threshold_stands_in_the_instructions_and_in_the_default(stack, above):
    """DESIGN 6: both follow AVM_APPROVE_ABOVE, and nothing else of the list does."""
    async with stack.client(AVM_APPROVE_ABOVE=above) as client:
        printed = client.instructions
    assert printed is not None
    assert f"Up to {above} credits you may start at once" in printed
    tools = await listed(stack, AVM_APPROVE_ABOVE=above)
    assert await listed(stack, MODERN, AVM_APPROVE_ABOVE=above) == tools
    defaults = [tool["inputSchema"]["properties"].get("max_credits", {}).pop("default", None) for tool in tools]
    assert defaults == [int(above)] * 3 + [None] * 5
    plain = json.loads(SNAPSHOT.read_text())
    for tool in plain:
        tool["inputSchema"]["properties"].get("max_credits", {}).pop("default", None)
    assert tools == plain


PAYS = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": True}
READS = {"readOnlyHint": True}
CANCELS = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_says_what_it_does_to_the_world(tool):
    """DESIGN 3, the column of annotations."""
    meant = PAYS if tool in PAID else CANCELS if tool == "cancel_task" else READS
    assert meant.items() <= published()[tool]["annotations"].items()


@pytest.mark.parametrize("tool", TOOLS)
def test_every_output_schema_admits_an_error_alone(tool):
    """DESIGN 3: the TypeScript SDK 1.x validates errors against it."""
    schema = published()[tool]["outputSchema"]
    Draft202012Validator.check_schema(schema)
    error = {
        "code": "INVALID_INPUT",
        "message": "m",
        "retryable": False,
        "charged": "no",
        "next_step": "n",
        "task_id": "ck1",
        "retry_after": 1.5,
        "field": "prompt",
        "allowed": "text",
    }
    Draft202012Validator(schema).validate({"error": error})
    assert set(error) <= set(schema["properties"]["error"]["properties"])
    assert "required" not in schema


@pytest.mark.parametrize("environ", [{}, {"AVM_SAVE": "off"}])
async def test_the_instructions_are_short_and_say_what_costs(stack, environ):
    """TEXTS: under 700 characters, whether or not videos are saved here."""
    async with stack.client(**environ) as client:
        printed = client.instructions
    assert printed is not None
    assert len(printed) < 700
    facts = (
        "makes one video",
        "Up to 50 credits",
        "3 to 13 minutes",
        "get_task",
        "Never repeat a paid call",
        "max_credits",
    )
    for fact in facts:
        assert fact in printed
    assert ("saved on the user's disk" in printed) is not bool(environ)
