"""Google ADK."""

import asyncio
import os

from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams
from mcp import StdioServerParameters


async def main(model):
    avm = McpToolset(
        connection_params=StdioConnectionParams(
            server_params=StdioServerParameters(command="avm-mcp", env=dict(os.environ)),
            # Left out, the start of the server and every call are cut after 5 s. The server knows ADK, so its calls do
            # not wait for a video that long; but a machine that is busy may start a server more slowly.
            timeout=30,
        )
    )
    agent = LlmAgent(name="director", model=model, instruction="You make videos.", tools=[avm])
    runner = InMemoryRunner(agent=agent)
    events = await runner.run_debug("Make a five second video of a red kite over the sea.", quiet=True)
    print(events[-1].content.parts[0].text)
    await runner.close()


if __name__ == "__main__":
    from scripted.google_adk import scripted

    asyncio.run(main(scripted()))
