"""Data URIs (RFC 2397) as programs and models write them: read leniently, in bounded work; the bytes decide.

The label is not trusted: `data:text/plain;charset=utf-8;base64,…`, a type that is wrong or left out, base64 in the
URL-safe alphabet, without padding, folded into lines or percent-encoded, all are the picture that their bytes are.
"""

import base64
import binascii
import re

from avm_mcp.images.formats import mime_of

MAX_HEAD = 2_000
"""Characters before the comma."""

_HEAD = re.compile(r'((?:[^,"]|"[^"]*")*),', re.DOTALL)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_FOLDED = b" \t\r\n\f\v="


class BadUri(ValueError):
    """The text is no data URI that holds bytes; the reason is the text."""


class TooLarge(ValueError):
    """It holds more bytes than are taken; how many is `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(f"it holds {size} bytes")
        self.size = size


def longest(limit: int) -> int:
    """Return how many characters a data URI of `limit` bytes can have: three for each byte, as percent signs."""
    return 3 * limit + limit // 10


def read_data_uri(text: str, limit: int) -> bytes:
    """Return the bytes of a data URI.

    Args:
        text: From "data:" on, in either case.
        limit: The most bytes that are taken.

    Raises:
        BadUri: It has no comma, or its base64 is damaged.
        TooLarge: It holds more than `limit` bytes.
    """
    start = text[5 : 5 + MAX_HEAD]
    head = _HEAD.match(start)
    end = head.end() if head is not None else start.find(",") + 1
    if end == 0:
        raise BadUri("has no comma between its type and its bytes")
    words = [word.strip().lower() for word in start[: end - 1].split(";")]
    body = _unquoted(text[5 + end :].encode("utf-8", "surrogatepass"))
    data = _decoded(body, limit) if "base64" in words else _literal(body, limit)
    if len(data) > limit:
        raise TooLarge(len(data))
    return data


def _literal(body: bytes, limit: int) -> bytes:
    """Return the bytes as they stand, unless they are a picture only as base64: the word is often forgotten."""
    if mime_of(body) is None:
        try:
            data = _decoded(body, limit)
        except BadUri:
            return body
        if mime_of(data) is not None:
            return data
    return body


def _decoded(body: bytes, limit: int) -> bytes:
    plain = body.translate(_URL_SAFE, _FOLDED)
    if len(plain) * 3 // 4 > limit:
        raise TooLarge(len(plain) * 3 // 4)
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        if mime_of(body) is not None:  # labelled as base64, and written out all the same
            return body
        raise BadUri("holds damaged base64, probably cut short") from None


def _unquoted(body: bytes) -> bytes:
    """Undo percent-encoding. As quoted-printable text the library does it without a step for each of the bytes."""
    if b"%" not in body:
        return body
    return binascii.a2b_qp(body.replace(b"=", b"=3D").replace(b"%", b"="))
