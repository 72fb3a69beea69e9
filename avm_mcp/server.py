"""The composition root: the runtime that outlives every call, and the MCP server over it."""

import hashlib
import hmac
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from avm_mcp import __version__, catalog
from avm_mcp.archive import Archive
from avm_mcp.client import AvmClient
from avm_mcp.config import Settings
from avm_mcp.errors import AvmError
from avm_mcp.journal import Journal, open_journal
from avm_mcp.media import default_input_folders
from avm_mcp.pacing import MAX_RETRY_AFTER
from avm_mcp.report import MODEL_FACE, Place, Report
from avm_mcp.service import Service, Upstream
from avm_mcp.tools import Desk
from avm_mcp.watcher import Watcher

logger = logging.getLogger(__name__)

NAME = "avm-mcp"
TITLE = "AI Video Maker"

_SAVED = "Work goes on without you and the video is saved on the user's disk"
_LINKED = "Work goes on without you and its link lives 24 hours"
INSTRUCTIONS = (
    "Each call of text_to_video, image_to_video or long_video makes ONE video, spends credits (1 credit = 0.01 USD) "
    "and takes 3 to 13 minutes. get_task waits for the end. {kept}, so you may stop and look later. Never repeat a "
    "paid call to check on it. Above 50 credits, call quote_video and ask the user first. Pictures attached in the "
    "chat are invisible here: ask for a file path or an https link. Give paths and links exactly as returned. "
    "A finished video cannot be extended."
)

MAX_VIDEO_RESOURCE = 50_000_000
"""Bytes of a saved film that is handed out as a resource; a larger one is named by its path."""


