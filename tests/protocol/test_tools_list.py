"""The public API: what `tools/list` shows, held by a snapshot, and what a result of each tool must be (DESIGN, 3).

`conforms` is what the other tests of this folder hold every result to.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.types import CallToolResult

from tests.house import KEY, LEGACY, MODERN, fields, text

SNAPSHOT = Path(__file__).parent / "snapshots" / "tools.json"
PAID = ("text_to_video", "image_to_video", "long_video")
TOOLS = (*PAID, "get_task", "list_tasks", "cancel_task", "quote_video", "get_account")


def conforms(result: CallToolResult, tool: str) -> dict[str, Any]:
    """Hold a result to what every result must be, and return its structured content."""
    values, said = fields(result), text(result)
    schema = published()[tool]["outputSchema"]
    Draft202012Validator(schema).validate(values)
    assert set(values) <= set(schema["properties"]), "a field that the output schema does not name"
    *_, last = said.splitlines()
    assert last.startswith("Next: "), said
    both = said + json.dumps(values)
    assert KEY not in both
    assert not re.search(r"\{[a-z_]+\}|task_id=\"…\"", both), f"a template that nobody filled: {said}"
    if "error" in values:
        _same_facts_of_an_error(values["error"], said, schema)
    if "next_step" in values:
        assert last == f"Next: {values['next_step']}"
        assert " ".join(values["message"].split()) in " ".join(said.split())
    for name in ("task_id", "file", "video_url"):
        assert values.get(name, "") in said, f"{name} is not in the text: {said}"
    for note in values.get("notes", []):
        assert note in said
    for name, value in values.get("normalized", {}).items():
        assert name in said
        assert str(value) in said
    return values


def _same_facts_of_an_error(told: dict[str, Any], said: str, schema: dict[str, Any]) -> None:
    assert set(told) <= set(schema["properties"]["error"]["properties"]), "a field that the schema does not name"
    assert {"code", "message", "retryable", "charged", "next_step"} <= set(told)
    assert said.splitlines()[-1] == f"Next: {told['next_step']}"
    assert said.startswith(told["message"]) or told["code"] == "SUBMISSION_UNKNOWN"
    refused = told["code"] in ("INVALID_INPUT", "FILE_REFUSED")
    for name in ("task_id", "allowed", *(["field"] if refused else [])):
        assert str(told.get(name, "")) in said, f"{name} is not in the text: {said}"
    if "retry_after" in told:
        assert "before the next try" in said
    if told["charged"] == "no" and "task_id" not in told:
        assert "nothing" in said.lower(), "half of the hosts show only the text"


def published() -> dict[str, dict[str, Any]]:
    return {tool["name"]: tool for tool in json.loads(SNAPSHOT.read_text())}


async def listed(house: Any, mode: str = LEGACY, **settings: str) -> list[dict[str, Any]]:
    async with house.client(mode=mode, **settings) as client:
        tools = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


async def test_the_list_is_the_one_that_was_committed(house):
    """DESIGN 3: names, parameters and texts are the public API; UPDATE_SNAPSHOTS=1 rewrites the file."""
    tools = json.dumps(await listed(house), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(tools)
    assert SNAPSHOT.is_file(), "run once with UPDATE_SNAPSHOTS=1, read the file, commit it"
    assert tools == SNAPSHOT.read_text(), "tools/list changed: UPDATE_SNAPSHOTS=1 if that is meant"


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
@pytest.mark.parametrize("key", ["ak_0123456789abcdef", ""])
async def test_the_list_is_the_same_without_a_key_and_at_both_eras(house, mode, key):
    """P7: tools are listed without a key; the list is constant for a version."""
    assert await listed(house, mode, AVM_API_KEY=key) == json.loads(SNAPSHOT.read_text())
    assert house.sandbox.requests == []


def test_the_eight_tools_are_these():
    """DESIGN 3."""
    assert tuple(published()) == TOOLS


def test_the_list_is_small():
    """B2: name, description and input schema of all eight, compact UTF-8, at most 6.5 kB."""
    shown = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in published().values()]
    assert len(json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()) <= 6500


@pytest.mark.parametrize("tool", TOOLS)
def test_every_parameter_is_described_and_its_schema_is_plain(tool):
    """DESIGN 3: closed, plain `type`, no `anyOf`, no `title`, optionals nullable."""
    schema = published()[tool]["inputSchema"]
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert not {"anyOf", "oneOf", "allOf", "$ref", "$defs", "title"} & set(_keywords(schema))
    for name, parameter in schema["properties"].items():
        assert isinstance(parameter["type"], str)
        assert parameter["description"].strip().endswith("."), name
        assert parameter.get("nullable", False) is (name not in schema.get("required", [])), name


@pytest.mark.parametrize("tool", TOOLS)
def test_every_default_is_legal_when_it_is_sent(tool):
    """DESIGN 3."""
    schema = published()[tool]["inputSchema"]
    for name, parameter in schema["properties"].items():
        if "default" in parameter:
            Draft202012Validator(parameter).validate(parameter["default"])
            assert name not in schema.get("required", [])


async def test_a_call_with_every_default_spelled_out_is_the_call_without(house):
    """DESIGN 3: every default legal when sent; and the same request, so nothing is paid twice."""
    defaults = {
        name: parameter["default"]
        for name, parameter in published()["text_to_video"]["inputSchema"]["properties"].items()
        if "default" in parameter
    }
    async with house.client() as client:
        first = conforms(await client.call_tool("text_to_video", {"prompt": "a kite"}), "text_to_video")
        second = conforms(await client.call_tool("text_to_video", {"prompt": "a kite", **defaults}), "text_to_video")
    assert second["task_id"] == first["task_id"]
    assert "normalized" not in second
    assert house.sandbox.posts == 1


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
    assert not {"anyOf", "oneOf", "allOf", "$ref", "$defs", "title"} & set(_keywords(schema))
    assert "required" not in schema


@pytest.mark.parametrize("environ", [{}, {"AVM_SAVE": "off"}])
async def test_the_instructions_are_short_and_say_what_costs(house, environ):
    """TEXTS: under 600 characters, whether or not films are saved here."""
    async with house.client(**environ) as client:
        said = client.instructions
    assert said is not None
    assert len(said) < 600
    for fact in ("ONE video", "credits", "3 to 13 minutes", "get_task", "Never repeat a paid call"):
        assert fact in said
    assert ("saved on the user's disk" in said) is not bool(environ)


def _keywords(schema: Any) -> list[str]:
    """Return every keyword of a schema; names of properties are not keywords."""
    if not isinstance(schema, dict):
        return []
    found: list[str] = []
    for name, value in schema.items():
        found.append(name)
        if name == "properties":
            found += [keyword for part in value.values() for keyword in _keywords(part)]
        else:
            found += _keywords(value)
    return found
