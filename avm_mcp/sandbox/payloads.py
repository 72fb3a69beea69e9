"""Validation of request bodies, strict about JSON types, with hints that name the allowed literals.

That hints name the literals is measured; their exact wording and their place are not recorded. They are
written here in the manner of zod and put into `message` (guess).
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from avm_mcp.sandbox.tables import MODELS, Field, Kind

_DATA_URI = re.compile(r"data:image/([a-zA-Z0-9.+-]+);base64,(.*)", re.DOTALL)
_LINK = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?", re.IGNORECASE)
_FRAMES = ("imageUrl", "lastFrameUrl")
_REFERENCES = ("referenceImageUrls", "referenceVideoUrl", "referenceAudioUrls")


class BadPayload(Exception):
    """A body the API refuses with 400 INVALID_PAYLOAD; the text is the hint."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A body that passed.

    Args:
        fields: What was sent, unknown fields stripped: what the task's `input` echoes.
        filled: The same with every default filled in: what prices and videos are made from.
        pictures: Decoded image data URIs, by the text that was sent.
        fingerprint: Canonical JSON of model and whole body, hashed: what idempotency compares (guess).
    """

    fields: dict[str, object]
    filled: dict[str, object]
    pictures: dict[str, bytes]
    fingerprint: str


def parse(model: str, raw: bytes, *, reject_unknown: bool = False) -> Payload:
    """Check a raw body against the model's table.

    Raises:
        BadPayload: With every hint, in the order of the table.
    """
    body = _object_of(raw)
    table = MODELS[model]
    known = {field.name for field in table.fields}
    hints = [hint for field in table.fields for hint in _hints(field, body)]
    if reject_unknown:
        hints += [f"Unrecognized key(s) in object: '{name}'" for name in body if name not in known]
    if not hints:
        hints += _rules(model, body)
    if hints:
        raise BadPayload("Invalid payload: " + "; ".join(hints))
    fields = {name: value for name, value in body.items() if name in known}
    defaults = {field.name: field.default for field in table.fields if field.default is not None}
    given = {name: value for name, value in fields.items() if value is not None}
    canonical = json.dumps([model, body], sort_keys=True, separators=(",", ":")).encode()
    return Payload(fields, defaults | given, _pictures(fields), hashlib.sha256(canonical).hexdigest())


def _object_of(raw: bytes) -> dict[str, object]:
    try:
        body: object = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadPayload("Request body must be valid JSON") from None
    if not isinstance(body, dict):
        raise BadPayload(f"Invalid payload: Expected object, received {_kind(body)}")
    named = cast("dict[str, object]", body)
    return {name: _whole(value) for name, value in named.items()}


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _whole(value: object) -> object:
    """5.0 is 5 in JavaScript."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kind(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (int, "number"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _taken(value: object, kinds: tuple[Kind, ...]) -> bool:
    kind = _kind(value)
    return kind in kinds or (kind == "number" and "integer" in kinds and isinstance(value, int))


def _hints(field: Field, body: Mapping[str, object]) -> list[str]:
    if field.name not in body:
        return [f"{field.name}: Required"] if field.required else []
    value = body[field.name]
    if not _taken(value, field.kinds):
        wanted = _literals(field) or " | ".join(kind for kind in field.kinds if kind != "null")
        received = "float" if _kind(value) == "number" and "integer" in field.kinds else _kind(value)
        return [f"{field.name}: Expected {wanted}, received {received}"]
    if isinstance(value, list):
        return _array_hints(field, cast("list[object]", value))
    hint = _value_hint(field, value)
    return [f"{field.name}: {hint}"] if hint else []


def _literals(field: Field) -> str:
    return " | ".join(f"'{item}'" if isinstance(item, str) else str(item) for item in field.literals)


def _array_hints(field: Field, values: list[object]) -> list[str]:
    low, high = field.items or (0, len(values))
    if len(values) < low:
        return [f"{field.name}: Array must contain at least {low} element(s)"]
    if len(values) > high:
        return [f"{field.name}: Array must contain at most {high} element(s)"]
    hints: list[str] = []
    for place, value in enumerate(values):
        hint = _value_hint(field, value) if isinstance(value, str) else f"Expected string, received {_kind(value)}"
        if hint:
            hints.append(f"{field.name}.{place}: {hint}")
    return hints


def _value_hint(field: Field, value: object) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if field.literals and value not in field.literals:
        received = f"'{value}'" if isinstance(value, str) else value
        return f"Invalid enum value. Expected {_literals(field)}, received {received}"
    if isinstance(value, int | float):
        return _range_hint(field, value)
    return _text_hint(field, str(value))


def _range_hint(field: Field, value: float) -> str:
    if field.low is not None and value < field.low:
        return f"Number must be greater than or equal to {field.low}"
    if field.high is not None and value > field.high:
        return f"Number must be less than or equal to {field.high}"
    return ""


def _text_hint(field: Field, value: str) -> str:
    if field.form == "text":
        # That an empty required text is refused is a guess.
        empty = not value.strip() and (field.required or field.items)
        return "String must contain at least 1 character(s)" if empty else ""
    if field.form == "picture" and value[:5].lower() == "data:":
        return "" if decode(value) else "Invalid image data URI, expected data:image/...;base64,..."
    return "" if _LINK.fullmatch(value) else "Invalid url"


def _rules(model: str, body: Mapping[str, object]) -> list[str]:
    """Rules across fields: minimax's are documented, seedance20's are claimed."""
    if model == "minimax" and any(body.get(name) for name in _FRAMES) and any(body.get(name) for name in _REFERENCES):
        return ["Frame inputs (imageUrl, lastFrameUrl) and reference assets are mutually exclusive"]
    if model == "seedance20" and not any(body.get(name) for name in ("prompt", "image", "video")):
        return ["At least one of prompt, image, video is required"]
    return []


def decode(uri: str) -> bytes:
    """The bytes of an image data URI; empty when it is none."""
    found = _DATA_URI.fullmatch(uri)
    if found is None:
        return b""
    try:
        return base64.b64decode(found.group(2), validate=True)
    except (binascii.Error, ValueError):
        return b""


def stored_address(uri: str, host: str = "https://static.img2video.ai/uploads") -> str:
    """The https address that `input` shows instead of a data URI: documented in kind, invented in form."""
    found = _DATA_URI.fullmatch(uri)
    kind = found.group(1).lower() if found else "png"
    return f"{host}/{hashlib.sha256(uri.encode()).hexdigest()[:32]}.{'jpg' if kind == 'jpeg' else kind}"


def strings_of(value: object) -> list[str]:
    """The string, or the strings, of one field."""
    if isinstance(value, str):
        return [value]
    return [item for item in cast("list[object]", value) if isinstance(item, str)] if isinstance(value, list) else []


def _pictures(fields: Mapping[str, object]) -> dict[str, bytes]:
    uris = [text for value in fields.values() for text in strings_of(value) if text.startswith("data:image/")]
    return {uri: picture for uri in uris if (picture := decode(uri))}
