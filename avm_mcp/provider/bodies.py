"""The JSON body of a request, written from its model's entry in the catalogue."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from avm_mcp.domain import catalog
from avm_mcp.domain.request import ImageInput, Value, VideoRequest


def paid_body(request: VideoRequest) -> bytes:
    """Return the bytes of `POST /generate/{model}`. A resend must repeat them, so they are made once and kept."""
    return encode(_fields(request, lambda image: image.value))


def quote_fields(request: VideoRequest) -> dict[str, Any]:
    """Return the fields of `POST /quote/{model}`: the request's own, with a link in place of a picture's bytes.

    The API does not read the picture for a quote, and megabytes would take longer to send than a quote may.
    """
    return _fields(request, lambda image: catalog.SAMPLE_IMAGE.value if image.embedded else image.value)


def stored_json(request: VideoRequest) -> str:
    """Return the fields that are sent as the store keeps them: with the digest of a picture in place of its bytes."""
    shown = _fields(request, lambda image: f"data:sha256={image.digest}" if image.embedded else image.value)
    return json.dumps(shown, ensure_ascii=False)


def picture_fields(model: str) -> frozenset[str]:
    """Return the names of the fields that carry pictures; none for a model that is not in the catalogue."""
    known = catalog.MODELS.get(model)
    return frozenset(field.name for field in known.fields if field.parameter == "image") if known else frozenset()


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return a body as it is sent."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _fields(request: VideoRequest, picture: Callable[[ImageInput], str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field in catalog.MODELS[request.model].fields:
        value = request.value(field.parameter)
        value = field.default if value is None else value
        if value is not None:
            fields[field.name] = _write(picture(value) if isinstance(value, ImageInput) else value, field.wire)
    return fields


def _write(value: Value, wire: catalog.Wire) -> Any:
    """Return a value in the JSON type of its field; `720p` is 720 as a number."""
    if wire == "list":
        return list(value) if isinstance(value, tuple) else [str(value)]
    if wire == "number":
        return int(str(value).removesuffix("p"))
    return str(value).upper() if wire == "upper" else str(value)
