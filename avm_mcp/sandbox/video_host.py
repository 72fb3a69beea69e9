"""The place videos are fetched from: no key, gone 24 hours after `completedAt`; signed only where links are.

With the extra `sandbox` a video is drawn at its first request, in a worker thread, and kept by the hash of its
order. Without it, or with `render=False`, one of three bundled clips of five seconds is served, whatever length
was asked for.
"""

import functools
import hashlib
import importlib.util
import re
from collections import OrderedDict
from collections.abc import Mapping
from importlib import resources

import anyio
import anyio.to_thread

from avm_mcp.sandbox.answers import Answer, http_date, not_found
from avm_mcp.sandbox.ledger import Task
from avm_mcp.sandbox.options import SandboxOptions
from avm_mcp.sandbox.orders import VideoOrder, order_of
from avm_mcp.sandbox.state import Sandbox

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_KEPT_VIDEOS = 32
_EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"  # as of S3


@functools.cache
def can_render() -> bool:
    """Whether PyAV and Pillow are installed; neither is imported for the answer."""
    return all(importlib.util.find_spec(name) is not None for name in ("av", "PIL"))


@functools.cache
def clip(shape: str) -> bytes:
    """A bundled video: wide, vertical or square."""
    return (resources.files("avm_mcp.sandbox") / "clips" / f"{shape}.mp4").read_bytes()


class VideoHost:
    """Videos of one sandbox, by file name."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._videos: OrderedDict[str, bytes] = OrderedDict()
        self._drawing = anyio.Lock()

    async def serve(self, name: str, query: str, headers: Mapping[str, str], at: float) -> Answer:
        """The video, a part of it, 404 before it is made and after it has died, 403 where its link has run out."""
        task = self._sandbox.files.get(name)
        if task is None or task.status(at) != "COMPLETED" or at >= task.ends_at + self._sandbox.options.file_seconds:
            return not_found()
        if not self._sandbox.signed(name, query, at):
            return Answer(403, _EXPIRED, content_type="application/xml")
        options = self._sandbox.options
        return _part(_filled(await self.video(task), options.video_bytes), headers, task, options)

    async def video(self, task: Task) -> bytes:
        """The bytes of a task's video."""
        options = self._sandbox.options
        order = order_of(task, options.video_scale)
        if not (options.render and can_render()):
            return clip(order.shape)
        async with self._drawing:
            if order.digest not in self._videos:
                self._videos[order.digest] = await anyio.to_thread.run_sync(_render, order)
            self._videos.move_to_end(order.digest)
            while len(self._videos) > _KEPT_VIDEOS:
                self._videos.popitem(last=False)
            return self._videos[order.digest]


def _filled(video: bytes, size: int) -> bytes:
    """The video, with a `free` box at its end where it is too short."""
    lacking = size - len(video)
    return video if lacking <= 0 else video + max(8, lacking).to_bytes(4) + b"free" + bytes(max(0, lacking - 8))


def _render(order: VideoOrder) -> bytes:
    from avm_mcp.sandbox.videos import render

    return render(order)


def _part(video: bytes, headers: Mapping[str, str], task: Task, options: SandboxOptions) -> Answer:
    etag = f'"{hashlib.sha256(video).hexdigest()[:32]}"'
    common = {"accept-ranges": "bytes"} if options.file_ranges else {}
    if options.file_validators:
        common |= {"etag": etag, "last-modified": http_date(task.ends_at)}
    asked = _RANGE.fullmatch(headers.get("range", "").strip()) if options.file_ranges else None
    if asked is None or asked.group(0) == "bytes=-" or headers.get("if-range", etag) != etag:
        return Answer(200, video, common, "video/mp4")
    first, last = asked.groups()
    start = int(first) if first else max(0, len(video) - int(last))
    end = min(int(last), len(video) - 1) if first and last else len(video) - 1
    if start >= len(video) or end < start:
        return Answer(416, b"", common | {"content-range": f"bytes */{len(video)}"}, "text/plain")
    spot = common | {"content-range": f"bytes {start}-{end}/{len(video)}"}
    return Answer(206, video[start : end + 1], spot, "video/mp4")
