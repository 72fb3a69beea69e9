"""The MCP server over a runtime: tools, resources, prompts and completions."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mcp.server import MCPServer

from avm_mcp import __version__
from avm_mcp.app import Runtime
from avm_mcp.mcp_server import ClientTimeoutObserver, Revisions, Tools
from avm_mcp.mcp_server.prompts import add_completions, add_prompts
from avm_mcp.mcp_server.resources import add_resources

NAME = "avm-mcp"
TITLE = "AI Video Maker"

_SAVED = "the video is saved on the user's disk even if nobody waits"
_LINKED = "the video is made even if nobody waits, and its link lives 24 hours"
INSTRUCTIONS = (
    "Each call of text_to_video, image_to_video or long_video makes one video, spends credits (1 credit = 0.01 USD) "
    "and takes 3 to 13 minutes. get_task waits for the end; {kept}. Never repeat a paid call to check on it. Up to "
    "{above} credits you may start at once; above that, quote, ask the user, then call with max_credits at the price "
    "they agreed to. Pictures attached in the chat cannot be seen here: ask for a file path or an https link. Not "
    "possible: extending a video, stopping a running one, deleting, frame rate, seed, negative prompt. Give paths and "
    "links exactly as returned."
)


def build_server(runtime: Runtime) -> MCPServer[Runtime]:
    """Return the MCP server over a runtime that its lifespan enters.

    Tools, resources and prompts are constant for a version; without a key they are listed all the same.
    """

    @asynccontextmanager
    async def lifespan(_server: MCPServer[Runtime]) -> AsyncGenerator[Runtime]:
        async with runtime:
            yield runtime

    server: MCPServer[Runtime] = MCPServer(
        NAME,
        title=TITLE,
        version=__version__,
        website_url="https://aivideomaker.ai",
        instructions=INSTRUCTIONS.format(
            kept=_LINKED if runtime.place.folder is None else _SAVED, above=runtime.settings.AVM_APPROVE_ABOVE
        ),
        tools=Tools(runtime).tools(),
        lifespan=lifespan,
        middleware=[Revisions(), ClientTimeoutObserver(runtime)],
        log_level=runtime.settings.AVM_LOG_LEVEL,
    )
    add_resources(server, runtime)
    add_prompts(server)
    add_completions(server, runtime)
    return server
