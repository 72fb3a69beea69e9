"""Data URIs (RFC 2397), read leniently and in bounded work.

The media type is ignored, and the bytes decide. Base64 may use the URL-safe alphabet, lack padding, be folded into
lines or be percent-encoded.
"""

import base64
import binascii
import re

from avm_mcp.images.formats import mime_of

MAX_HEADER = 2_000
"""Characters between "data:" and the comma."""

_HEADER = re.compile(r'((?:[^,"]|"[^"]*")*),', re.DOTALL)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_IGNORED = b" \t\r\n\f\v="


class BadUri(ValueError):
    """The text is not a data URI with bytes. The text of the exception is the reason."""


class TooLarge(ValueError):
    """The data URI holds more bytes than the limit: `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(f"it holds {size} bytes")
        self.size = size


def max_characters(limit: int) -> int:
    """Return how many characters a data URI of `limit` bytes can have: three per byte, if all are percent-encoded."""
    return 3 * limit + limit // 10


def read_data_uri(text: str, limit: int) -> bytes:
    """Return the bytes of a data URI.

    Args:
        text: The whole URI, with "data:" in either case.
        limit: The most bytes to accept.

    Raises:
        BadUri: It has no comma, or its base64 is damaged.
        TooLarge: It holds more than `limit` bytes.
    """
    start = text[5 : 5 + MAX_HEADER]
    header = _HEADER.match(start)
    end = header.end() if header is not None else start.find(",") + 1
    if end == 0:
        raise BadUri("has no comma between its type and its bytes")
    words = [word.strip().lower() for word in start[: end - 1].split(";")]
    body = _decode_percent(text[5 + end :].encode("utf-8", "surrogatepass"))
    data = _decode_base64(body, limit) if "base64" in words else _decode_literal(body, limit)
    if len(data) > limit:
        raise TooLarge(len(data))
    return data


def _decode_literal(body: bytes, limit: int) -> bytes:
    """Return the bytes as they are, or decoded if they are a picture only then: ";base64" is often left out."""
    if mime_of(body) is None:
        try:
            data = _decode_base64(body, limit)
        except BadUri:
            return body
        if mime_of(data) is not None:
            return data
    return body


def _decode_base64(body: bytes, limit: int) -> bytes:
    plain = body.translate(_URL_SAFE, _IGNORED)
    if len(plain) * 3 // 4 > limit:
        raise TooLarge(len(plain) * 3 // 4)
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        if mime_of(body) is not None:  # labelled as base64, but not encoded
            return body
        raise BadUri("holds damaged base64, probably cut short") from None


def _decode_percent(body: bytes) -> bytes:
    """Decode percent-encoding. As quoted-printable text, the standard library does so without a step for each byte."""
    if b"%" not in body:
        return body
    return binascii.a2b_qp(body.replace(b"=", b"=3D").replace(b"%", b"="))
