"""OpenAI Agents SDK."""

import asyncio
import os

from agents import Agent, Runner
from agents.mcp import MCPServerStdio


async def main(model):
    async with MCPServerStdio(
        params={"command": "avm-mcp", "env": dict(os.environ)},
        # Left out, every call is cut after 5 s. Nothing is lost then, but no call can wait for a video.
        client_session_timeout_seconds=120,
    ) as avm:
        agent = Agent(name="Director", instructions="You make videos.", model=model, mcp_servers=[avm])
        result = await Runner.run(agent, "Make a five second video of a red kite over the sea.", max_turns=30)
    print(result.final_output)


if __name__ == "__main__":
    from scripted.openai import scripted

    asyncio.run(main(scripted()))
