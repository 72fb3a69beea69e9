"""The folders pictures are read from when the user names none."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

_USER_FOLDERS: tuple[Callable[[], str], ...] = (
    platformdirs.user_pictures_dir,
    platformdirs.user_downloads_dir,
    platformdirs.user_desktop_dir,
    platformdirs.user_videos_dir,
)
_USUAL_NAMES = ("Pictures", "Downloads", "Desktop", "Videos", "Movies")

# Where programs and systems live; hosts start servers there, and no user keeps pictures there.
_SYSTEM = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "snap", "sys", "usr", "var"}
    | {"applications", "library", "system", "program_files", "programdata", "windows"}
)
_PROGRAM_PARTS = frozenset({"site-packages", "dist-packages", "node_modules", "appdata", "system32", "__pycache__"})


def default_input_folders(home: Path | None, cwd: Path | None) -> list[Path]:
    """Return the user's Pictures, Downloads, Desktop and Videos, and the working folder if it is a sane one.

    Only folders that exist; never the home folder itself or one above it, which some systems report as the desktop
    when there is none.
    """
    candidates: list[Path] = []
    if home is not None:
        candidates += [path for path in _reported() if path.is_relative_to(home)]
        candidates += [home / name for name in _USUAL_NAMES]
    if cwd is not None and _is_workplace(cwd):
        candidates.append(cwd)
    folders: list[Path] = []
    for path in candidates:
        if _exists(path) and not _holds_home(path, home) and not any(_same(path, folder) for folder in folders):
            folders.append(path)
    return folders


def _reported() -> list[Path]:
    """Ask the platform, which knows renamed, translated and redirected folders."""
    found: list[Path] = []
    for ask in _USER_FOLDERS:
        try:
            found.append(Path(ask()))
        except (OSError, RuntimeError, ValueError, KeyError):  # no home, a registry without the entry
            continue
    return found


def _is_workplace(cwd: Path) -> bool:
    """Tell a folder somebody works in from one a host happened to start the server in."""
    if not cwd.is_absolute() or cwd.parent == cwd:
        return False
    parts = [part.lower() for part in cwd.parts[1:]]
    top = parts[0].replace(" (x86)", "").replace(" ", "_")
    if top in _SYSTEM or (len(parts) == 1 and top in ("tmp", "home", "users", "mnt", "media", "private", "volumes")):
        return False
    if top == "mnt" and len(parts) <= (4 if "users" in parts else 2):  # a drive of Windows, or a home there
        return False
    return not any(part.startswith(".") or part.endswith(".app") or part in _PROGRAM_PARTS for part in parts)


def _exists(path: Path) -> bool:
    try:
        str(path).encode()  # bytes that are no text cannot be told in an answer
        return path.is_absolute() and path.is_dir()
    except (OSError, ValueError):
        return False


def _holds_home(path: Path, home: Path | None) -> bool:
    if path.parent == path:
        return True
    if home is None:
        return False
    return home.is_relative_to(path) or Path(os.path.realpath(home)).is_relative_to(os.path.realpath(path))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
