"""Names of formats that the API does not take, recognized by their first bytes, and how to convert them."""

_CONVERT = (  # to a new name: `x.jpg` may be this file, or another one
    "convert it to JPEG: on macOS `sips -s format jpeg {stem}{end} --out {stem}-converted.jpg`, elsewhere open it and"
    " export it as JPEG"
)
_EXPORT = "open it in an image program and export it as PNG or JPEG"
_FRAME = "save one frame of it as PNG or JPEG"
_AGAIN = "save the picture itself, not the page around it"

_HEIC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"])
_STILL = frozenset([b"mif1", b"mif2", b"msf1", b"miaf"])
"""Brands of the container. The compatible brands tell the format of the pictures in it."""

# First bytes, name of the format, how to convert it.
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


def identify_format(data: bytes, file_name: str = "") -> tuple[str, str | None]:
    """Return the name of a format that is not accepted, and how to convert the file, if that is known."""
    stem, dot, end = file_name.rpartition(".")
    plain = file_name[:1].isalnum() and all(ch.isascii() and (ch.isalnum() or ch in "._-") for ch in file_name)
    plain = plain and bool(stem)
    kind, advice = _identify(data)
    if advice is None:
        return kind, None
    # A name with characters that a shell interprets is left out of the command.
    return kind, advice.format(stem=stem if plain else "picture", end=dot + end if plain else ".heic")


def _identify(data: bytes) -> tuple[str, str | None]:
    if data[4:8] == b"ftyp":
        major, box = data[8:12], data[16 : min(int.from_bytes(data[:4]), 200)]
        brands = {major, *(box[at : at + 4] for at in range(0, len(box), 4))} if major in _STILL else {major}
        if brands & {b"avif", b"avis"}:
            return "an AVIF picture", _EXPORT
        if brands & _HEIC:
            return "a HEIC picture", _CONVERT
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
