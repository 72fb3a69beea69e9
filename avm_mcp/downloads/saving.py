"""Videos out: downloaded, checked and in place before their link dies (P3).

The video arrives in a temporary file beside its place, is measured and synced, and only then gets its name. A cut is
continued where it was, in this call, the next one or another process; nothing that a host answers takes away what is
held. What came whole and still is half a video is fetched again from its first byte. Disk writes are small and on the
loop: no worker threads.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2

from avm_mcp.downloads.failures import VideoError, VideoGone, VideoRefused, VideoUnavailable, VideoUnwritable
from avm_mcp.downloads.fetching import Download, writing
from avm_mcp.downloads.partials import Partial, video_present
from avm_mcp.downloads.safe_http import Resolver, Web, look_up

MAX_VIDEO_BYTES = 2_000_000_000
LOCK_WAIT_SECONDS = 900.0


@dataclass(frozen=True)
class SavedVideo:
    """A video in its place, whole and on the disk."""

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
    """Download a video into a folder, continuing what an earlier call or process left.

    Called twice for one video, also by two processes at once, it saves one file: the second waits for the first.
    A different file of the same name is never replaced; the video then gets a number.

    Args:
        url: The video's address.
        folder: Where to save it; made if missing.
        name: The file's name, from `video_name`.
        http: Lends its connections and time-outs; HTTP/1.1.
        base_url: The API's address; its origin alone may be a private one.
        max_bytes: Larger videos are refused.
        take_cut: A video that looks cut is saved too, if it comes twice the same; else it is `VideoCut`.
        take_rest: What is held of one that looks cut is saved if its host refuses the link.
        on_bytes: Told the bytes so far, and the total where it is known, after every piece.
        resolver: Looks names up.

    Raises:
        VideoError: One of its four kinds.
    """
    if not name or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise ValueError(f"not the name of a file: {name!r}")
    part, waited = await _hold(folder, name)
    try:
        if waited and (path := part.existing(None)) is not None:
            part.discard()
            return SavedVideo(path, path.stat().st_size)
        web = Web(http, base_url, resolver)
        try:
            return SavedVideo(*await Download(part, folder, web, max_bytes, take_cut, on_bytes).run(url))
        except VideoGone:
            path = part.existing(None)
            if path is None and part.complete and take_rest:
                with writing(folder):
                    path = part.place()
            if path is None:
                raise  # what is held is kept: the host may have it again in a minute
            part.discard()
            return SavedVideo(path, path.stat().st_size)
        except VideoUnwritable:
            part.discard()
            raise
    finally:
        with contextlib.suppress(OSError):  # what cannot be kept is downloaded again
            part.keep()


async def _hold(folder: Path, name: str) -> tuple[Partial, bool]:
    """Wait until nobody else downloads this video; tell whether somebody did."""
    waited = False
    deadline = anyio.current_time() + LOCK_WAIT_SECONDS
    _make(folder)
    while True:
        with writing(folder):
            part = Partial.hold(folder, name)
        if part is not None:
            return part, waited
        if anyio.current_time() >= deadline:
            raise VideoUnavailable("Another process has been downloading this video for too long.")
        waited = True
        await anyio.sleep(0.5)


def _make(folder: Path) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


__all__ = [
    "MAX_VIDEO_BYTES",
    "Resolver",
    "SavedVideo",
    "VideoError",
    "VideoGone",
    "VideoRefused",
    "VideoUnavailable",
    "VideoUnwritable",
    "save_video",
    "video_present",
]
