"""The fast start of stdio: the first answers come from a packaged snapshot while the SDK is still being imported.

Importing the SDK takes most of a second of CPU, and a host that starts a process for each chat pays it each time.
What a server says of itself is constant for a version, so a thread of this module, standard library only, answers
`initialize`, `server/discover`, `ping` and the lists, and keeps everything else, in order, for the SDK:

    host ──> descriptor 0 ──> thread: Front ──> snapshot ──> descriptor 1 ──> host      until the SDK begins to read
                                       └──> kept ──> sys.stdin.buffer ──> SDK            then, and for good

There is no pump. `sys.stdin` and `sys.stdout` are replaced by streams whose `buffer` is the wire: that is what the
SDK serves when a standard stream is not its descriptor. It is shown the request that opened the connection, its own
answer to that one is dropped, and nothing behind it is shown before. After what was kept it reads the descriptor
itself, at its own pace.

Only the plainest requests are answered here. A line that this module is not sure to read as the SDK does ends the
fast start: it and everything behind it are the SDK's. There is none at all (`start`) with a setting that is wrong or
off, with an SDK of another series than the snapshot's, on a terminal, and on systems without POSIX descriptors.
"""

import contextlib
import io
import json
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, cast

SNAPSHOT = os.path.join(os.path.dirname(__file__), "snapshot.json")  # noqa: PTH118, PTH120 - pathlib costs 7 ms
ENVELOPE = "io.modelcontextprotocol/"
VERSION, CAPABILITIES, INFO = (ENVELOPE + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))

MAX_KEPT = 1 << 20
"""Bytes that are kept for the SDK; with more, the rest waits on the descriptor until the SDK reads."""

MAX_LINE = 1 << 16
"""Bytes of a line that is looked at."""

MAX_DEPTH = 100
"""Brackets in a line that is looked at; the SDK's parser ends at 200 deep, Python's elsewhere."""

CHUNK = 1 << 16
SWITCH = 0.001
"""Seconds after which the importing thread lets the answering one run; the interpreter's own 5 ms add up."""

_OBJECT: Mapping[str, Any] = {}
_CAPABILITIES: Mapping[str, Any] = {
    "experimental": {"*": _OBJECT},
    "extensions": {"*": _OBJECT},
    "roots": {"listChanged": bool},
    "sampling": {"context": _OBJECT, "tools": _OBJECT},
    "elicitation": {"form": _OBJECT, "url": _OBJECT},
    "tasks": {
        "list": _OBJECT,
        "cancel": _OBJECT,
        "requests": {"sampling": {"createMessage": _OBJECT}, "elicitation": {"create": _OBJECT}},
    },
}
_ICONS = [{"src": str, "mimeType": str, "sizes": [str]}]
_CLIENT: Mapping[str, Any] = dict.fromkeys(("name", "version", "title", "description", "websiteUrl"), str) | {
    "icons": _ICONS
}


class Snapshot:
    """What the server says of itself, as the SDK would write it.

    Args:
        content: The packaged file, parsed.
        variant: Which instructions: `saved` or `linked`.
    """

    def __init__(self, content: Mapping[str, Any], variant: str) -> None:
        self.handshake: Mapping[str, str] = content["handshake"]
        self.modern: Sequence[str] = content["modern"]
        self._labels: Mapping[str, Mapping[str, str]] = content["answers"][variant]
        self._results: Mapping[str, Any] = content["results"]

    def result(self, revision: str, method: str) -> str | None:
        """Return a result as JSON, or None where the SDK answers."""
        label = self._labels[revision].get(method)
        return None if label is None else dumped(self._results[label])


