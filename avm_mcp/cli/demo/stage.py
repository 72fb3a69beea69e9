"""The demo's processes: a sandbox, and the real `avm-mcp` on stdio, connected to it and to us."""

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import anyio
from anyio.abc import Process
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from avm_mcp.settings import Settings, child_environment

SPEED = 50.0
"""How many times faster than the service: three videos of 6 to 10 minutes each take about half a minute."""

SEED = 4
"""The sandbox's chance: with this one its three videos take about as long as usual."""

START = 30.0
"""Seconds for a process to come up on a slow machine."""

PICTURE = "picture.jpg"


class DemoFailed(Exception):
    """A part of the demo failed; the message says which and why."""


@asynccontextmanager
async def stage(out: Path, temporary: Path) -> AsyncGenerator[tuple[Client, Path, str]]:
    """Start everything; give the client, the picture on the disk, and the sandbox's URL.

    Raises:
        DemoFailed: A process does not start.
    """
    picture = temporary / "pictures" / PICTURE
    picture.parent.mkdir()
    picture.write_bytes((resources.files("avm_mcp.cli.demo") / PICTURE).read_bytes())
    with (temporary / "sandbox.log").open("w") as sandbox_log, (temporary / "avm-mcp.log").open("w") as server_log:
        async with _sandbox(sandbox_log.fileno()) as url:
            server = StdioServerParameters(
                command=sys.executable,
                args=["-m", "avm_mcp"],
                env=_environ(
                    {
                        "AVM_API_KEY": "demo",
                        "AVM_BASE_URL": url,
                        "AVM_STATE_DIR": str(temporary / "state"),
                        "AVM_OUTPUT_DIR": str(out),
                        "AVM_INPUT_DIRS": str(picture.parent),
                        "AVM_APPROVE_ABOVE": "1000",  # nobody sits at it, and no money is spent
                    }
                ),
            )
            async with Client(stdio_client(server, errlog=server_log), read_timeout_seconds=START) as client:
                yield client, picture, url


@asynccontextmanager
async def _sandbox(log: int) -> AsyncGenerator[str]:
    command = [sys.executable, "-m", "avm_mcp", "sandbox", f"--speed={SPEED:g}", f"--seed={SEED}"]
    async with await anyio.open_process(command, stderr=log, env=_environ({})) as process:
        try:
            yield await _first_line(process)
        finally:
            if process.returncode is None:
                process.terminate()


async def _first_line(process: Process) -> str:
    assert process.stdout is not None
    output = b""
    try:
        with anyio.fail_after(START):
            while b"\n" not in output:
                output += await process.stdout.receive()
    except (TimeoutError, anyio.EndOfStream):
        raise DemoFailed("the sandbox did not start; --keep keeps its log") from None
    return output.split(b"\n")[0].decode().strip()


def _environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these settings and none of the user's, least of all the key.

    Loopback needs no proxy, and nothing here may outlive the demo.
    """
    ours = child_environment(Settings.from_env(settings))
    local = ",".join(filter(None, [ours.get("NO_PROXY") or ours.get("no_proxy"), "127.0.0.1", "localhost"]))
    return {**ours, "NO_PROXY": local, "no_proxy": local}
