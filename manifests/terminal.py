"""A program in front of a real terminal: what it writes there, and when."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

Frames = list[tuple[float, str]]


def record(
    command: Sequence[str], environ: Mapping[str, str], cwd: Path, *, columns: int, rows: int, timeout: float = 120
) -> tuple[int, Frames]:
    """Run a program at a terminal of this size; return its exit code and its output, each piece with its second.

    Raises:
        TimeoutError: It was still running after `timeout` seconds, and was ended.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environ = {name: value for name, value in environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    start, pieces = time.monotonic(), []
    process = subprocess.Popen(  # noqa: S603
        command, env=environ, cwd=cwd, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    try:
        while piece := _next(ours, start + timeout):
            pieces.append((time.monotonic() - start, piece))
        code = process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    # Only whole is it text: a piece may end within a character.
    text, frames = bytearray(), []
    for at, piece in pieces:
        text += piece
        whole = text.decode(errors="ignore")
        frames.append((at, whole))
        del text[: len(whole.encode())]
    return code, frames


def _next(descriptor: int, until: float) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
    if not ready:
        raise TimeoutError("the program does not end")
    with contextlib.suppress(OSError):  # how Linux says that nobody writes there any more
        return os.read(descriptor, 65536)
    return b""