class Front:
    """Takes the client's bytes, answers what it can, and keeps the rest: no threads, no descriptors.

    `lead` ends with the request that opened the connection, where that was answered here; `rest` is what came
    behind it. The SDK is to be shown both, and its answer to the opening, `opening`, is to be dropped.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.lead = b""
        self.rest = b""
        self.opening: bytes | None = None
        self.stopped = False
        self._snapshot = snapshot
        self._revision = ""
        self._partial = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came, and return the answers to the lines that they end."""
        if self.stopped:
            self._keep(data)
            return b""
        *ends, start = data.split(b"\n")
        answers: list[bytes] = []
        for at, end in enumerate(ends):
            line = bytes(self._partial) + end + b"\n"
            self._partial.clear()
            answer = self._line(line)
            if answer is not None:
                answers.append(answer)
            if self.stopped:
                self._keep(b"\n".join([*ends[at + 1 :], start]))
                return b"".join(answers)
        self._partial += start
        if len(self.lead) + len(self.rest) + len(self._partial) > MAX_KEPT:
            self.stop()
        return b"".join(answers)

    def stop(self) -> None:
        """Answer nothing more; a line that was begun is kept as it is."""
        self.stopped = True
        self._keep(bytes(self._partial))
        self._partial.clear()

    def _keep(self, data: bytes) -> None:
        if self.opening is None:
            self.lead += data
        else:
            self.rest += data

    def _line(self, line: bytes) -> bytes | None:
        message = read(line)
        if message is None or (message["method"] == "initialize" and self._revision):
            self.stopped = True
        elif "id" in message:
            answer = self._answer(message) if self._revision else self._open(message)
            if answer is not None and self.opening is not None:
                return answer
            if answer is not None:
                self._keep(line)
                self.opening = answer
                return answer
            self.stopped = self.stopped or not self._revision
        self._keep(line)
        return None

    def _open(self, message: Mapping[str, Any]) -> bytes | None:
        """Answer the first request, which decides the era of the connection."""
        params = message.get("params", _OBJECT)
        if message["method"] == "initialize":
            if not _introduces(params):
                return None
            handshake = self._snapshot.handshake
            self._revision = handshake.get(params["protocolVersion"], handshake["*"])
        else:
            self._revision = _enveloped(params, self._snapshot.modern) or ""
        return self._answer(message) if self._revision else None

    def _answer(self, message: Mapping[str, Any]) -> bytes | None:
        method, params = message["method"], message.get("params", _OBJECT)
        modern = self._revision in self._snapshot.modern
        if method != "initialize":
            fits = _enveloped(params, [self._revision]) if modern else _bare(params)
            if not fits:
                return None
        result = self._snapshot.result(self._revision, method)
        if result is None:
            return None
        return f'{{"jsonrpc":"2.0","id":{dumped(message["id"])},"result":{result}}}\n'.encode()


