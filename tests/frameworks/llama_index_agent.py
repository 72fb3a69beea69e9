"""LlamaIndex."""

import asyncio
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec


async def main(model):
    avm = BasicMCPClient(
        "avm-mcp",
        env=dict(os.environ),
        # Left out, every call is cut after 30 s. Each call is a server of its own; the task outlives it.
        timeout=120,
    )
    agent = FunctionAgent(llm=model, tools=await McpToolSpec(avm).to_tool_list_async())
    print(await agent.run("Make a five second video of a red kite over the sea."))


if __name__ == "__main__":
    from scripted.llama_index import scripted

    asyncio.run(main(scripted()))
