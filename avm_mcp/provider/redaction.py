"""The API key, taken out of whatever the upstream sends, where its text enters (P5).

An upstream, or something on the way, may send the key back in any way in which text is written on the web: in another
case, JSON- or percent-encoded, as HTML entities, quoted-printable, in base64 or hex, in UTF-16 or UTF-32, with blanks
or invisible characters in between. These may be nested, and each character may be written in its own way. Not found
are: compression, encryption, base64 of base64, the key backwards or in parts.
"""

import base64
import json
import re
from typing import Any, cast

import httpx2
from anyio.lowlevel import checkpoint

MARK = "[key]"

SHORTEST_SECRET = 8
"""Characters. A shorter key, such as the sandbox's, is a word that answers may hold by chance."""

PIECE = 500_000
"""Bytes that are searched at a time; other tasks run in between."""

OVERLAP = 16_000
"""Bytes that two pieces have in common: far more than a key takes in any form."""

LONGEST_REPAIRED = 1_000_000
"""Bytes. A longer answer from which the key cannot be cut out is dropped."""

ROUNDS = 3
"""Nested encodings that are decoded."""

_INVISIBLE = bytes(code for code in range(256) if code <= 32 or code >= 127)
_INVISIBLE_ESCAPED = (
    *(rb"\n", rb"\r", rb"\t", rb"\u0000", rb"\u0009", rb"\u000a", rb"\u000d", rb"\u0020", rb"\u00a0", rb"\u00ad"),
    *(rb"\u200b", rb"\u200c", rb"\u200d", rb"\u200e", rb"\u200f", rb"\u2060", rb"\ufeff"),
)
_ESCAPED = re.compile(b"|".join(map(re.escape, _INVISIBLE_ESCAPED)))
_NAMED = {
    b"&lowbar;": b"_", b"&underbar;": b"_", b"&hyphen;": b"-", b"&dash;": b"-", b"&period;": b".", b"&num;": b"#",
    b"&percnt;": b"%", b"&semi;": b";", b"&bsol;": b"\\", b"&sol;": b"/", b"&equals;": b"=", b"&amp;": b"&",
}  # fmt: skip


class Redaction:
    """Removes one key from bytes, texts and headers.

    Args:
        key: The API key; one shorter than `SHORTEST_SECRET` is not removed.
    """

    def __init__(self, key: str) -> None:
        self._on = len(key) >= SHORTEST_SECRET
        self._raw = re.compile(re.escape(key), re.IGNORECASE)
        self._raw_bytes = re.compile(re.escape(key.encode()), re.IGNORECASE)
        self._plain = key.lower().encode().translate(None, _INVISIBLE) or key.lower().encode()
        written = (key.encode(), key.encode("utf-16-le"), key.encode("utf-16-be"))
        self._hex = tuple(form.hex().encode() for form in written)
        self._base64 = tuple({needle for form in written for needle in _base64_forms(form)})
        letters = [*b"%&#;\\", *sorted(set(self._plain))]
        layers = (
            {b"\\\\": b"\\", rb"\/": b"/"},
            {b"\\u00%02x" % code: bytes([code]) for code in letters},
            {b"\\x%02x" % code: bytes([code]) for code in letters},
            {b"%%%02x" % code: bytes([code]) for code in letters},
            {b"=%02x" % code: bytes([code]) for code in letters},
            _NAMED,
            {b"&#%d;" % code: bytes([code]) for code in letters},
            {b"&#x%x;" % code: bytes([code]) for code in letters},
        )
        # One search for all codes of a layer costs as much as one replacement, and mostly finds none.
        self._codes = [(re.compile(b"|".join(map(re.escape, codes))), codes) for codes in map(dict, layers)]

    async def redact_body(self, body: bytes) -> bytes:
        """Return an answer without the key: the same bytes where it holds none, no bytes where it cannot be repaired.

        It takes mostly 0.02 s and at most 0.2 s a megabyte; other tasks run in between.
        """
        if not self._on or not await self._contains_key(body):
            return body
        cut = self._raw_bytes.sub(MARK.encode(), body)
        if cut != body and not await self._contains_key(cut):
            return cut
        if len(body) > LONGEST_REPAIRED:
            return b""
        text = body.decode(json.detect_encoding(body), "replace")
        try:
            data: Any = json.loads(text)
            return json.dumps(self._redact_values(data)).encode()
        except RecursionError:
            return b""
        except ValueError:
            return self.redact_text(text).encode()

    def redact_text(self, text: str) -> str:
        """Return a text without the key; `MARK` alone where the key cannot be cut out."""
        if not self._on or not self._contains_key_in(text.encode("utf-8", "replace")):
            return text
        cut = self._raw.sub(MARK, text)
        return MARK if self._contains_key_in(cut.encode("utf-8", "replace")) else cut

    def redact_headers(self, headers: httpx2.Headers) -> httpx2.Headers:
        """Return the headers without the key."""
        given = headers.multi_items()
        shown = [(self.redact_text(name), self.redact_text(value)) for name, value in given]
        return headers if shown == given else httpx2.Headers(shown, encoding="utf-8")

    def _redact_values(self, data: object) -> object:
        if isinstance(data, str):
            return self.redact_text(data)
        if isinstance(data, list):
            return [self._redact_values(item) for item in cast("list[object]", data)]
        if isinstance(data, dict):
            return {
                self.redact_text(name): self._redact_values(item)
                for name, item in cast("dict[str, object]", data).items()
            }
        return data

    async def _contains_key(self, body: bytes) -> bool:
        for start in range(0, max(1, len(body)), PIECE):
            if start:
                await checkpoint()
            if self._contains_key_in(body[start : start + PIECE + OVERLAP]):
                return True
        return False

    def _contains_key_in(self, data: bytes) -> bool:
        """Return whether a piece holds the key in any form. Each step is one call into C."""
        seen = data.translate(None, _INVISIBLE)
        if _ESCAPED.search(seen):
            for escape in _INVISIBLE_ESCAPED:
                seen = seen.replace(escape, b"")
        if any(needle in seen for needle in self._base64):
            return True
        seen = seen.lower()
        for _ in range(ROUNDS):
            if self._plain in seen or any(needle in seen for needle in self._hex):
                return True
            decoded = self._decode_layer(seen)
            if decoded == seen:
                return False
            seen = decoded
        return self._plain in seen

    def _decode_layer(self, seen: bytes) -> bytes:
        """Decode one layer of encodings, as far as the key's own characters go."""
        for padded, bare in ((b"&#0", b"&#"), (b"&#x0", b"&#x")):
            while padded in seen:
                seen = seen.replace(padded, bare)
        for pattern, codes in self._codes:
            if pattern.search(seen):
                for code, letter in codes.items():
                    seen = seen.replace(code, letter)
        return seen


def _base64_forms(data: bytes) -> list[bytes]:
    """Return what of `data` is the same in base64 whatever is around it: at three offsets, in both alphabets."""
    needles: list[bytes] = []
    for before in range(3):
        written = base64.b64encode(b"\0" * before + data)
        needle = written[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        needles += [needle, needle.translate(bytes.maketrans(b"+/", b"-_"))]
    return needles
