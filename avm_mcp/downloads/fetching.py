"""Fetches one video into its partial file: requests what is missing, continues it, and checks that it is whole.

A download may take any time as long as bytes arrive: no pause may be longer than the pool's read time-out, and no
minute may bring fewer than `LEAST_BYTES`.

A partial file is continued if the host still has the same file. With a validator (ETag or date), the host checks that
(`If-Range`). Without one, the file is the same if its length, its first bytes and the last bytes of the partial file
are the same, so these are requested again and compared. A response with the whole file replaces the partial file only
if it begins like a video: a login page in the host's place costs no byte.
"""

import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2

from avm_mcp.downloads.failures import VideoCut, VideoRefused, VideoUnavailable, writing_to
from avm_mcp.downloads.partials import SIGNATURE_BYTES, Partial, is_video
from avm_mcp.downloads.safe_http import PublicWeb, check_status

WRITE_BYTES = 256 * 1024
"""Bytes of one write; the event loop runs between two writes."""

RETRIES = 4
"""Requests after the first one in one call."""

SAMPLE = 64 * 1024
"""Bytes that are compared at each end of the partial file."""

WINDOW, LEAST_BYTES = 60.0, 6_000
"""Seconds, and the bytes that must arrive in them: at a lower rate, ten megabytes take longer than their link lives."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Interrupted(Exception):
    """The connection ended early, or the partial file cannot be continued. The request is repeated."""


@dataclass(frozen=True)
class _Range:
    """A range to request.

    Attributes:
        start: The first byte.
        expected: The bytes at its beginning, which the partial file has already.
        last: The last byte; None is the end of the file.
    """

    start: int
    expected: bytes = b""
    last: int | None = None


@dataclass
class Download:
    """Fetches one video into its partial file.

    Attributes:
        part: The partial file.
        folder: Where the video goes.
        web: Sends the requests.
        max_bytes: Larger videos are refused.
        take_cut: Whether a video that looks cut is accepted if it arrives twice the same.
        on_bytes: Called with the bytes so far, and the total if it is known.
        from_start: Whether the whole file is requested: the partial file has all announced bytes and is not whole.
        cut_digests: Digests of the videos that looked cut.
        existing: The video, if it turns out to be in place already.
    """

    part: Partial
    folder: Path
    web: PublicWeb
    max_bytes: int
    take_cut: bool
    on_bytes: Callable[[int, int | None], None] | None
    from_start: bool = False
    cut_digests: set[bytes] = field(default_factory=set[bytes])
    existing: Path | None = None

    async def fetch(self, url: str) -> Path | None:
        """Fetch what is missing until the partial file is a whole video; return the video if it is in place already.

        Raises:
            VideoError: The video cannot be fetched, or is not whole.
        """
        if self.part.complete and self.part.missing():
            self._accept_cut()
        reason = "it never began"
        for attempt in range(1 + RETRIES):
            await anyio.sleep(attempt)
            try:
                if not self.part.complete or self.from_start:
                    await self._fetch_missing(url)
            except _Interrupted as interrupted:
                reason = str(interrupted)
                continue
            if self.existing is not None:
                return self.existing
            if (missing := self.part.missing()) is None or self._accept_cut():
                return None
            if not self.take_cut:
                raise VideoCut(f"{VideoCut.LOOKS_CUT}: {missing}.")
        raise VideoUnavailable(f"The download broke off: {reason}.")

    def _accept_cut(self) -> bool:
        """Return whether to accept a video that looks cut; if not, it is fetched again from its first byte."""
        digest = self.part.digest()
        if digest in self.cut_digests and self.take_cut:
            return True
        self.cut_digests.add(digest)
        self.from_start = True
        return False

    async def _fetch_missing(self, url: str) -> None:
        for wanted in self._ranges():
            if await self._request(url, wanted):
                return

    def _ranges(self) -> Iterator[_Range | None]:
        """Yield the ranges to request, in order, until a response has the whole file; None requests all of it."""
        part = self.part
        if self.from_start or not part.size or (part.validator is None and part.total is None):
            yield None
        elif part.validator is not None:
            yield _Range(part.size)
        else:
            if part.size > SAMPLE:
                yield _Range(0, part.read(0, SAMPLE), SAMPLE - 1)
            place = max(0, part.size - SAMPLE)
            yield _Range(place, part.read(place, SAMPLE))

    async def _request(self, url: str, wanted: _Range | None) -> bool:
        """Request a range or the whole file, and store it; return whether the response was the whole file."""
        headers = {"Accept": "video/mp4, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "avm-mcp"}
        if self.from_start:
            headers |= {"Cache-Control": "no-cache"}  # a cache on the way may have half of it
        if wanted is not None:
            last = "" if wanted.last is None else str(wanted.last)
            headers |= {"Range": f"bytes={wanted.start}-{last}"}
            if self.part.validator is not None:
                headers |= {"If-Range": self.part.validator}
        async with self.web.stream(url, headers) as response:
            if wanted is not None and response.status_code in (206, 416):
                self._check_range(response, wanted)
                await self._receive_range(response, wanted)
                return False
            check_status(response)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise VideoRefused("The server sends the video compressed, which was not requested.", retryable=True)
            length = response.headers.get("content-length", "")
            total = int(length) if length.isascii() and length.isdigit() else None
            if total is not None:
                self._check_size(total)
                self.existing = self.part.existing(total)
            if self.existing is None:
                await self._receive_whole(response, total)
            return True

    def _check_range(self, response: httpx2.Response, wanted: _Range) -> None:
        """Check that the response has the requested range of the same file; otherwise empty the partial file."""
        part = self.part
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if (
            response.status_code == 206
            and found
            and int(found[1]) == wanted.start
            and wanted.last in (None, int(found[2]))
            and _same_total(found[3], part.total, required=part.validator is None)
        ):
            if part.total is None and found[3] != "*":
                part.total = int(found[3])
            if part.total is not None:
                self._check_size(part.total)
            return
        part.restart(None, None)
        raise _Interrupted("the server does not continue it")

    def _check_size(self, total: int) -> None:
        if total > self.max_bytes:
            raise VideoRefused(f"The video has {total:,} bytes, more than the {self.max_bytes:,} allowed.")

    async def _receive_whole(self, response: httpx2.Response, total: int | None) -> None:
        """Store the whole file, which replaces the partial file once it is seen to begin like a video."""
        start, begun = b"", False
        async with contextlib.aclosing(_read_body(response)) as body:
            async for data in body:
                start = b"" if begun else start + data
                if not begun and len(start) < SIGNATURE_BYTES:
                    continue
                if not begun:
                    self._replace(response, start, total)
                self._write(data if begun else start, total)
                begun = True
        if begun:
            self._check_length(total)
        elif total is not None and len(start) < total:
            raise _Interrupted(f"{len(start):,} of {total:,} bytes came")
        else:
            raise VideoRefused("The file at the link is not an MP4 video: it is empty.", retryable=True)

    async def _receive_range(self, response: httpx2.Response, wanted: _Range) -> None:
        """Compare the expected bytes, and store those after them."""
        expected = wanted.expected
        async with contextlib.aclosing(_read_body(response)) as body:
            async for data in body:
                same = min(len(expected), len(data))
                if data[:same] != expected[:same]:
                    self.part.restart(None, None)
                    raise _Interrupted("the server has a different file now")
                expected = expected[same:]
                if wanted.last is None and same < len(data):
                    self._write(data[same:], self.part.total)
        if expected:
            raise _Interrupted("the response ended before new bytes came")
        if wanted.last is None:
            self._check_length(self.part.total)

    def _check_length(self, total: int | None) -> None:
        if total is not None and self.part.size < total:
            raise _Interrupted(f"{self.part.size:,} of {total:,} bytes came")

    def _replace(self, response: httpx2.Response, start: bytes, total: int | None) -> None:
        """Empty the partial file for a response with the whole file, if that begins like a video."""
        if not is_video(start):
            raise VideoRefused("The file at the link is not an MP4 video.", retryable=True)
        with writing_to(self.folder):
            self.part.restart(_read_validator(response), total)
        self.from_start = False

    def _write(self, data: bytes, total: int | None) -> None:
        with writing_to(self.folder):
            self.part.append(data)
        size = self.part.size
        if size > self.max_bytes or (total is not None and size > total):
            self.part.restart(None, None)
            if size > self.max_bytes:
                raise VideoRefused(f"The video has more than the {self.max_bytes:,} bytes allowed.")
            raise VideoRefused(f"The server sent more than the {total:,} bytes it announced.", retryable=True)
        if self.on_bytes is not None:
            self.on_bytes(size, total)


async def _read_body(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """Yield the body in small pieces, as long as enough of it arrives."""
    since, received = anyio.current_time(), 0
    try:
        async with contextlib.aclosing(response.aiter_bytes()) as chunks:  # not encoded, as `_request` has checked
            async for chunk in chunks:
                received += len(chunk)
                if (passed := anyio.current_time() - since) >= WINDOW:
                    if received < LEAST_BYTES:
                        raise _Interrupted(f"only {received:,} bytes came in {passed:.0f} s")
                    since, received = since + passed, 0
                for place in range(0, len(chunk), WRITE_BYTES):
                    yield chunk[place : place + WRITE_BYTES]
                    await anyio.lowlevel.checkpoint()
    except httpx2.TransportError as error:
        raise _Interrupted(type(error).__name__) from error


def _same_total(announced: str, known: int | None, *, required: bool) -> bool:
    """Return whether the announced length is the known one; if one of them is missing, whether it is not required."""
    if announced == "*" or known is None:
        return not required
    return int(announced) == known


def _read_validator(response: httpx2.Response) -> str | None:
    """Return what `If-Range` takes: a strong ETag, else the date of the last change; None if there is neither."""
    etag = response.headers.get("etag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,300}"', etag):
        return etag
    changed = response.headers.get("last-modified", "")
    return changed if re.fullmatch(r"[A-Za-z0-9,: +-]{10,60}", changed) else None
