"""The partial file of a video: locked by one process, continued by the next, and renamed once it is whole.

    .<name>.part        the bytes so far
    .<name>.part.info   locked by the process that downloads; JSON with `validator`, `total` and `held`

The lock is the operating system's, so it ends with its process. It is on the second file because Windows does not
rename an open file. `held` counts only synced bytes, since after a power cut others may be missing. A file system
without locks (some network shares) does not keep two processes apart.
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

from avm_mcp.downloads.mp4 import find_missing

CHECKPOINT_BYTES = 16 * 1024 * 1024
"""Bytes after which the partial file is synced and `held` is written."""

SIGNATURE_BYTES = 8
"""Bytes that tell whether a file is an MP4."""

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far beyond the text, since a locked byte cannot be read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}


def is_video(start: bytes) -> bool:
    """Return whether a file is an MP4, by its first bytes."""
    return start[4:SIGNATURE_BYTES] == b"ftyp"


def video_present(path: Path, size: int | None = None) -> bool:
    """Return whether a file exists, is an MP4, and has this size if one is given."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            return (
                stat.S_ISREG(found.st_mode) and size in (None, found.st_size) and is_video(file.read(SIGNATURE_BYTES))
            )
    except (OSError, ValueError):
        return False


class Partial:
    """One video's partial file, locked. Created by `hold`; released by `keep`, `discard` or `place`.

    Attributes:
        size: Bytes written so far.
        validator: ETag or date with which the rest can be requested; None if the host sent neither.
        total: Size of the whole video, if the host sent it.
    """

    def __init__(self, folder: Path, name: str, info: BinaryIO) -> None:
        self._target = folder / name
        self._path = folder / f".{name}.part"
        self._info_path = folder / f".{name}.part.info"
        self._info = info
        self._done = False
        self._file = _open(self._path)
        try:
            self.size, self.validator, self.total = self._resume()
        except BaseException:
            self._file.close()
            raise
        self._synced = self.size

    @classmethod
    def hold(cls, folder: Path, name: str) -> "Partial | None":
        """Lock the partial file, and return it; None while another process or task has it."""
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
                # If the previous process has removed the file, this lock is on a file without a name.
                if _same_file(info, path):
                    return cls(folder, name, info)
            except BaseException:
                info.close()
                raise
            info.close()

    def _resume(self) -> tuple[int, str | None, int | None]:
        """Return size, validator and total of the bytes that are held; 0 if the record does not match the file."""
        try:
            self._info.seek(0)
            record = json.loads(self._info.read(4096))
            held, validator, total = record["held"], record["validator"], record["total"]
        except (ValueError, KeyError, TypeError):
            return self._empty()
        size = os.fstat(self._file.fileno()).st_size
        types_valid = type(held) is int and type(validator) in (str, type(None)) and type(total) in (int, type(None))
        resumable = types_valid and (validator is not None or (total is not None and held <= total))
        if not resumable or not SIGNATURE_BYTES <= held <= size or not is_video(self._file.read(SIGNATURE_BYTES)):
            return self._empty()
        self._file.truncate(held)
        self._file.seek(held)
        return held, validator, total

    def _empty(self) -> tuple[int, None, None]:
        self._info.truncate(0)
        self._file.truncate(0)
        self._file.seek(0)
        return 0, None, None

    @property
    def complete(self) -> bool:
        """Whether all announced bytes are held."""
        return self.total is not None and self.size == self.total

    def restart(self, validator: str | None, total: int | None) -> None:
        """Empty the file, for a download from the first byte."""
        self._empty()
        self.size, self.validator, self.total = 0, validator, total
        self._synced = 0

    def append(self, chunk: bytes) -> None:
        """Write a chunk at the end."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(chunk)
        if self.size - self._synced >= CHECKPOINT_BYTES:
            self._checkpoint()

    def read(self, place: int, count: int) -> bytes:
        """Return up to `count` of the held bytes."""
        self._file.seek(place)
        try:
            return self._file.read(min(count, self.size - place))
        finally:
            self._file.seek(self.size)

    def missing(self) -> str | None:
        """Return what the held bytes lack to be a whole video, in words; None if they are one."""
        try:
            return find_missing(self._file, self.size)
        finally:
            self._file.seek(self.size)

    def digest(self) -> bytes:
        """Return the SHA-256 of the held bytes."""
        digest = hashlib.sha256()
        self._file.seek(0)
        while piece := self._file.read(1 << 20):
            digest.update(piece)
        return digest.digest()  # the position is at the end again, where the next chunk goes

    def _checkpoint(self) -> None:
        """Sync the bytes, then record how many there are."""
        os.fsync(self._file.fileno())
        self._synced = self.size
        record = json.dumps({"held": self.size, "validator": self.validator, "total": self.total})
        self._info.seek(0)
        self._info.truncate(0)
        self._info.write(record.encode())

    def keep(self) -> None:
        """Release the file, for the next call to continue; remove it if nothing can be continued."""
        if self._done:
            return
        if (self.validator is None and self.total is None) or self.size < SIGNATURE_BYTES:
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
        """Release the file and remove it."""
        if self._done:
            return
        self._done = True
        self._file.close()
        _remove(self._path)
        self._remove_info()

    def existing(self, size: int | None) -> Path | None:
        """Return the video if it is in place already, with this size, under its name or a numbered one."""
        for candidate in _candidates(self._target):
            if video_present(candidate, size):
                return candidate
            if not os.path.lexists(candidate):
                return None
        return None

    def place(self) -> Path:
        """Sync the file and rename it to the video's name, or to a numbered one if another file has that."""
        self._checkpoint()
        self._file.close()
        for candidate in _candidates(self._target):
            if video_present(candidate, self.size):
                _remove(self._path)
            elif not _rename_without_replacing(self._path, candidate):
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
            _remove(self._info_path)  # while locked, so that the next process that locks it sees that it is gone
            self._info.close()


def _open(path: Path) -> BinaryIO:
    """Open or create a regular file. A link or a pipe in its place is refused."""
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


def _rename_without_replacing(part: Path, target: Path) -> bool:
    """Rename a file; return False if the target exists."""
    try:
        if sys.platform == "win32":
            part.rename(target)  # refuses to replace
            return True
        os.link(part, target)  # so does a hard link, and the name appears with the whole video
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
    """Sync the folder, so that the new name survives a power cut, on systems that can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
