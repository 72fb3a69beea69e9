"""The main job over MCP: ask, see progress, find the film on the disk."""

import pytest

from tests.house import fields, text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_film_is_made_saved_and_told_with_its_path(house, mode):
    """P3, P4. The main job, at both protocol eras."""
    seen = []

    async def progress(value, total, message):
        seen.append((value, total, message))

    async with house.client(mode=mode) as client:
        result = await client.call_tool(
            "text_to_video", {"prompt": "a red kite over the sea", "wait_seconds": 1200}, progress_callback=progress
        )
    told = fields(result)
    print(text(result))
    print(told)
    assert not result.is_error
    assert told["status"] == "COMPLETED"
    assert open(told["file"], "rb").read(8)[4:] == b"ftyp"
    assert told["file"] in text(result)
    assert told["video_url"] in text(result)
    assert [p for p, _, _ in seen] == sorted({p for p, _, _ in seen})
    assert told["task_id"] in seen[1][2]
    assert house.sandbox.posts == 1
