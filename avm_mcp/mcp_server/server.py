"""The MCP server over a runtime: tools, resources, prompts and completions."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from avm_mcp import __version__
from avm_mcp.app import Runtime
from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AvmError
from avm_mcp.mcp_server import ClientTimeoutObserver, Revisions, Tools
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.task import build_task, format_task

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

MAX_VIDEO_RESOURCE = 20_000_000
"""Bytes of a saved video that is handed out as a resource; a larger one is named by its path and its link. Handing one
out takes some five times its size in memory, and the loop for a second."""

READ_PACE = 10_000_000
"""Bytes of saved videos that are handed out each second."""


class Pace:
    """Lets large things go one after another, so that what each does to the loop and to memory is over before the next.

    Args:
        rate: Bytes a second; the first one never waits.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0

    async def turn(self, size: int) -> None:
        """Wait for the turn of something of so many bytes."""
        begin = max(anyio.current_time(), self._next)
        self._next = begin + size / self._rate
        await anyio.sleep(max(0.0, begin - anyio.current_time()))


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
    _add_resources(server, runtime)
    _add_prompts(server)
    _add_completions(server, runtime)
    return server


def _add_resources(server: MCPServer[Runtime], runtime: Runtime) -> None:
    pace = Pace(READ_PACE)

    @server.resource(
        "avm://tasks/{task_id}", title="Task", description="State, file and link.", mime_type="application/json"
    )
    async def task(task_id: str) -> dict[str, Any]:
        try:
            return build_task(await runtime.service.find(task_id), MODEL_AUDIENCE, runtime.place).dump()
        except AvmError as error:
            raise ResourceError(error.message) from error

    @server.resource(
        "avm://tasks/{task_id}/video", title="Video", description="The saved video.", mime_type="video/mp4"
    )
    async def video(task_id: str) -> bytes:
        try:
            result = build_task(await runtime.service.find(task_id), MODEL_AUDIENCE, runtime.place)
        except AvmError as error:
            raise ResourceError(error.message) from error
        if result.file is None:
            raise ResourceError(format_task(result))
        path = anyio.Path(result.file)
        size = (await path.stat()).st_size
        if size > MAX_VIDEO_RESOURCE:
            raise ResourceError(
                f"The video is too large to be handed out. It is at {result.file}; its link: {result.video_url}"
            )
        await pace.turn(size)
        return await path.read_bytes()

    _ = (task, video)


def _add_prompts(server: MCPServer[Runtime]) -> None:
    @server.prompt(title="Storyboard", description="Plan a long video: one prompt for each five seconds.")
    def storyboard(idea: str, seconds: str = "30") -> str:
        model = catalog.models_of("long_video")[0]
        return (
            f"Plan a video of {seconds} seconds about: {idea}\n"
            "Write one prompt for each five seconds, six at most, each a single shot that follows from the one before: "
            "subject, action, camera. Keep names, clothes and light the same in all. Ask the user for the starting "
            f"picture (a file path or an https link), say the price with quote_video(model={model}, segments=…), and "
            "call long_video once they agree."
        )

    @server.prompt(title="Animate a picture", description="Bring a picture to life with one movement.")
    def animate_picture(image: str, mood: str = "calm") -> str:
        return (
            f"Animate the picture at {image} in a {mood} way. Describe one plausible movement of the subject and one "
            "of the camera, nothing that is not in the picture, and call image_to_video with that as prompt. The video "
            "keeps the picture's shape."
        )

    @server.prompt(title="Cinematic prompt", description="Turn an idea into a prompt for text_to_video.")
    def cinematic_prompt(idea: str, aspect_ratio: str = "16:9") -> str:
        return (
            f"Turn this idea into one prompt of two or three sentences: {idea}\n"
            "Name subject, action, setting, light, lens and camera movement, and style. Show it to the user, then call "
            f"text_to_video with aspect_ratio={aspect_ratio}."
        )

    _ = (storyboard, animate_picture, cinematic_prompt)


def _add_completions(server: MCPServer[Runtime], runtime: Runtime) -> None:
    words = {"aspect_ratio": list(catalog.SHAPES), "seconds": [str(5 * n) for n in range(1, catalog.MAX_SEGMENTS + 1)]}

    @server.completion()
    async def complete(
        ref: PromptReference | ResourceTemplateReference,  # noqa: ARG001 - the SDK's signature
        argument: CompletionArgument,
        context: CompletionContext | None,  # noqa: ARG001
    ) -> Completion | None:
        if argument.name == "task_id":
            try:
                newest = await runtime.store.newest(runtime.service.account, 100)
            except AvmError:
                newest = []
            offered = [job.public_id for job in newest]
        else:
            offered = words.get(argument.name, [])
        return Completion(values=[word for word in offered if word.startswith(argument.value)][:100])

    _ = complete
