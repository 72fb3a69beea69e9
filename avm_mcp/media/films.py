"""Films out: downloaded, checked and in place before their link dies (P3).

The film arrives in a temporary file beside its place, is measured and synced, and only then gets its name. A cut is
continued where it was, in this call, the next one or another process. What came whole and still is half a film is
fetched again from its first byte. Disk writes are small and on the loop: no worker threads.
"""

import contextlib
import errno
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2

from avm_mcp.media.failures import FilmCut, FilmError, FilmGone, FilmRefused, FilmUnavailable, FilmUnwritable
from avm_mcp.media.hops import Resolver, Web, check_status, look_up
from avm_mcp.media.partials import FTYP_END, Partial, film_present, is_film

MAX_FILM_BYTES = 2_000_000_000
WRITE_BYTES = 256 * 1024
CONTINUATIONS = 4
LOCK_WAIT_SECONDS = 900.0

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


@dataclass(frozen=True)
class SavedFilm:
    """A film in its place, whole and on the disk."""

    path: Path
    size: int


async def save_film(
    url: str,
    *,
    folder: Path,
    name: str,
    http: httpx2.AsyncClient,
    base_url: str,
    max_bytes: int = MAX_FILM_BYTES,
    take_cut: bool = False,
    on_bytes: Callable[[int, int | None], None] | None = None,
    resolver: Resolver = look_up,
) -> SavedFilm:
    """Download a film into a folder, continuing what an earlier call or process left.

    Called twice for one film, also by two processes at once, it saves one file: the second waits for the first.
    A different file of the same name is never replaced; the film then gets a number.

    Args:
        url: The film's address.
        folder: Where to save it; made if missing.
        name: The file's name, from `film_name`.
        http: Lends its connections and time-outs; HTTP/1.1.
        base_url: The API's address; its origin alone may be a private one.
        max_bytes: Larger films are refused.
        take_cut: A film that looks cut is saved too, if it comes twice the same or no more; else it is `FilmCut`.
        on_bytes: Told the bytes so far, and the total where it is known, after every piece.
        resolver: Looks names up.

    Raises:
        FilmError: One of its four kinds.
    """
    if not name or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise ValueError(f"not the name of a file: {name!r}")
    part, waited = await _hold(folder, name)
    try:
        if waited and (path := part.existing(None)) is not None:
            part.discard()
            return SavedFilm(path, path.stat().st_size)
        web = Web(http, base_url, resolver)
        try:
            return await _Download(part, folder, web, max_bytes, take_cut, on_bytes).run(url)
        except FilmGone:
            path = part.existing(None)
            if path is None and part.complete:  # it looked cut, and there may be no more of it
                if not take_cut:
                    raise
                with _writing(folder):
                    path = part.place()
            part.discard()
            if path is None:
                raise
            return SavedFilm(path, path.stat().st_size)
        except (FilmRefused, FilmUnwritable):
            part.discard()
            raise
    finally:
        with contextlib.suppress(OSError):  # what cannot be kept is downloaded again
            part.keep()


async def _hold(folder: Path, name: str) -> tuple[Partial, bool]:
    """Wait until nobody else downloads this film; tell whether somebody did."""
    waited = False
    deadline = anyio.current_time() + LOCK_WAIT_SECONDS
    _make(folder)
    while True:
        with _writing(folder):
            part = Partial.hold(folder, name)
        if part is not None:
            return part, waited
        if anyio.current_time() >= deadline:
            raise FilmUnavailable("Another process has been downloading this film for too long.")
        waited = True
        await anyio.sleep(0.5)


