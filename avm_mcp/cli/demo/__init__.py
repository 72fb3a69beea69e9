"""`avm demo`: the main job with no key, on real parts: a sandbox, the server a host would start, the official client.

The sandbox and `avm-mcp` are processes of their own; this one plays the host. Only the time is not real: the
sandbox runs many times faster than the service, and the demo says so.
"""

import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import anyio

from avm_mcp.cli import exits
from avm_mcp.cli.demo.scenes import SCENES, Take, play
from avm_mcp.cli.demo.stage import SPEED, DemoFailed, stage
from avm_mcp.cli.demo.videos import probe
from avm_mcp.cli.signals import Stopped, stopping, unless_stopped
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import Internal
from avm_mcp.domain.next_steps import Action

LONGEST = 180.0
"""Seconds after which the demo is taken to have failed."""

HEADS = ("tool", "task", "status", "credits", "seconds", "download")


def run(out: Path | None, *, keep: bool, terminal: Terminal) -> int:
    """Play the demo and return the exit code."""
    folder = out or Path("avm-demo").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _report_failure(f"{folder} cannot be written ({error.strerror}); --out FOLDER takes another.", terminal)
    try:
        with _scratch_folder(keep=keep, terminal=terminal) as temporary:
            return anyio.run(_play, folder, temporary, terminal)
    except (DemoFailed, OSError, ExceptionGroup) as failure:
        return _report_failure(str(exits.leaf(failure)), terminal)


@contextmanager
def _scratch_folder(*, keep: bool, terminal: Terminal) -> Generator[Path]:
    """Give a folder for state and logs, which is gone afterwards unless it should be kept."""
    folder = Path(tempfile.mkdtemp(prefix="avm-demo-"))
    try:
        yield folder
    finally:
        if keep:
            terminal.note(f"State and logs of the demo: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _play(folder: Path, temporary: Path, terminal: Terminal) -> int:
    begun = anyio.current_time()
    stop = anyio.Event()

    async def whole() -> list[Take]:
        with anyio.fail_after(LONGEST):
            async with stage(folder, temporary) as (client, picture, url):
                listed = (await client.list_tools()).tools
                _print_line(terminal, f"Sandbox at {url}, {SPEED:g} times as fast as the service; no key, no money.")
                if not (find_spec("av") and find_spec("PIL")):
                    _print_line(
                        terminal, "Its videos are bundled clips: pip install 'avm-mcp[sandbox]' lets it draw them."
                    )
                _print_line(
                    terminal, f"avm-mcp over stdio: {len(listed)} tools: {', '.join(tool.name for tool in listed)}.\n"
                )
                return await play(client, picture, terminal)

    async with stopping(stop):
        try:
            takes = await unless_stopped(stop, whole)
        except Stopped:
            terminal.interrupted()
            return exits.INTERRUPTED
        except TimeoutError:
            raise DemoFailed(f"the demo did not end within {LONGEST:g} seconds") from None
    return _print_takes(takes, anyio.current_time() - begun, terminal)


def _print_takes(takes: list[Take], seconds: float, terminal: Terminal) -> int:
    videos = [probe(take.file) for take in takes]
    rows = [
        (t.tool, t.task_id, t.status, str(t.credits), str(t.seconds), video)
        for t, video in zip(takes, videos, strict=True)
    ]
    lines = _table([HEADS, *rows], [str(take.file or "no file") for take in takes])
    lines += ["", f"{len(takes)} videos in {seconds:.0f} seconds. {_next()}"]
    terminal.result(
        lambda: "\n".join(lines),
        lambda: {
            "tasks": [take.fields() | {"download": video} for take, video in zip(takes, videos, strict=True)],
            "seconds": round(seconds, 1),
        },
    )
    whole = len(takes) == len(SCENES) and all(take.file is not None and take.status == "COMPLETED" for take in takes)
    return exits.OK if whole else exits.NO_VIDEO


def _table(rows: list[tuple[str, ...]], paths: list[str]) -> list[str]:
    """Return columns as wide as they need; paths stand last and whole, so that they can be copied."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [f"{line}  {path}" for line, path in zip(shown, ["file", *paths], strict=True)]


def _next() -> str:
    """Return what to do after the demo; the program by its path where typing its name would not find this one."""
    beside = Path(sys.executable).with_name("avm.exe" if sys.platform == "win32" else "avm")
    found = shutil.which("avm")
    avm = str(beside) if beside.exists() and (found is None or not beside.samefile(found)) else "avm"
    return (
        f"Next: {avm} setup lists your hosts; {avm} setup claude-desktop --sandbox is a free try in one of them."
        " For real videos get a key at https://aivideomaker.ai, set AVM_API_KEY, and run it again without --sandbox."
    )


def _print_line(terminal: Terminal, text: str) -> None:
    if terminal.json:
        terminal.note(text)
    else:
        terminal.say(text)


def _report_failure(why: str, terminal: Terminal) -> int:
    terminal.refuse(
        Internal(f"The demo failed: {why}", charged="no", next_step=Action.REPORT_BUG()), f"avm demo: {why}"
    )
    return exits.INTERNAL
