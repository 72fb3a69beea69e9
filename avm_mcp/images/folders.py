"""The folders pictures may be read from: what is inside them, opened so that nothing else can be, and where names are.

A path is first resolved, links and all; what it resolves to must lie in an allowed folder, with no hidden part below
it. The file is then opened part by part from that folder, following no link at all, so that a link put there in the
meantime leads nowhere.
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


class Elsewhere(Exception):
    """The path does not lead into an allowed folder; whether anything exists there is not told."""


class Hidden(Exception):
    """The path leads through a hidden file or folder."""


class Missing(Exception):
    """The path would be allowed, but nothing is there."""


class Irregular(Exception):
    """What is there is no regular file: a folder, a device, a pipe; the text names it."""


@dataclass(frozen=True)
class FileLocation:
    """A path proven to lie in an allowed folder: that folder, resolved, and the parts below it."""

    folder: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.folder.joinpath(*self.parts)


def locate(forms: Sequence[str], folders: Sequence[Path]) -> FileLocation:
    """Find the file that one of the spellings means; relative ones are looked for in each folder in turn.

    Raises:
        Elsewhere: No spelling leads into an allowed folder.
        Hidden: One does, through a hidden part.
        Missing: One would, but there is nothing.
    """
    allowed = [(folder, resolved) for folder in folders if (resolved := _resolved(folder)) is not None]
    verdict: Exception = Elsewhere()
    for form in forms:
        path = Path(form)
        for candidate in [path] if path.is_absolute() else [folder / path for folder, _ in allowed]:
            try:
                return _locate(candidate, allowed)
            except (Hidden, Missing) as error:
                verdict = verdict if isinstance(verdict, Hidden) else error
            except Elsewhere:
                pass
    raise verdict


def _locate(candidate: Path, allowed: Sequence[tuple[Path, Path]]) -> FileLocation:
    written = Path(os.path.normpath(candidate))
    ways = [written.relative_to(f).parts for pair in allowed for f in pair if written.is_relative_to(f)]
    if not ways and is_share(str(candidate)):  # to look at a share already sends the user's name to its host
        raise Elsewhere
    if _hidden(min(ways, key=len, default=())):  # before looking: whether it exists is not told
        raise Hidden
    try:
        resolved = candidate.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # absent, a loop of links, a name no file system takes
        raise _absence(candidate, allowed) from None
    below = [(folder, resolved.relative_to(folder).parts) for _, folder in allowed if resolved.is_relative_to(folder)]
    if not below:
        raise Elsewhere
    folder, parts = min(below, key=lambda way: len(way[1]))
    if _hidden(parts):
        raise Hidden
    return FileLocation(folder, parts)


def _absence(candidate: Path, allowed: Sequence[tuple[Path, Path]]) -> Exception:
    """Tell "missing" only where the file, were it there, would be allowed."""
    try:
        would_be = candidate.resolve(strict=False)
    except (OSError, RuntimeError, ValueError):
        return Elsewhere()
    return Missing() if any(would_be.is_relative_to(folder) for _, folder in allowed) else Elsewhere()


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _resolved(folder: Path) -> Path | None:
    try:
        resolved = folder.resolve(strict=True)
        return resolved if resolved.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def read_place(location: FileLocation, limit: int) -> tuple[bytes, int]:
    """Read at most `limit` + 1 bytes of a regular file; return them and its whole size.

    Raises:
        Irregular: It is no regular file, or was exchanged for something else since it was located.
        OSError: The system refuses; its message is for the caller to put in words.
    """
    before = location.path.lstat()
    if not stat.S_ISREG(before.st_mode):  # not even opened: opening a pipe or device can have effects
        raise Irregular("a folder" if stat.S_ISDIR(before.st_mode) else "not a regular file")
    descriptor = _open(location)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        after = os.fstat(file.fileno())
        if not stat.S_ISREG(after.st_mode) or (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            raise Irregular("being changed by another program")
        data = bytearray()
        while len(data) <= limit and (chunk := file.read(min(1 << 20, limit + 1 - len(data)))):
            data += chunk
        return bytes(data), max(after.st_size, len(data))


def _open(location: FileLocation) -> int:
    if os.open not in os.supports_dir_fd:  # Windows: `read_place` compares the file's identity
        return os.open(location.path, _READ_FILE)
    folder = os.open(location.folder, _ENTER)
    try:
        for part in location.parts[:-1]:
            below = os.open(part, _ENTER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(location.parts[-1], _READ_FILE, dir_fd=folder)
    finally:
        os.close(folder)


def namesakes(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return up to three files of this name in the allowed folders; a short, bounded look, never into hidden ones.

    Names are compared as people read them: case, kinds of blanks and ways to compose an accent do not count.
    """
    wanted = _reading(name)
    budget = iter(range(SEARCH_ENTRIES))
    found: list[Path] = []
    for folder in folders:
        resolved = _resolved(folder)
        if resolved is None:
            continue
        for path in _files(resolved, SEARCH_DEPTH, budget):
            if _reading(path.name) == wanted and path not in found:
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


def _reading(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
