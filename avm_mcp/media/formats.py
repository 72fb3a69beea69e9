"""What bytes are: the three picture formats the API takes, measured by hand, and names for what it does not take.

Only headers are read. Everything a damaged or hostile file can do here is raise `Damaged`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Mime = Literal["image/png", "image/jpeg", "image/webp"]

PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = "PNG, JPEG or WebP"


class Damaged(ValueError):
    """The bytes begin like a picture and then break off or contradict themselves."""


@dataclass(frozen=True)
class Header:
    """What a picture says of itself; width and height as it is displayed, EXIF orientation applied."""

    mime: Mime
    width: int
    height: int


def read_header(data: bytes) -> Header | None:
    """Measure a PNG, JPEG or WebP; None if the bytes are none of these, `Damaged` if they only begin like one."""
    mime = mime_of(data)
    if mime is None:
        return None
    try:
        width, height, orientation = _MEASURES[mime](data)
    except (struct.error, IndexError) as error:
        raise Damaged("its header is cut off") from error
    if width < 1 or height < 1:
        raise Damaged("its header gives no size")
    if orientation in (5, 6, 7, 8):  # a quarter turn: what the file calls width is shown as height
        width, height = height, width
    return Header(mime, width, height)


def mime_of(data: bytes) -> Mime | None:
    """Return the picture's type by its magic bytes."""
    if data.startswith(PNG):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


Measure = tuple[int, int, int]  # width, height, EXIF orientation


def _png(data: bytes) -> Measure:
    if data[12:16] != b"IHDR":
        raise Damaged("its header is not that of a PNG")
    width, height = struct.unpack_from(">II", data, 16)
    orientation, place = 1, len(PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IEND":
            return width, height, orientation
        if place + 12 + length > len(data):
            raise Damaged("it is cut off")
        if kind == b"eXIf":
            orientation = _orientation(data[place + 8 : place + 8 + length])
        place += 12 + length


_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the three are tables
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1


def _jpeg(data: bytes) -> Measure:
    orientation, place = 1, 2
    while True:
        if data[place] != 0xFF:
            raise Damaged("its header is not that of a JPEG")
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        place += 2
        if marker in _BARE:
            continue
        if marker in (_SCAN, _END):
            raise Damaged("its header gives no size")
        (length,) = struct.unpack_from(">H", data, place)
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return width, height, orientation
        if marker == _APP1 and data[place + 2 : place + 8] == b"Exif\0\0":
            orientation = _orientation(data[place + 8 : place + length])
        place += max(length, 2)


def _webp(data: bytes) -> Measure:
    (riff,) = struct.unpack_from("<I", data, 4)
    if riff + 8 > len(data):
        raise Damaged("it is cut off")
    kind, body = data[12:16], 20
    if kind == b"VP8 ":
        if data[body + 3 : body + 6] != b"\x9d\x01\x2a":
            raise Damaged("its header is not that of a WebP")
        width, height = struct.unpack_from("<HH", data, body + 6)
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        mark, bits = struct.unpack_from("<BI", data, body)
        if mark != 0x2F:
            raise Damaged("its header is not that of a WebP")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind == b"VP8X":
        if len(data) < body + 10:
            raise Damaged("its header is cut off")
        width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
        height = int.from_bytes(data[body + 7 : body + 10], "little") + 1
        exif = next((chunk for name, chunk in _riff_chunks(data) if name == b"EXIF"), b"")
        return width, height, _orientation(exif.removeprefix(b"Exif\0\0"))
    raise Damaged("its header is not that of a WebP")


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, place + 4)
        yield data[place : place + 4], data[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)


_MEASURES = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}


def _orientation(exif: bytes) -> int:
    """Read tag 0x0112 of the first directory of a TIFF block; 1, upright, where it is absent or broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(entries):
            tag, kind, _count, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if kind == 3 else 1
    except struct.error:
        pass
    return 1


_TO_JPEG = "convert it to JPEG: on macOS `sips -s format jpeg {stem}{end} --out {stem}.jpg`, elsewhere open it and "
_CONVERT = _TO_JPEG + "export it as JPEG"
_EXPORT = "open it in an image program and export it as PNG or JPEG"
_FRAME = "save one frame of it as PNG or JPEG"
_AGAIN = "save the picture itself, not the page around it"

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# What a file begins with -> what it is, and how to make a picture of it that the API takes.
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"GIF8", "a GIF picture", _FRAME),
    (b"BM", "a BMP picture", _CONVERT),
    (b"II*\0", "a TIFF picture", _CONVERT),
    (b"MM\0*", "a TIFF picture", _CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", _EXPORT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", _EXPORT),
    (b"\0\0\x01\0", "an icon file", _EXPORT),
    (b"8BPS", "a Photoshop file", _EXPORT),
    (b"%PDF", "a PDF document", "save the page as PNG or JPEG"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video", _FRAME),
    (b"PK\x03\x04", "a ZIP archive or office document", "unpack it and give the picture inside"),
)


def foreign_kind(data: bytes, file_name: str = "") -> tuple[str, str | None]:
    """Name bytes that are no accepted picture, and how to convert them where that is known."""
    stem, dot, end = file_name.rpartition(".")
    plain = bool(stem) and all(ch.isascii() and (ch.isalnum() or ch in "._-") for ch in file_name)
    kind, advice = _foreign(data)
    if advice is None:
        return kind, None
    # A name that a shell would read differently is not pasted into a command.
    return kind, advice.format(stem=stem if plain else "picture", end=dot + end if plain else ".heic")


def _foreign(data: bytes) -> tuple[str, str | None]:
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _HEIC:
            return "a HEIC picture", _CONVERT
        if brand in (b"avif", b"avis"):
            return "an AVIF picture", _EXPORT
        return "a video (MP4 or MOV)", _FRAME
    for magic, kind, advice in _FOREIGN:
        if data.startswith(magic):
            return kind, advice
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "an SVG drawing", _EXPORT
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page", _AGAIN
    if start and b"\0" not in start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return "a text file", None
    return "not a picture this server knows", None
