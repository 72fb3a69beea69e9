"""The folders that pictures are read from if the user names none."""

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

# Folders of systems and programs. Hosts start servers there, and users keep no pictures there.
_SYSTEM = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "snap", "sys", "usr", "var"}
    | {"applications", "library", "system", "program_files", "programdata", "windows"}
)
_PROGRAM_PARTS = frozenset({"site-packages", "dist-packages", "node_modules", "appdata", "system32", "__pycache__"})


def default_input_folders(home: Path | None, cwd: Path | None) -> list[Path]:
    """Return the user's Pictures, Downloads, Desktop and Videos, and the working folder if somebody works in it.

    Only existing folders are returned, and never the home folder or one above it, which some systems report as the
    desktop if there is none.
    """
    candidates: list[Path] = []
    if home is not None:
        candidates += [path for path in _system_folders() if path.is_relative_to(home)]
        candidates += [home / name for name in _USUAL_NAMES]
    if cwd is not None and _is_workplace(cwd):
        candidates.append(cwd)
    folders: list[Path] = []
    for path in candidates:
        if _exists(path) and not _holds_home(path, home) and not any(_same(path, folder) for folder in folders):
            folders.append(path)
    return folders


def _system_folders() -> list[Path]:
    """Return the folders that the system reports, which may be renamed, translated or redirected."""
    found: list[Path] = []
    for ask in _USER_FOLDERS:
        try:
            found.append(Path(ask()))
        except (OSError, RuntimeError, ValueError, KeyError):  # no home folder, or no such entry in the registry
            continue
    return found


def _is_workplace(cwd: Path) -> bool:
    """Return whether somebody works in this folder; False if a host merely started the server there."""
    if not cwd.is_absolute() or cwd.parent == cwd:
        return False
    parts = [part.lower() for part in cwd.parts[1:]]
    top = parts[0].replace(" (x86)", "").replace(" ", "_")
    if top in _SYSTEM or (len(parts) == 1 and top in ("tmp", "home", "users", "mnt", "media", "private", "volumes")):
        return False
    if top == "mnt" and len(parts) <= (4 if "users" in parts else 2):  # a Windows drive, or a home folder on it
        return False
    return not any(part.startswith(".") or part.endswith(".app") or part in _PROGRAM_PARTS for part in parts)


def _exists(path: Path) -> bool:
    try:
        str(path).encode()  # a name that is not valid text cannot be part of an answer
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
