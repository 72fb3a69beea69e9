"""The errors for pictures that are refused: what is wrong, and what to do instead.

Folders are named only to callers on this machine.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.domain.errors import FileRefused, quoted
from avm_mcp.domain.links import MAX_LINK_CHARACTERS
from avm_mcp.domain.next_steps import Action, NextStep
from avm_mcp.images.formats import FORMATS, LONGEST_SIDE, MOST_PIXELS, SHORTEST_SIDE

# Schemes and paths of a chat's own sandbox, which do not exist on the user's machine.
CHAT_SCHEMES = frozenset({"sandbox", "attachment", "cid", "blob", "upload", "uploads"})
_CHAT_PATH = re.compile(
    r"/mnt/(user-data|data|uploads?)(/|$)|/home/claude(/|$)|/tmp/(inputs|outputs|uploads)/|/home/user/(uploads?|input)/"
    r"|file[-_][A-Za-z0-9]{8,}(\.\w{1,5})?$"
)
_WEB_NAME = re.compile(r"(www\.|[a-z0-9-]+(\.[a-z0-9-]+)*\.(com|net|org|io|ai|app|dev|co)/)", re.IGNORECASE)


def is_chat_path(text: str) -> bool:
    """Return whether a path exists only in a chat's sandbox."""
    return _CHAT_PATH.match(text) is not None


def format_size(count: int) -> str:
    """Format a number of bytes: 123 kB, 12.3 MB."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 999_500 else f"{count / 1_000_000:.1f} MB"


@dataclass(frozen=True)
class PictureErrors:
    """Builds the errors of one call.

    Attributes:
        field: The parameter at fault.
        folders: The folders that pictures may be read from; none if paths are not allowed.
        paths_allowed: Whether the caller is on this machine.
    """

    field: str
    folders: tuple[Path, ...]
    paths_allowed: bool

    @property
    def accepted(self) -> str:
        """What may be given."""
        return "a file path or a public https link" if self.paths_allowed else "a public https link"

    @property
    def other_source(self) -> NextStep:
        """The next step for a file that this server cannot read."""
        if not self.paths_allowed:
            return Action.GIVE_LINK()
        return Action.SAVE_PICTURE(folder=self._first_folder) if self.folders else Action.NAME_PICTURE_FOLDER()

    @property
    def _first_folder(self) -> str:
        name = str(self.folders[0])
        return name if name.isprintable() else "one of the allowed folders"

    def refuse(
        self, message: str, *, next_step: NextStep | None = None, allowed: str | Sequence[str] | None = None
    ) -> FileRefused:
        """For any other reason."""
        return FileRefused(message, next_step=next_step, field=self.field, allowed=allowed or self.accepted)

    def only_in_chat(self) -> FileRefused:
        """For pictures that are attached to a conversation."""
        return self.refuse("This server cannot see files attached in the chat.", next_step=self.other_source)

    def paths_not_allowed(self) -> FileRefused:
        """For paths over HTTP, where the caller may be on another machine."""
        return self.refuse("Over HTTP this server reads no files.", next_step=self.other_source)

    def no_folders(self) -> FileRefused:
        """For paths, if no folder may be read."""
        return self.refuse("There is no folder this server may read pictures from.", next_step=self.other_source)

    def bare_base64(self) -> FileRefused:
        """For base64 without "data:", which models write."""
        return self.refuse("This is base64 text, not the name of a picture.", next_step=self.other_source)

    def private_link(self, name: str, reason: str) -> FileRefused:
        """For links that the service cannot reach."""
        return self._refuse_link(f"{name} was refused: the service could not reach it: {reason}.")

    def unsupported_link(self, name: str, reason: str) -> FileRefused:
        """For texts that are not a valid link, and for links that this server does not use."""
        return self._refuse_link(f"{name} was not sent: {reason}.")

    def _refuse_link(self, message: str) -> FileRefused:
        return self.refuse(
            message,
            allowed=f"public http(s) links of at most {MAX_LINK_CHARACTERS:,} characters,"
            " without user name or password",
            next_step=Action.GIVE_LINK_OR_PATH() if self.paths_allowed else self.other_source,
        )

    def too_long(self, name: str, size: int, limit: int) -> FileRefused:
        """For texts that are longer than a link or a path may be."""
        return self.refuse(
            f"{name} has {size:,} characters; this server takes {limit:,} at most.", next_step=self.other_source
        )

    def too_large(self, name: str, size: int, limit: int) -> FileRefused:
        """For files with more bytes than the limit."""
        return self.refuse(
            f"{name} has {format_size(size)}; at most {format_size(limit)} are taken by this server.",
            allowed=f"{FORMATS}, at most {format_size(limit)}",
            next_step=Action.GIVE_SMALLER_VERSION(),
        )

    def unsupported_size(self, name: str, width: int, height: int) -> FileRefused:
        """For pictures with too few or too many pixels."""
        taken = f"{SHORTEST_SIDE} to {LONGEST_SIDE:,} pixels a side and {MOST_PIXELS // 1_000_000} megapixels at most"
        return self.refuse(
            f"{name} is {width} x {height} pixels; this server takes {taken} (the service publishes no limit).",
            allowed=f"{FORMATS}, {taken}",
            next_step=Action.GIVE_USUAL_SIZE(),
        )

    def unsupported_format(self, name: str, kind: str, advice: str | None) -> FileRefused:
        """For files of another format, whatever their name is."""
        return self.refuse(
            f"{name} is {kind}" + (f"; {advice}." if advice else ", by its bytes."),
            allowed=FORMATS,
            next_step=Action.GIVE_FORMAT(formats=FORMATS),
        )

    def not_readable(self, name: str) -> FileRefused:
        """For files that the system does not let this program read."""
        return self.refuse(
            f"The system does not let this server read {name}.",
            next_step=Action.ALLOW_READING(),
        )

    def not_found(self, text: str, *, missing: bool, found: Sequence[Path]) -> FileRefused:
        """For paths to no file, or out of the allowed folders.

        Args:
            text: The path.
            missing: Whether it leads into an allowed folder.
            found: Files of the same name in the allowed folders.
        """
        allowed = [str(folder) for folder in self.folders]
        name = quoted(text, 200)
        if found:
            others = ", ".join(quoted(str(path), 300) for path in found)
            what = "was not found" if missing else "is not in a folder this server may read"
            return self.refuse(
                f"{name} {what}. There is {others}.",
                allowed=allowed,
                next_step=Action.USE_FOUND_PATH(),
            )
        if is_chat_path(text) or not re.search(r"[\\/]", text):
            return self.only_in_chat()
        if _WEB_NAME.match(text):
            return self.refuse(f"{name} was not found. A link starts with https://.", allowed=self.accepted)
        if missing:
            return self.refuse(f"{name} was not found.", allowed=allowed, next_step=self.other_source)
        return self.refuse(
            f"{name} is not in a folder this server may read.",
            allowed=allowed,
            next_step=Action.SAVE_PICTURE_OR_ALLOW_FOLDER(folder=self._first_folder),
        )
