"""Saves one video: fetch it into a partial file, verify it, rename it (P3).

The partial file lies in the video's folder. It is checked and synced before it gets the video's name. A broken download
is continued by this call, the next one or another process, and no response of a host empties the partial file unless it
brings another video. A video that is not whole although all announced bytes came is fetched again from its first byte.
Disk writes are small and happen on the event loop, without threads.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2

from avm_mcp.downloads.failures import VideoGone, VideoUnavailable, VideoUnwritable, writing_to
from avm_mcp.downloads.fetching import Download
from avm_mcp.downloads.partials import Partial
from avm_mcp.downloads.safe_http import PublicWeb, Resolver, look_up

MAX_VIDEO_BYTES = 2_000_000_000

LOCK_TIMEOUT = 900.0
"""Seconds to wait for another download of the same video."""


@dataclass(frozen=True)
class SavedVideo:
    """A video that is saved, synced and in place."""

    path: Path
    size: int


async def save_video(
    url: str,
    *,
    folder: Path,
    name: str,
    http: httpx2.AsyncClient,
    base_url: str,
    max_bytes: int = MAX_VIDEO_BYTES,
    take_cut: bool = False,
    take_rest: bool = False,
    on_bytes: Callable[[int, int | None], None] | None = None,
    resolver: Resolver = look_up,
) -> SavedVideo:
    """Download a video into a folder, continuing the partial file of an earlier call or process.

    Two calls for the same video, in any processes, save one file: the second waits for the first. Another file of the
    same name is never replaced; the video's name then gets a number.

    Args:
        url: The video's address.
        folder: Where to save it; created if missing.
        name: The file's name, from `video_name`.
        http: The pool, for its connections and time-outs; HTTP/1.1.
        base_url: Address of the API. Only its origin may be private.
        max_bytes: Larger videos are refused.
        take_cut: Save a video that looks cut, if it arrives twice the same. Otherwise `VideoCut` is raised.
        take_rest: Save the partial file of a video that looks cut, if the host refuses the link.
        on_bytes: Called after every write with the bytes so far, and the total if it is known.
        resolver: Resolves host names.

    Raises:
        VideoError: The video could not be saved; its classes say why.
    """
    if not name or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise ValueError(f"not the name of a file: {name!r}")
    part, waited = await _lock(folder, name)
    try:
        path = part.existing(None) if waited else None  # whoever had the lock may have saved it
        if path is None:
            web = PublicWeb(http, base_url, resolver)
            try:
                path = await Download(part, folder, web, max_bytes, take_cut, on_bytes).fetch(url)
                if path is None:
                    return _rename(part, folder)
            except VideoGone:
                path = part.existing(None)
                if path is None and part.complete and take_rest:
                    return _rename(part, folder)
                if path is None:
                    raise  # the partial file is kept: the host may have the video again in a minute
            except VideoUnwritable:
                part.discard()
                raise
        part.discard()
        return SavedVideo(path, path.stat().st_size)
    finally:
        with contextlib.suppress(OSError):  # what cannot be kept is downloaded again
            part.keep()


def _rename(part: Partial, folder: Path) -> SavedVideo:
    size = part.size
    with writing_to(folder):
        return SavedVideo(part.place(), size)


def _create(folder: Path) -> None:
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)


async def _lock(folder: Path, name: str) -> tuple[Partial, bool]:
    """Wait until no other task or process downloads this video; return whether one did."""
    waited = False
    deadline = anyio.current_time() + LOCK_TIMEOUT
    _create(folder)
    while True:
        with writing_to(folder):
            part = Partial.hold(folder, name)
        if part is not None:
            return part, waited
        if anyio.current_time() >= deadline:
            raise VideoUnavailable("Another process has been downloading this video for too long.")
        waited = True
        await anyio.sleep(0.5)
