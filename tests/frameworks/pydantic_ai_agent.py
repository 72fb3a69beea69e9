"""Pydantic AI."""

import asyncio
import os

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset


async def main(model):
    # A call may take 300 s (read_timeout=). That is enough: the server waits 45 s unless it is asked for more.
    avm = MCPToolset(StdioTransport("avm-mcp", [], env=dict(os.environ)))
    agent = Agent(model, toolsets=[avm])
    async with agent:
        result = await agent.run("Make a five second video of a red kite over the sea.")
    print(result.output)


if __name__ == "__main__":
    from scripted.pydantic_ai import scripted

    asyncio.run(main(scripted()))
