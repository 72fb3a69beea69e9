"""A Unix socket to listen on that only its owner can use."""

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Generator
from pathlib import Path

from avm_mcp.domain.errors import BadSetting


@contextlib.contextmanager
def bind(path: Path) -> Generator[socket.socket]:
    """Return a bound socket at a path, mode 0600; its file goes when the block is left.

    A socket that nobody listens on any more is replaced.

    Raises:
        BadSetting: It cannot be bound, or something else is there.
    """
    if sys.platform == "win32":
        raise _unusable(path, "Windows has none here; use --port with AVM_HTTP_TOKEN")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o177)  # only its owner can use it from the start
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        made = path.lstat()
    except OSError as error:
        listener.close()
        raise _unusable(path, error.strerror or str(error)) from None
    try:
        with listener:
            yield listener
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.lstat(), made):
                path.unlink()


def _clear(path: Path) -> None:
    """Remove a socket that was left by a process which has ended."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(0, "something else is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(0, "another process listens there")


def _unusable(path: Path, why: str) -> BadSetting:
    return BadSetting(f"--socket {path} cannot be used: {why}.", field="--socket")
