"""The folders that hold where a setting names none, and those that it names."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs

NO_HOME = Path(os.path.abspath(os.sep), "nonexistent", "avm-mcp")  # noqa: PTH100 - the root, on any system
"""Stands for a folder of a user who has no home. It does not exist, so whoever needs the folder is told."""


def default_state_dir() -> Path:
    """Return the system's folder for the state of programs."""
    try:
        return platformdirs.user_state_path("avm-mcp")
    except RuntimeError:  # no HOME, and the system does not know this user: a container under any number
        return NO_HOME


def default_output_dir() -> Path:
    """Return the user's folder for videos."""
    try:
        path = platformdirs.user_videos_path()
    except RuntimeError:
        return NO_HOME
    return path if _is_text(path) else NO_HOME


def _is_text(path: Path) -> bool:
    """Return whether a path is text. Answers and the store cannot hold a path with other bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def expand(path: Path) -> Path:
    """Return an absolute path, with `~` replaced.

    Raises:
        ValueError: It cannot be a folder here; the message says what is allowed.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"a folder without ~, since there is no home folder ({error})") from None
    if not path.is_absolute():
        raise ValueError("an absolute folder")
    if not _is_text(path):
        raise ValueError("a folder whose name is text in UTF-8")
    return path


def shared_folders(state: Path) -> tuple[Path, ...]:
    """Return folders in which processes can share a state while the folder `state` cannot be written."""
    mark = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    bases = [os.environ.get("XDG_RUNTIME_DIR", "")]
    with contextlib.suppress(OSError):  # no temporary folder can be written
        bases.append(tempfile.gettempdir())
    return tuple(Path(base, f"avm-mcp-{user}-{mark}") for base in bases if Path(base).is_absolute())