def _make(folder: Path) -> None:
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _writing(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        reason = _DISK.get(error.errno or 0) or error.strerror or "the system refuses"
        raise FilmUnwritable(f"The film cannot be saved in {folder}: {reason}.") from error


@dataclass
class _Download:
    """One film on its way into its temporary file."""

    part: Partial
    folder: Path
    web: Web
    max_bytes: int
    take_cut: bool
    on_bytes: Callable[[int, int | None], None] | None
    afresh: bool = False  # what is here is all that was announced, and not all of a film
    seen: set[bytes] = field(default_factory=set[bytes])  # digests of such

    async def run(self, url: str) -> SavedFilm:
        if self.part.complete and self.part.missing():
            self._again()
        reason = "it never began"
        for attempt in range(1 + CONTINUATIONS):
            await anyio.sleep(attempt)
            try:
                saved = None if self.part.complete and not self.afresh else await self._fetch(url)
            except _Cut as cut:
                reason = str(cut)
                continue
            if saved is not None:
                return SavedFilm(saved, saved.stat().st_size)
            if (missing := self.part.missing()) is not None and not self._again():
                if not self.take_cut:
                    raise FilmCut(f"The film looks cut at the service: {missing}.")
                continue
            size = self.part.size
            with _writing(self.folder):
                return SavedFilm(self.part.place(), size)
        raise FilmUnavailable(f"The download broke off: {reason}.")

    def _again(self) -> bool:
        """Take note of a film that looks cut, to be fetched again from its first byte; return whether to accept it."""
        digest = self.part.digest()
        if digest in self.seen and self.take_cut:
            return True
        self.seen.add(digest)
        self.afresh = True
        return False

    async def _fetch(self, url: str) -> Path | None:
        """Bring what is missing; return the film's path if it turns out to be in place already."""
        headers = {"Accept": "video/mp4, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "avm-mcp"}
        if self.afresh:
            headers |= {"Cache-Control": "no-cache"}  # whoever keeps half of it on the way is passed by
        elif self.part.validator is not None and self.part.size:
            headers |= {"Range": f"bytes={self.part.size}-", "If-Range": self.part.validator}
        async with self.web.answer(url, headers) as response:
            with _writing(self.folder):
                total = self._begin(response)
            if total is not None and total > self.max_bytes:
                raise FilmRefused(f"The film has {total:,} bytes, more than the {self.max_bytes:,} allowed.")
            if total is not None and (path := self.part.existing(total)) is not None:
                self.part.discard()
                return path
            await self._receive(response, total)
        return None

    def _begin(self, response: httpx2.Response) -> int | None:
        """Judge the status, set the temporary file to where the answer starts, return the film's whole size."""
        status, part = response.status_code, self.part
        if status in (206, 416) and part.size:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if status == 206 and found and int(found[1]) == part.size and _agree(found[3], part.total):
                if part.total is None and found[3] != "*":
                    part.total = int(found[3])
                return part.total
            part.restart(None, None)
            raise _Cut("the server does not continue it")
        check_status(response)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FilmRefused("The server sends the film compressed, although it was asked not to.", retryable=True)
        length = response.headers.get("content-length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
        part.restart(_validator(response), total)
        self.afresh = False
        return total

    async def _receive(self, response: httpx2.Response, total: int | None) -> None:
        part = self.part
        try:
            async with contextlib.aclosing(response.aiter_bytes()) as chunks:  # not encoded: `_begin` saw to it
                async for chunk in chunks:
                    for start in range(0, len(chunk), WRITE_BYTES):
                        self._take(chunk[start : start + WRITE_BYTES], total)
                        await anyio.lowlevel.checkpoint()
        except httpx2.TransportError as error:
            raise _Cut(type(error).__name__) from error
        if total is not None and part.size < total:
            raise _Cut(f"{part.size:,} of {total:,} bytes came")
        if part.size < FTYP_END:
            raise FilmRefused("What the link leads to is not an MP4 film: it is empty.", retryable=True)

    def _take(self, piece: bytes, total: int | None) -> None:
        before = self.part.size
        with _writing(self.folder):
            self.part.append(piece)
            start = self.part.start() if before < FTYP_END <= self.part.size else None
        if start is not None and not is_film(start):
            raise FilmRefused("What the link leads to is not an MP4 film.", retryable=True)
        if self.part.size > self.max_bytes:
            raise FilmRefused(f"The film has more than the {self.max_bytes:,} bytes allowed.")
        if total is not None and self.part.size > total:
            raise FilmRefused(f"The server sent more than the {total:,} bytes it announced.", retryable=True)
        if self.on_bytes is not None:
            self.on_bytes(self.part.size, total)


def _agree(told: str, known: int | None) -> bool:
    return told == "*" or known is None or int(told) == known


def _validator(response: httpx2.Response) -> str | None:
    """Return what a continuation can be tied to: a strong ETag, else the date of the last change."""
    etag = response.headers.get("etag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,300}"', etag):
        return etag
    changed = response.headers.get("last-modified", "")
    return changed if re.fullmatch(r"[A-Za-z0-9,: +-]{10,60}", changed) else None


__all__ = [
    "MAX_FILM_BYTES",
    "FilmError",
    "FilmGone",
    "FilmRefused",
    "FilmUnavailable",
    "FilmUnwritable",
    "Resolver",
    "SavedFilm",
    "film_present",
    "save_film",
]
