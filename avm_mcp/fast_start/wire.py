"""The wire to the client, shared by the thread that answers and the SDK."""

import io
import json
import os
import select
import sys
import threading
from typing import Any, BinaryIO, cast

from avm_mcp.fast_start.answers import Responder, dump
from avm_mcp.fast_start.lines import CHUNK, Lines

TIMEOUT = 10.0
"""Seconds for the SDK to answer the first request before it reads more. It takes milliseconds unless it is broken."""

SWITCH = 0.001
"""Seconds after which the importing thread lets the answering one run; the interpreter's default of 5 ms adds up."""


class Wire:
    """The client's descriptors. The thread reads them first, then the SDK.

    Args:
        front: Who answers.
        source: Descriptor that the client's bytes come from.
        sink: Descriptor that answers go to.
    """

    def __init__(self, responder: Responder, source: int, sink: int) -> None:
        self._responder = responder
        self._source = source
        self._sink = sink
        self._turn = threading.Condition()
        self._answering = True  # the thread lives, and may be reading
        self._opened = False  # the SDK has answered the first request
        self._direct = False  # no line is kept any more
        self._writing = threading.Lock()
        self._interval = sys.getswitchinterval()
        self.stdin = io.BufferedReader(Lines(self.read, self.write), CHUNK)
        self.stdout = _Outgoing(self)

    def answer(self) -> None:
        """Read and answer until the client closes, the SDK reads, or a line ends the fast start."""
        sys.setswitchinterval(SWITCH)
        try:
            while not self._responder.stopped and self._round():
                pass
        except OSError:
            pass  # the next read or write raises it too
        finally:
            with self._turn:
                self._stop()
                self._answering = False
                self._turn.notify_all()

    def _round(self) -> bool:
        data = self._receive(CHUNK)
        with self._turn:
            self.write(self._responder.feed(data))
            return bool(data)

    def _receive(self, size: int) -> bytes:
        """Return what the client sent. Another process that shares the pipe may have made it non-blocking."""
        while True:
            try:
                return os.read(self._source, size)
            except BlockingIOError:
                select.select([self._source], [], [])

    def _stop(self) -> None:
        if not self._responder.stopped:
            self._responder.stop()
        sys.setswitchinterval(self._interval)

    def read(self, size: int) -> bytes:
        """Return the bytes that the SDK reads next; empty at the end."""
        if not self._direct:
            with self._turn:
                self._stop()
                if kept := self._take_kept(size):
                    return kept
            self._direct = True
        return self._receive(size)

    def _take_kept(self, size: int) -> bytes:
        """Return what the SDK reads before the descriptor: the kept lines, and what the thread still reads."""
        responder = self._responder
        while True:
            if responder.lead:
                return _take(responder.lead, size)
            if responder.opening is not None and not self._opened:
                if not self._turn.wait(TIMEOUT):
                    self._opened = True
            elif responder.rest:
                return _take(responder.rest, size)
            elif self._answering:
                self._turn.wait()
            else:
                return b""

    def write(self, data: bytes) -> None:
        """Write whole lines. The thread's last line is written before the SDK reads, so before the SDK's first one."""
        with self._writing:
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(self._sink, rest) :]
                except BlockingIOError:
                    select.select([], [self._sink], [])

    def is_duplicate(self, line: bytes) -> bool:
        """Return whether a line of the SDK answers the first request, which the client has an answer to."""
        opening = self._responder.opening
        if opening is None or not _answer_same(line, opening):
            return False
        with self._turn:
            self._opened = True
            self._turn.notify_all()
        if line != opening:
            import logging

            logging.getLogger(__name__).warning(
                "The fast start gave another answer than the SDK; AVM_FAST_START=off avoids it"
            )
        return True


def _take(kept: bytearray, size: int) -> bytes:
    head = bytes(kept[:size])
    del kept[:size]
    return head


def _answer_same(line: bytes, other: bytes) -> bool:
    """Return whether two lines answer the same request."""
    if line == other:
        return True
    answer, known = json.loads(line), json.loads(other)
    return "method" not in answer and dump(answer.get("id")) == dump(known["id"])


class _Outgoing(io.BufferedIOBase):
    """The SDK's lines, as a file that drops the one answer that the client already has."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._partial = bytearray()
        self._passing = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._passing:
            self._wire.write(bytes(data))
            return len(data)
        self._partial += data
        while not self._passing and (end := self._partial.find(b"\n") + 1):
            line = _take(self._partial, end)
            if self._wire.is_duplicate(line):
                self._passing = True
            else:
                self._wire.write(line)
        if self._passing:
            self._wire.write(_take(self._partial, len(self._partial)))
        return len(data)


class Stream(io.TextIOWrapper):
    """A standard stream on a harmless descriptor; only its `buffer` is the wire, and only the SDK uses it."""

    def __init__(self, descriptor: int, mode: str, wire: io.BufferedIOBase) -> None:
        harmless = cast("BinaryIO", open(descriptor, mode, closefd=False))  # noqa: SIM115 - a descriptor
        super().__init__(harmless, encoding="utf-8", errors="replace", line_buffering=True)
        self._wire = cast("BinaryIO", wire)

    @property
    def buffer(self) -> BinaryIO:
        return self._wire
