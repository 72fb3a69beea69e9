"""Pictures in: a path, a link or a data URI, checked before anything is sent, turned into what the API takes.

A path is read only inside the allowed folders and only if its bytes are a PNG, JPEG or WebP (P5). A link is passed on
as it was given. Every refusal names the thing, what is allowed, and the nearest fix.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avm_mcp.domain.errors import InvalidInput, quoted
from avm_mcp.images import data_uris
from avm_mcp.images.folders import Elsewhere, FileLocation, Hidden, Irregular, Missing, locate, namesakes, read_place
from avm_mcp.images.foreign import foreign_kind
from avm_mcp.images.formats import Damaged, Header, mime_of, read_header
from avm_mcp.images.links import MAX_LINK_CHARACTERS, NotPublic, Unsent, check_public_link
from avm_mcp.images.path_parsing import PathRules, Unreadable, path_forms, strip_quotes
from avm_mcp.images.refusals import CHAT_SCHEMES, PictureErrors, is_chat_path, size_text

MAX_PICTURE_BYTES = 10 * 1000 * 1000
SHAPE_TOLERANCE = 0.05

Ratio = Literal["16:9", "9:16", "1:1"]
_RATIOS: dict[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
_LIKENESSES: dict[str, float] = {
    "4:3": 4 / 3, "3:4": 3 / 4, "3:2": 3 / 2, "2:3": 2 / 3, "5:4": 5 / 4, "4:5": 4 / 5, "21:9": 21 / 9, "9:21": 9 / 21,
    "2:1": 2.0, "1:2": 0.5,
}  # fmt: skip

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,40}):", re.IGNORECASE)
# Schemes that are meant even without "//"; any other "word:" may begin a file name.
_BARE_SCHEMES = frozenset(["javascript", "vbscript", "mailto", "about", "content", "ftp", "ftps", "s3", "gs"])
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "Qk0", "AAAA")
_ESCAPED = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
"""An ampersand in a link that was copied out of a page's source."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+(?:={1,2}\s*)?")


