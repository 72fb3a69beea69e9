"""What the tools accept lies inside their published schemas, and what they refuse is refused in one way only."""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from typing import Any, get_type_hints

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import InvalidInput
from avm_mcp.presentation import arguments
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.inputs import INPUTS
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.parameters import PARAMETERS, Parameter, input_schema

TOOLS = tuple(PARAMETERS)
SETTINGS = {"AVM_APPROVE_ABOVE": 50}
NAMES = sorted({p.name for parameters in PARAMETERS.values() for p in parameters})

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)  # lone surrogates too
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-3, 40) | st.floats() | ANY_TEXT
    | st.integers(10**300, 10**301) | st.sampled_from(["", " ", "null", "NONE", "5s", "5 seconds", "10", "٣", "0"])
    | st.sampled_from(["16:9", "9x16", "vertical", "Square", "picture", "t2v", "I2V", "lv", "t2v_v3", "long_video"])
    | st.sampled_from(["ACTIVE", "done", "in progress", '["a","b"]', "[1]", "[" * 2000, "[]", "\x00", "https://x.org/a"])
)  # fmt: skip
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(ANY_TEXT, inner, max_size=4))


def _given(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON))


CALLS = st.sampled_from(TOOLS).flatmap(
    lambda tool: st.tuples(
        st.just(tool),
        _given(tuple(p.name for p in PARAMETERS[tool])) | st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, JSON),
    )
)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_typed_input_of_a_tool_has_its_parameters(tool: str) -> None:
    """Schemas, help texts and checks come from the table; handlers work with the typed inputs."""

    def type_of(parameter: Parameter) -> Any:
        kind: Any = {"string": str, "integer": int, "array": list[str]}[parameter.kind]
        return kind | None if parameter.neutral or parameter.setting is not None else kind

    assert get_type_hints(INPUTS[tool]) == {p.name: type_of(p) for p in PARAMETERS[tool]}


@given(CALLS)
@example(("long_video", {"image": "a.png", "prompts": "[" * 100_000}))
@example(("text_to_video", {"prompt": "\ud800"}))
@example(("text_to_video", {"prompt": "x", "\udfff": 1}))
@example(("text_to_video", {"prompt": "x", "duration": math.inf}))
@example(("text_to_video", {"prompt": "x", "duration": math.nan}))
@example(("text_to_video", {"prompt": "x", "take": 10**4000}))
@example(("text_to_video", {"prompt": "x", "max_credits": 10**30}))
@example(("text_to_video", {"prompt": "x" * 100_000}))
@example(("quote_video", {"model": "t2v", "duration": 0}))
@example(("quote_video", {"model": "t2v", "duration": False}))
@example(("quote_video", {"model": "lv", "segments": 0}))
def test_any_json_is_understood_inside_the_schema_or_refused(call: tuple[str, dict[str, Any]]) -> None:
    tool, raw = call
    try:
        read = arguments.read(tool, raw)
    except InvalidInput as refusal:
        _assert_helpful(refusal, tool)
        return
    values = {name: value for name, value in asdict(read.input).items() if value is not None}
    jsonschema.validate(values, input_schema(tool, SETTINGS))
    json.dumps(values, ensure_ascii=False).encode()  # can be sent, and written to the journal
    json.dumps(dict(read.normalized), ensure_ascii=False).encode()
    assert all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values.values() if _is_number(value))
    for name, value in read.normalized.items():
        assert getattr(read.input, name) == value, "what is told was understood must be what holds"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _assert_helpful(refusal: InvalidInput, tool: str) -> None:
    assert refusal.field is not None
    assert refusal.allowed
    assert refusal.charged == "no"
    reply = json.dumps(
        [refusal.message, refusal.field, refusal.allowed, write_next_step(refusal.next_step, MODEL_AUDIENCE)],
        ensure_ascii=False,
    )
    reply.encode()
    assert len(reply) < 1500
    assert "\n" not in refusal.message


@given(CALLS)
def test_what_was_understood_is_understood_again_in_the_same_way(call: tuple[str, dict[str, Any]]) -> None:
    tool, raw = call
    try:
        read = arguments.read(tool, raw)
    except InvalidInput:
        return
    again = arguments.read(tool, asdict(read.input))
    assert again.input == read.input
    assert not again.normalized


# Examples that must be understood, and the words in which others are refused

