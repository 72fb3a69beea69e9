"""One configuration file of a host: read with care, merged, written in one step, and given back as it was."""

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from avm_mcp.cli.setup.hosts import INPUT_ID, SERVER, VARIABLE, Entry, Host
from avm_mcp.cli.setup.written import BEGIN, Unreadable, toml_block, with_toml, with_yaml, without, yaml_block
from avm_mcp.settings import SANDBOX_KEY

MARK = "\ufeff"
"""What some editors on Windows put first; json refuses it, and the host expects it back."""

INPUT = {
    "type": "promptString",
    "id": INPUT_ID,
    "description": "Key from aivideomaker.ai, or: sandbox",
    "password": True,
}


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


def fragment(host: Host, entry: Entry) -> str:
    """Return what a host's file holds when only our entry is in it, without the last line end."""
    if host.form == "toml":
        return toml_block(entry)
    if host.form == "yaml":
        return "extensions:\n" + "\n".join(f"  {line}" for line in yaml_block(entry).split("\n"))
    content: Entry = {SERVER: entry}
    for name in reversed(host.place):
        content = {name: content}
    if entry.get("env", {}).get(VARIABLE) == f"${{input:{INPUT_ID}}}":
        content = {"inputs": [INPUT], **content}
    return json.dumps(content, indent=2, ensure_ascii=False)


# --- with us, and without us ---


def added(host: Host, text: str | None, entry: Entry, *, key_counts: bool) -> str:
    """Return a host's file with our entry; what else is in it stays.

    Args:
        host: Whose file it is.
        text: What is in it; None if there is none.
        entry: Ours.
        key_counts: Its key replaces the one that may be there; otherwise only the sandbox's is replaced.

    Raises:
        Unreadable: It is not changed, since what it means is not sure.
    """
    if host.form == "toml":
        return with_toml(text or "", toml_block(entry))
    if host.form == "yaml":
        return with_yaml(text or "", yaml_block(entry))
    content = _parsed(text)
    servers = _table(content, host.place)
    present: object = servers.get(SERVER)
    if present is not None and not (isinstance(present, dict) and "command" in present):
        raise Unreadable(f"it lists {SERVER} already, and not as a program that the host starts")
    servers[SERVER] = (
        _merged(entry, cast("Entry", present), key_counts=key_counts) if isinstance(present, dict) else entry
    )
    if entry.get("env", {}).get(VARIABLE) == f"${{input:{INPUT_ID}}}":
        inputs = content.setdefault("inputs", [])
        if not isinstance(inputs, list):
            raise Unreadable("its inputs are not a list")
        if not any(_is_ours(one) for one in cast("list[object]", inputs)):
            cast("list[object]", inputs).append(INPUT)
    return _unparsed(content, like=text)


def removed(host: Host, text: str, backup: str | None) -> str | None:
    """Return a host's file without us; None if nothing is left of it that was not ours.

    Raises:
        Unreadable: It is not changed, since what it means is not sure.
    """
    if host.form != "json":
        return _block_removed(host, text, backup)
    content = _parsed(text)
    _table(content, host.place).pop(SERVER, None)
    _tidied(content, host.place)
    if backup is not None:
        before = _parsed(backup)
        _table(before, host.place).pop(SERVER, None)
        _tidied(before, host.place)
        if before == content:
            # What was there first, to the byte, unless we stood in it.
            return backup if SERVER not in _table(_parsed(backup), host.place) else _unparsed(content, like=text)
    elif not content:
        return None
    return _unparsed(content, like=text)


def key_of(host: Host, text: str, entry: Entry) -> str | None:
    """Return the key that stands in a host's file after `added`: that of `entry`, unless another one stayed."""
    if host.form == "json":
        entry = _table(_parsed(text), host.place)[SERVER]
    key: object = entry.get("env", {}).get(VARIABLE)
    return key if isinstance(key, str) else None


