"""The schemas, run through the real converters of clients: each takes all eight tools, and loses nothing on the way.

Each converter is a script of this folder in an environment of its own under `.hosts/`. `make test` installs those of
pure Python, `make frameworks` all.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.install import HOSTS, python_of
from tests.hosts.machine import node
from tests.protocol.test_tools_list import NEEDED, TOOLS, filled, published

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Converter:
    """One library.

    Attributes:
        script: In this folder.
        environment: Under `.hosts/`; `node` for JavaScript.
        strict: The ways that make every parameter required, and what API they are for.
    """

    script: str
    environment: str
    strict: Mapping[str, str] = field(default_factory=dict)


PYTHON = {
    "google-genai 2": Converter("google_genai.py", "google-genai-2"),
    "google-genai 3": Converter("google_genai.py", "converters"),
    "LangChain": Converter("langchain_google.py", "converters", {"OpenAI strict": "OpenAI"}),
    "OpenAI Agents": Converter("openai_agents.py", "converters", {"strict": "OpenAI", "tool, strict": "OpenAI"}),
    "Anthropic": Converter("claude.py", "converters", {"strict": "Anthropic"}),
    "Pydantic AI": Converter("pydantic_ai_profiles.py", "converters", {"OpenAI strict": "OpenAI"}),
}
FRAMEWORKS = {
    "smolagents": Converter("smolagents_tools.py", "smolagents"),
    "Google ADK": Converter("google_adk_tools.py", "google_adk"),
    "AJV": Converter("ajv_strict.mjs", "node"),
    "Zod": Converter("zod_schemas.mjs", "node"),
    "LangChain JS": Converter("langchain_js.mjs", "node"),
    "AI SDK": Converter("vercel_ai.mjs", "node"),
}
CONVERTERS = PYTHON | FRAMEWORKS

OPENAI = {"type", "description", "properties", "required", "additionalProperties", "items", "enum", "default"}
OPENAI |= {"minimum", "maximum", "minItems", "maxItems"}
"""The keywords that OpenAI's strict mode takes, of those that we use. It refused `default` in 2025; in August 2026 only
Azure does (openai/openai-agents-python#4426)."""

ANTHROPIC = {"type", "description", "properties", "required", "additionalProperties", "items", "enum", "minItems"}
"""The same of Anthropic's: its SDK writes what it does not take into the description."""


SAFE = 2**53 - 1
"""The largest whole number of JavaScript, which Zod names where there is no bound."""


def reply_by(converter: Converter) -> dict[str, Any]:
    tools = [tool | {"calls": calls(name)} for name, tool in published().items()]
    script, interpreter = str(HERE / converter.script), str(python_of(converter.environment))
    if converter.environment == "node":
        script, interpreter = str(below_node_modules() / converter.script), node()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AVM_", "OPENAI_", "GOOGLE_"))}
    done = subprocess.run(
        [interpreter, script], input=json.dumps(tools), capture_output=True, text=True, timeout=300, cwd=HOSTS, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def below_node_modules() -> Path:
    """Return a folder with the scripts from where Node finds its packages."""
    folder = HOSTS / "converted"
    folder.mkdir(exist_ok=True)
    for script in HERE.glob("*.mjs"):
        shutil.copyfile(script, folder / script.name)
    return folder


def calls(tool: str) -> list[dict[str, Any]]:
    """Return the plainest call, and one with every parameter filled in."""
    needed = NEEDED.get(tool, {"task_id": "ck1"} if "task_id" in published()[tool]["inputSchema"]["properties"] else {})
    return [needed, filled(tool) | needed]


def is_wanted(name: str, converter: Converter) -> bool:
    """Those of `make test` have to be there in CI; where pytest is called by hand they may lack."""
    if name not in PYTHON:
        return os.environ.get("AVM_FRAMEWORKS") == "1"
    return bool(os.environ.get("CI")) or (HOSTS / converter.environment / "installed.txt").is_file()


def marked() -> Iterator[Any]:
    for name, converter in CONVERTERS.items():
        makes = "make test" if name in PYTHON else "make frameworks"
        marks = [pytest.mark.process, *([] if name in PYTHON else [pytest.mark.frameworks])]
        if not is_wanted(name, converter):
            marks.append(pytest.mark.skip(reason=f"needs what `{makes}` installs"))
        yield pytest.param(converter, id=name, marks=marks)


@pytest.mark.parametrize("converter", [*marked()])
def test_it_takes_every_tool_and_loses_nothing(converter: Converter) -> None:
    reply = reply_by(converter)
    print(reply["library"], "takes", ", ".join(reply["ways"]))
    assert set(converter.strict) <= set(reply["ways"])
    for way, schemas in reply["ways"].items():
        assert not {tool: why for tool, why in schemas.items() if isinstance(why, str)}, way
        assert tuple(schemas) == TOOLS
        for tool, schema in schemas.items():
            ours = published()[tool]["inputSchema"]
            assert lost(ours, schema) == [], (way, tool)
            if way in converter.strict and ours["properties"]:
                assert breaches(schema, converter.strict[way]) == [], (way, tool)


def lost(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str = "") -> list[str]:
    """Return what a converted schema no longer says, or says otherwise."""
    found: list[str] = []
    printed = theirs.get("type") or (
        "string" if theirs.get("enum") else None
    )  # words say themselves that they are text
    if str(printed).lower() != ours["type"]:
        found.append(f"{where}: type {printed}")
    if ours.get("description", "") not in theirs.get("description", ""):
        found.append(f"{where}: description")
    if list(theirs.get("enum", [])) != list(ours.get("enum", [])):
        found.append(f"{where}: enum {theirs.get('enum')}")
    for keyword in ("default", "minimum", "maximum"):
        if keyword in theirs and theirs[keyword] not in (ours.get(keyword), SAFE):
            found.append(f"{where}: {keyword} {theirs[keyword]}")
    if not set(ours.get("required", [])) <= set(theirs.get("required", [])):
        found.append(f"{where}: required {theirs.get('required')}")
    if set(theirs.get("properties", {})) != set(ours.get("properties", {})):
        return [*found, f"{where}: properties {sorted(theirs.get('properties', {}))}"]
    for name, part in ours.get("properties", {}).items():
        found += lost(part, theirs["properties"][name], f"{where}/{name}")
    if "items" in ours:
        found += lost(ours["items"], theirs.get("items", {}), f"{where}[]")
    return found


def breaches(schema: Mapping[str, Any], api: str, where: str = "") -> list[str]:
    """Return what an API's strict mode refuses in a schema."""
    found = [f"{where}: {word}" for word in sorted(set(schema) - (OPENAI if api == "OpenAI" else ANTHROPIC))]
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            found.append(f"{where}: open")
        if api == "OpenAI" and set(schema.get("required", [])) != set(schema["properties"]):
            found.append(f"{where}: not all are required")
        for name, part in schema["properties"].items():
            found += breaches(part, api, f"{where}/{name}")
    if "items" in schema:
        found += breaches(schema["items"], api, f"{where}[]")
    return found


# What the checks see, on schemas that are wrong


GOOD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string", "description": "A.", "enum": ["x"]}, "b": {"type": "integer", "default": 1}},
    "required": ["a"],
}


@pytest.mark.parametrize(
    ("wrong", "printed"),
    [
        ({"properties": {"a": GOOD["properties"]["a"]}}, "properties"),
        ({"required": []}, "required"),
        ({"type": "string"}, "type"),
        ({"properties": GOOD["properties"] | {"b": {"type": "number", "default": 1}}}, "/b: type"),
        ({"properties": GOOD["properties"] | {"b": {"type": "integer", "default": None}}}, "/b: default"),
        ({"properties": GOOD["properties"] | {"a": {"type": "string", "description": "A."}}}, "/a: enum"),
        ({"properties": GOOD["properties"] | {"a": {"type": "string", "enum": ["x"]}}}, "/a: description"),
    ],
)
def test_a_loss_is_seen(wrong: dict[str, Any], printed: str) -> None:
    assert lost(GOOD, GOOD) == []
    (found,) = lost(GOOD, GOOD | wrong)
    assert printed in found


def test_a_breach_of_a_strict_mode_is_seen() -> None:
    strict = GOOD | {"additionalProperties": False, "required": ["a", "b"]}
    assert breaches(strict, "OpenAI") == []
    assert breaches(strict, "Anthropic") == ["/b: default"]
    assert breaches(GOOD, "OpenAI") == [": open", ": not all are required"]
    assert breaches(strict | {"nullable": True}, "OpenAI") == [": nullable"]
