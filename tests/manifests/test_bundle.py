"""The bundle, unpacked somewhere else and started as Claude Desktop starts it: a video of the embedded sandbox."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from manifests import bundle, trial


def unpacked(folder: Path, *, locked: bool) -> Path:
    staged, target = folder / "staged", folder / "extension with a space"
    bundle.stage(staged)
    if locked:
        bundle.lock(staged)
    bundle.pack(staged, folder / "avm-mcp.mcpb")
    with zipfile.ZipFile(folder / "avm-mcp.mcpb") as downloader:
        downloader.extractall(target)
    return target


@pytest.mark.process
async def test_the_unpacked_bundle_makes_a_video_with_the_libraries_of_the_tests(tmp_path):
    """All but uv: what stands after `python` is run by the interpreter of the tests, in the folder that uv gets."""
    extension = unpacked(tmp_path, locked=False)
    written = trial.of_bundle(extension, tmp_path)
    start = written.args.index("start.py")
    parameters = written.model_copy(
        update={"command": sys.executable, "args": written.args[start:], "cwd": extension},
    )
    video = await trial.make_video(parameters, trial.tools_of(extension))
    assert video.parent == tmp_path


@pytest.mark.process
@pytest.mark.hosts
@pytest.mark.skipif(
    os.environ.get("AVM_HOSTS") != "1", reason="needs uv and PyPI: AVM_HOSTS=1 says that they are there"
)
async def test_the_unpacked_bundle_makes_a_video_in_its_own_environment(tmp_path):
    """As Claude Desktop does it: uv installs what the lock says and starts the server."""
    extension = unpacked(tmp_path, locked=True)
    written = trial.of_bundle(extension, tmp_path)
    assert written.command == "uv"
    await trial.make_video(written.model_copy(update={"command": bundle.uv()}), trial.tools_of(extension))
    assert (extension / ".venv").is_dir()
