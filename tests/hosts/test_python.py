"""The official Python client, at both eras, over both transports."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, ResourceLink, TextContent

from tests.hosts import story
from tests.hosts.machine import QUEUED, SERVER, WATCHABLE, Machine, machine_at

pytestmark = [pytest.mark.hosts, pytest.mark.process]

VERSIONS = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28"}


@pytest.fixture(params=VERSIONS)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def connected(machine: Machine, transport: str, mode: str) -> AsyncIterator[Client]:
    with machine.serving() if transport == "http" else nullcontext() as url:
        server = url or StdioServerParameters(command=SERVER, env=machine.env)
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == VERSIONS[mode]
            yield client


async def play(client: Client, steps: Mapping[str, Any]) -> dict[str, Any]:
    tools = [tool.name for tool in (await client.list_tools()).tools]
    reply: dict[str, Any] = {}
    for name, step in steps.items():
        start = time.monotonic()
        beats: list[dict[str, Any]] = []

        async def beat(progress: float, total: float | None, message: str | None, beats=beats, start=start) -> None:
            beats.append({"at": time.monotonic() - start, "progress": progress, "total": total, "message": message})

        given = {
            name: reply[value[1:]]["structured"]["task_id"] if str(value).startswith("$") else value
            for name, value in step["arguments"].items()
        }
        result = await client.call_tool(step["tool"], given, progress_callback=beat if step["progress"] else None)
        reply[name] = {**_facts(result), "beats": beats, "seconds": time.monotonic() - start}
    return {"tools": tools, "steps": reply}


def _facts(result: CallToolResult) -> dict[str, Any]:
    return {
        "is_error": result.is_error,
        "structured": result.structured_content,
        "text": "\n".join(part.text for part in result.content if isinstance(part, TextContent)),
        "links": [str(part.uri) for part in result.content if isinstance(part, ResourceLink)],
    }


async def test_eight_tools(machine, transport, mode):
    """Must show 2: all eight, errors, and a wait that runs out."""
    async with connected(machine, transport, mode) as client:
        reply = await play(client, story.whole(machine, transport))
    story.check_whole(reply, machine)
    assert [reply["steps"][name]["links"] for name in ("text_end", "image_end", "long_end")] != [[], [], []]


async def test_progress_arrives_while_the_video_is_made(tmp_path: Path, transport, mode):
    """P4, Must show 2."""
    with machine_at(WATCHABLE, tmp_path) as machine:
        async with connected(machine, transport, mode) as client:
            reply = await play(client, story.watched())
        story.check_watched(reply, machine)


async def test_a_waiting_task_can_be_cancelled(tmp_path: Path, transport):
    with machine_at(QUEUED, tmp_path) as machine:
        async with connected(machine, transport, "legacy") as client:
            reply = await play(client, story.cancelled())
        story.check_cancelled(reply)


async def test_without_a_key_it_says_what_to_set(machine, transport, mode):
    """P7, Must show 4."""
    async with connected(machine.without_key(), transport, mode) as client:
        reply = await play(client, story.keyless())
    story.check_keyless(reply)
