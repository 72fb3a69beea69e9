"""The client's lines, examined before the SDK reads them: it gets what it accepts, and the rest is answered here."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from avm_mcp.fast_start.messages import Findings, examine, refuse_too_long

CHUNK = 1 << 16

MAX_LINE = 1 << 25
"""Bytes of a line. A picture of 10 MB in base64 is 14 MB. A longer line is refused and not kept in memory."""

_ENDS = 1 << 12
"""Bytes kept of each end of a line that is too long, to find its id."""


class Lines(io.RawIOBase):
    """A file of the messages that the SDK accepts, one a line.

    Args:
        read: Returns the client's bytes, at most so many; empty at the end.
        answer: Writes whole lines to the client.
    """

    def __init__(self, read: Callable[[int], bytes], answer: Callable[[bytes], None]) -> None:
        self._read = read
        self._answer = answer
        self._head = b""  # the first bytes of a line that is too long
        self._partial = bytearray()
        self._ready = bytearray()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready and not self._ended:
            self._take(self._read(CHUNK))
        data = self._ready[: len(buffer)]
        del self._ready[: len(data)]
        buffer[: len(data)] = data
        return len(data)

    def _take(self, data: bytes) -> None:
        self._ended = not data
        *whole, begun = data.split(b"\n")
        for piece in whole:
            self._partial += piece
            self._line()
        self._partial += begun
        if self._ended:
            self._line()  # a last line without an end is a line
        elif len(self._partial) > MAX_LINE:
            self._head = self._head or bytes(self._partial[:_ENDS])
            del self._partial[:-_ENDS]

    def _line(self) -> None:
        line, self._partial = bytes(self._partial), bytearray()
        if self._head:
            found, self._head = refuse_too_long(self._head, line[-_ENDS:], MAX_LINE), b""
        else:
            found = examine(line)
        for message in found.messages:
            self._ready += message.encode() + b"\n"
        for refusal in found.refusals:
            with contextlib.suppress(OSError):  # nobody reads any more; the SDK will notice too
                self._answer(refusal.encode() + b"\n")
        if found.why:
            _log(found, len(line))


def _log(found: Findings, size: int) -> None:
    """Log what was done, without the user's text."""
    import logging

    for why in found.why:
        logging.getLogger(__name__).warning("A line of %d bytes on stdin: %s", size, why)
