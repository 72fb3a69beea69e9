"""One configuration file of a host: read, written in one step, and kept as it was."""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.cli.setup.forms import Unreadable


@dataclass(frozen=True, slots=True)
class File:
    """A file and what is in it; None if there is none."""

    path: Path
    text: str | None

    @classmethod
    def read(cls, path: Path) -> "File":
        """Read it.

        Raises:
            Unreadable: It is there, and cannot be read as text.
        """
        try:
            return cls(path, path.read_bytes().decode())
        except FileNotFoundError:
            return cls(path, None)
        except (OSError, UnicodeDecodeError) as error:
            raise Unreadable(f"it cannot be read ({error})") from None

    @property
    def is_open_to_others(self) -> bool:
        """Return whether other users of this machine may read it."""
        return os.name == "posix" and self.path.exists() and self.path.stat().st_mode & 0o077 != 0

    @property
    def backup(self) -> Path:
        return self.path.with_name(self.path.name + ".before-avm")

    def write(self, text: str, *, private: bool = False) -> None:
        """Replace it in one step; a link stays a link, and who may read it stays as it was.

        Args:
            text: What is to be in it.
            private: Only its owner may read it from now on: it holds a key.

        Raises:
            Unreadable: It is no longer what was read: hosts write their files whenever they like.
        """
        target = self.path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        if private:
            mode &= 0o700
        number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(number, "wb") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(mode)
            if File.read(self.path).text != self.text:
                raise Unreadable("another program has just changed it; the same command again is safe")
            Path(name).replace(target)
        except (OSError, Unreadable):
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def unlink(self, *, below: Path) -> None:
        """Take it away, and the folders above it that are empty then; a link stays, and the file behind it goes."""
        self.path.resolve().unlink()
        for folder in self.path.parents:
            if folder == below or below not in folder.parents or folder.is_symlink() or any(folder.iterdir()):
                break
            folder.rmdir()

    def keep(self) -> None:
        """Keep what is there now beside it, for its owner alone, unless what was there before us is kept already.

        It may hold keys, ours of another day among them.
        """
        if self.text is not None and not self.backup.exists():
            File(self.backup, None).write(self.text)
        elif self.backup.exists():
            self.backup.chmod(self.backup.stat().st_mode & 0o700)
