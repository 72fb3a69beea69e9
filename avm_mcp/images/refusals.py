"""Why a picture is not taken, and what to do instead: the words, in one place.

The folders are named only to callers on this machine.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.domain.errors import FileRefused, quoted
from avm_mcp.domain.next_steps import Action, NextStep
from avm_mcp.images.formats import FORMATS, LONGEST_SIDE, MOST_PIXELS, SHORTEST_SIDE
from avm_mcp.images.links import MAX_LINK_CHARACTERS

# Addresses and places that exist in a chat's own sandbox, not on the user's machine.
CHAT_SCHEMES = frozenset({"sandbox", "attachment", "cid", "blob", "upload", "uploads"})
_CHAT_PATH = re.compile(
    r"/mnt/(user-data|data|uploads?)(/|$)|/home/claude(/|$)|/tmp/(inputs|outputs|uploads)/|/home/user/(uploads?|input)/"
    r"|file[-_][A-Za-z0-9]{8,}(\.\w{1,5})?$"
)
_WEB_NAME = re.compile(r"(www\.|[a-z0-9-]+(\.[a-z0-9-]+)*\.(com|net|org|io|ai|app|dev|co)/)", re.IGNORECASE)


def is_chat_path(text: str) -> bool:
    """Tell a path that only a chat sees."""
    return _CHAT_PATH.match(text) is not None


def size_text(count: int) -> str:
    """Write a number of bytes as people do: 123 kB, 12.3 MB."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 999_500 else f"{count / 1_000_000:.1f} MB"


@dataclass(frozen=True)
class PictureErrors:
    """Writes the refusals of one call.

    Attributes:
        field: The parameter at fault.
        folders: The folders pictures may be read from; none where paths are not allowed.
        paths_allowed: Whether the caller is on this machine.
    """

    field: str
    folders: tuple[Path, ...]
    paths_allowed: bool

    @property
    def forms(self) -> str:
        """What may be given."""
        return "a file path or a public https link" if self.paths_allowed else "a public https link"

    @property
    def elsewhere(self) -> NextStep:
        """The advice for every file this server cannot get at."""
        if not self.paths_allowed:
            return Action.GIVE_LINK()
        return Action.SAVE_PICTURE(folder=self._first_folder) if self.folders else Action.NAME_PICTURE_FOLDER()

    @property
    def _first_folder(self) -> str:
        name = str(self.folders[0])
        return name if name.isprintable() else "one of the allowed folders"

    def refused(
        self, message: str, *, next_step: NextStep | None = None, allowed: str | Sequence[str] | None = None
    ) -> FileRefused:
        """A refusal in the caller's words."""
        return FileRefused(message, next_step=next_step, field=self.field, allowed=allowed or self.forms)

    def only_in_chat(self) -> FileRefused:
        """For pictures attached to a conversation."""
        return self.refused("This server cannot see files attached in the chat.", next_step=self.elsewhere)

    def no_paths(self) -> FileRefused:
        """For paths that come over HTTP, where the caller may be on another machine."""
        return self.refused("Over HTTP this server reads no files.", next_step=self.elsewhere)

    def no_folders(self) -> FileRefused:
        """For a server without a folder to read from."""
        return self.refused("There is no folder this server may read pictures from.", next_step=self.elsewhere)

    def bare_base64(self) -> FileRefused:
        """For a picture's bytes written out by a model."""
        return self.refused("This is base64 text, not the name of a picture.", next_step=self.elsewhere)

    def closed_link(self, name: str, reason: str) -> FileRefused:
        """For links the service cannot fetch."""
        return self._no_link(f"{name} was refused: the service could not reach it: {reason}.")

    def unsent_link(self, name: str, reason: str) -> FileRefused:
        """For texts that are no link, or none that this server sends."""
        return self._no_link(f"{name} was not sent: {reason}.")

    def _no_link(self, message: str) -> FileRefused:
        return self.refused(
            message,
            allowed=f"public http(s) links of at most {MAX_LINK_CHARACTERS:,} characters,"
            " without user name or password",
            next_step=Action.GIVE_LINK_OR_PATH() if self.paths_allowed else self.elsewhere,
        )

    def too_long(self, name: str, size: int, limit: int) -> FileRefused:
        """For texts above the limit of what they are."""
        return self.refused(
            f"{name} has {size:,} characters; this server takes {limit:,} at most.", next_step=self.elsewhere
        )

    def too_large(self, name: str, size: int, limit: int) -> FileRefused:
        """For pictures above the limit."""
        return self.refused(
            f"{name} has {size_text(size)}; at most {size_text(limit)} are taken by this server.",
            allowed=f"{FORMATS}, at most {size_text(limit)}",
            next_step=Action.GIVE_SMALLER_VERSION(),
        )

    def odd_size(self, name: str, width: int, height: int) -> FileRefused:
        """For pictures of a size that no video is made from."""
        taken = f"{SHORTEST_SIDE} to {LONGEST_SIDE:,} pixels a side and {MOST_PIXELS // 1_000_000} megapixels at most"
        return self.refused(
            f"{name} is {width} x {height} pixels; this server takes {taken} (the service publishes no limit).",
            allowed=f"{FORMATS}, {taken}",
            next_step=Action.GIVE_USUAL_SIZE(),
        )

    def foreign(self, name: str, kind: str, advice: str | None) -> FileRefused:
        """For bytes that are something else, whatever the name says."""
        return self.refused(
            f"{name} is {kind}" + (f"; {advice}." if advice else ", by its bytes."),
            allowed=FORMATS,
            next_step=Action.GIVE_FORMAT(formats=FORMATS),
        )

    def forbidden(self, name: str) -> FileRefused:
        """For files the system keeps from this program."""
        return self.refused(
            f"The system does not let this server read {name}.",
            next_step=Action.ALLOW_READING(),
        )

    def not_there(self, text: str, *, missing: bool, found: Sequence[Path]) -> FileRefused:
        """For paths that lead nowhere, or out of the allowed folders: the two are told apart only inside."""
        allowed = [str(folder) for folder in self.folders]
        name = quoted(text, 200)
        if found:
            others = ", ".join(quoted(str(path), 300) for path in found)
            what = "was not found" if missing else "is not in a folder this server may read"
            return self.refused(
                f"{name} {what}. There is {others}.",
                allowed=allowed,
                next_step=Action.USE_FOUND_PATH(),
            )
        if is_chat_path(text) or not re.search(r"[\\/]", text):
            return self.only_in_chat()
        if _WEB_NAME.match(text):
            return self.refused(f"{name} was not found. A link starts with https://.", allowed=self.forms)
        if missing:
            return self.refused(f"{name} was not found.", allowed=allowed, next_step=self.elsewhere)
        return self.refused(
            f"{name} is not in a folder this server may read.",
            allowed=allowed,
            next_step=Action.SAVE_PICTURE_OR_ALLOW_FOLDER(folder=self._first_folder),
        )
