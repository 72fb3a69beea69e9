"""Runs inside the environment of an old `mcp` package: plays a plan (see story.py) and prints what came of it."""

import asyncio
import inspect
import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(plan: dict[str, Any]) -> None:
    where = plan["where"]
    async with AsyncExitStack() as stack:
        if "url" in where:
            from mcp.client.streamable_http import streamablehttp_client

            streams = await stack.enter_async_context(streamablehttp_client(where["url"]))
        else:
            server = StdioServerParameters(command=where["command"], args=where["args"], env=where["env"])
            streams = await stack.enter_async_context(stdio_client(server))
        session = await stack.enter_async_context(ClientSession(*streams[:2]))
        hello = await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        steps = {name: await played(session, step) for name, step in plan["steps"].items()}
    print(json.dumps({"spoken": str(hello.protocolVersion), "tools": tools, "steps": steps}))


async def played(session: ClientSession, step: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    beats: list[dict[str, Any]] = []

    async def beat(progress: float, total: float | None, message: str | None = None) -> None:
        beats.append({"at": time.monotonic() - start, "progress": progress, "total": total, "message": message})

    able = "progress_callback" in inspect.signature(session.call_tool).parameters
    more: dict[str, Any] = {"progress_callback": beat} if able and step["progress"] else {}
    try:
        result = await session.call_tool(step["tool"], step["arguments"], **more)
    except Exception as error:
        return {"thrown": repr(error), "beats": beats, "seconds": time.monotonic() - start}
    return {
        "is_error": result.isError,
        "structured": getattr(result, "structuredContent", None),
        "text": "\n".join(part.text for part in result.content if part.type == "text"),
        "links": [str(part.uri) for part in result.content if part.type == "resource_link"],
        "beats": beats,
        "seconds": time.monotonic() - start,
    }


asyncio.run(main(json.load(sys.stdin)))
