"""The whole stack on one table: a runtime over real journal and files, the sandbox, and a virtual wall clock."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.server import MCPServer
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolResult, Implementation

from avm_mcp.app import Runtime
from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.images import Offload, inline
from avm_mcp.mcp_server.server import build_server
from avm_mcp.sandbox import SandboxOptions, build_sandbox
from avm_mcp.settings import Settings
from tests.clock import VirtualMachine, VirtualWall
from tests.names import Names
from tests.transport import Link, StreamingASGITransport

KEY = "ak_0123456789abcdef"
BASE = "http://127.0.0.1:9"


LEGACY, MODERN = "legacy", "2026-07-28"

UNASKED = {"environ": {"AVM_APPROVE_ABOVE": "1000"}}
"""A house for tests of dear videos that are not about approval: no price there needs one."""


@asynccontextmanager
async def piped(server: MCPServer[Any]) -> AsyncGenerator[Any]:
    """A transport to a server that ends, as a process would, when the client leaves."""
    low = server._lowlevel_server
    async with (
        create_client_server_memory_streams() as (theirs, ours),
        anyio.create_task_group() as group,
    ):
        group.start_soon(low.run, *ours, low.create_initialization_options())
        yield theirs
        await theirs[1].aclose()


@asynccontextmanager
async def alive(app: Any) -> AsyncGenerator[None]:
    """Start an ASGI app and stop it, as a server does."""
    to_app, heard_by_app = anyio.create_memory_object_stream[dict[str, Any]](1)
    by_app, printed = anyio.create_memory_object_stream[dict[str, Any]](1)
    async with to_app, heard_by_app, by_app, printed, anyio.create_task_group() as group:
        group.start_soon(app, {"type": "lifespan", "state": {}}, heard_by_app.receive, by_app.send)
        for phase in ("startup", "shutdown"):
            await to_app.send({"type": f"lifespan.{phase}"})
            assert (await printed.receive())["type"] == f"lifespan.{phase}.complete"
            if phase == "startup":
                yield


@dataclass
class Stack:
    """One user's machine, and the service it talks to.

    `runtime()` starts a process; several may run at once on the same state.
    """

    folder: Path
    wall: VirtualWall
    options: SandboxOptions
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        self.app = build_sandbox(self.options, now=self.wall)
        self.sandbox: Any = self.app.sandbox
        self.link = Link()
        self.names = Names()
        self.machine = VirtualMachine(self.wall)
        self.state = self.folder / "state"
        self.videos = self.folder / "videos"
        self.pictures = self.folder / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)

    def settings(self, **more: str) -> Settings:
        environ = {
            "AVM_API_KEY": KEY,
            "AVM_BASE_URL": BASE,
            "AVM_STATE_DIR": str(self.state),
            "AVM_OUTPUT_DIR": str(self.videos),
            "AVM_INPUT_DIRS": str(self.pictures),
            "AVM_WORKER": "off",
            **self.environ,
            **more,
        }
        return Settings.from_env(environ)

    def runtime(
        self,
        *,
        link: Link | None = None,
        paths_allowed: bool = True,
        offload: Offload = inline,
        now: Callable[[], float] | None = None,
        timings: Timings = STANDARD,
        **more: str,
    ) -> Runtime:
        """Return a process of this house. `now` is its own wall clock, such as `Skewed`; the house's when left out."""
        link = link or self.link
        return Runtime(
            self.settings(**more),
            now=now or self.wall,
            machine=self.machine.process(),
            timings=timings,
            transport=StreamingASGITransport(self.app, link=link),
            download_transport=StreamingASGITransport(self.app, link=link),
            resolver=self.names,
            paths_allowed=paths_allowed,
            offload=offload,
        )

    async def with_history(self) -> "Stack":
        """A state that was begun long ago, so that its guard needs no look at the service's list."""
        async with self.runtime():
            pass
        self.wall.skew += 2 * 24 * 3600
        return self

    @asynccontextmanager
    async def client(
        self, *, mode: str = LEGACY, name: str | None = None, runtime: Runtime | None = None, **more: Any
    ) -> AsyncGenerator[Client]:
        """An MCP client and its own server process, as over stdio: JSON-RPC both ways, at one protocol revision."""
        server = build_server(runtime or self.runtime(**more))
        info = Implementation(name=name, version="1") if name else None
        async with Client(piped(server), mode=mode, client_info=info) as client:
            yield client


def fields(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return result.structured_content


def text(result: CallToolResult) -> str:
    block = result.content[0]
    assert block.type == "text"
    return block.text


def error(result: CallToolResult) -> dict[str, Any]:
    assert result.is_error, text(result)
    return fields(result)["error"]
