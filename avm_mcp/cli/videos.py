"""`avm save` and `avm open`: finished videos by hand."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from avm_mcp.app import Runtime
from avm_mcp.cli import exits
from avm_mcp.cli.signals import Stopped, stopping, unless_stopped
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import AvmError
from avm_mcp.jobs.views import Found
from avm_mcp.presentation.audience import Place
from avm_mcp.presentation.task import build_task, format_task

Show = Callable[[Sequence[str]], object]


async def run(args: argparse.Namespace, runtime: Runtime, terminal: Terminal) -> int:
    """Run either command, or stop at a signal."""
    stop = anyio.Event()
    async with stopping(stop), runtime:
        try:
            if args.command == "save":
                return await unless_stopped(stop, lambda: save(args.task, args.to, runtime, terminal))
            return await unless_stopped(stop, lambda: show(args.task, runtime, terminal))
        except AvmError as error:
            terminal.refuse(error)
            return exits.of_error(error)
        except Stopped:
            terminal.interrupted()
            return exits.INTERRUPTED


async def save(task: str, folder: Path | None, runtime: Runtime, terminal: Terminal) -> int:
    """Save a video now, and print where."""
    return _print_task(await runtime.service.save(task, folder), runtime.place, terminal)


async def show(task: str, runtime: Runtime, terminal: Terminal, start: Show | None = None) -> int:
    """Save a video if it is not there, and start the player that this machine has for it."""
    found = await runtime.service.find(task)
    if found.job.download != "saved" or found.job.download_error is not None:
        found = await runtime.service.save(task)
    # The text does not say how to open the video, since it is being opened.
    code = _print_task(found, replace(runtime.place, fleeting=True), terminal)
    if found.job.file_path is not None:
        try:
            (start or _start_player)([*_player(), found.job.file_path])
        except OSError as error:
            player = "".join(f"{name}: " for name in _player())
            terminal.note(f"No player could be started ({player}{error.strerror}); the file is {found.job.file_path}")
    return code


def _print_task(found: Found, place: Place, terminal: Terminal) -> int:
    result = build_task(found, terminal.audience, place)
    terminal.result(lambda: format_task(result), result.dump)
    return exits.of_job(found.job)


def _player() -> list[str]:
    return {"darwin": ["open"], "win32": []}.get(sys.platform, ["xdg-open"])


def _start_player(command: Sequence[str]) -> None:
    if sys.platform == "win32":
        os.startfile(command[-1])  # noqa: S606 - the user asked to see this file
        return
    null = subprocess.DEVNULL
    subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)  # noqa: S603 - no shell
