r"""Paths as people, shells and models write them, translated to those that this machine can open.

    ~/x.png   file:///home/me/a%20b.png   "C:\Users\me\x.png"   /home/me/a\ b.png   \\wsl$\Ubuntu\home\me\x.png

Nothing here reads the disk, but `PathRules.detect`.
"""

import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

MAX_PATH_CHARACTERS = 4096

MAX_QUOTES = 10
"""Pairs of quotes that are removed around a path; each removal copies the text."""

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "<": ">"}
_DRIVE = re.compile(r"([A-Za-z]):[\\/](.*)", re.DOTALL)
_WSL_SHARE = re.compile(r"[\\/]{2}wsl(?:\$|\.localhost)[\\/][^\\/]+([\\/].*)", re.DOTALL | re.IGNORECASE)
_SHARE = re.compile(r"[\\/]{2}")


class BadPath(ValueError):
    """The text cannot be a path on this rules. The text of the exception is the reason."""


@dataclass(frozen=True)
class PathRules:
    """What decides how a path is read: the system, and the home folder."""

    windows: bool = False
    wsl: bool = False
    home: Path | None = None

    @classmethod
    def detect(cls) -> "PathRules":
        """Return the rules of this rules. HOME may be unset, and /proc absent."""
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


def parse_path(text: str, rules: PathRules) -> list[str]:
    """Return the paths that a text may mean, absolute or relative, the likeliest first.

    Raises:
        BadPath: It is too long, holds control characters, or names a file on another machine or on a missing drive.
    """
    if re.match("file:", text, re.IGNORECASE):
        text = _from_file_url(text)
    if len(text) > MAX_PATH_CHARACTERS:
        raise BadPath("is too long for a path")
    if not text or any(unicodedata.category(ch) in ("Cc", "Cs") for ch in text):
        raise BadPath("contains characters that no path may contain")
    if text == "~" or text.startswith(("~/", "~\\")):
        if rules.home is None:
            raise BadPath("starts with ~, but this server has no home folder; give the full path")
        return _with_unescaped_form(str(rules.home) + text[1:], rules)
    return [text] if rules.windows else _with_unescaped_form(_from_windows(text, rules), rules)


def _from_windows(text: str, rules: PathRules) -> str:
    """Translate a Windows path to a WSL path. Other texts are returned as they are."""
    share, drive = _WSL_SHARE.fullmatch(text), _DRIVE.fullmatch(text)
    if (share or drive) and not rules.wsl:
        raise BadPath("is a path of Windows, but this server does not run there")
    if share:
        return share[1].replace("\\", "/")
    if drive:
        return f"/mnt/{drive[1].lower()}/" + drive[2].replace("\\", "/")
    if text.startswith("\\\\"):
        raise BadPath("is a network share of Windows, which this server cannot read")
    return text


def is_share(text: str) -> bool:
    """Return whether Windows would contact another machine, or a device, to open this path."""
    return _SHARE.match(text) is not None


def _with_unescaped_form(text: str, rules: PathRules) -> list[str]:
    r"""Return the path as written, then as a shell reads it: `a\ b.png` is `a b.png`."""
    if rules.windows or "\\" not in text:
        return [text]
    return [text, re.sub(r"\\(.)", r"\1", text)]


def _from_file_url(url: str) -> str:
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host == "~":  # not a valid URL, but models write it
            return "~/" + _decode_percent(path)
        if host.lower() not in ("", "localhost", "127.0.0.1"):
            raise BadPath("names a file on another machine")
        rest = slash + path
    decoded = _decode_percent(rest)
    if _DRIVE.fullmatch(decoded[1:]):  # file:///C:/Users/…
        return decoded[1:]
    if is_share(decoded):
        raise BadPath("names a file on another machine")
    return decoded


def _decode_percent(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise BadPath("is not a valid file:// address") from None
