r"""The forms in which people, shells and models write a path, translated to one this machine can open.

    ~/x.png   file:///home/me/a%20b.png   "C:\Users\me\x.png"   /home/me/a\ b.png   \\wsl$\Ubuntu\home\me\x.png

Nothing here touches the disk.
"""

import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

MAX_PATH_CHARACTERS = 4096

MAX_QUOTES = 10
"""Pairs of quotes around a path; each is a copy of the text."""

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "<": ">"}
_DRIVE = re.compile(r"([A-Za-z]):[\\/](.*)", re.DOTALL)
_WSL_SHARE = re.compile(r"[\\/]{2}wsl(?:\$|\.localhost)[\\/][^\\/]+([\\/].*)", re.DOTALL | re.IGNORECASE)
_SHARE = re.compile(r"[\\/]{2}")


class Unreadable(ValueError):
    """A path in a form that cannot lead to a file on this machine; the reason is the text."""


@dataclass(frozen=True)
class PathRules:
    """The machine paths are read on."""

    windows: bool = False
    wsl: bool = False
    home: Path | None = None

    @classmethod
    def here(cls) -> "PathRules":
        """Look at the machine this runs on; HOME may be unset and /proc absent."""
        try:
            home = Path.home()
        except RuntimeError:
            home = None
        try:
            wsl = "microsoft" in Path("/proc/version").read_text("utf-8", "replace").lower()
        except OSError:
            wsl = False
        return cls(windows=sys.platform == "win32", wsl=wsl, home=home)


def strip_quotes(given: str) -> str:
    """Remove surrounding blanks and up to `MAX_QUOTES` pairs of matching quotes."""
    text = given.strip()
    for _ in range(MAX_QUOTES):
        if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
            break
        text = text[1:-1].strip()
    return text


def path_forms(text: str, machine: PathRules) -> list[str]:
    """Return the paths a text can mean on this machine, the likeliest first; absolute or relative.

    Raises:
        Unreadable: It means a file elsewhere: another host, a share, a Windows drive where there is none.
    """
    if re.match("file:", text, re.IGNORECASE):
        text = _from_file_url(text)
    if len(text) > MAX_PATH_CHARACTERS:
        raise Unreadable("is too long for a path")
    if not text or any(unicodedata.category(ch) in ("Cc", "Cs") for ch in text):
        raise Unreadable("contains characters that no path may contain")
    if text == "~" or text.startswith(("~/", "~\\")):
        if machine.home is None:
            raise Unreadable("starts with ~, but this server has no home folder; give the full path")
        return _with_unescaped(str(machine.home) + text[1:], machine)
    return [text] if machine.windows else _with_unescaped(_from_windows(text, machine), machine)


def _from_windows(text: str, machine: PathRules) -> str:
    """Translate what Windows calls a file to what WSL calls it; other texts are returned as they are."""
    share, drive = _WSL_SHARE.fullmatch(text), _DRIVE.fullmatch(text)
    if (share or drive) and not machine.wsl:
        raise Unreadable("is a path of Windows, but this server does not run there")
    if share:
        return share[1].replace("\\", "/")
    if drive:
        return f"/mnt/{drive[1].lower()}/" + drive[2].replace("\\", "/")
    if text.startswith("\\\\"):
        raise Unreadable("is a network share of Windows, which this server cannot read")
    return text


def is_share(text: str) -> bool:
    """Tell whether Windows would contact another machine, or a device, to open this path."""
    return _SHARE.match(text) is not None


def _with_unescaped(text: str, machine: PathRules) -> list[str]:
    r"""Offer the path as written, then as a shell would read it: `a\ b.png` is `a b.png`."""
    if machine.windows or "\\" not in text:
        return [text]
    return [text, re.sub(r"\\(.)", r"\1", text)]


def _from_file_url(url: str) -> str:
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host == "~":  # not a URL, but written
            return "~/" + _percent_decoded(path)
        if host.lower() not in ("", "localhost", "127.0.0.1"):
            raise Unreadable("names a file on another machine")
        rest = slash + path
    decoded = _percent_decoded(rest)
    if _DRIVE.fullmatch(decoded[1:]):  # file:///C:/Users/…
        return decoded[1:]
    if is_share(decoded):
        raise Unreadable("names a file on another machine")
    return decoded


def _percent_decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("is not a valid file:// address") from None
