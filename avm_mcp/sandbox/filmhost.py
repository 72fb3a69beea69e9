"""The place films are fetched from: no key, gone 24 hours after `completedAt`; a signature only where links are signed.

With the extra `sandbox` a film is drawn at its first request, in a worker thread, and kept by the hash of its
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
from avm_mcp.sandbox.orders import FilmOrder, order_of
from avm_mcp.sandbox.state import Sandbox

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_KEPT_FILMS = 32
_EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"  # as of S3


@functools.cache
def can_render() -> bool:
    """Whether PyAV and Pillow are installed; neither is imported for the answer."""
    return all(importlib.util.find_spec(name) is not None for name in ("av", "PIL"))


@functools.cache
def clip(shape: str) -> bytes:
    """A bundled film: wide, vertical or square."""
    return (resources.files("avm_mcp.sandbox") / "clips" / f"{shape}.mp4").read_bytes()


class FilmHost:
    """Films of one sandbox, by file name."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._films: OrderedDict[str, bytes] = OrderedDict()
        self._drawing = anyio.Lock()

    async def serve(self, name: str, query: str, headers: Mapping[str, str], at: float) -> Answer:
        """The film, a part of it, 404 before it is made and after it has died, 403 where its link has run out."""
        task = self._sandbox.files.get(name)
        if task is None or task.status(at) != "COMPLETED" or at >= task.ends_at + self._sandbox.options.file_seconds:
            return not_found()
        if not self._sandbox.signed(name, query, at):
            return Answer(403, _EXPIRED, content_type="application/xml")
        options = self._sandbox.options
        return _part(_filled(await self.film(task), options.film_bytes), headers, task, options)

    async def film(self, task: Task) -> bytes:
        """The bytes of a task's film."""
        options = self._sandbox.options
        order = order_of(task, options.film_scale)
        if not (options.render and can_render()):
            return clip(order.shape)
        async with self._drawing:
            if order.digest not in self._films:
                self._films[order.digest] = await anyio.to_thread.run_sync(_render, order)
            self._films.move_to_end(order.digest)
            while len(self._films) > _KEPT_FILMS:
                self._films.popitem(last=False)
            return self._films[order.digest]


def _filled(film: bytes, size: int) -> bytes:
    """The film, with a `free` box at its end where it is too short."""
    lacking = size - len(film)
    return film if lacking <= 0 else film + max(8, lacking).to_bytes(4) + b"free" + bytes(max(0, lacking - 8))


def _render(order: FilmOrder) -> bytes:
    from avm_mcp.sandbox.films import render

    return render(order)


def _part(film: bytes, headers: Mapping[str, str], task: Task, options: SandboxOptions) -> Answer:
    etag = f'"{hashlib.sha256(film).hexdigest()[:32]}"'
    common = {"accept-ranges": "bytes"} if options.file_ranges else {}
    if options.file_validators:
        common |= {"etag": etag, "last-modified": http_date(task.ends_at)}
    asked = _RANGE.fullmatch(headers.get("range", "").strip()) if options.file_ranges else None
    if asked is None or asked.group(0) == "bytes=-" or headers.get("if-range", etag) != etag:
        return Answer(200, film, common, "video/mp4")
    first, last = asked.groups()
    start = int(first) if first else max(0, len(film) - int(last))
    end = min(int(last), len(film) - 1) if first and last else len(film) - 1
    if start >= len(film) or end < start:
        return Answer(416, b"", common | {"content-range": f"bytes */{len(film)}"}, "text/plain")
    spot = common | {"content-range": f"bytes {start}-{end}/{len(film)}"}
    return Answer(206, film[start : end + 1], spot, "video/mp4")
