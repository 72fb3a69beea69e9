"""The three picture formats that the API takes: recognized, measured, and read to their end.

A file is read part by part to its end marker, since half a picture costs as much as a whole one. Pixels are not
decoded. The work is bounded: parts are counted, and the bytes between them are skipped without a step for each. A
damaged or hostile file can only raise `Damaged`. Pillow would replace little of this: it is in an extra, it stops at
the header unless it decodes all pixels, and decoding is not bounded by the size of the file.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Mime = Literal["image/png", "image/jpeg", "image/webp"]

PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = "PNG, JPEG or WebP"

MAX_PARTS = 20_000
"""Segments or chunks of one file. Programs write at most a few thousand into 10 MB: a PNG has its pixels in chunks of
8 kB and more, a JPEG in one to ten scans."""

SHORTEST_SIDE, LONGEST_SIDE, MOST_PIXELS = 16, 20_000, 150_000_000
"""Accepted sizes, in pixels. The service publishes no limits; these are far outside of the sizes of videos."""

MAX_TAGS = 500
"""Entries of an EXIF directory that are read. Cameras write some dozens."""

_CUT_OFF = "it is cut off"
_NO_END_MARKER = "it is cut off before its end marker. If a viewer shows all of it, open it there and save it again"
# Without decoding, a JPEG that lacks only its end marker cannot be told from half of one.
_TOO_MANY_PARTS = f"it has more than {MAX_PARTS:,} parts, which no camera or program writes"


class Damaged(ValueError):
    """The bytes begin like a picture, and then end early or contradict each other."""


@dataclass(frozen=True)
class Header:
    """Type and size of a picture; width and height as displayed, with EXIF orientation applied."""

    mime: Mime
    width: int
    height: int

    @property
    def fits(self) -> bool:
        """Whether the size is accepted."""
        sides = sorted((self.width, self.height))
        return sides[0] >= SHORTEST_SIDE and sides[1] <= LONGEST_SIDE and sides[0] * sides[1] <= MOST_PIXELS


def read_header(data: bytes) -> Header | None:
    """Read a PNG, JPEG or WebP to its end, and return its header; None if it is none of these.

    Bytes after the end are ignored: cameras put a second picture or a video there.

    Raises:
        Damaged: It is cut off before its end, or its parts contradict each other.
    """
    mime = mime_of(data)
    if mime is None:
        return None
    try:
        width, height, exif = _READERS[mime](data)
    except (struct.error, IndexError) as error:
        raise Damaged(_CUT_OFF) from error
    if width < 1 or height < 1:
        raise Damaged("its header gives no size")
    if _read_orientation(exif) in (5, 6, 7, 8):  # turned by 90 degrees
        width, height = height, width
    return Header(mime, width, height)


def mime_of(data: bytes) -> Mime | None:
    """Return the picture's type by its first bytes."""
    if data.startswith(PNG):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


Measures = tuple[int, int, bytes]  # width, height, the first EXIF block


def _read_png(data: bytes) -> Measures:
    if data[12:16] not in (b"IHDR", b"IHDR"[: max(0, len(data) - 12)]):
        raise Damaged("its header is not that of a PNG")
    width, height = struct.unpack_from(">II", data, 16)
    exif, pixels, place = b"", False, len(PNG)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if place > len(data):
            raise Damaged(_CUT_OFF)
        if kind == b"IEND":
            if not pixels:
                raise Damaged("it holds no pixels")
            return width, height, exif
        if kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf" and not exif:
            exif = data[place - 4 - length : place - 4]
    raise Damaged(_TOO_MANY_PARTS)


# The next marker. In pixels, 0xFF is followed by 0; markers D0 to D7 occur between pixels, 01 anywhere. All other bytes
# between two markers (pixels, fill bytes, stray bytes) are skipped, as decoders do.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; these three are tables
_START, _END, _SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1


def _read_jpeg(data: bytes) -> Measures:
    size, scans, exif = (0, 0), False, b""
    for marker, body, end in _segments(data):
        if marker in _SIZES and size == (0, 0):
            size = struct.unpack_from(">HH", data, body + 1)
        elif marker == _SCAN:
            if 0 in size:
                raise Damaged("its header gives no size")
            scans = True
        elif marker == _APP1 and not exif and data[body : body + 6] == b"Exif\0\0":
            exif = data[body + 6 : end]
    if not scans:
        raise Damaged("its header gives no size" if size == (0, 0) else "it holds no pixels")
    return size[1], size[0], exif


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the segments before the end marker: marker, start and end of the content."""
    place = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, place)
        if found is None:
            raise Damaged(_NO_END_MARKER)
        marker, place = data[found.end() - 1], found.end()
        if marker == _END:
            return
        (length,) = struct.unpack_from(">H", data, place)
        if marker == _START or marker < 0xC0 or length < 2:
            raise Damaged("its parts contradict each other")
        if place + length > len(data):
            raise Damaged(_CUT_OFF)
        yield marker, place + 2, place + length
        place += length
    raise Damaged(_TOO_MANY_PARTS)


def _read_webp(data: bytes) -> Measures:
    (riff,) = struct.unpack_from("<I", data, 4)
    end = riff + 8
    if end > len(data):
        raise Damaged(_CUT_OFF)
    size, exif, pixels = (0, 0), b"", False
    for kind, body, length in _riff_chunks(data, end):
        if kind in (b"VP8 ", b"VP8L"):
            own = _read_vp8_size(data, body) if kind == b"VP8 " else _read_vp8l_size(data, body)
            size, pixels = size if 0 not in size else own, True
        elif kind == b"VP8X" and body == 20:
            size = _read_int24(data, body + 4) + 1, _read_int24(data, body + 7) + 1
        elif kind == b"ANMF":
            pixels = True
        elif kind == b"EXIF" and not exif:
            exif = data[body : body + length].removeprefix(b"Exif\0\0")
        elif body == 20:
            raise Damaged("its header is not that of a WebP")
    if not pixels:
        raise Damaged("it holds no pixels")
    return *size, exif


def _riff_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks: name, start of the content, and its length."""
    place = 12
    for _ in range(MAX_PARTS):
        if place + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, place)
        if place + 8 + length > end:
            raise Damaged(_CUT_OFF)
        yield kind, place + 8, length
        place += 8 + length + (length & 1)
    raise Damaged(_TOO_MANY_PARTS)


def _read_int24(data: bytes, place: int) -> int:
    low, high = struct.unpack_from("<HB", data, place)
    return low | high << 16


def _read_vp8_size(data: bytes, body: int) -> tuple[int, int]:
    if data[body + 3 : body + 6] != b"\x9d\x01\x2a":
        raise Damaged("its header is not that of a WebP")
    width, height = struct.unpack_from("<HH", data, body + 6)
    return width & 0x3FFF, height & 0x3FFF


def _read_vp8l_size(data: bytes, body: int) -> tuple[int, int]:
    mark, bits = struct.unpack_from("<BI", data, body)
    if mark != 0x2F:
        raise Damaged("its header is not that of a WebP")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


_READERS = {"image/png": _read_png, "image/jpeg": _read_jpeg, "image/webp": _read_webp}


def _read_orientation(exif: bytes) -> int:
    """Read tag 0x0112 of the first directory of a TIFF block; 1 (upright) if it is absent or damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(min(entries, MAX_TAGS)):
            tag, kind, _count, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if kind == 3 else 1
    except struct.error:
        pass
    return 1
