"""LangChain and LangGraph."""

import asyncio
import os

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

# A server gets only the environment that is named here: without `env` it has no key.
AVM = {"transport": "stdio", "command": "avm-mcp", "args": [], "env": dict(os.environ)}


async def main(model):
    client = MultiServerMCPClient({"avm": AVM})
    # One server for the whole conversation; with `await client.get_tools()` each call starts one of its own.
    async with client.session("avm") as session:
        tools = await load_mcp_tools(session)
        agent = create_agent(model, tools)
        wish = {"role": "user", "content": "Make a five second video of a red kite over the sea."}
        printed = await agent.ainvoke({"messages": [wish]})
    print(printed["messages"][-1].content)


if __name__ == "__main__":
    from scripted.langchain import scripted

    asyncio.run(main(scripted()))
