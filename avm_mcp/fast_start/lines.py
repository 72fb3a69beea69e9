"""The client's lines, examined before the SDK reads them: it gets what it takes, and the rest is answered here."""

import contextlib
import io
from collections.abc import Callable
from typing import Any

from avm_mcp.fast_start.messages import Examined, examined, too_long

CHUNK = 1 << 16

MAX_LINE = 1 << 25
"""Bytes of a line. A picture of 10 MB in base64 is 14 MB; a longer line is refused, and not kept in memory."""

_ENDS = 1 << 12
"""Bytes of each end of a line too long that are kept, for its id."""


class Lines(io.RawIOBase):
    """A file of the messages that the SDK takes, each a line.

    Args:
        read: Returns the client's bytes, at most so many; empty at the end.
        answer: Writes whole lines to the client.
    """

    def __init__(self, read: Callable[[int], bytes], answer: Callable[[bytes], None]) -> None:
        self._read = read
        self._answer = answer
        self._head = b""  # of a line too long
        self._begun = bytearray()
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
            self._begun += piece
            self._line()
        self._begun += begun
        if self._ended:
            self._line()  # a last line without an end is a line
        elif len(self._begun) > MAX_LINE:
            self._head = self._head or bytes(self._begun[:_ENDS])
            del self._begun[:-_ENDS]

    def _line(self) -> None:
        line, self._begun = bytes(self._begun), bytearray()
        if self._head:
            found, self._head = too_long(self._head, line[-_ENDS:], MAX_LINE), b""
        else:
            found = examined(line)
        for message in found.messages:
            self._ready += message.encode() + b"\n"
        for refusal in found.refusals:
            with contextlib.suppress(OSError):  # nobody reads any more: the SDK finds that out too
                self._answer(refusal.encode() + b"\n")
        if found.why:
            _log(found, len(line))


def _log(found: Examined, size: int) -> None:
    """Say what was done, and not what stood there: that is the user's."""
    import logging

    for why in found.why:
        logging.getLogger(__name__).warning("A line of %d bytes on stdin: %s", size, why)
