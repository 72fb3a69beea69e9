"""Files in the folders that pictures may be read from: checked, opened, and searched for by name.

A path is resolved first, with its symbolic links. The result must lie in an allowed folder, with no hidden part below
it. The file is then opened part by part from that folder without following links, so that a link that is created after
the check is not followed.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.images.path_parsing import is_share

SEARCH_DEPTH, SEARCH_ENTRIES, SUGGESTIONS = 3, 2000, 3

_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_READ_FILE = _READ | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_ENTER = _READ | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)


class Outside(Exception):
    """The path does not lead into an allowed folder, whether or not the file exists."""


class Hidden(Exception):
    """The path leads through a hidden file or folder."""


class Missing(Exception):
    """The path is allowed, but there is no such file."""


class NotRegular(Exception):
    """The path is not a regular file but a folder, a device or a pipe. The text of the exception names it."""


@dataclass(frozen=True)
class AllowedFile:
    """A path that was checked to lie in an allowed folder: that folder, resolved, and the parts below it."""

    folder: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.folder.joinpath(*self.parts)


def locate(forms: Sequence[str], folders: Sequence[Path]) -> AllowedFile:
    """Return the first file that one of the forms of a path leads to. Relative paths are tried in each folder in turn.

    Raises:
        Outside: No form leads into an allowed folder.
        Hidden: A form does, through a hidden part.
        Missing: A form does, but there is no such file.
    """
    allowed = [(folder, resolved) for folder in folders if (resolved := _resolved(folder)) is not None]
    verdict: Exception = Outside()
    for form in forms:
        path = Path(form)
        for candidate in [path] if path.is_absolute() else [folder / path for folder, _ in allowed]:
            try:
                return _locate(candidate, allowed)
            except (Hidden, Missing) as error:
                verdict = verdict if isinstance(verdict, Hidden) else error
            except Outside:
                pass
    raise verdict


def _locate(candidate: Path, allowed: Sequence[tuple[Path, Path]]) -> AllowedFile:
    written = Path(os.path.normpath(candidate))
    written_parts = [written.relative_to(f).parts for pair in allowed for f in pair if written.is_relative_to(f)]
    if not written_parts and is_share(str(candidate)):  # resolving a share sends the user's name to its host
        raise Outside
    if _hidden(min(written_parts, key=len, default=())):  # before resolving, so as not to reveal whether it exists
        raise Hidden
    try:
        resolved = candidate.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # absent, a loop of links, a name no file system takes
        raise _error_for_absent(candidate, allowed) from None
    below = [(folder, resolved.relative_to(folder).parts) for _, folder in allowed if resolved.is_relative_to(folder)]
    if not below:
        raise Outside
    folder, parts = min(below, key=lambda pair: len(pair[1]))
    if _hidden(parts):
        raise Hidden
    return AllowedFile(folder, parts)


def _error_for_absent(candidate: Path, allowed: Sequence[tuple[Path, Path]]) -> Exception:
    """Return `Missing` only if the file, if it existed, would be allowed."""
    try:
        would_be = candidate.resolve(strict=False)
    except (OSError, RuntimeError, ValueError):
        return Outside()
    return Missing() if any(would_be.is_relative_to(folder) for _, folder in allowed) else Outside()


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _resolved(folder: Path) -> Path | None:
    try:
        resolved = folder.resolve(strict=True)
        return resolved if resolved.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def read_file(file: AllowedFile, limit: int) -> tuple[bytes, int]:
    """Read at most `limit` + 1 bytes of a regular file; return them and the file's size.

    Raises:
        NotRegular: It is not a regular file, or was replaced since it was located.
        OSError: The system does not allow it.
    """
    before = file.path.lstat()
    if not stat.S_ISREG(before.st_mode):  # opening a pipe or a device can have effects
        raise NotRegular("a folder" if stat.S_ISDIR(before.st_mode) else "not a regular file")
    descriptor = _open(file)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        after = os.fstat(stream.fileno())
        if not stat.S_ISREG(after.st_mode) or (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            raise NotRegular("being changed by another program")
        data = bytearray()
        while len(data) <= limit and (chunk := stream.read(min(1 << 20, limit + 1 - len(data)))):
            data += chunk
        return bytes(data), max(after.st_size, len(data))


def _open(file: AllowedFile) -> int:
    if os.open not in os.supports_dir_fd:  # Windows; `read_file` compares the file's identity
        return os.open(file.path, _READ_FILE)
    folder = os.open(file.folder, _ENTER)
    try:
        for part in file.parts[:-1]:
            below = os.open(part, _ENTER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(file.parts[-1], _READ_FILE, dir_fd=folder)
    finally:
        os.close(folder)


def find_by_name(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return up to `SUGGESTIONS` files of this name in the allowed folders, hidden ones excepted.

    The search is bounded by `SEARCH_DEPTH` and `SEARCH_ENTRIES`. Case, kinds of blanks and the composition of accents
    are ignored.
    """
    wanted = _comparable(name)
    budget = iter(range(SEARCH_ENTRIES))
    found: list[Path] = []
    for folder in folders:
        resolved = _resolved(folder)
        if resolved is None:
            continue
        for path in _files(resolved, SEARCH_DEPTH, budget):
            if _comparable(path.name) == wanted and path not in found:
                found.append(path)
                if len(found) == SUGGESTIONS:
                    return found
    return found


def _files(folder: Path, depth: int, budget: Iterator[int]) -> Iterator[Path]:
    below: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if next(budget, None) is None:
                    return
                if entry.name.startswith("."):
                    continue
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
    except OSError:
        return
    if depth > 1:
        for path in sorted(below):
            yield from _files(path, depth - 1, budget)


def _comparable(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
