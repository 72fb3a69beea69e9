"""Arguments of many megabytes are refused in bounded work, so that other callers do not wait (P4)."""

import os
import threading
import time
from contextlib import suppress

import anyio
import pytest
from mcp import MCPError

from avm_mcp.images import ThreadOffload, offload
from avm_mcp.presentation import arguments
from tests.meter import metered
from tests.stack import error, fields
from tests.unit.test_whole_pictures import HOSTILE

SIZE = 20_000_000 if os.environ.get("AVM_FULL") else 2_000_000
STEPS = not os.environ.get("AVM_SECONDS")
"""AVM_SECONDS=1 measures time instead of steps, to be read by people."""

MOST_STEPS = 30_000
"""Lines of Python that one call may run, from the request to its answer."""

LINK = "https://example.com/cat.png"


def deep(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


CALLS = {
    "a long name": ("text_to_video", lambda: {"prompt": "a kite", "x" * SIZE: 1}),
    "a long name like a parameter": ("text_to_video", lambda: {"prompt": "a kite", "prompt" * (SIZE // 6): 1}),
    "a long name of odd characters": ("text_to_video", lambda: {"prompt": "a kite", "\u202e\ud83d\n" * (SIZE // 3): 1}),
    "many names": ("get_task", lambda: {f"name{number}": 1 for number in range(SIZE // 100)}),
    "a long prompt": ("text_to_video", lambda: {"prompt": "kite " * (SIZE // 5)}),
    "a prompt of blanks": ("text_to_video", lambda: {"prompt": " " * SIZE}),
    "a prompt of halves": ("text_to_video", lambda: {"prompt": "\ud83d" * SIZE}),
    "a prompt of no text": ("text_to_video", lambda: {"prompt": ["x" * 100] * (SIZE // 100)}),
    "many prompts": ("long_video", lambda: {"image": LINK, "prompts": ["kite"] * (SIZE // 10)}),
    "long prompts": ("long_video", lambda: {"image": LINK, "prompts": ["kite" * SIZE] * 3}),
    "prompts as a text": ("long_video", lambda: {"image": LINK, "prompts": '["kite"' + ', "kite"' * (SIZE // 8) + "]"}),
    "prompts as brackets": ("long_video", lambda: {"image": LINK, "prompts": "[" * SIZE}),
    "a deep value": ("text_to_video", lambda: {"prompt": "a kite", "take": deep(150)}),
    "a long word": ("text_to_video", lambda: {"prompt": "a kite", "model": "t2v" * SIZE}),
    "a long ratio": ("text_to_video", lambda: {"prompt": "a kite", "aspect_ratio": "16 : " * (SIZE // 5)}),
    "a long number": ("text_to_video", lambda: {"prompt": "a kite", "duration": "5" * SIZE}),
    "a long number of blanks": ("text_to_video", lambda: {"prompt": "a kite", "duration": "5" + " " * SIZE + "x"}),
    "a number of many digits": ("text_to_video", lambda: {"prompt": "a kite", "take": 10**5000}),
    "many digits in a list": ("text_to_video", lambda: {"prompt": "a kite", "take": [10**5000]}),
    "a number that is a book": ("text_to_video", lambda: {"prompt": "a kite", "take": {"x" * SIZE: ["y" * SIZE]}}),
    "a long task_id": ("get_task", lambda: {"task_id": "c" * SIZE}),
    "a long task_id of quotes": ("get_task", lambda: {"task_id": "'" * SIZE}),
    "a long cursor": ("list_tasks", lambda: {"cursor": "Wzc" * SIZE}),
    "a cursor that is deep": ("list_tasks", lambda: {"cursor": "W1tb" * (SIZE // 4)}),
    "a picture of quotes": ("image_to_video", lambda: {"image": '"' * SIZE}),
    "a picture of base64": ("image_to_video", lambda: {"image": "iVBORw0KGgo" * (SIZE // 11)}),
    "a picture of slashes": ("image_to_video", lambda: {"image": "/" * SIZE}),
    "a picture of dots": ("image_to_video", lambda: {"image": "a." * (SIZE // 2)}),
    "a long link": ("image_to_video", lambda: {"image": "https://example.com/" + "a" * SIZE}),
    "a long link of escapes": ("image_to_video", lambda: {"image": "https://example.com/?" + "&amp;" * (SIZE // 5)}),
    "a data URI of blanks": ("image_to_video", lambda: {"image": "data:;base64," + " \n" * (SIZE // 2)}),
    "a data URI of percent signs": ("image_to_video", lambda: {"image": "data:," + "%" * SIZE}),
    "a data URI without a comma": ("image_to_video", lambda: {"image": "data:" + ';"' * (SIZE // 2)}),
    "a data URI of base64": ("image_to_video", lambda: {"image": "data:;base64," + "A" * SIZE}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_an_argument_of_many_megabytes_is_refused_in_bounded_work(stack, name):
    """P4."""
    tool, make = CALLS[name]
    given = make()
    async with stack.client() as client:
        with suppress(MCPError):
            await client.call_tool("get_account", {})  # so that lazy initialisation is not measured
        began = time.perf_counter()
        async with metered(steps=STEPS) as meter:
            result = await client.session.call_tool(tool, given)
        print(f"{name}: {time.perf_counter() - began:.2f} s, {meter.steps:,} steps")
    reply = error(result)
    assert reply["code"] in ("INVALID_INPUT", "FILE_REFUSED"), reply
    assert len(str(result)) < 5000
    assert meter.steps < MOST_STEPS
    assert stack.sandbox.entries() == []


def test_the_check_of_names_is_linear_in_their_number():
    """P4."""
    few, many = ({f"name{number}": 1 for number in range(count)} for count in (2_000, 20_000))
    times = []
    for given in (few, many):
        began = time.perf_counter()
        arguments.read("get_account", given)
        times.append(time.perf_counter() - began)
    assert times[1] < 60 * times[0] + 0.5  # ten times as many: a hundred times as long would be quadratic


@pytest.mark.asyncio_backend
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_picture_of_ten_megabytes_is_read_in_a_thread(stack, name):
    """P4: by path; any content occupies one thread only."""
    (stack.pictures / "x.jpg").write_bytes(HOSTILE[name]()[:10_000_000])
    async with stack.client(runtime=stack.runtime(offload=ThreadOffload())) as client:
        await client.list_tools()
        async with metered(steps=STEPS) as meter:
            result = await client.session.call_tool("image_to_video", {"image": "x.jpg", "aspect_ratio": "1:1"})
        print(f"{name}: longest {meter.seconds:.2f} s, {meter.longest:,} steps between two beats")
    assert error(result)["code"] in ("INVALID_INPUT", "FILE_REFUSED")
    assert meter.longest < MOST_STEPS


@pytest.mark.asyncio_backend
async def test_the_event_loop_runs_while_a_disk_does_not_answer(stack, monkeypatch):
    """P4: a sleeping network drive, or a cloud folder that fetches the file first, delays no other call."""
    (stack.pictures / "x.png").write_bytes(b"x")
    release = threading.Event()
    monkeypatch.setattr("avm_mcp.images.pictures.read_file", lambda *_: release.wait(60) and (b"", 0))
    monkeypatch.setattr(offload, "READ_TIMEOUT", 0.3)
    try:
        async with (
            stack.client(runtime=stack.runtime(offload=ThreadOffload())) as client,
            anyio.create_task_group() as group,
        ):
            answers = []

            async def ask():
                answers.append(await client.session.call_tool("image_to_video", {"image": "x.png"}))

            for _ in range(2 * offload.MAX_THREADS):
                group.start_soon(ask)
            await anyio.sleep(0.05)
            assert fields(await client.call_tool("quote_video", {"model": "t2v", "duration": 5}))["credits"] > 0
            assert answers == []  # the other call did not wait for these
    finally:
        release.set()
    assert {error(answer)["code"] for answer in answers} == {"FILE_REFUSED"}
    assert len(answers) == 2 * offload.MAX_THREADS
    assert "could not be read within" in error(answers[0])["message"]
    assert error(answers[0])["field"] == "image"
    assert stack.sandbox.entries() == []
