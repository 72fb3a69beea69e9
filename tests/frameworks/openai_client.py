"""openai-agents plays a plan (see story.py), without a model: it gives every request five seconds."""

import asyncio
import json
import sys
import time
from typing import Any

from agents.mcp import MCPServerStdio, MCPServerStreamableHttp


async def main() -> None:
    plan = json.load(sys.stdin)
    kind = MCPServerStreamableHttp if "url" in plan["where"] else MCPServerStdio
    steps: dict[str, Any] = {}
    async with kind(params=plan["where"]) as server:
        tools = [tool.name for tool in await server.list_tools()]
        for name, step in plan["steps"].items():
            start = time.monotonic()
            given = {
                key: steps[value[1:]]["structured"]["task_id"] if str(value).startswith("$") else value
                for key, value in step["arguments"].items()
            }
            try:
                result = await server.call_tool(step["tool"], given)
            except Exception as error:
                steps[name] = {"thrown": repr(error), "seconds": time.monotonic() - start}
                continue
            facts = result.model_dump(mode="json", by_alias=True)
            steps[name] = {
                "is_error": facts["isError"],
                "structured": facts["structuredContent"],
                "text": facts["content"][0]["text"],
                "seconds": time.monotonic() - start,
            }
    print(json.dumps({"tools": tools, "steps": steps}))


asyncio.run(main())
