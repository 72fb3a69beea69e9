"""The main job over MCP: ask, see progress, find the film on the disk."""

from pathlib import Path

import pytest

from tests.house import LEGACY, MODERN, fields, text


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
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
    assert not result.is_error
    assert told["status"] == "COMPLETED"
    assert Path(told["file"]).read_bytes()[4:8] == b"ftyp"
    assert told["file"] in text(result)
    assert told["video_url"] in text(result)
    assert [p for p, _, _ in seen] == sorted({p for p, _, _ in seen})
    assert told["task_id"] in seen[0][2]
    assert house.sandbox.posts == 1
