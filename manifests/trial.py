"""The trial of an installed server: it lists its tools over stdio and makes a video on its own sandbox."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

TIMEOUT = 150.0
"""Seconds for a start, which may install libraries, and a video."""

FAST = {"AVM_API_KEY": "sandbox", "AVM_SANDBOX_SPEED": "200", "NO_PROXY": "127.0.0.1"}
"""Settings of a free trial that takes seconds."""


def clean(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment of a new user: nothing in it leads to this checkout."""
    dropped = ("AVM_", "AIVIDEO_", "PYTHON", "VIRTUAL_ENV", "XDG_")
    kept = {name: value for name, value in environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home)}


def is_video(path: Path) -> bool:
    """Tell whether an MP4 is there."""
    return path.is_file() and path.read_bytes()[4:8] == b"ftyp"


async def make_video(
    server: StdioServerParameters, tools: Sequence[str], there: Callable[[Path], bool] = is_video
) -> Path:
    """Start a server, read its tools, have a video made, and return its file.

    Args:
        server: How it is started.
        tools: What it has to list.
        there: Tells whether the video is where the server says, while the server still runs.

    Raises:
        AssertionError: Anything else happened; the message says what.
    """
    with anyio.fail_after(TIMEOUT):
        async with stdio_client(server) as streams, ClientSession(*streams) as client:
            await client.initialize()
            listed = [tool.name for tool in (await client.list_tools()).tools]
            assert listed == list(tools), listed
            result = await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 60})
            fields = result.structured_content or {}
            assert fields.get("status") == "COMPLETED", fields
            assert "sandbox" in " ".join(fields["notes"]), fields
            video = Path(fields["file"])
            assert there(video), video
    return video


FORM = {"api_key": "", "output_dir": "", "daily_credits": "1000", "notify": "false"}
"""The bundle's form as it is when nothing is filled in."""


def of_bundle(extension: Path, output: Path) -> StdioServerParameters:
    """Return what the manifest of an unpacked bundle says to start, with its variables filled in."""
    config = json.loads((extension / "manifest.json").read_text())["server"]["mcp_config"]

    def filled(text: str) -> str:
        for name, answer in (FORM | {"output_dir": str(output)}).items():
            text = text.replace(f"${{user_config.{name}}}", answer)
        return text.replace("${__dirname}", str(extension))  # no folders were chosen: that variable stays unfilled

    environ = clean(os.environ, output) | {name: filled(value) for name, value in config["env"].items()}
    environ |= {name: value for name, value in FAST.items() if name != "AVM_API_KEY"}
    environ["AVM_STATE_DIR"] = str(output / "state")
    return StdioServerParameters(
        command=config["command"], args=[filled(one) for one in config["args"]], env=environ, cwd=output
    )


def tools_of(extension: Path) -> list[str]:
    """Return the names of the tools that an unpacked bundle promises."""
    return [tool["name"] for tool in json.loads((extension / "manifest.json").read_text())["tools"]]
