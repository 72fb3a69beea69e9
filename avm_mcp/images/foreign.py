"""Names for files that are no picture the API takes, by their bytes, and how to make one of them."""

_CONVERT = (  # into a name of its own: `x.jpg` may be this very file, or another picture beside it
    "convert it to JPEG: on macOS `sips -s format jpeg {stem}{end} --out {stem}-converted.jpg`, elsewhere open it and"
    " export it as JPEG"
)
_EXPORT = "open it in an image program and export it as PNG or JPEG"
_FRAME = "save one frame of it as PNG or JPEG"
_AGAIN = "save the picture itself, not the page around it"

_HEIC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"])
_STILL = frozenset([b"mif1", b"mif2", b"msf1", b"miaf"])
"""Brands of the container alone; which pictures are in it, the further brands say."""

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
    plain = file_name[:1].isalnum() and all(ch.isascii() and (ch.isalnum() or ch in "._-") for ch in file_name)
    plain = plain and bool(stem)
    kind, advice = _foreign(data)
    if advice is None:
        return kind, None
    # A name that a shell would read differently is not pasted into a command.
    return kind, advice.format(stem=stem if plain else "picture", end=dot + end if plain else ".heic")


def _foreign(data: bytes) -> tuple[str, str | None]:
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
