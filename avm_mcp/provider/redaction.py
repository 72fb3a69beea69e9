"""The API key, taken out of whatever the upstream sends, where its text enters (P5).

An upstream, or something on the way, may send the key back in the ways in which text is written on the web: in another
case, JSON- or percent-encoded, as HTML entities, quoted-printable, in base64 or hex, in UTF-16 or UTF-32, with blanks
or invisible characters in between; some of these one in another, and each character in its own. What is not looked for:
compression, encryption, base64 of base64, the key backwards or in parts.
"""

import base64
import json
import re
from typing import Any, cast

import httpx2
from anyio.lowlevel import checkpoint

MARK = "[key]"

SHORTEST_SECRET = 8
"""Characters; a shorter key, such as the sandbox's, is a word that answers may hold by chance."""

PIECE = 500_000
"""Bytes that are looked through in one go; others run in between."""

OVERLAP = 16_000
"""Bytes that two pieces have in common: far more than a key takes in any of its forms."""

LONGEST_MENDED = 1_000_000
"""Bytes; a longer answer that holds the key in a form that cannot be cut out of it is not read at all."""

ROUNDS = 3
"""Encodings in one another that are undone."""

_UNSEEN = bytes(code for code in range(256) if code <= 32 or code >= 127)
_UNSEEN_ESCAPED = (
    *(rb"\n", rb"\r", rb"\t", rb"\u0000", rb"\u0009", rb"\u000a", rb"\u000d", rb"\u0020", rb"\u00a0", rb"\u00ad"),
    *(rb"\u200b", rb"\u200c", rb"\u200d", rb"\u200e", rb"\u200f", rb"\u2060", rb"\ufeff"),
)
_ESCAPED = re.compile(b"|".join(map(re.escape, _UNSEEN_ESCAPED)))
_NAMED = {
    b"&lowbar;": b"_", b"&underbar;": b"_", b"&hyphen;": b"-", b"&dash;": b"-", b"&period;": b".", b"&num;": b"#",
    b"&percnt;": b"%", b"&semi;": b";", b"&bsol;": b"\\", b"&sol;": b"/", b"&equals;": b"=", b"&amp;": b"&",
}  # fmt: skip


class Redaction:
    """Takes one key out of bytes, texts and headers.

    Args:
        key: The API key; one shorter than `SHORTEST_SECRET` is not looked for.
    """

    def __init__(self, key: str) -> None:
        self._on = len(key) >= SHORTEST_SECRET
        self._raw = re.compile(re.escape(key), re.IGNORECASE)
        self._raw_bytes = re.compile(re.escape(key.encode()), re.IGNORECASE)
        self._plain = key.lower().encode().translate(None, _UNSEEN) or key.lower().encode()
        written = (key.encode(), key.encode("utf-16-le"), key.encode("utf-16-be"))
        self._hex = tuple(form.hex().encode() for form in written)
        self._base64 = tuple({needle for form in written for needle in _base64(form)})
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
        # One look for any of them costs as much as one replacement, and mostly there is none.
        self._codes = [(re.compile(b"|".join(map(re.escape, codes))), codes) for codes in map(dict, layers)]

    async def body(self, body: bytes) -> bytes:
        """Return an answer without the key: the same bytes where it holds none; none at all where it cannot be mended.

        The time is in proportion to the length, mostly 0.02 s and at most 0.2 s a megabyte; others run in between.
        """
        if not self._on or not await self._hides(body):
            return body
        cut = self._raw_bytes.sub(MARK.encode(), body)
        if cut != body and not await self._hides(cut):
            return cut
        if len(body) > LONGEST_MENDED:
            return b""
        text = body.decode(json.detect_encoding(body), "replace")
        try:
            data: Any = json.loads(text)
            return json.dumps(self._mended(data)).encode()
        except RecursionError:
            return b""
        except ValueError:
            return self.text(text).encode()

    def text(self, text: str) -> str:
        """Return a text without the key; all of it is taken for the key where that cannot be cut out."""
        if not self._on or not self._shows(text.encode("utf-8", "replace")):
            return text
        cut = self._raw.sub(MARK, text)
        return MARK if self._shows(cut.encode("utf-8", "replace")) else cut

    def headers(self, headers: httpx2.Headers) -> httpx2.Headers:
        """Return the headers without the key."""
        given = headers.multi_items()
        shown = [(self.text(name), self.text(value)) for name, value in given]
        return headers if shown == given else httpx2.Headers(shown, encoding="utf-8")

    def _mended(self, data: object) -> object:
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, list):
            return [self._mended(item) for item in cast("list[object]", data)]
        if isinstance(data, dict):
            return {self.text(name): self._mended(item) for name, item in cast("dict[str, object]", data).items()}
        return data

    async def _hides(self, body: bytes) -> bool:
        for start in range(0, max(1, len(body)), PIECE):
            if start:
                await checkpoint()
            if self._shows(body[start : start + PIECE + OVERLAP]):
                return True
        return False

    def _shows(self, data: bytes) -> bool:
        """Return whether bytes hold the key, in any of the forms; each step is one of the library's own, in C."""
        seen = data.translate(None, _UNSEEN)
        if _ESCAPED.search(seen):
            for escape in _UNSEEN_ESCAPED:
                seen = seen.replace(escape, b"")
        if any(needle in seen for needle in self._base64):
            return True
        seen = seen.lower()
        for _ in range(ROUNDS):
            if self._plain in seen or any(needle in seen for needle in self._hex):
                return True
            undone = self._undone(seen)
            if undone == seen:
                return False
            seen = undone
        return self._plain in seen

    def _undone(self, seen: bytes) -> bytes:
        """Return what one layer of encodings means, as far as the key's own characters go."""
        for padded, bare in ((b"&#0", b"&#"), (b"&#x0", b"&#x")):
            while padded in seen:
                seen = seen.replace(padded, bare)
        for any_of_them, codes in self._codes:
            if any_of_them.search(seen):
                for code, letter in codes.items():
                    seen = seen.replace(code, letter)
        return seen


def _base64(data: bytes) -> list[bytes]:
    """Return what of `data` is the same in base64 whatever is around it, at each of three places, in both alphabets."""
    needles: list[bytes] = []
    for before in range(3):
        written = base64.b64encode(b"\0" * before + data)
        needle = written[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        needles += [needle, needle.translate(bytes.maketrans(b"+/", b"-_"))]
    return needles