GOOD: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = [
    ("text_to_video", {"prompt": "a cat"}, {"duration": 5, "aspect_ratio": "16:9", "model": "t2v", "take": 1}, set()),
    ("text_to_video", {"prompt": " a cat "}, {"prompt": "a cat"}, set()),
    ("text_to_video", {"prompt": "x", "duration": "8s"}, {"duration": 8}, {"duration"}),
    ("text_to_video", {"prompt": "x", "duration": "5 seconds"}, {"duration": 5}, {"duration"}),
    ("text_to_video", {"prompt": "x", "duration": 8.0}, {"duration": 8}, set()),
    ("text_to_video", {"prompt": "x", "duration": None, "model": "null"}, {"duration": 5, "model": "t2v"}, set()),
    ("text_to_video", {"prompt": "x", "aspect_ratio": "vertical"}, {"aspect_ratio": "9:16"}, {"aspect_ratio"}),
    ("text_to_video", {"prompt": "x", "aspect_ratio": "9 x 16"}, {"aspect_ratio": "9:16"}, {"aspect_ratio"}),
    ("text_to_video", {"prompt": "x", "aspect_ratio": "16/9"}, {"aspect_ratio": "16:9"}, {"aspect_ratio"}),
    ("text_to_video", {"prompt": "x", "model": "T2V_V3", "duration": 20}, {"model": "t2v_v3"}, {"model"}),
    ("text_to_video", {"prompt": "x", "model": "t2v-v3"}, {"model": "t2v_v3"}, {"model"}),
    ("text_to_video", {"prompt": "x", "wait_seconds": "", "max_credits": "null"}, {"wait_seconds": None}, set()),
    ("text_to_video", {"prompt": "x", "wait_seconds": 0}, {"wait_seconds": 0}, set()),
    ("text_to_video", {"prompt": "x", "max_credits": "15 credits"}, {"max_credits": 15}, {"max_credits"}),
    ("text_to_video", {"prompt": "x", "max_credits": 10**30}, {"max_credits": 10**9}, {"max_credits"}),
    ("image_to_video", {"image": "a.png"}, {"prompt": None, "aspect_ratio": "picture", "model": "i2v"}, set()),
    ("image_to_video", {"image": "a.png", "aspect_ratio": "auto"}, {"aspect_ratio": "picture"}, {"aspect_ratio"}),
    ("long_video", {"image": "a.png", "prompts": "one"}, {"prompts": ["one"]}, {"prompts"}),
    ("long_video", {"image": "a.png", "prompts": '["one", "two"]'}, {"prompts": ["one", "two"]}, {"prompts"}),
    ("long_video", {"image": "a.png", "prompts": "[a dog] runs"}, {"prompts": ["[a dog] runs"]}, {"prompts"}),
    ("list_tasks", {"status": "running"}, {"status": "PROGRESS", "limit": 20}, {"status"}),
    ("list_tasks", {"status": "active"}, {"status": "ACTIVE"}, {"status"}),
    ("list_tasks", {"status": "all", "cursor": ""}, {"status": None, "cursor": None}, set()),
    ("get_task", {"task_id": "ck1", "wait_seconds": -1}, {"wait_seconds": None}, set()),
    ("quote_video", {"model": "lv"}, {"segments": 1}, set()),
    ("quote_video", {"model": "lv", "duration": 5, "segments": 3}, {"segments": 3}, set()),
    ("quote_video", {"model": "lv", "duration": 15, "segments": 3}, {"segments": 3}, set()),
    ("quote_video", {"model": "t2v"}, {"duration": 5}, set()),
    ("quote_video", {"model": "t2v", "duration": 8, "segments": 1}, {"duration": 8}, set()),
    ("text_to_video", {"prompt": "x", "max_credits": 0}, {"max_credits": 0}, set()),
    ("get_account", {}, {}, set()),
]


