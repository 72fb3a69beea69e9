"""A video while it arrives: a temporary file beside its place, held by one process, continued by the next.

    .<name>.part        the bytes so far
    .<name>.part.info   locked by whoever downloads; says what may be continued: validator, total, bytes on the disk

The lock is the system's own, so it ends with its process. It is on the second file because Windows does not rename a
file that is open. `held` counts only bytes that were synced: after a power cut nothing else is sure.
Where a file system has no locks (some network shares), two processes at once are not told apart.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from avm_mcp.downloads.mp4 import what_is_missing

CHECKPOINT_BYTES = 16 * 1024 * 1024
FTYP_END = 8

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the text: a locked byte cannot be read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}


def is_video(start: bytes) -> bool:
    """Tell an MP4 by its first bytes."""
    return start[4:FTYP_END] == b"ftyp"


def video_present(path: Path, size: int | None = None) -> bool:
    """Tell whether a file is there, is a video, and has this size where one is given."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            return stat.S_ISREG(found.st_mode) and size in (None, found.st_size) and is_video(file.read(FTYP_END))
    except (OSError, ValueError):
        return False


class Partial:
    """One video's temporary file, held exclusively. Made by `hold`; ended by `keep`, `discard` or `place`.

    Attributes:
        size: Bytes written so far.
        validator: The ETag or date with which the rest may be asked for; None where the host sent none.
        total: The whole video's size, where the server told it.
    """

    def __init__(self, folder: Path, name: str, info: BinaryIO) -> None:
        self._target = folder / name
        self._path = folder / f".{name}.part"
        self._info_path = folder / f".{name}.part.info"
        self._info = info
        self._done = False
        self._file = _open(self._path)
        try:
            self.size, self.validator, self.total = self._continued()
        except BaseException:
            self._file.close()
            raise
        self._synced = self.size

    @classmethod
    def hold(cls, folder: Path, name: str) -> "Partial | None":
        """Take the temporary file, or None while another process or task has it."""
        path = folder / f".{name}.part.info"
        while True:
            info = _open(path)
            try:
                _lock(info.fileno())
            except OSError as error:
                if error.errno in _BUSY:
                    info.close()
                    return None
            try:
                # The one who had it may have finished, and removed it: then this lock is on a file without a name.
                if _same_file(info, path):
                    return cls(folder, name, info)
            except BaseException:
                info.close()
                raise
            info.close()

    def _continued(self) -> tuple[int, str | None, int | None]:
        """Return what the last holder left: nothing at all unless its record and its bytes agree."""
        try:
            self._info.seek(0)
            record = json.loads(self._info.read(4096))
            held, validator, total = record["held"], record["validator"], record["total"]
        except (ValueError, KeyError, TypeError):
            return self._emptied()
        size = os.fstat(self._file.fileno()).st_size
        types_right = type(held) is int and type(validator) in (str, type(None)) and type(total) in (int, type(None))
        tied = types_right and (validator is not None or (total is not None and held <= total))
        if not tied or not FTYP_END <= held <= size or not is_video(self._file.read(FTYP_END)):
            return self._emptied()
        self._file.truncate(held)
        self._file.seek(held)
        return held, validator, total

    def _emptied(self) -> tuple[int, None, None]:
        self._info.truncate(0)
        self._file.truncate(0)
        self._file.seek(0)
        return 0, None, None

    @property
    def complete(self) -> bool:
        """Whether all bytes are here already."""
        return self.total is not None and self.size == self.total

    def restart(self, validator: str | None, total: int | None) -> None:
        """Forget what was there and begin with the first byte."""
        self._emptied()
        self.size, self.validator, self.total = 0, validator, total
        self._synced = 0

    def append(self, chunk: bytes) -> None:
        """Write a piece."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(chunk)
        if self.size - self._synced >= CHECKPOINT_BYTES:
            self._checkpoint()

    def read(self, place: int, count: int) -> bytes:
        """Return up to so many of the bytes that are here."""
        self._file.seek(place)
        try:
            return self._file.read(min(count, self.size - place))
        finally:
            self._file.seek(self.size)

    def missing(self) -> str | None:
        """Return what these bytes lack to be a whole video, in words."""

        def read_at(place: int, count: int) -> bytes:
            self._file.seek(place)
            return self._file.read(count)

        try:
            return what_is_missing(self.size, read_at)
        finally:
            self._file.seek(self.size)

    def digest(self) -> bytes:
        """Return what tells these bytes from others."""
        digest = hashlib.sha256()
        self._file.seek(0)
        while piece := self._file.read(1 << 20):
            digest.update(piece)
        return digest.digest()  # and its end is where the next piece goes

    def _checkpoint(self) -> None:
        """Put the bytes on the disk, then say so."""
        os.fsync(self._file.fileno())
        self._synced = self.size
        record = json.dumps({"held": self.size, "validator": self.validator, "total": self.total})
        self._info.seek(0)
        self._info.truncate(0)
        self._info.write(record.encode())

    def keep(self) -> None:
        """Let go of it; what can be continued stays."""
        if self._done:
            return
        if (self.validator is None and self.total is None) or self.size < FTYP_END:
            self.discard()
            return
        self._done = True
        try:
            if not self._file.closed:
                self._checkpoint()
        finally:
            self._file.close()
            self._info.close()

    def discard(self) -> None:
        """Let go of it and remove it."""
        if self._done:
            return
        self._done = True
        self._file.close()
        _remove(self._path)
        self._remove_info()

    def existing(self, size: int | None) -> Path | None:
        """Return the video if it is already in place, with this size, under its name or one with a number."""
        for candidate in _candidates(self._target):
            if video_present(candidate, size):
                return candidate
            if not os.path.lexists(candidate):
                return None
        return None

    def place(self) -> Path:
        """Put the finished video in its place, whole at once, and never over another file."""
        self._checkpoint()
        self._file.close()
        for candidate in _candidates(self._target):
            if video_present(candidate, self.size):
                _remove(self._path)
            elif not _moved(self._path, candidate):
                continue
            self._done = True
            _sync_folder(candidate.parent)
            self._remove_info()
            return candidate
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._target))

    def _remove_info(self) -> None:
        if sys.platform == "win32":
            self._info.close()
            _remove(self._info_path)
        else:
            _remove(self._info_path)  # while it is locked: who gets the lock next sees that it is gone
            self._info.close()


def _open(path: Path) -> BinaryIO:
    """Open a file of ours: no link, no pipe that somebody put in its place."""
    descriptor = os.open(path, _FLAGS | _NOT_A_LINK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return cast("BinaryIO", os.fdopen(descriptor, "r+b", buffering=0))


def _same_file(file: BinaryIO, path: Path) -> bool:
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(file.fileno())
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def _candidates(target: Path) -> Iterator[Path]:
    yield target
    for number in range(2, 100):
        yield target.with_name(f"{target.stem}-{number}{target.suffix}")


def _moved(part: Path, target: Path) -> bool:
    """Rename without replacing; False if something is there."""
    try:
        if sys.platform == "win32":
            part.rename(target)  # refuses to replace
            return True
        os.link(part, target)  # so does this, and the name appears with the whole video
    except FileExistsError:
        return False
    except OSError:
        if os.path.lexists(target):
            return False
        part.replace(target)  # a file system without hard links
        return True
    _remove(part)
    return True


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where a folder can be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
