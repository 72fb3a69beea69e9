"""One message of a client, as bytes: repaired where possible, else refused in JSON-RPC.

A client waits for the answer to each request, often without a time-out, and the SDK drops what it cannot parse. So
faults that hosts are known to send are repaired: a byte-order mark, raw control characters in strings, half of a
surrogate pair and bytes that are not UTF-8 (both become U+FFFD), an id written as 7.0. Anything else is refused, with
the id of the request where it can be read. Standard library only, like the rest of the fast start.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

PARSE_ERROR, INVALID_REQUEST = -32700, -32600

MAX_DEPTH = 100
"""Levels of nesting. The SDK's parser allows 200; no message of MCP needs ten."""

_ODD = re.compile(r"[\x00-\x1f\ufffd]|\\u[dD]")
"""Text that JSON parsers disagree on, anywhere in a message."""

_HALVES = re.compile(r"\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\ud[89a-f][0-9a-f]{2}")
"""In JSON that is ASCII: an escaped backslash, a surrogate pair, or half of one."""

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^\s"\[\]{}:,]+', re.DOTALL)
_ID_AT_END = re.compile(r'"id"\s*:\s*(-?\d{1,15}|"(?:[^"\\]|\\.){0,200}")\s*\}\s*\Z')
_ENDS = 1 << 10
"""Characters at the end of a message that are searched for an id."""


class Findings(NamedTuple):
    """What some bytes of a client hold."""

    messages: tuple[str, ...] = ()
    """JSON-RPC that the SDK accepts, without line ends: requests, notifications, responses. Text that needed
    no repair is unchanged."""
    refusals: tuple[str, ...] = ()
    """Answers, as JSON, to anything else."""
    why: tuple[str, ...] = ()
    """Reasons for the log."""


class _Fault(Exception):
    """Why something is not a message, and how it is answered."""

    def __init__(self, code: int, why: str, identity: Any = None) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.identity = identity


def examine(data: bytes, *, batches: bool = True) -> Findings:
    """Return what a line on stdin or the body of a POST holds; a blank one holds nothing.

    Args:
        data: One line, or one body.
        batches: Whether an array is read as several messages, as in revision 2025-03-26; otherwise it is refused.
    """
    text = data.decode(errors="replace").lstrip("\ufeff")
    if not text.strip():
        return Findings()
    try:
        value = _parse(text)
    except _Fault as fault:
        return _refuse(fault)
    if not (batches and isinstance(value, list) and value):
        text = text.strip()
        return _examine_value(value, "" if _ODD.search(text) else text)
    parts = [_examine_value(item) for item in cast("list[Any]", value)]
    return Findings(*(tuple(line for part in parts for line in part[at]) for at in range(3)))


def refuse_too_long(head: bytes, tail: bytes, limit: int) -> Findings:
    """Return the refusal of a message that is too long, from its first and last bytes."""
    text = head.decode(errors="replace") + tail.decode(errors="replace")
    why = f"it is longer than {limit:,} bytes, the most that is read"
    return _refuse(_Fault(INVALID_REQUEST, why, _identity(text, len(text))))


def _parse(text: str) -> Any:
    deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH
    if deep:
        why = f"it is nested more than {MAX_DEPTH} deep"
        raise _Fault(INVALID_REQUEST, why, _identity(text, len(text)))
    try:
        return json.loads(text, strict=False)
    except ValueError as error:
        why = f"{error.msg}, character {error.pos}" if isinstance(error, json.JSONDecodeError) else "a number too long"
        at = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
        raise _Fault(PARSE_ERROR, f"it is not JSON ({why})", _identity(text, at)) from None


def _examine_value(value: Any, text: str = "") -> Findings:
    try:
        message = _check(value)
        return Findings((text if text and message is value else _write_json(message),))
    except _Fault as fault:
        if _is_response(value):  # a response is never answered, or two peers would go on for ever
            return Findings(why=(f"dropped a response: {fault.why}",))
        return _refuse(fault)


def _is_response(value: Any) -> bool:
    return isinstance(value, dict) and "method" not in value and ("result" in value or "error" in value)


def _check(value: Any) -> dict[str, Any]:
    """Return a message as the SDK accepts it."""
    if isinstance(value, list):
        raise _Fault(INVALID_REQUEST, "a batch is not accepted here: send each message by itself")
    if not isinstance(value, dict):
        raise _Fault(INVALID_REQUEST, "it is not an object")
    message = cast("dict[str, Any]", value)
    identity = message.get("id")
    if type(identity) is float and identity.is_integer():
        message = message | {"id": int(identity)}
    elif "id" in message and type(identity) not in (int, str):
        raise _Fault(INVALID_REQUEST, "its id is neither a whole number nor a string", identity)
    for wrong in _find_faults(message):
        raise _Fault(INVALID_REQUEST, wrong, identity)
    return message


def _find_faults(message: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the members of a message, besides its id."""
    if message.get("jsonrpc") != "2.0":
        yield 'its jsonrpc is not "2.0"'
    if not _is_response(message):
        if not isinstance(message.get("method"), str):
            yield "it has no method"
        if not isinstance(message.get("params") or {}, dict) or message.get("params") in ([], "", 0, False):
            yield "its params are not an object"
        return
    error = message.get("error")
    if "id" not in message:
        yield "it has no id"
    if "result" in message and not isinstance(message["result"], dict):
        yield "its result is not an object"
    if "result" not in message and not (
        isinstance(error, dict)
        and type(cast("dict[str, Any]", error).get("code")) is int
        and isinstance(cast("dict[str, Any]", error).get("message"), str)
    ):
        yield "its error is none"


def _write_json(value: Any) -> str:
    """Return JSON in ASCII in which half of a surrogate pair is U+FFFD."""
    text = json.dumps(value, separators=(",", ":"))
    return _HALVES.sub(lambda it: "\\ufffd" if len(it[0]) == 6 else it[0], text) if "\\ud" in text else text


def _refuse(fault: _Fault) -> Findings:
    named = type(fault.identity) in (int, str) or (type(fault.identity) is float and abs(fault.identity) < float("inf"))
    identity = fault.identity if named else None
    what = "Parse error" if fault.code == PARSE_ERROR else "Invalid request"
    message = f"{what}: {fault.why}. Nothing was done."
    answer = {"jsonrpc": "2.0", "id": identity, "error": {"code": fault.code, "message": message}}
    return Findings(refusals=(_write_json(answer),), why=(f"answered {fault.code}: {fault.why}",))


def _depth(text: str) -> int:
    """Return how deep brackets are nested; counting stops above the limit."""
    depth = most = 0
    for token in _TOKENS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        most = max(most, depth)
        if most > MAX_DEPTH:
            break
    return most


def _identity(text: str, good: int) -> Any:
    """Return the id of a request that cannot be parsed; None if it is not certain.

    It is a member of the outermost object before the fault, or the last member of the text.
    """
    depth, before = 0, ""
    for token in _TOKENS.finditer(text, 0, good):
        word = token[0]
        if depth == 1 and before == '"id"' and (found := _scalar(word)) is not None:
            return found
        depth += (word in "[{") - (word in "]}")
        before = word
    last = _ID_AT_END.search(text, max(0, len(text) - _ENDS))
    return _scalar(last[1]) if last else None


def _scalar(word: str) -> int | str | None:
    try:
        value = json.loads(word, strict=False) if len(word) < _ENDS else None
    except ValueError:
        return None
    return value if type(value) in (int, str) else None
