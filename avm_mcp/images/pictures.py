"""Reads a picture from a path, a link or a data URI, checks it, and returns what the API takes.

A path is read only in the allowed folders, and only if its bytes are a PNG, JPEG or WebP (P5). A link is passed on as
it was given. Every error names the picture, what is allowed, and how to correct it.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avm_mcp.domain.errors import InvalidInput, quoted
from avm_mcp.domain.links import MAX_LINK_CHARACTERS, NotPublic, UnsupportedLink, check_public_link
from avm_mcp.images import data_uris
from avm_mcp.images.errors import CHAT_SCHEMES, PictureErrors, format_size, is_chat_path
from avm_mcp.images.folders import AllowedFile, Hidden, Missing, NotRegular, Outside, find_by_name, locate, read_file
from avm_mcp.images.formats import Damaged, Header, mime_of, read_header
from avm_mcp.images.other_formats import identify_format
from avm_mcp.images.path_parsing import BadPath, PathRules, parse_path, strip_quotes

MAX_PICTURE_BYTES = 10 * 1000 * 1000
SHAPE_TOLERANCE = 0.05

Ratio = Literal["16:9", "9:16", "1:1"]
_RATIOS: dict[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
_SIMILAR_RATIOS: dict[str, float] = {
    "4:3": 4 / 3, "3:4": 3 / 4, "3:2": 3 / 2, "2:3": 2 / 3, "5:4": 5 / 4, "4:5": 4 / 5, "21:9": 21 / 9, "9:21": 9 / 21,
    "2:1": 2.0, "1:2": 0.5,
}  # fmt: skip

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,40}):", re.IGNORECASE)
# Schemes that are used without "//". Any other "word:" may be the beginning of a file name.
_SCHEMES_WITHOUT_SLASHES = frozenset(
    ["javascript", "vbscript", "mailto", "about", "content", "ftp", "ftps", "s3", "gs"]
)
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "Qk0", "AAAA")
_ESCAPED_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
"""In links that were copied from a page's source."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+(?:={1,2}\s*)?")


@dataclass(frozen=True)
class Picture:
    """A picture that was checked and may be sent.

    Attributes:
        source: What was given.
        value: What is sent to the API: the link as it was given, or a data URI.
        digest: SHA-256, in hexadecimal, of the picture's bytes; of the text for a link.
        width: As displayed, EXIF orientation applied; None for a link.
        height: As displayed; None for a link.
        shown: How to name it to a user.
    """

    source: Literal["path", "url", "data"]
    value: str = field(repr=False)
    digest: str
    width: int | None
    height: int | None
    shown: str

    @property
    def shape(self) -> str | None:
        """One of 16:9, 9:16 and 1:1 if it is within 5 %, else for example "1024x768 (4:3-like)"; None for a link."""
        if self.width is None or self.height is None:
            return None
        if ratio := _nearest(self.width / self.height, _RATIOS):
            return ratio
        like = _nearest(self.width / self.height, _SIMILAR_RATIOS)
        return f"{self.width}x{self.height}" + (f" ({like}-like)" if like else "")


def matches_shape(picture: Picture, ratio: Ratio) -> bool | None:
    """Return whether a picture has this ratio, within 5 %; None if its size is not known."""
    if picture.width is None or picture.height is None:
        return None
    return _deviation(picture.width / picture.height, _RATIOS[ratio]) <= SHAPE_TOLERANCE


def _deviation(shape: float, ratio: float) -> float:
    return max(shape / ratio, ratio / shape) - 1


def _nearest(shape: float, ratios: dict[str, float]) -> str | None:
    name = min(ratios, key=lambda name: _deviation(shape, ratios[name]))
    return name if _deviation(shape, ratios[name]) <= SHAPE_TOLERANCE else None


def read_picture(
    given: str,
    *,
    folders: Sequence[Path],
    paths_allowed: bool = True,
    field: str = "image",
    rules: PathRules | None = None,
) -> Picture:
    """Return the picture that a path, a link or a data URI refers to.

    Args:
        given: As the caller wrote it: a path of any system, or a file://, http(s):// or data: address.
        folders: The folders that pictures may be read from, the preferred one first.
        paths_allowed: False if the caller may be on another machine. Then no path is resolved, and no error reveals
            which files or folders exist.
        field: The parameter to name in errors.
        rules: How paths are read; those of this machine when left out.

    Raises:
        InvalidInput: Nothing was given.
        FileRefused: The picture cannot be used.
    """
    text = strip_quotes(given)
    errors = PictureErrors(field, tuple(folders) if paths_allowed else (), paths_allowed)
    if not text:
        raise InvalidInput("No picture was given.", field=field, allowed=errors.accepted)
    if text[:5].lower() == "data:":
        return _from_data(text, errors)
    scheme = match[1].lower() if (match := _SCHEME.match(text)) else ""
    if scheme in CHAT_SCHEMES:
        raise errors.only_in_chat()
    if scheme in ("http", "https"):
        return _from_link(text, errors)
    if scheme in _SCHEMES_WITHOUT_SLASHES or (scheme and scheme != "file" and text[len(scheme) + 1 :].startswith("//")):
        raise errors.refuse(f"{quoted(text, 120)} is a link that the service cannot read.", allowed="https links")
    if _is_base64(text):
        raise errors.bare_base64()
    if len(text) > MAX_LINK_CHARACTERS:
        raise errors.too_long("That text", len(text), MAX_LINK_CHARACTERS)
    if not paths_allowed:
        raise errors.only_in_chat() if is_chat_path(text) else errors.paths_not_allowed()
    return _from_path(text, errors, rules or PathRules.detect())