def dumped(value: object) -> str:
    """Return JSON as the SDK writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- reading a line as the SDK does, or not at all ---


def read(line: bytes) -> Mapping[str, Any] | None:
    """Return a line that is, without any doubt, a request or a notification."""
    if len(line) > MAX_LINE or b"\r" in line.removesuffix(b"\r\n") or line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        return None
    try:
        text = line.decode()
        if re.search(r"\\u[dD]", text):  # halves of pairs, which JSON parsers disagree on
            return None
        message = json.loads(
            text, object_pairs_hook=_once, parse_float=_doubtful, parse_constant=_doubtful, parse_int=_short
        )
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    message = cast("dict[str, Any]", message)
    plain = (
        {"jsonrpc", "method"} <= message.keys() <= {"jsonrpc", "id", "method", "params"}
        and message["jsonrpc"] == "2.0"
        and isinstance(message["method"], str)
        and type(message.get("id", "")) in (int, str)
        and isinstance(message.get("params", _OBJECT), dict)
    )
    return message if plain else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member twice")
    return members


def _doubtful(text: str) -> Any:
    raise ValueError(text)


def _short(text: str) -> int:
    return int(text) if len(text) < 16 else _doubtful(text)


def _fits(value: Any, shape: Any) -> bool:
    """Return whether a value has the types of a shape; members that it does not name may be anything."""
    if isinstance(shape, type):
        return type(value) is shape
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in cast("list[Any]", value))
    if not isinstance(value, dict):
        return False
    members = cast("dict[str, Any]", value)
    return all(
        _fits(member, shape.get(name, shape.get("*", object)))
        for name, member in members.items()
        if name in shape or "*" in shape
    )


def _introduces(params: Mapping[str, Any]) -> bool:
    """Return whether these are parameters that `initialize` accepts."""
    return (
        {"protocolVersion", "capabilities", "clientInfo"} <= params.keys()
        and isinstance(params["protocolVersion"], str)
        and _fits(params["capabilities"], _CAPABILITIES)
        and _is_client(params["clientInfo"])
        and _bare({name: value for name, value in params.items() if name == "_meta"})
    )


def _is_client(info: Any) -> bool:
    return (
        _fits(info, _CLIENT) and {"name", "version"} <= info.keys() and all("src" in i for i in info.get("icons", ()))
    )


def _bare(params: Mapping[str, Any]) -> bool:
    """Return whether these are parameters that say nothing, at a revision with a handshake."""
    return params.keys() <= {"_meta"} and _tagged(params.get("_meta", _OBJECT), frozenset())


def _enveloped(params: Mapping[str, Any], revisions: Sequence[str]) -> str | None:
    """Return the revision of parameters that hold nothing but a good envelope."""
    meta = params.get("_meta")
    if params.keys() != {"_meta"} or not _tagged(meta, frozenset((VERSION, CAPABILITIES, INFO))):
        return None
    if not ({VERSION, CAPABILITIES} <= meta.keys() and _fits(meta[CAPABILITIES], _CAPABILITIES)):
        return None
    if INFO in meta and not _is_client(meta[INFO]):
        return None
    return meta[VERSION] if meta[VERSION] in revisions else None


def _tagged(meta: Any, reserved: frozenset[str]) -> bool:
    """Return whether `_meta` holds no reserved names but these, and a token, if any, that is one."""
    return (
        isinstance(meta, dict)
        and not any(name.startswith(ENVELOPE) and name not in reserved for name in cast("dict[str, Any]", meta))
        and type(cast("dict[str, Any]", meta).get("progressToken", "")) in (int, str)
    )


# --- the wire, between the thread that answers and the SDK ---


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
        self._writing = threading.Lock()
        self._answering = True  # the thread lives, and may be reading
        self._opened = False  # the SDK's answer to the opening has been dropped
        self._direct = False  # nothing is kept any more
        self.stdin = io.BufferedReader(_Incoming(self), CHUNK)
        self.stdout = cast("BinaryIO", _Outgoing(self))

    def answer(self) -> None:
        """Read and answer until the client closes, the SDK reads, or a line is the SDK's."""
        with contextlib.suppress(OSError):  # whoever reads or writes next meets it too
            while self._round():
                pass
        with self._turn:
            self._front.stop()
            self._answering = False
            self._turn.notify_all()

    def _round(self) -> bool:
        data = os.read(self._source, CHUNK)
        with self._turn:
            answers = self._front.feed(data)
            if answers:
                self.write(answers)
            return bool(data) and not self._front.stopped

    def read(self, size: int) -> bytes:
        """Return what the SDK is to read next; empty at the end."""
        if not self._direct:
            with self._turn:
                self._front.stop()
                kept = self._kept(size)
            if kept:
                return kept
            self._direct = True
        return os.read(self._source, size)

    def _kept(self, size: int) -> bytes:
        front = self._front
        if front.lead:
            kept, front.lead = front.lead[:size], front.lead[size:]
            return kept
        while front.opening is not None and not self._opened:
            self._turn.wait()
        while self._answering and not front.rest:
            self._turn.wait()
        kept, front.rest = front.rest[:size], front.rest[size:]
        return kept

    def write(self, data: bytes) -> None:
        """Write whole lines."""
        with self._writing:
            while data:
                data = data[os.write(self._sink, data) :]

    @property
    def expected(self) -> bytes | None:
        """What the SDK is going to answer to a request that has been answered."""
        with self._turn:
            return None if self._opened else self._front.opening

    def opened(self) -> None:
        """Let the SDK see what came behind the opening."""
        with self._turn:
            self._opened = True
            self._turn.notify_all()


