"""The answers from the snapshot, and the lines that are kept for the SDK."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from avm_mcp.fast_start.reading import MAX_LINE, NOTHING, envelope_revision, is_empty, is_introduction, read

MAX_KEPT = 1 << 20
"""Bytes that are kept for the SDK; the rest waits in the descriptor until the SDK reads."""


class Snapshot:
    """The server's description of itself, as the SDK would write it.

    Args:
        content: The packaged file, parsed.
        variant: Which instructions: `saved` or `linked`.
        above: AVM_APPROVE_ABOVE, in digits; empty for its default. It stands in the instructions and as a default.
    """

    def __init__(self, content: Mapping[str, Any], variant: str, above: str = "") -> None:
        self._threshold = (content["above"]["placeholder"], above or content["above"]["default"])
        self.handshake: Mapping[str, str] = content["handshake"]
        self.modern: Sequence[str] = content["modern"]
        self._labels: Mapping[str, Mapping[str, str]] = content["answers"][variant]
        self._results: Mapping[str, Any] = content["results"]

    def result(self, revision: str, method: str) -> str | None:
        """Return a result as JSON, or None where the SDK answers."""
        label = self._labels[revision].get(method)
        return None if label is None else dump(self._results[label]).replace(*self._threshold)


class Responder:
    """Takes the client's bytes, answers what it can, and keeps the rest. It has no threads and no descriptors.

    Without a snapshot it is stopped from the beginning.

    `lead` ends with the first request of the connection if that was answered here; `rest` is what came after it. The
    SDK reads both, and its answer to the first request, which equals `opening`, is dropped.
    """

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.lead = bytearray()
        self.rest = bytearray()
        self.opening: bytes | None = None
        self.stopped = snapshot is None
        self._snapshot = snapshot
        self._revision = ""
        self._partial = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came, and return the answers to the lines that are complete now."""
        answers: list[bytes] = []
        while not self.stopped and (end := data.find(b"\n") + 1):
            line, data = bytes(self._partial) + data[:end], data[end:]
            self._partial.clear()
            answers.append(self._line(line))
        if self.stopped:
            self._keep(data)
        else:
            self._partial += data
            if len(self._partial) > MAX_LINE or len(self.lead) + len(self.rest) > MAX_KEPT:
                self.stop()
        return b"".join(answers)

    def answer_line(self, line: bytes) -> bytes:
        """Return the answer to one line if it is known here, else nothing. No line is kept."""
        try:
            answer, _ = self._decide(line)
        except Exception:  # noqa: BLE001 - no answer is known here
            return b""
        if self.opening is None and answer:
            self.opening = answer
        return answer

    def stop(self) -> None:
        """Answer nothing more, and keep a line that is not complete."""
        self.stopped = True
        self._keep(bytes(self._partial))
        self._partial.clear()

    def _keep(self, data: bytes) -> None:
        kept = self.lead if self.opening is None else self.rest
        kept += data

    def _line(self, line: bytes) -> bytes:
        first = self.opening is None
        try:
            answer, self.stopped = self._decide(line)
        except Exception:  # noqa: BLE001 - the SDK reads the line then
            answer, self.stopped = b"", True
        if first or not answer:
            self._keep(line)
        if first and answer:
            self.opening = answer
        return answer

    def _decide(self, line: bytes) -> tuple[bytes, bool]:
        """Return the answer to a line, if one is known, and whether this line ends the fast start."""
        message, snapshot = read(line), self._snapshot
        if message is None or snapshot is None:
            return b"", True
        if "id" not in message:
            return b"", False
        if self.opening is None:
            answer = self._open(message, snapshot)
            return answer, not answer
        if message["method"] == "initialize":
            return b"", True
        return self._answer(message, snapshot), False

    def _open(self, message: Mapping[str, Any], snapshot: Snapshot) -> bytes:
        """Answer the first request, which decides the era of the connection."""
        params = message.get("params", NOTHING)
        if message["method"] != "initialize":
            self._revision = envelope_revision(params, snapshot.modern)
        elif is_introduction(params):
            handshake = snapshot.handshake
            self._revision = handshake.get(params["protocolVersion"], handshake["*"])
        return self._answer(message, snapshot) if self._revision else b""

    def _answer(self, message: Mapping[str, Any], snapshot: Snapshot) -> bytes:
        method, params = message["method"], message.get("params", NOTHING)
        if self._revision in snapshot.modern:
            plain = envelope_revision(params, [self._revision]) != ""
        else:
            plain = method == "initialize" or is_empty(params)
        result = snapshot.result(self._revision, method) if plain else None
        if result is None:
            return b""
        return f'{{"jsonrpc":"2.0","id":{dump(message["id"])},"result":{result}}}\n'.encode()


def dump(value: object) -> str:
    """Return JSON as the SDK writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
