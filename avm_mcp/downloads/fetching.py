"""One video on its way into its temporary file: asked for, continued, and judged by its bytes.

How long a download takes does not matter, only that it goes on: no silence longer than the pool's read time-out, and no
minute with fewer than `LEAST_BYTES`.

What is held is continued where the host still has the same file: by its validator (`If-Range`). From a host that sends
none, it is the same file if its length, its first bytes and the last bytes that are held are the same, so these are
asked for again and compared. An answer that starts anew replaces what is held only once it is seen to be a video: a
login page that answers in the host's place costs no byte.
"""

import contextlib
import errno
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2

from avm_mcp.downloads.failures import VideoCut, VideoRefused, VideoUnavailable, VideoUnwritable
from avm_mcp.downloads.partials import FTYP_END, Partial, is_video
from avm_mcp.downloads.safe_http import Web, check_status

WRITE_BYTES = 256 * 1024
CONTINUATIONS = 4

SAMPLE = 64 * 1024
"""Bytes that are compared at each end of what is held."""

WINDOW, LEAST_BYTES = 60.0, 6_000
"""In so many seconds so many bytes must come: at less, ten megabytes take longer than their link lives."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DISK: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "this program may not write there",
    errno.EPERM: "this program may not write there",
    errno.EROFS: "it is read-only",
    errno.ENOTDIR: "it is not a folder",
    errno.EEXIST: "it is not a folder",
}


class _Cut(Exception):
    """The connection ended early, or what is held does not continue: ask again."""


@contextlib.contextmanager
def writing(folder: Path) -> Generator[None, None, None]:
    """Turn what the system says about the folder into `VideoUnwritable`."""
    try:
        yield
    except OSError as error:
        reason = _DISK.get(error.errno or 0) or error.strerror or "the system refuses"
        raise VideoUnwritable(f"The video cannot be saved in {folder}: {reason}.") from error


@dataclass(frozen=True)
class _Piece:
    """What is asked for.

    Attributes:
        start: The first byte.
        known: Bytes from there on that are held, and must come the same.
        last: The last byte; None is the end of the file.
    """

    start: int
    known: bytes = b""
    last: int | None = None


@dataclass
class Download:
    """One video on its way.

    Attributes:
        part: The temporary file.
        folder: Where it goes.
        web: How its host is asked.
        max_bytes: A larger one is refused.
        take_cut: Whether one that looks cut is accepted when it comes twice the same.
        on_bytes: Told the bytes so far, and the total where it is known.
    """

    part: Partial
    folder: Path
    web: Web
    max_bytes: int
    take_cut: bool
    on_bytes: Callable[[int, int | None], None] | None
    afresh: bool = False  # what is here is all that was announced, and not all of a video
    seen: set[bytes] = field(default_factory=set[bytes])  # digests of such
    found: Path | None = None  # it turned out to be in place already

    async def run(self, url: str) -> tuple[Path, int]:
        """Bring what is missing, put the video in its place, and return where it is, and its size.

        Raises:
            VideoError: One of its kinds.
        """
        if self.part.complete and self.part.missing():
            self._again()
        reason = "it never began"
        for attempt in range(1 + CONTINUATIONS):
            await anyio.sleep(attempt)
            try:
                if not self.part.complete or self.afresh:
                    await self._fetch(url)
            except _Cut as cut:
                reason = str(cut)
                continue
            if self.found is not None:
                self.part.discard()
                return self.found, self.found.stat().st_size
            if (missing := self.part.missing()) is not None and not self._again():
                if not self.take_cut:
                    raise VideoCut(f"{VideoCut.LOOKS_CUT}: {missing}.")
                continue
            size = self.part.size
            with writing(self.folder):
                return self.part.place(), size
        raise VideoUnavailable(f"The download broke off: {reason}.")

    def _again(self) -> bool:
        """Take note of a video that looks cut, to be fetched again from its first byte; return whether to accept it."""
        digest = self.part.digest()
        if digest in self.seen and self.take_cut:
            return True
        self.seen.add(digest)
        self.afresh = True
        return False

    async def _fetch(self, url: str) -> None:
        """Bring what is missing."""
        for piece in self._wanted():
            if await self._get(url, piece):
                return

    def _wanted(self) -> Iterator[_Piece | None]:
        """Give what to ask for, in this order, until an answer brings the whole file; None asks for all of it."""
        part = self.part
        if self.afresh or not part.size or (part.validator is None and part.total is None):
            yield None
        elif part.validator is not None:
            yield _Piece(part.size)
        else:
            if part.size > SAMPLE:
                yield _Piece(0, part.read(0, SAMPLE), SAMPLE - 1)
            place = max(0, part.size - SAMPLE)
            yield _Piece(place, part.read(place, SAMPLE))

    async def _get(self, url: str, piece: _Piece | None) -> bool:
        """Ask, and take what comes; return whether the answer was the whole file, whatever was asked for."""
        headers = {"Accept": "video/mp4, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "avm-mcp"}
        if self.afresh:
            headers |= {"Cache-Control": "no-cache"}  # whoever keeps half of it on the way is passed by
        if piece is not None:
            last = "" if piece.last is None else str(piece.last)
            headers |= {"Range": f"bytes={piece.start}-{last}"}
            if self.part.validator is not None:
                headers |= {"If-Range": self.part.validator}
        async with self.web.answer(url, headers) as response:
            if piece is not None and response.status_code in (206, 416):
                self._continues(response, piece)
                await self._receive_piece(response, piece)
                return False
            check_status(response)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise VideoRefused(
                    "The server sends the video compressed, although it was asked not to.", retryable=True
                )
            length = response.headers.get("content-length", "")
            total = int(length) if length.isascii() and length.isdigit() else None
            if total is not None:
                self._check_size(total)
                self.found = self.part.existing(total)
            if self.found is None:
                await self._receive_whole(response, total)
            return True

    def _continues(self, response: httpx2.Response, piece: _Piece) -> None:
        """Judge an answer to a question for a piece; where it is another one, begin with the first byte."""
        part = self.part
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if (
            response.status_code == 206
            and found
            and int(found[1]) == piece.start
            and piece.last in (None, int(found[2]))
            and _agree(found[3], part.total, sure=part.validator is None)
        ):
            if part.total is None and found[3] != "*":
                part.total = int(found[3])
            if part.total is not None:
                self._check_size(part.total)
            return
        part.restart(None, None)
        raise _Cut("the server does not continue it")

    def _check_size(self, total: int) -> None:
        if total > self.max_bytes:
            raise VideoRefused(f"The video has {total:,} bytes, more than the {self.max_bytes:,} allowed.")

    async def _receive_whole(self, response: httpx2.Response, total: int | None) -> None:
        """Take the whole file; what is held is replaced once this is seen to be a video."""
        start, begun = b"", False
        async with contextlib.aclosing(_flowing(response)) as flow:
            async for data in flow:
                start = b"" if begun else start + data
                if not begun and len(start) < FTYP_END:
                    continue
                if not begun:
                    self._begin(response, start, total)
                self._take(data if begun else start, total)
                begun = True
        if begun:
            self._ended(total)
        elif total is not None and len(start) < total:
            raise _Cut(f"{len(start):,} of {total:,} bytes came")
        else:
            raise VideoRefused("What the link leads to is not an MP4 video: it is empty.", retryable=True)

    async def _receive_piece(self, response: httpx2.Response, piece: _Piece) -> None:
        """Compare what is held, and add what follows."""
        known = piece.known
        async with contextlib.aclosing(_flowing(response)) as flow:
            async for data in flow:
                same = min(len(known), len(data))
                if data[:same] != known[:same]:
                    self.part.restart(None, None)
                    raise _Cut("what the server has is not what was begun")
                known = known[same:]
                if piece.last is None and same < len(data):
                    self._take(data[same:], self.part.total)
        if known:
            raise _Cut("it ended before it went on")
        if piece.last is None:
            self._ended(self.part.total)

    def _ended(self, total: int | None) -> None:
        if total is not None and self.part.size < total:
            raise _Cut(f"{self.part.size:,} of {total:,} bytes came")

    def _begin(self, response: httpx2.Response, start: bytes, total: int | None) -> None:
        """Replace what is held by an answer that starts anew, if that is a video."""
        if not is_video(start):
            raise VideoRefused("What the link leads to is not an MP4 video.", retryable=True)
        with writing(self.folder):
            self.part.restart(_validator(response), total)
        self.afresh = False

    def _take(self, piece: bytes, total: int | None) -> None:
        with writing(self.folder):
            self.part.append(piece)
        size = self.part.size
        if size > self.max_bytes or (total is not None and size > total):
            self.part.restart(None, None)
            if size > self.max_bytes:
                raise VideoRefused(f"The video has more than the {self.max_bytes:,} bytes allowed.")
            raise VideoRefused(f"The server sent more than the {total:,} bytes it announced.", retryable=True)
        if self.on_bytes is not None:
            self.on_bytes(size, total)


async def _flowing(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """Give the body in small pieces, as long as it flows."""
    since, came = anyio.current_time(), 0
    try:
        async with contextlib.aclosing(response.aiter_bytes()) as chunks:  # not encoded: `_get` saw to it
            async for chunk in chunks:
                came += len(chunk)
                if (passed := anyio.current_time() - since) >= WINDOW:
                    if came < LEAST_BYTES:
                        raise _Cut(f"only {came:,} bytes came in {passed:.0f} s")
                    since, came = since + passed, 0
                for place in range(0, len(chunk), WRITE_BYTES):
                    yield chunk[place : place + WRITE_BYTES]
                    await anyio.lowlevel.checkpoint()
    except httpx2.TransportError as error:
        raise _Cut(type(error).__name__) from error


def _agree(told: str, known: int | None, *, sure: bool) -> bool:
    """Return whether the length that is told is the one that is known; `sure` where nothing else ties the two."""
    if told == "*" or known is None:
        return not sure
    return int(told) == known


def _validator(response: httpx2.Response) -> str | None:
    """Return what a continuation can be tied to: a strong ETag, else the date of the last change."""
    etag = response.headers.get("etag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,300}"', etag):
        return etag
    changed = response.headers.get("last-modified", "")
    return changed if re.fullmatch(r"[A-Za-z0-9,: +-]{10,60}", changed) else None
