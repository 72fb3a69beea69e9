"""The whole stack on one table: a runtime over real journal and files, the sandbox, and a virtual wall clock."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.types import CallToolResult

from avm_mcp.config import Settings
from avm_mcp.sandbox import SandboxOptions, build_sandbox
from avm_mcp.server import Runtime, build_server
from tests.clock import VirtualWall
from tests.transport import Link, StreamingASGITransport

KEY = "ak_0123456789abcdef"
BASE = "http://127.0.0.1:9"


@dataclass
class House:
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
        self.state = self.folder / "state"
        self.films = self.folder / "films"
        self.pictures = self.folder / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)

    def settings(self, **more: str) -> Settings:
        environ = {
            "AVM_API_KEY": KEY,
            "AVM_BASE_URL": BASE,
            "AVM_STATE_DIR": str(self.state),
            "AVM_OUTPUT_DIR": str(self.films),
            "AVM_INPUT_DIRS": str(self.pictures),
            **self.environ,
            **more,
        }
        return Settings.from_env(environ)

    def runtime(self, *, link: Link | None = None, paths_allowed: bool = True, **more: str) -> Runtime:
        link = link or self.link
        return Runtime(
            self.settings(**more),
            now=self.wall,
            transport=StreamingASGITransport(self.app, link=link),
            film_transport=StreamingASGITransport(self.app, link=link),
            paths_allowed=paths_allowed,
        )

    @asynccontextmanager
    async def client(self, *, mode: str = "auto", **more: Any) -> AsyncGenerator[Client]:
        """An MCP client in the same process, at one protocol era."""
        async with Client(build_server(self.runtime(**more)), mode=mode) as client:
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