def _from_link(text: str, errors: PictureErrors) -> Picture:
    link = _ESCAPED_AMPERSAND.sub("&", text) if len(text) <= 2 * MAX_LINK_CHARACTERS else text
    try:
        check_public_link(link)
    except UnsupportedLink as error:
        raise errors.unsupported_link(quoted(text, 200), str(error)) from None
    except NotPublic as error:
        raise errors.private_link(quoted(text, 200), str(error)) from None
    return Picture("url", link, hashlib.sha256(link.encode("utf-8", "surrogatepass")).hexdigest(), None, None, link)


def _from_data(text: str, errors: PictureErrors) -> Picture:
    if len(text) > data_uris.max_characters(MAX_PICTURE_BYTES):
        raise errors.too_long("The data URI", len(text), data_uris.max_characters(MAX_PICTURE_BYTES))
    try:
        data = data_uris.read_data_uri(text, MAX_PICTURE_BYTES)
    except data_uris.BadUri as error:
        raise errors.refuse(f"The data URI {error}: it reads data:image/png;base64,…") from None
    except data_uris.TooLarge as error:
        raise errors.too_large("The data URI", error.size, MAX_PICTURE_BYTES) from None
    header = _measure(data, "The data URI", "", errors)
    return _from_bytes("data", data, header, f"data:{header.mime} ({format_size(len(data))})")


def _from_path(text: str, errors: PictureErrors, rules: PathRules) -> Picture:
    if not errors.folders:
        raise errors.no_folders()
    try:
        file = locate(parse_path(text, rules), errors.folders)
    except BadPath as error:
        raise errors.refuse(f"{quoted(text, 200)} {error}.") from None
    except Hidden:
        raise errors.refuse(f"{quoted(text, 200)} is hidden, or in a hidden folder: such files are not read.") from None
    except (Missing, Outside) as error:
        raise errors.not_found(text, missing=isinstance(error, Missing), found=_find_by_name(text, errors)) from None
    name = quoted(str(file.path), 300)
    data, size = _read(file, name, errors)
    if len(data) > MAX_PICTURE_BYTES:
        if mime_of(data) is None:
            raise errors.unsupported_format(name, *identify_format(data, file.path.name))
        raise errors.too_large(name, size, MAX_PICTURE_BYTES)
    # A symbolic link may lead to a name that is not valid text.
    shown = str(file.path).encode(errors="replace").decode()
    return _from_bytes("path", data, _measure(data, name, file.path.name, errors), shown)


def _find_by_name(text: str, errors: PictureErrors) -> list[Path]:
    name = re.split(r"[\\/]", text)[-1]
    return find_by_name(name, errors.folders) if name else []


def _read(file: AllowedFile, name: str, errors: PictureErrors) -> tuple[bytes, int]:
    try:
        return read_file(file, MAX_PICTURE_BYTES)
    except NotRegular as error:
        raise errors.refuse(f"{name} is {error}, not a picture.") from None
    except PermissionError:
        raise errors.not_readable(name) from None
    except OSError as error:
        raise errors.refuse(f"{name} cannot be read: {error.strerror or 'the system refuses'}.") from None


def _measure(data: bytes, name: str, file_name: str, errors: PictureErrors) -> Header:
    if not data:
        raise errors.refuse(f"{name} is empty.")
    if len(data) > MAX_PICTURE_BYTES:
        raise errors.too_large(name, len(data), MAX_PICTURE_BYTES)
    try:
        header = read_header(data)
    except Damaged as error:
        raise errors.refuse(f"{name} is damaged: {error}.") from None
    if header is None:
        raise errors.unsupported_format(name, *identify_format(data, file_name))
    if not header.fits:
        raise errors.unsupported_size(name, header.width, header.height)
    return header


def _from_bytes(source: Literal["path", "data"], data: bytes, header: Header, shown: str) -> Picture:
    value = f"data:{header.mime};base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(source, value, hashlib.sha256(data).hexdigest(), header.width, header.height, shown)


def _is_base64(text: str) -> bool:
    """Return whether a text is base64 without "data:": it begins as a picture does, or is too long for a path."""
    likely = (text.startswith(_BASE64_STARTS) and len(text) >= 80) or len(text) > 1000
    return likely and _BASE64.fullmatch(text[:MAX_LINK_CHARACTERS]) is not None