class Runtime:
    """Everything that lives as long as the process: journal, client, watcher, archive, service.

    Args:
        settings: What was set.
        now: The one wall clock.
        transport, film_transport: How HTTP leaves; the network when left out.
        paths_allowed: False where callers are on another machine: then pictures come by link only.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        transport: httpx2.AsyncBaseTransport | None = None,
        film_transport: httpx2.AsyncBaseTransport | None = None,
        paths_allowed: bool = True,
    ) -> None:
        self.settings = settings
        self.paths_allowed = paths_allowed
        self._now = now
        self._transport = transport
        self._film_transport = film_transport
        self._stack = AsyncExitStack()
        self._service: Service | None = None
        self._journal: Journal | None = None

    @property
    def service(self) -> Service:
        assert self._service is not None, "the runtime has not been entered"
        return self._service

    @property
    def journal(self) -> Journal:
        assert self._journal is not None, "the runtime has not been entered"
        return self._journal

    @property
    def place(self) -> Place:
        return Place(None if self.settings.AVM_SAVE == "off" else self.settings.AVM_OUTPUT_DIR)

    @property
    def input_folders(self) -> Sequence[Path]:
        if self.settings.AVM_INPUT_DIRS is not None:
            return self.settings.AVM_INPUT_DIRS
        return default_input_folders(_home(), _cwd())

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _start(self) -> None:
        settings = self.settings
        self._journal = journal = await open_journal(settings.AVM_STATE_DIR, now=self._now(), save=settings.AVM_SAVE)
        self._stack.callback(journal.close)
        if journal.warning:
            logger.warning("%s", journal.warning)
        base_url = settings.AVM_BASE_URL
        if settings.sandboxed:
            base_url = await self._stack.enter_async_context(_embedded_sandbox(settings.AVM_SANDBOX_SPEED))
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        account = fingerprint(settings.api_key or "", base_url)
        upstream = None
        if settings.api_key is not None:
            upstream = await self._connected(settings.api_key, base_url, account, journal)
            group.start_soon(upstream.watcher.run)
            group.start_soon(upstream.archive.run)
        self._service = Service(settings, journal, upstream, account=account, group=group, now=self._now)
        if upstream is not None:
            await self._service.recover()

    async def _connected(self, key: str, base_url: str, account: str, journal: Journal) -> Upstream:
        settings = self.settings
        egress = settings.AVM_EGRESS_ID
        http = await self._stack.enter_async_context(_pool(self._transport))
        films = await self._stack.enter_async_context(_pool(self._film_transport or self._transport))

        async def allowance() -> None:
            while (wait := await journal.take_token(egress, self._now())) > 0:  # noqa: ASYNC110 - shared with other processes
                await anyio.sleep(wait)

        async def closed(seconds: float) -> None:
            await journal.close_bucket(egress, self._now() + min(seconds, MAX_RETRY_AFTER))

        client = AvmClient(
            base_url,
            key,
            http,
            allowance=allowance,
            closed=closed,
            now=self._now,
            user_agent=settings.AVM_USER_AGENT or f"{NAME}/{__version__}",
            submit_timeout=settings.AVM_SUBMIT_TIMEOUT,
            read_timeout=settings.AVM_READ_TIMEOUT,
            connect_timeout=settings.AVM_CONNECT_TIMEOUT,
        )
        holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        watcher = Watcher(
            journal, client, account=account, holder=holder, now=self._now, finished=lambda _job: archive.nudge()
        )
        archive = Archive(
            journal,
            client,
            films,
            folder=settings.AVM_OUTPUT_DIR,
            base_url=base_url,
            account=account,
            now=self._now,
            changed=watcher.publish,
        )
        return Upstream(client, watcher, archive)


def fingerprint(key: str, base_url: str) -> str:
    """Return the name of an account in the state: it tells keys apart and cannot be turned back into one."""
    return hmac.new(key.encode(), base_url.encode(), hashlib.sha256).hexdigest()[:16]


def _pool(transport: httpx2.AsyncBaseTransport | None) -> httpx2.AsyncClient:
    """Return a connection pool. Redirects are never followed by it: the key, and private hosts, are at stake."""
    return httpx2.AsyncClient(transport=transport, follow_redirects=False, limits=httpx2.Limits(max_connections=20))


@asynccontextmanager
async def _embedded_sandbox(speed: float) -> AsyncGenerator[str]:
    from avm_mcp.sandbox import SandboxOptions
    from avm_mcp.sandbox.server import running

    # Its tasks die with it, so each start gets ids of its own.
    options = SandboxOptions(speed=speed, seed=secrets.randbits(48))
    async with running(options) as base_url:
        yield base_url


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _cwd() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # the folder was deleted
        return None


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
        instructions=INSTRUCTIONS.format(kept=_LINKED if runtime.place.folder is None else _SAVED),
        tools=Desk(runtime).tools(),
        lifespan=lifespan,
        log_level=runtime.settings.AVM_LOG_LEVEL,
    )
    _add_resources(server, runtime)
    _add_prompts(server)
    _add_completions(server, runtime)
    return server


def _add_resources(server: MCPServer[Runtime], runtime: Runtime) -> None:
    @server.resource(
        "avm://tasks/{task_id}", title="Task", description="State, file and link.", mime_type="application/json"
    )
    async def task(task_id: str) -> dict[str, Any]:
        try:
            return Report(await runtime.service.find(task_id), MODEL_FACE, runtime.place).fields()
        except AvmError as error:
            raise ResourceError(error.message) from error

    @server.resource("avm://tasks/{task_id}/video", title="Video", description="The saved film.", mime_type="video/mp4")
    async def video(task_id: str) -> bytes:
        try:
            told = Report(await runtime.service.find(task_id), MODEL_FACE, runtime.place)
        except AvmError as error:
            raise ResourceError(error.message) from error
        if told.file is None:
            raise ResourceError(told.text())
        path = anyio.Path(told.file)
        if (await path.stat()).st_size > MAX_VIDEO_RESOURCE:
            raise ResourceError(f"The film is too large to be handed out; it is at {told.file}")
        return await path.read_bytes()

    _ = (task, video)


def _add_prompts(server: MCPServer[Runtime]) -> None:
    @server.prompt(title="Storyboard", description="Plan a long video: one prompt for each five seconds.")
    def storyboard(idea: str, seconds: str = "30") -> str:
        return (
            f"Plan a video of {seconds} seconds about: {idea}\n"
            "Write one prompt for each five seconds, six at most, each a single shot that follows from the one before: "
            "subject, action, camera. Keep names, clothes and light the same in all. Ask the user for the starting "
            "picture (a file path or an https link), say the price with quote_video(model=lv, segments=…), and call "
            "long_video once they agree."
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
            newest = await runtime.journal.newest(runtime.service.account, 100)
            offered = [job.public_id for job in newest]
        else:
            offered = words.get(argument.name, [])
        return Completion(values=[word for word in offered if word.startswith(argument.value)][:100])

    _ = complete
