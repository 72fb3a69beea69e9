"""The wire, between the thread that answers and the SDK."""

import io
import json
import os
import select
import sys
import threading
from typing import Any, BinaryIO, cast

from avm_mcp.fast_start.answers import Front, dumped
from avm_mcp.fast_start.lines import CHUNK, Lines

TIMEOUT = 10.0
"""Seconds for the SDK to answer the opening before it is shown more. It takes milliseconds, unless it is broken."""

SWITCH = 0.001
"""Seconds after which the importing thread lets the answering one run; the interpreter's own 5 ms add up."""


class Wire:
    """The client's descriptors, and who may read them: the thread first, then the SDK.

    Args:
        front: Who answers.
        source: Descriptor that the client's bytes come from.
        sink: Descriptor that answers go to.
    """

    def __init__(self, front: Front, source: int, sink: int) -> None:
        self._front = front
        self._source = source
        self._sink = sink
        self._turn = threading.Condition()
        self._answering = True  # the thread lives, and may be reading
        self._opened = False  # the SDK has answered the opening
        self._direct = False  # nothing is kept any more
        self._writing = threading.Lock()
        self._interval = sys.getswitchinterval()
        self.stdin = io.BufferedReader(Lines(self.read, self.write), CHUNK)
        self.stdout = _Outgoing(self)

    def answer(self) -> None:
        """Read and answer until the client closes, the SDK reads, or a line is the SDK's."""
        sys.setswitchinterval(SWITCH)
        try:
            while not self._front.stopped and self._round():
                pass
        except OSError:
            pass  # whoever reads or writes next meets it too
        finally:
            with self._turn:
                self._stop()
                self._answering = False
                self._turn.notify_all()

    def _round(self) -> bool:
        data = self._received(CHUNK)
        with self._turn:
            self.write(self._front.feed(data))
            return bool(data)

    def _received(self, size: int) -> bytes:
        """Return what the client sent; its pipe may have been set not to block by who shares it."""
        while True:
            try:
                return os.read(self._source, size)
            except BlockingIOError:
                select.select([self._source], [], [])

    def _stop(self) -> None:
        if not self._front.stopped:
            self._front.stop()
        sys.setswitchinterval(self._interval)

    def read(self, size: int) -> bytes:
        """Return what the SDK is to read next; empty at the end."""
        if not self._direct:
            with self._turn:
                self._stop()
                if kept := self._kept(size):
                    return kept
            self._direct = True
        return self._received(size)

    def _kept(self, size: int) -> bytes:
        """Return what the SDK reads before the descriptor: what was kept, and what the thread still reads."""
        front = self._front
        while True:
            if front.lead:
                return _cut(front.lead, size)
            if front.opening is not None and not self._opened:
                if not self._turn.wait(TIMEOUT):
                    self._opened = True
            elif front.rest:
                return _cut(front.rest, size)
            elif self._answering:
                self._turn.wait()
            else:
                return b""

    def write(self, data: bytes) -> None:
        """Write whole lines. The thread's last one is out before the SDK reads, and so before its first."""
        with self._writing:
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(self._sink, rest) :]
                except BlockingIOError:
                    select.select([], [self._sink], [])

    def had(self, line: bytes) -> bool:
        """Return whether a line of the SDK's is the answer to the opening, which the client has had."""
        opening = self._front.opening
        if opening is None or not _answer_one(line, opening):
            return False
        with self._turn:
            self._opened = True
            self._turn.notify_all()
        if line != opening:
            import logging

            logging.getLogger(__name__).warning(
                "The fast start told the client what the SDK would not have; AVM_FAST_START=off avoids it"
            )
        return True


def _cut(kept: bytearray, size: int) -> bytes:
    head = bytes(kept[:size])
    del kept[:size]
    return head


def _answer_one(line: bytes, other: bytes) -> bool:
    """Return whether two lines answer the same request."""
    if line == other:
        return True
    told, known = json.loads(line), json.loads(other)
    return "method" not in told and dumped(told.get("id")) == dumped(known["id"])


class _Outgoing(io.BufferedIOBase):
    """The SDK's lines, as a file that drops the one answer the client has had."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._begun = bytearray()
        self._passing = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._passing:
            self._wire.write(bytes(data))
            return len(data)
        self._begun += data
        while not self._passing and (end := self._begun.find(b"\n") + 1):
            line = _cut(self._begun, end)
            if self._wire.had(line):
                self._passing = True
            else:
                self._wire.write(line)
        if self._passing:
            self._wire.write(_cut(self._begun, len(self._begun)))
        return len(data)


class Stream(io.TextIOWrapper):
    """A standard stream on a descriptor that harms nobody; only its `buffer` is the wire, and only the SDK uses it."""

    def __init__(self, descriptor: int, mode: str, wire: io.BufferedIOBase) -> None:
        harmless = cast("BinaryIO", open(descriptor, mode, closefd=False))  # noqa: SIM115 - a descriptor
        super().__init__(harmless, encoding="utf-8", errors="replace", line_buffering=True)
        self._wire = cast("BinaryIO", wire)

    @property
    def buffer(self) -> BinaryIO:
        return self._wire
