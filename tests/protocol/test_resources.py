"""What the server offers besides tools: resources, prompts and completions, as hosts ask for them."""

import base64
from pathlib import Path

import anyio
import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from avm_mcp.domain import catalog
from avm_mcp.mcp_server import pace, resources
from avm_mcp.mcp_server.tool_schemas import PUBLISHED
from tests.stack import LEGACY, MODERN, fields

CALL = {"prompt": "a red kite", "wait_seconds": 1200}
eras = pytest.mark.parametrize("mode", [LEGACY, MODERN])


@eras
async def test_a_saved_video_is_handed_out_as_it_lies_on_the_disk(stack, mode):
    """P3: a host that cannot read the user's disk gets the bytes."""
    async with stack.client(mode=mode) as client:
        reply = fields(await client.call_tool("text_to_video", CALL))
        (content,) = (await client.read_resource(f"avm://tasks/{reply['task_id']}/video")).contents
    assert content.mime_type == "video/mp4"
    assert base64.b64decode(content.blob) == Path(reply["file"]).read_bytes()


async def test_a_video_that_is_not_ready_or_too_large_is_said_to_be_so(stack, monkeypatch):
    """P2: with its id, and with the path where there is one."""
    async with stack.client() as client:
        begun = fields(await client.call_tool("text_to_video", CALL | {"wait_seconds": 0}))
        with pytest.raises(Exception, match=f"NOT ready yet.*{begun['task_id']}"):
            await client.read_resource(f"avm://tasks/{begun['task_id']}/video")
        ready = fields(await client.call_tool("get_task", {"task_id": begun["task_id"], "wait_seconds": 1200}))
        monkeypatch.setattr(resources, "MAX_VIDEO_RESOURCE", 10)
        with pytest.raises(Exception, match=Path(ready["file"]).name):
            await client.read_resource(f"avm://tasks/{begun['task_id']}/video")


async def test_large_things_go_one_after_another_and_the_first_never_waits():
    """P4: ten saved videos read at once took 2.5 GB of memory, and nobody else was answered for 20 s."""
    turns, began, took = pace.Pace(1000), anyio.current_time(), []

    async def read(size):
        await turns.turn(size)
        took.append(anyio.current_time() - began)

    async with anyio.create_task_group() as group:
        for size in (2000, 2000, 500, 1000):
            group.start_soon(read, size)
    assert min(took) == 0
    assert 3.5 <= max(took) <= 5, "the last begins when the others are over"
    await anyio.sleep(10)
    begin = anyio.current_time()
    await turns.turn(9000)
    assert anyio.current_time() == begin


@eras
async def test_prompts_carry_what_was_given_and_name_tools_that_exist(stack, mode):
    given = {
        "storyboard": {"idea": "a lighthouse in a storm", "seconds": "15"},
        "animate_picture": {"image": "/pictures/cat.png", "mood": "stormy"},
        "cinematic_prompt": {"idea": "a lighthouse in a storm", "aspect_ratio": "9:16"},
    }
    async with stack.client(mode=mode) as client:
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == set(given)
        for name, values in given.items():
            (message,) = (await client.get_prompt(name, values)).messages
            assert all(value in message.content.text for value in values.values()), name
            assert any(tool in message.content.text for tool in PUBLISHED), name


@eras
async def test_ids_shapes_and_lengths_are_completed(stack, mode):
    """DESIGN 3: from the journal, newest first, and from the catalogue."""
    task = ResourceTemplateReference(uri="avm://tasks/{task_id}")
    shape, length = PromptReference(name="cinematic_prompt"), PromptReference(name="storyboard")
    async with stack.client(mode=mode) as client:
        made = fields(await client.call_tool("text_to_video", CALL | {"wait_seconds": 0}))["task_id"]

        async def offered(about, name, typed):
            return (await client.complete(about, {"name": name, "value": typed})).completion.values

        assert await offered(task, "task_id", made[:3]) == [made]
        assert await offered(task, "task_id", "no such") == []
        assert await offered(shape, "aspect_ratio", "") == list(catalog.SHAPES)
        assert await offered(shape, "aspect_ratio", "9") == ["9:16"]
        assert await offered(length, "seconds", "1") == ["10", "15"]
        assert await offered(length, "idea", "a") == []