@dataclass(frozen=True)
class Picture:
    """A picture that may be sent.

    Attributes:
        source: Where it came from.
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
        """One of 16:9, 9:16 and 1:1 where it is within 5 %, else "1024x768 (4:3-like)"; None for a link."""
        if self.width is None or self.height is None:
            return None
        if ratio := _nearest(self.width / self.height, _RATIOS):
            return ratio
        like = _nearest(self.width / self.height, _LIKENESSES)
        return f"{self.width}x{self.height}" + (f" ({like}-like)" if like else "")


def matches_shape(picture: Picture, ratio: Ratio) -> bool | None:
    """Tell whether a picture has the shape asked for, within 5 %; None where its size is not known."""
    if picture.width is None or picture.height is None:
        return None
    return _off(picture.width / picture.height, _RATIOS[ratio]) <= SHAPE_TOLERANCE


def _off(shape: float, ratio: float) -> float:
    return max(shape / ratio, ratio / shape) - 1


def _nearest(shape: float, ratios: dict[str, float]) -> str | None:
    name = min(ratios, key=lambda name: _off(shape, ratios[name]))
    return name if _off(shape, ratios[name]) <= SHAPE_TOLERANCE else None


def read_picture(
    given: str,
    *,
    folders: Sequence[Path],
    paths_allowed: bool = True,
    field: str = "image",
    machine: PathRules | None = None,
) -> Picture:
    """Return the picture that a path, link or data URI means.

    Args:
        given: As the caller wrote it: any system's path, a file://, http(s):// or data: address.
        folders: The folders pictures may be read from, the preferred one first.
        paths_allowed: False where the caller is on another machine: then no path is looked at, nor is it told
            whether anything exists or which folders there are.
        field: The parameter to name in a refusal.
        machine: The machine paths are read on; this one when left out.

    Raises:
        InvalidInput: Nothing was given.
        FileRefused: Everything else.
    """
    text = strip_quotes(given)
    refusals = PictureErrors(field, tuple(folders) if paths_allowed else (), paths_allowed)
    if not text:
        raise InvalidInput("No picture was given.", field=field, allowed=refusals.forms)
    if text[:5].lower() == "data:":
        return _from_data(text, refusals)
    scheme = match[1].lower() if (match := _SCHEME.match(text)) else ""
    if scheme in CHAT_SCHEMES:
        raise refusals.only_in_chat()
    if scheme in ("http", "https"):
        return _from_link(text, refusals)
    if scheme in _BARE_SCHEMES or (scheme and scheme != "file" and text[len(scheme) + 1 :].startswith("//")):
        raise refusals.refused(f"{quoted(text, 120)} is a link that the service cannot read.", allowed="https links")
    if _is_base64(text):
        raise refusals.bare_base64()
    if len(text) > MAX_LINK_CHARACTERS:
        raise refusals.too_long("That text", len(text), MAX_LINK_CHARACTERS)
    if not paths_allowed:
        raise refusals.only_in_chat() if is_chat_path(text) else refusals.no_paths()
    return _from_path(text, refusals, machine or PathRules.here())


def _from_link(text: str, refusals: PictureErrors) -> Picture:
    link = _ESCAPED.sub("&", text) if len(text) <= 2 * MAX_LINK_CHARACTERS else text
    try:
        check_public_link(link)
    except Unsent as error:
        raise refusals.unsent_link(quoted(text, 200), str(error)) from None
    except NotPublic as error:
        raise refusals.closed_link(quoted(text, 200), str(error)) from None
    return Picture("url", link, hashlib.sha256(link.encode("utf-8", "surrogatepass")).hexdigest(), None, None, link)


def _from_data(text: str, refusals: PictureErrors) -> Picture:
    if len(text) > data_uris.longest(MAX_PICTURE_BYTES):
        raise refusals.too_long("The data URI", len(text), data_uris.longest(MAX_PICTURE_BYTES))
    try:
        data = data_uris.read_data_uri(text, MAX_PICTURE_BYTES)
    except data_uris.BadUri as error:
        raise refusals.refused(f"The data URI {error}: it reads data:image/png;base64,…") from None
    except data_uris.TooLarge as error:
        raise refusals.too_large("The data URI", error.size, MAX_PICTURE_BYTES) from None
    header = _measured(data, "The data URI", "", refusals)
    return _from_bytes("data", data, header, f"data:{header.mime} ({size_text(len(data))})")


def _from_path(text: str, refusals: PictureErrors, machine: PathRules) -> Picture:
    if not refusals.folders:
        raise refusals.no_folders()
    try:
        place = locate(path_forms(text, machine), refusals.folders)
    except Unreadable as error:
        raise refusals.refused(f"{quoted(text, 200)} {error}.") from None
    except Hidden:
        raise refusals.refused(
            f"{quoted(text, 200)} is hidden, or in a hidden folder: such files are not read."
        ) from None
    except (Missing, Elsewhere) as error:
        raise refusals.not_there(text, missing=isinstance(error, Missing), found=_namesakes(text, refusals)) from None
    name = quoted(str(place.path), 300)
    data, size = _read(place, name, refusals)
    if len(data) > MAX_PICTURE_BYTES:
        if mime_of(data) is None:
            raise refusals.foreign(name, *foreign_kind(data, place.path.name))
        raise refusals.too_large(name, size, MAX_PICTURE_BYTES)
    shown = str(place.path).encode(errors="replace").decode()  # a link may lead to a name that is no text
    return _from_bytes("path", data, _measured(data, name, place.path.name, refusals), shown)


def _namesakes(text: str, refusals: PictureErrors) -> list[Path]:
    name = re.split(r"[\\/]", text)[-1]
    return namesakes(name, refusals.folders) if name else []


def _read(place: FileLocation, name: str, refusals: PictureErrors) -> tuple[bytes, int]:
    try:
        return read_place(place, MAX_PICTURE_BYTES)
    except Irregular as error:
        raise refusals.refused(f"{name} is {error}, not a picture.") from None
    except PermissionError:
        raise refusals.forbidden(name) from None
    except OSError as error:
        raise refusals.refused(f"{name} cannot be read: {error.strerror or 'the system refuses'}.") from None


def _measured(data: bytes, name: str, file_name: str, refusals: PictureErrors) -> Header:
    if not data:
        raise refusals.refused(f"{name} is empty.")
    if len(data) > MAX_PICTURE_BYTES:
        raise refusals.too_large(name, len(data), MAX_PICTURE_BYTES)
    try:
        header = read_header(data)
    except Damaged as error:
        raise refusals.refused(f"{name} is damaged: {error}.") from None
    if header is None:
        raise refusals.foreign(name, *foreign_kind(data, file_name))
    if not header.fits:
        raise refusals.odd_size(name, header.width, header.height)
    return header


def _from_bytes(source: Literal["path", "data"], data: bytes, header: Header, shown: str) -> Picture:
    value = f"data:{header.mime};base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(source, value, hashlib.sha256(data).hexdigest(), header.width, header.height, shown)


def _is_base64(text: str) -> bool:
    """Tell base64 without its "data:" from a path: by how pictures begin, or by being far too long for a path."""
    likely = (text.startswith(_BASE64_STARTS) and len(text) >= 80) or len(text) > 1000
    return likely and _BASE64.fullmatch(text[:MAX_LINK_CHARACTERS]) is not None
