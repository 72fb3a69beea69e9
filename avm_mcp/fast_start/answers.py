"""What is answered from the snapshot, and what is kept for the SDK."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from avm_mcp.fast_start.reading import MAX_LINE, NOTHING, enveloped, introduces, is_bare, read

MAX_KEPT = 1 << 20
"""Bytes that are kept for the SDK; with more, the rest waits on the descriptor until the SDK reads."""


class Snapshot:
    """What the server says of itself, as the SDK would write it.

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
        return None if label is None else dumped(self._results[label]).replace(*self._threshold)


class Front:
    """Takes the client's bytes, answers what it can, and keeps the rest: no threads, no descriptors.

    Without a snapshot it is stopped from the beginning.

    `lead` ends with the request that opened the connection, where that was answered here; `rest` is what came
    behind it. The SDK is to be shown both, and its answer to the opening, `opening`, is to be dropped.
    """

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.lead = bytearray()
        self.rest = bytearray()
        self.opening: bytes | None = None
        self.stopped = snapshot is None
        self._snapshot = snapshot
        self._revision = ""
        self._begun = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came, and return the answers to the lines that they end."""
        answers: list[bytes] = []
        while not self.stopped and (end := data.find(b"\n") + 1):
            line, data = bytes(self._begun) + data[:end], data[end:]
            self._begun.clear()
            answers.append(self._line(line))
        if self.stopped:
            self._keep(data)
        else:
            self._begun += data
            if len(self._begun) > MAX_LINE or len(self.lead) + len(self.rest) > MAX_KEPT:
                self.stop()
        return b"".join(answers)

    def known(self, line: bytes) -> bytes:
        """Return the answer to one line, if it is known here; nothing is kept."""
        try:
            answer, _ = self._decided(line)
        except Exception:  # noqa: BLE001 - whatever this is, it is not known here
            return b""
        if self.opening is None and answer:
            self.opening = answer
        return answer

    def stop(self) -> None:
        """Answer nothing more; a line that was begun is kept as it is."""
        self.stopped = True
        self._keep(bytes(self._begun))
        self._begun.clear()

    def _keep(self, data: bytes) -> None:
        kept = self.lead if self.opening is None else self.rest
        kept += data

    def _line(self, line: bytes) -> bytes:
        first = self.opening is None
        try:
            answer, self.stopped = self._decided(line)
        except Exception:  # noqa: BLE001 - whatever this is, the SDK knows
            answer, self.stopped = b"", True
        if first or not answer:
            self._keep(line)
        if first and answer:
            self.opening = answer
        return answer

    def _decided(self, line: bytes) -> tuple[bytes, bool]:
        """Return the answer to a line, if one is known, and whether this was the last that is looked at."""
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
            self._revision = enveloped(params, snapshot.modern)
        elif introduces(params):
            handshake = snapshot.handshake
            self._revision = handshake.get(params["protocolVersion"], handshake["*"])
        return self._answer(message, snapshot) if self._revision else b""

    def _answer(self, message: Mapping[str, Any], snapshot: Snapshot) -> bytes:
        method, params = message["method"], message.get("params", NOTHING)
        if self._revision in snapshot.modern:
            plain = enveloped(params, [self._revision]) != ""
        else:
            plain = method == "initialize" or is_bare(params)
        result = snapshot.result(self._revision, method) if plain else None
        if result is None:
            return b""
        return f'{{"jsonrpc":"2.0","id":{dumped(message["id"])},"result":{result}}}\n'.encode()


def dumped(value: object) -> str:
    """Return JSON as the SDK writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