@pytest.mark.parametrize(("tool", "raw", "values", "normalized"), GOOD, ids=lambda value: str(value)[:60])
def test_understood(tool: str, raw: Any, values: dict[str, Any], normalized: set[str]) -> None:
    read = arguments.read(tool, raw)
    assert {name: getattr(read.input, name) for name in values} == values
    assert set(read.normalized) == normalized


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("text_to_video", {}, "prompt", "needs prompt"),
    ("text_to_video", {"prompt": "null"}, "prompt", "needs prompt"),
    ("text_to_video", {"prompt": ["a"]}, "prompt", "not text"),
    ("text_to_video", {"prompt": "x" * 100_000}, "prompt", "100000 characters"),
    ("text_to_video", {"prompt": "a\ud800b"}, "prompt", "not text"),
    ("text_to_video", {"prompt": "x", "duration": 10}, "duration", "model=t2v_v3, up to 100 credits"),
    ("text_to_video", {"prompt": "x", "duration": 7}, "duration", "Nearest for t2v: duration=8"),
    ("text_to_video", {"prompt": "x", "duration": "long"}, "duration", "whole number"),
    ("text_to_video", {"prompt": "x", "duration": True}, "duration", "whole number"),
    ("text_to_video", {"prompt": "x", "duration": 5.5}, "duration", "whole number"),
    ("text_to_video", {"prompt": "x", "model": "i2v"}, "model", "is for image_to_video"),
    ("text_to_video", {"prompt": "x", "model": "sora"}, "model", "t2v or t2v_v3"),
    ("text_to_video", {"prompt": "x", "aspect_ratio": "4:3"}, "aspect_ratio", "16:9, 9:16 or 1:1"),
    ("text_to_video", {"prompt": "x", "max_credits": -1}, "max_credits", "0 or more"),
    ("text_to_video", {"prompt": "x", "take": 10**300}, "take", "far out of range"),
    ("text_to_video", {"prompt": "x", "wait_seconds": 3601}, "wait_seconds", "-1 to 3600"),
    ("text_to_video", {"prompt": "x", "wait_seconds": -2}, "wait_seconds", "-1 to 3600"),
    ("text_to_video", {"prompt": "x", "take": 0}, "take", "1 to 1000"),
    ("text_to_video", {"prompt": "x", "n": 3}, "n", "take=2"),
    ("text_to_video", {"prompt": "x", "seed": 3}, "seed", "no model takes a seed"),
    ("text_to_video", {"prompt": "x", "promt": "y"}, "promt", "did you mean prompt"),
    ("text_to_video", {"prompt": "x", "zzz": None}, "zzz", "no parameter"),
    ("image_to_video", {"image_url": "x"}, "image_url", "called image"),
    ("long_video", {"image": "a", "prompts": ["x"] * 7}, "prompts", "7 items"),
    ("long_video", {"image": "a", "prompts": []}, "prompts", "0 items"),
    ("long_video", {"image": "a", "prompts": ["x", " "]}, "prompts", "empty item"),
    ("long_video", {"image": "a", "prompts": ["x", 3]}, "prompts", "not text"),
    ("long_video", {"image": "a", "prompts": {"0": "x"}}, "prompts", "not a list"),
    ("long_video", {"image": "a", "prompts": ["x"], "duration": 10}, "duration", "five seconds for each prompt"),
    ("quote_video", {"model": "t2v", "duration": 0}, "duration", "not made by t2v"),
    ("quote_video", {"model": "t2v", "segments": 2}, "segments", "only for lv"),
    ("quote_video", {"model": "lv", "duration": 10}, "duration", "not for lv"),
    ("quote_video", {"model": "lv", "segments": 7}, "segments", "1 to 6"),
    ("list_tasks", {"status": "lost"}, "status", "ACTIVE"),
    ("list_tasks", {"limit": 0}, "limit", "1 to 100"),
    ("get_task", {}, "task_id", "needs task_id"),
]


@pytest.mark.parametrize(("tool", "raw", "field", "words"), BAD, ids=lambda value: str(value)[:60])
def test_refused(tool: str, raw: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        arguments.read(tool, raw)
    assert caught.value.field == field
    assert words in caught.value.message
    _assert_helpful(caught.value, tool)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_default_and_every_word_is_legal_when_sent(tool: str) -> None:
    schema = input_schema(tool, SETTINGS)
    jsonschema.Draft202012Validator.check_schema(schema)
    for parameter in PARAMETERS[tool]:
        rule = schema["properties"][parameter.name]
        assert rule["description"]
        if parameter.default is not None:
            jsonschema.validate(parameter.default, rule)
    required = {name: _some(name, tool) for name in schema.get("required", [])}
    defaults = {p.name: p.default for p in PARAMETERS[tool] if p.default is not None}
    assert arguments.read(tool, required | defaults).normalized == {}
    for parameter in PARAMETERS[tool]:
        for word in parameter.words:
            if parameter.name != "model":
                meant = None if parameter.neutral and word == parameter.default else word
                assert getattr(arguments.read(tool, {**required, parameter.name: word}).input, parameter.name) == meant
    for model in (catalog.MODELS[name] for name in catalog.models_of(tool) if tool != "long_video"):
        for seconds in model.durations:
            read = arguments.read(tool, {**required, "model": model.name, "duration": seconds})
            assert (read.input.model, read.input.duration) == (model.name, seconds)


@pytest.mark.parametrize(
    "image_and_ratio",
    [
        ("x.png", "a" + " " * 400_000 + "b"),
        ("/9j/" + " " * 400_000 + "!", "16:9"),
        ('"' * 6_000_000, "16:9"),
    ],
    ids=["blanks in a word", "blanks in base64", "quotes"],
)
def test_no_text_stops_the_loop_for_more_than_its_length(image_and_ratio: tuple[str, str]) -> None:
    """P4: all calls of a process wait meanwhile. Each of these took minutes; it takes milliseconds."""
    script = (
        "import sys\nfrom avm_mcp import images\nfrom avm_mcp.domain import errors\n"
        "from avm_mcp.presentation import arguments\nimage, ratio = sys.stdin.read().split('|')\n"
        "try:\n"
        "    given = arguments.read('image_to_video', {'image': image, 'aspect_ratio': ratio})\n"
        "    images.read_picture(given.input.image, folders=[], paths_allowed=False)\n"
        "except errors.AvmError as error:\n"
        "    print(error.code)"
    )
    reply = subprocess.run(
        [sys.executable, "-c", script], input="|".join(image_and_ratio), capture_output=True, text=True, timeout=60
    )
    assert reply.stdout.strip() in ("INVALID_INPUT", "FILE_REFUSED"), reply.stderr


def _some(name: str, tool: str) -> Any:
    return {"prompts": ["x"], "model": "t2v"}.get(name, "x")
