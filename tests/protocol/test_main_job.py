"""The main job over MCP: ask, see progress, find the video on the disk."""

from pathlib import Path

import pytest

from tests.stack import LEGACY, MODERN, fields, text


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_a_video_is_made_saved_and_told_with_its_path(stack, mode):
    """P3, P4. The main job, at both protocol eras."""
    seen = []

    async def progress(value, total, message):
        seen.append((value, total, message))

    async with stack.client(mode=mode) as client:
        result = await client.call_tool(
            "text_to_video", {"prompt": "a red kite over the sea", "wait_seconds": 1200}, progress_callback=progress
        )
    reply = fields(result)
    assert not result.is_error
    assert reply["status"] == "COMPLETED"
    assert Path(reply["file"]).read_bytes()[4:8] == b"ftyp"
    assert reply["file"] in text(result)
    assert reply["video_url"] in text(result)
    assert [p for p, _, _ in seen] == sorted({p for p, _, _ in seen})
    assert reply["task_id"] in seen[0][2]
    assert stack.sandbox.posts == 1


@pytest.mark.parametrize("below", ["", "mine"], ids=["the folder", "one above it"])
async def test_a_folder_that_cannot_be_written_is_said_before_the_video_is_made(stack, below):
    """P3: while there is time to mend it; and once mended, the video is saved."""
    stack.videos.write_text("a file where the folder should be")
    target = stack.videos / below
    async with stack.client(AVM_OUTPUT_DIR=str(target)) as client:
        reply = await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 0})
        assert f"It cannot be saved in {target} as things are" in text(reply)
        assert "not a folder. Tell the user to mend that" in text(reply)
        stack.videos.unlink()
        given = {"task_id": fields(reply)["task_id"]}
        assert f"It will be saved in {target}" in text(await client.call_tool("get_task", given))
        ready = fields(await client.call_tool("get_task", given | {"wait_seconds": 1200}))
    assert Path(ready["file"]).parent == target
