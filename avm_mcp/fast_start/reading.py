"""Read a line of the client exactly as the SDK does, or not at all.

The SDK reads JSON with pydantic's parser, on lines that Python's text layer has split. Anything that these two and the
standard library may read differently (a bare carriage return, a number that is not a small integer, a repeated member,
half a surrogate pair, bytes that are not UTF-8, deep nesting) is left to the SDK.
"""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

ENVELOPE = "io.modelcontextprotocol/"
VERSION, CAPABILITIES, INFO = (ENVELOPE + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))

MAX_LINE = 1 << 16
"""Bytes of the longest line that is read here."""

MAX_DEPTH = 100
"""Brackets in a line that is read here. The SDK's parser allows a depth of 200, Python's another one."""

NOTHING: Mapping[str, Any] = {}
_CAPABILITIES: Mapping[str, Any] = {
    "experimental": {"*": NOTHING},
    "extensions": {"*": NOTHING},
    "roots": {"listChanged": bool},
    "sampling": {"context": NOTHING, "tools": NOTHING},
    "elicitation": {"form": NOTHING, "url": NOTHING},
    "tasks": {
        "list": NOTHING,
        "cancel": NOTHING,
        "requests": {"sampling": {"createMessage": NOTHING}, "elicitation": {"create": NOTHING}},
    },
}
_NEEDED = frozenset(("name", "version", "src"))
"""Members that must not be null."""

_ICONS = [{"src": str, "mimeType": str, "sizes": [str]}]
_CLIENT: Mapping[str, Any] = dict.fromkeys(("name", "version", "title", "description", "websiteUrl"), str) | {
    "icons": _ICONS
}


def read(line: bytes) -> Mapping[str, Any] | None:
    """Return a line that is certainly a request or a notification; None for any other."""
    if len(line) > MAX_LINE or b"\r" in line.removesuffix(b"\r\n") or line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        return None
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode()
        if re.search(r"\\u[dD]", text):  # halves of pairs, which JSON parsers disagree on
            return None
        message = json.loads(
            text, object_pairs_hook=_unique, parse_float=_reject, parse_constant=_reject, parse_int=_small_int
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
        and isinstance(message.get("params", NOTHING), dict)
    )
    return message if plain else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a repeated member")
    return members


def _reject(text: str) -> Any:
    raise ValueError(text)


def _small_int(text: str) -> int:
    return int(text) if len(text) < 16 else _reject(text)


def _fits(value: Any, shape: Any) -> bool:
    """Return whether a value has the types of a shape; members that the shape does not name may be anything."""
    if isinstance(shape, type):
        return type(value) is shape
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in cast("list[Any]", value))
    if not isinstance(value, dict):
        return False
    return all(
        _fits(member, shape.get(name, shape.get("*")))
        for name, member in cast("dict[str, Any]", value).items()
        if "*" in shape or (name in shape and (member is not None or name in _NEEDED))
    )


def is_introduction(params: Mapping[str, Any]) -> bool:
    """Return whether these are parameters that `initialize` accepts."""
    return (
        {"protocolVersion", "capabilities", "clientInfo"} <= params.keys()
        and isinstance(params["protocolVersion"], str)
        and _fits(params["capabilities"], _CAPABILITIES)
        and _is_client(params["clientInfo"])
        and is_empty({name: value for name, value in params.items() if name == "_meta"})
    )


def _is_client(info: Any) -> bool:
    return (
        _fits(info, _CLIENT) and {"name", "version"} <= info.keys() and all("src" in i for i in info.get("icons") or ())
    )


def is_empty(params: Mapping[str, Any]) -> bool:
    """Return whether these parameters hold nothing, in a revision with a handshake."""
    return params.keys() <= {"_meta"} and _is_meta(params.get("_meta", NOTHING), frozenset())


def envelope_revision(params: Mapping[str, Any], revisions: Sequence[str]) -> str:
    """Return the revision of parameters that hold only a valid envelope; empty for others."""
    meta: Any = params.get("_meta", NOTHING)
    good = (
        params.keys() <= {"_meta"}
        and _is_meta(meta, frozenset((VERSION, CAPABILITIES, INFO)))
        and _fits(meta.get(CAPABILITIES), _CAPABILITIES)
        and (INFO not in meta or _is_client(meta[INFO]))
        and meta.get(VERSION) in revisions
    )
    return meta[VERSION] if good else ""


def _is_meta(meta: Any, reserved: frozenset[str]) -> bool:
    """Return whether `_meta` holds no other reserved names than these, and a valid progress token if any."""
    return (
        isinstance(meta, Mapping)
        and not any(name.startswith(ENVELOPE) and name not in reserved for name in cast("Mapping[str, Any]", meta))
        and type(cast("Mapping[str, Any]", meta).get("progressToken", "")) in (int, str)
    )