class _Incoming(io.RawIOBase):
    """The client's bytes, as a file."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._wire.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Outgoing(io.BufferedIOBase):
    """The SDK's answers, as a file that drops the one the client has had."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._line = bytearray()
        self._passing = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._passing:
            self._wire.write(bytes(data))
            return len(data)
        self._line += data
        while b"\n" in self._line and not self._passing:
            line, _, rest = bytes(self._line).partition(b"\n")
            self._line[:] = rest
            self._first(line + b"\n")
        if self._passing and self._line:
            self._wire.write(bytes(self._line))
        return len(data)

    def _first(self, line: bytes) -> None:
        expected = self._wire.expected
        if expected is None or not _same_request(line, expected):
            self._wire.write(line)
            self._passing = expected is None
            return
        if line != expected:
            import logging

            logging.getLogger(__name__).warning(
                "the fast start told the client what the SDK would not have; AVM_FAST_START=off avoids it"
            )
        self._passing = True
        self._wire.opened()


def _same_request(line: bytes, answer: bytes) -> bool:
    if line == answer:
        return True
    told, known = json.loads(line), json.loads(answer)
    return "method" not in told and type(told.get("id")) is type(known["id"]) and told["id"] == known["id"]


class _Stream(io.TextIOWrapper):
    """A standard stream on a descriptor that harms nobody; only its `buffer` is the wire, and only the SDK uses it."""

    def __init__(self, descriptor: int, mode: str, wire: BinaryIO) -> None:
        super().__init__(open(descriptor, mode, closefd=False), encoding="utf-8", errors="replace", line_buffering=True)  # noqa: SIM115
        self._wire = wire

    @property
    def buffer(self) -> BinaryIO:
        return self._wire


# --- whether, and how it begins ---

_SWITCHED_ON = frozenset(("", "on"))
_VARIANTS: Mapping[str, str] = {"": "saved", "mine": "saved", "all": "saved", "off": "linked"}
"""The instructions by AVM_SAVE: whether films are saved here, or only linked."""


def start() -> None:
    """Take over stdin and stdout, and answer from a thread until the SDK does; or change nothing."""
    variant = _VARIANTS.get(_set("AVM_SAVE"))
    if os.name != "posix" or variant is None or _set("AVM_FAST_START") not in _SWITCHED_ON:
        return
    try:
        with open(SNAPSHOT, encoding="utf-8") as file:  # noqa: PTH123 - see SNAPSHOT
            content = json.load(file)
        if not _is_installed(content["sdk"]) or not _are_pipes():
            return
        source, sink = _moved()
    except (OSError, ValueError, KeyError):
        return
    wire = Wire(Front(Snapshot(content, variant)), source, sink)
    sys.stdin, sys.stdout = _Stream(0, "rb", cast("BinaryIO", wire.stdin)), _Stream(1, "wb", wire.stdout)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)

    def answer() -> None:
        wire.answer()
        sys.setswitchinterval(interval)

    threading.Thread(target=answer, name="fast start", daemon=True).start()


def _set(name: str) -> str:
    """Return a variable as the settings read it."""
    text = os.environ.get(name, "").strip()
    return "" if re.fullmatch(r"\$\{[^}]*\}", text) else text


def _is_installed(sdk: str) -> bool:
    """Return whether the SDK that will be imported is of the series that the snapshot was made with."""
    series = "mcp-" + ".".join(sdk.split(".")[:2]) + "."
    for folder in sys.path:
        with contextlib.suppress(OSError):
            names = os.listdir(folder or ".")  # noqa: PTH208 - see SNAPSHOT
            if "mcp" in names:
                known = [name for name in names if name.startswith("mcp-") and name.endswith(".dist-info")]
                return len(known) == 1 and known[0].startswith(series)
    return False


def _are_pipes() -> bool:
    """Return whether the standard streams are where Python has them, block, and lead to a program."""
    streams = (sys.stdin, sys.stdout)
    if any(stream is None or stream.fileno() != at for at, stream in enumerate(streams)):
        return False
    return not os.isatty(0) and os.get_blocking(0) and os.get_blocking(1)


def _moved() -> tuple[int, int]:
    """Move the client's descriptors out of the way of children and stray prints, which get null and stderr."""
    import fcntl

    source, sink = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(null, 1)
    os.close(null)
    return source, sink
