"""langchain-mcp-adapters plays a plan (see story.py); over stdio it starts a new server process for every call."""

import asyncio
import json
import sys
import time
from typing import Any

from langchain_mcp_adapters.client import MultiServerMCPClient


async def main() -> None:
    plan = json.load(sys.stdin)
    where = plan["where"]
    kind = {"transport": "streamable_http"} if "url" in where else {"transport": "stdio"}
    client = MultiServerMCPClient({"avm": {**kind, **where}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    steps: dict[str, Any] = {}
    for name, step in plan["steps"].items():
        start = time.monotonic()
        given = {
            key: steps[value[1:]]["structured"]["task_id"] if str(value).startswith("$") else value
            for key, value in step["arguments"].items()
        }
        call = {"name": step["tool"], "args": given, "id": name, "type": "tool_call"}
        try:
            message = await tools[step["tool"]].ainvoke(call)
        except Exception as error:
            steps[name] = {"thrown": repr(error), "seconds": time.monotonic() - start}
            continue
        steps[name] = {
            "is_error": message.status == "error",
            "structured": (message.artifact or {}).get("structured_content"),
            "text": message.content if isinstance(message.content, str) else message.content[0]["text"],
            "raw": str(message)[:2000],
            "seconds": time.monotonic() - start,
        }
    print(json.dumps({"tools": list(tools), "steps": steps}))


asyncio.run(main())
