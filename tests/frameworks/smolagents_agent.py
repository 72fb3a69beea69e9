"""smolagents."""

import os
from datetime import timedelta

from mcp import StdioServerParameters
from smolagents import MCPClient, ToolCallingAgent


def main(model):
    with MCPClient(
        StdioServerParameters(command="avm-mcp", env=dict(os.environ)),
        structured_output=True,
        # Its default says 5 s, which is only by an oversight not obeyed.
        adapter_kwargs={"client_session_timeout_seconds": timedelta(seconds=120)},
    ) as tools:
        agent = ToolCallingAgent(tools=tools, model=model)
        print(agent.run("Make a five second video of a red kite over the sea."))


if __name__ == "__main__":
    from scripted.smolagents import scripted

    main(scripted())