def listed(host: Host, text: str | None) -> bool:
    """Return whether a host's file has us."""
    if text is None:
        return False
    if host.form != "json":
        return (
            BEGIN in text
            or re.search(rf"^\s*(\[mcp_servers\.)?['\"]?{SERVER}['\"]?\s*[:\]]", text, re.MULTILINE) is not None
        )
    return SERVER in _table(_parsed(text), host.place)


def _block_removed(host: Host, text: str, backup: str | None) -> str | None:
    if BEGIN not in text:
        raise Unreadable(f"{SERVER} stands in it by another hand than that of avm setup")
    rest = without(text)
    plain = re.sub(r"^extensions:[ ]*\n(?=\S|\Z)", "", rest, flags=re.MULTILINE) if host.form == "yaml" else rest
    if backup is not None:
        same = "".join(backup.split()) in {"".join(rest.split()), "".join(plain.split())}
        empty = host.form == "yaml" and re.sub(r"extensions:\s*\{\s*\}", "extensions:", backup).split() == rest.split()
        return backup if same or empty else rest
    return plain if plain.strip() else None


def _tidied(content: Entry, place: tuple[str, ...]) -> None:
    """Take out tables that have become empty, and our prompt."""
    for depth in range(len(place), 0, -1):
        *above, last = place[:depth]
        table = _table(content, tuple(above))
        if table.get(last) == {}:
            del table[last]
    inputs: object = content.get("inputs")
    if isinstance(inputs, list):
        left = [one for one in cast("list[object]", inputs) if not _is_ours(one)]
        content["inputs"] = left
        if not left:
            del content["inputs"]


def _is_ours(one: object) -> bool:
    return isinstance(one, dict) and cast("Entry", one).get("id") == INPUT_ID


def _merged(entry: Entry, present: Entry, *, key_counts: bool) -> Entry:
    """Return our entry over the one that is there: how we are started is ours, further settings are the user's."""
    env: dict[str, str] = {**present["env"]} if isinstance(present.get("env"), dict) else {}
    key = entry.get("env", {}).get(VARIABLE)
    if key is not None and (key_counts or env.get(VARIABLE) in (None, "", SANDBOX_KEY)):
        env[VARIABLE] = key
    merged = {**entry, **present, "command": entry["command"], "args": entry.get("args"), "env": env}
    # In the order that is there, so that writing the same again is writing nothing.
    order = [*present, *(name for name in entry if name not in present)]
    return {name: merged[name] for name in order if name not in ("args", "env") or merged[name]}


# --- JSON ---


def _parsed(text: str | None) -> Entry:
    text = (text or "").removeprefix(MARK)
    if not text.strip():
        return {}

    def once(pairs: list[tuple[str, Any]]) -> Entry:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise Unreadable("it has the same name twice")
        return table

    try:
        content = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise Unreadable(f"it is not plain JSON, or has comments ({where})") from None
    if not isinstance(content, dict):
        raise Unreadable("it is not a JSON object")
    return cast("Entry", content)


def _table(content: Entry, place: tuple[str, ...]) -> Entry:
    for name in place:
        content = content.setdefault(name, {})
        if not isinstance(content, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise Unreadable(f"{name} in it is not an object")
    return content


def _unparsed(content: Entry, *, like: str | None) -> str:
    indent = re.search(r"\n([ \t]+)\S", like or "")
    try:
        text = json.dumps(content, ensure_ascii=False, indent=indent[1] if indent else 2, allow_nan=False)
        text.encode()
    except ValueError:  # 1e999, NaN, half a pair of surrogates: read, but no JSON or no text when written
        raise Unreadable("it holds a number or a character that cannot be written back") from None
    if like is None or like.endswith("\n") or not like.strip():
        text += "\n"
    if like and "\r\n" in like:
        text = text.replace("\n", "\r\n")
    return (MARK if like and like.startswith(MARK) else "") + text
