"""Reading a line of the client's as the SDK does, or not at all.

The SDK reads JSON with pydantic's parser, on lines that Python's text layer has split. What that pair and the
standard library may see differently (a bare carriage return, a number that is not a small integer, a member twice,
half a surrogate pair, bytes that are no UTF-8, deep nesting) is not looked at here.
"""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

ENVELOPE = "io.modelcontextprotocol/"
VERSION, CAPABILITIES, INFO = (ENVELOPE + name for name in ("protocolVersion", "clientCapabilities", "clientInfo"))

MAX_LINE = 1 << 16
"""Bytes of a line that is looked at."""

MAX_DEPTH = 100
"""Brackets in a line that is looked at; the SDK's parser ends at 200 deep, Python's elsewhere."""

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
"""Members that cannot be null where they are named."""

_ICONS = [{"src": str, "mimeType": str, "sizes": [str]}]
_CLIENT: Mapping[str, Any] = dict.fromkeys(("name", "version", "title", "description", "websiteUrl"), str) | {
    "icons": _ICONS
}


def read(line: bytes) -> Mapping[str, Any] | None:
    """Return a line that is, without any doubt, a request or a notification."""
    if len(line) > MAX_LINE or b"\r" in line.removesuffix(b"\r\n") or line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        return None
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode()
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
        and isinstance(message.get("params", NOTHING), dict)
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
    return all(
        _fits(member, shape.get(name, shape.get("*")))
        for name, member in cast("dict[str, Any]", value).items()
        if "*" in shape or (name in shape and (member is not None or name in _NEEDED))
    )


def introduces(params: Mapping[str, Any]) -> bool:
    """Return whether these are parameters that `initialize` accepts."""
    return (
        {"protocolVersion", "capabilities", "clientInfo"} <= params.keys()
        and isinstance(params["protocolVersion"], str)
        and _fits(params["capabilities"], _CAPABILITIES)
        and _is_client(params["clientInfo"])
        and is_bare({name: value for name, value in params.items() if name == "_meta"})
    )


def _is_client(info: Any) -> bool:
    return (
        _fits(info, _CLIENT) and {"name", "version"} <= info.keys() and all("src" in i for i in info.get("icons") or ())
    )


def is_bare(params: Mapping[str, Any]) -> bool:
    """Return whether these are parameters that say nothing, at a revision with a handshake."""
    return params.keys() <= {"_meta"} and _tagged(params.get("_meta", NOTHING), frozenset())


def enveloped(params: Mapping[str, Any], revisions: Sequence[str]) -> str:
    """Return the revision of parameters that hold nothing but a good envelope; empty for others."""
    meta: Any = params.get("_meta", NOTHING)
    good = (
        params.keys() <= {"_meta"}
        and _tagged(meta, frozenset((VERSION, CAPABILITIES, INFO)))
        and _fits(meta.get(CAPABILITIES), _CAPABILITIES)
        and (INFO not in meta or _is_client(meta[INFO]))
        and meta.get(VERSION) in revisions
    )
    return meta[VERSION] if good else ""


def _tagged(meta: Any, reserved: frozenset[str]) -> bool:
    """Return whether `_meta` holds no reserved names but these, and a token, if any, that is one."""
    return (
        isinstance(meta, Mapping)
        and not any(name.startswith(ENVELOPE) and name not in reserved for name in cast("Mapping[str, Any]", meta))
        and type(cast("Mapping[str, Any]", meta).get("progressToken", "")) in (int, str)
    )
