"""One example on its way: its process, what its model saw, and a service that belongs to the test."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avm_mcp.sandbox import SandboxOptions
from tests.e2e.workspace import Workspace, output, program, whole
from tests.frameworks.examples import HERE, Change, Example
from tests.hosts.install import HOSTS, python_of
from tests.hosts.machine import Machine, node

BIN = Path(sys.executable).parent
OURS = ("Next: ", "next_step")
"""One of them stands in everything that the server says; in the words of a framework that gave up stands none."""

USUAL = 390.0
"""Seconds that a video takes at the service, as the server believes before it knows better."""


def service(video_seconds: float) -> SandboxOptions:
    """A service that takes so long for a video."""
    return SandboxOptions(speed=USUAL / video_seconds, render=False, durations={"t2v": USUAL})


@dataclass(frozen=True)
class Reply:
    """What an example that ran to its end has printed."""

    calls: list[dict[str, Any]]
    saw: list[dict[str, Any]]
    answer: str

    @property
    def video(self) -> Path:
        """The file that the model named at the end; it has to stand in the last result that it saw."""
        path = self.answer.removeprefix("Your video is ready: ")
        assert path != self.answer, self.answer
        assert path in self.saw[-1]["saw"]
        return Path(path)

    def tools(self, name: str) -> list[dict[str, Any]]:
        return [call["arguments"] for call in self.calls if call["calls"] == name]


@asynccontextmanager
async def serving(workspace: Workspace, **env: str) -> AsyncGenerator[str]:
    """`avm-mcp serve`; gives the URL of its MCP end point."""
    command = [str(BIN / "avm-mcp"), "serve", "--port", "0", "--json"]
    async with program(command, workspace.environ(**env), err=workspace.folder / "serve.err") as server:
        assert server.stdout is not None
        url = json.loads(await server.stdout.receive())["url"]
        Machine.wait_until_up(url)
        yield url


@asynccontextmanager
async def server_of(example: Example, workspace: Workspace, **env: str) -> AsyncGenerator[list[str]]:
    """Give the arguments of an example, and start the server that it does not start by itself."""
    if example.http:
        yield []
    else:
        async with serving(workspace, **env) as url:
            yield [url.removesuffix("/mcp")]


async def run(
    example: Example,
    workspace: Workspace,
    argv: Sequence[str] = (),
    *,
    changes: Sequence[Change] = (),
    seconds: float = 90,
    **env: str,
) -> Reply:
    """Run an example as a process of its own, and print what its model saw."""
    HOSTS.mkdir(exist_ok=True)
    # Below .hosts/, so that Node finds its packages; a copy, as a user makes one.
    with tempfile.TemporaryDirectory(dir=HOSTS, prefix="run-") as folder:
        copy = Path(folder) / example.file
        copy.write_text(example.changed(changes))
        shutil.copytree(HERE / "scripted", Path(folder) / "scripted")
        if example.tested == "node":
            interpreter = node()
        else:
            interpreter = sys.executable if example.tested is None else str(python_of(example.tested))
        environ = workspace.environ(**env) | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",  # it would call home
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        del environ["PYTHONPATH"]
        code, out, err = await output([interpreter, str(copy), *argv], environ, seconds)
    print(f"{example.title}:\n{out}")
    assert code == 0, err[-3000:]
    lines = out.strip().splitlines()
    printed = [json.loads(line) for line in lines if line.startswith(('{"calls"', '{"saw"'))]
    saw = [one | {"answered": any(word in one["saw"] for word in OURS)} for one in printed if "saw" in one]
    return Reply([one for one in printed if "calls" in one], saw, lines[-1])


def one_video_for_one_charge(workspace: Workspace) -> None:
    """Assert what is promised: one request was paid for, and its video is whole and on the disk."""
    workspace.only_whole_videos(1)
    assert workspace.posts == len(workspace.tasks) == len(workspace.charges) == 1


def is_whole(reply: Reply, workspace: Workspace) -> None:
    """Assert that the path which the model was told is the video's."""
    assert reply.video.parent == workspace.videos
    assert whole(reply.video)
