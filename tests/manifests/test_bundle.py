"""The bundle, unpacked somewhere else and started as Claude Desktop starts it: a video of the embedded sandbox."""

import json
import os
import sys
import zipfile
from pathlib import Path

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from manifests import bundle

FORM = {"api_key": "", "output_dir": "", "daily_credits": "1000", "notify": "false"}


def unpacked(folder: Path, *, locked: bool) -> Path:
    staged, target = folder / "staged", folder / "extension with a space"
    bundle.stage(staged)
    if locked:
        bundle.lock(staged)
    bundle.pack(staged, folder / "avm-mcp.mcpb")
    with zipfile.ZipFile(folder / "avm-mcp.mcpb") as archive:
        archive.extractall(target)
    return target


def as_written(extension: Path, output: Path) -> StdioServerParameters:
    """Return what the manifest says to start, with its variables filled in."""
    config = json.loads((extension / "manifest.json").read_text())["server"]["mcp_config"]

    def filled(text: str) -> str:
        for name, answer in (FORM | {"output_dir": str(output)}).items():
            text = text.replace(f"${{user_config.{name}}}", answer)
        return text.replace("${__dirname}", str(extension))  # nobody chose folders: that one stays as it is

    environ = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environ |= {name: filled(value) for name, value in config["env"].items()}
    environ |= {"AVM_STATE_DIR": str(output / "state"), "AVM_SANDBOX_SPEED": "200", "NO_PROXY": "127.0.0.1"}
    return StdioServerParameters(
        command=config["command"], args=[filled(one) for one in config["args"]], env=environ, cwd=output
    )


async def makes_a_video(parameters: StdioServerParameters, tools: list[str]) -> None:
    with anyio.fail_after(150):
        async with stdio_client(parameters) as streams, ClientSession(*streams) as client:
            await client.initialize()
            assert [tool.name for tool in (await client.list_tools()).tools] == tools
            result = await client.call_tool("text_to_video", {"prompt": "a red kite", "wait_seconds": 60})
    assert result.structured_content is not None
    assert result.structured_content["status"] == "COMPLETED", result.structured_content
    film = Path(result.structured_content["file"])
    assert film.read_bytes()[4:8] == b"ftyp"
    assert "sandbox" in " ".join(result.structured_content["notes"])


def tools_of(extension: Path) -> list[str]:
    return [tool["name"] for tool in json.loads((extension / "manifest.json").read_text())["tools"]]


@pytest.mark.process
async def test_the_unpacked_bundle_makes_a_video_with_the_libraries_of_the_tests(tmp_path):
    """All but uv: what stands after `python` is run by the interpreter of the tests, in the folder that uv is told."""
    extension = unpacked(tmp_path, locked=False)
    written = as_written(extension, tmp_path)
    start = written.args.index("start.py")
    parameters = written.model_copy(
        update={"command": sys.executable, "args": written.args[start:], "cwd": extension},
    )
    await makes_a_video(parameters, tools_of(extension))


@pytest.mark.process
@pytest.mark.hosts
@pytest.mark.skipif(
    os.environ.get("AVM_HOSTS") != "1", reason="needs uv and PyPI: AVM_HOSTS=1 says that they are there"
)
async def test_the_unpacked_bundle_makes_a_video_in_its_own_environment(tmp_path):
    """As Claude Desktop does it: uv installs what the lock says and starts the server."""
    extension = unpacked(tmp_path, locked=True)
    written = as_written(extension, tmp_path)
    assert written.command == "uv"
    await makes_a_video(written.model_copy(update={"command": bundle.uv()}), tools_of(extension))
    assert (extension / ".venv").is_dir()
