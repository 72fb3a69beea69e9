"""`avm setup HOST`: put the server into a host's own configuration, and take it out again without a trace.

What will change is printed, then written in one step; the file as it was is kept beside it. A file that is not
understood is left as it is, and what to put into it is printed instead.
"""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.cli import exits
from avm_mcp.cli.setup import files
from avm_mcp.cli.setup.hosts import HOSTS, INPUT_ID, SERVER, VARIABLE, Entry, Host
from avm_mcp.cli.setup.written import Unreadable
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import BadSetting, InvalidInput
from avm_mcp.settings import SANDBOX_KEY, Settings

__all__ = ["HOSTS", "run"]

HIDDEN = "(your key)"


@dataclass(frozen=True, slots=True)
class Place:
    """This machine, as far as setting up goes."""

    home: Path
    here: Path
    command: tuple[str, ...]
    key: str | None

    @classmethod
    def standard(cls, settings: Settings) -> "Place":
        """Return this process's own.

        Raises:
            BadSetting: There is no home folder.
        """
        try:
            return cls(Path.home(), Path.cwd(), program(), settings.api_key)
        except (OSError, RuntimeError) as error:
            raise BadSetting(f"There is no home or working folder to look in: {error}.") from None


def run(args: Namespace, settings: Settings, terminal: Terminal) -> int:
    """Run the verb and return its exit code."""
    place = Place.standard(settings)
    if args.host is None:
        return _list(place, terminal)
    host = HOSTS.get(args.host.lower().replace("_", "-").replace(" ", "-"))
    if host is None:
        known = ", ".join(HOSTS)
        raise InvalidInput(f"No host is called {args.host[:40]!r}. Known: {known}.", field="host", allowed=known)
    file = host.path(place.home, place.here)
    try:
        if args.remove:
            return _remove(host, files.File.read(file), place, terminal, only_shown=args.print)
        return _add(host, files.File.read(file), place, terminal, only_shown=args.print, sandbox=args.sandbox)
    except Unreadable as why:
        by_hand = (
            "" if args.remove else f"\nPut this into it by hand:\n{_shown(host, _entry(host, place, args.sandbox))}"
        )
        raise BadSetting(f"{file} was left as it is: {why}.{by_hand}", field="host") from None
    except OSError as error:
        raise BadSetting(f"{file} was left as it is: it cannot be written ({error.strerror}).", field="host") from None


def program() -> tuple[str, ...]:
    """Return how a host starts us: by absolute path, because desktop hosts have a short PATH.

    A copy that uvx made for one run is gone one day, so then it is uvx that is named.
    """
    suffix = ".exe" if os.name == "nt" else ""
    beside = Path(sys.executable).parent / f"{SERVER}{suffix}"
    typed = shutil.which(sys.argv[0]) if sys.argv else None
    for found in (Path(typed).parent / beside.name if typed else beside, beside):
        if not found.is_file():
            continue
        if "archive-v0" in found.parts or "archive-v0" in Path(sys.prefix).parts:
            return (shutil.which("uvx") or "uvx", SERVER)
        return (str(found.absolute()),)
    found_on_path = shutil.which(SERVER)
    return (found_on_path,) if found_on_path else (sys.executable, "-m", "avm_mcp")


# --- the three things it does ---


def _list(place: Place, terminal: Terminal) -> int:
    rows = [_row(host, place) for host in HOSTS.values()]
    terminal.result(
        lambda: "\n".join(
            [
                *(f"{row['host']:<15} {row['state']:<18} {row['file']}" for row in rows),
                "",
                "avm setup HOST writes the server into that file; --sandbox makes it a free try, --print only shows.",
            ]
        ),
        lambda: {"hosts": rows},
    )
    return exits.OK


def _row(host: Host, place: Place) -> dict[str, str]:
    path = host.path(place.home, place.here)
    there = any((place.home / trace).is_dir() for trace in host.traces) or any(map(shutil.which, host.programs))
    state = "found" if there else "not found"
    try:
        if files.listed(host, files.File.read(path).text):
            state = "set up"
    except Unreadable:
        state = "file not readable"
    return {"host": host.name, "state": state, "file": str(path)}


def _add(host: Host, file: files.File, place: Place, terminal: Terminal, *, only_shown: bool, sandbox: bool) -> int:
    entry = _entry(host, place, sandbox)
    # A key set in this terminal is meant to be used, be it the new one of somebody who has changed it.
    mine = host.key is None and place.key not in (None, SANDBOX_KEY)
    text = files.added(host, file.text, entry, key_counts=sandbox or mine)
    changed = text != file.text
    key = files.key_of(host, text, entry)
    if key is not None:
        entry = {**entry, "env": {VARIABLE: key}}
    secret = key not in (None, SANDBOX_KEY, host.key)
    closed = secret and not only_shown and file.is_open_to_others
    if (changed or closed) and not only_shown:
        file.keep()
        file.write(text, private=secret)
    verb = "Would write" if only_shown else "Wrote" if changed else "Already there, nothing to change:"
    lines = [f"{verb} {file.path}", _shown(host, entry)]
    if changed and file.text is not None and not only_shown:
        lines.append(f"The file as it was before: {file.backup}")
    if closed:
        lines.append("Others on this machine could read that file; since it holds a key, now only you can.")
    lines += _about_path(host, place)
    lines += _about_key(host, place, key)
    lines.append(f"Next: {host.then} Then ask it for a video; avm setup {host.name} --remove takes this out again.")
    fields = {"host": host.name, "file": str(file.path), "changed": changed and not only_shown, "would_change": changed}
    terminal.result(lambda: "\n".join(lines), lambda: {**fields, "entry": _masked(host, entry), "notes": lines[2:]})
    return exits.OK


def _remove(host: Host, file: files.File, place: Place, terminal: Terminal, *, only_shown: bool) -> int:
    fields = {"host": host.name, "file": str(file.path)}
    if not files.listed(host, file.text):
        terminal.result(lambda: f"Nothing to remove: {file.path}", lambda: {**fields, "changed": False})
        return exits.OK
    kept = files.File.read(file.backup)
    text = files.removed(host, file.text or "", kept.text)
    if not only_shown:
        if text is None:
            file.unlink(below=place.here if host.in_project else place.home)
        else:
            file.write(text)
        kept.path.unlink(missing_ok=True)
    gone = " (nothing else was in it, so the file goes too)" if text is None else ""
    verb = "Would take" if only_shown else "Took"
    terminal.result(lambda: f"{verb} {SERVER} out of {file.path}{gone}", lambda: {**fields, "changed": not only_shown})
    return exits.OK


# --- what is written ---


def _entry(host: Host, place: Place, sandbox: bool) -> Entry:
    command = (SERVER,) if host.in_project else place.command
    if sandbox:
        return host.entry(command, SANDBOX_KEY)
    if host.key is None:
        return host.entry(command, place.key or SANDBOX_KEY)
    return host.entry(command, host.key or None)


def _about_path(host: Host, place: Place) -> Sequence[str]:
    """A shared file has the bare name, which only a PATH that holds it makes into a program."""
    program = Path(place.command[0])
    if not host.in_project or program.stem != SERVER or shutil.which(SERVER) is not None:
        return []
    return [f"{SERVER} is not on your PATH, and this host finds it only there: add {program.parent} to PATH first."]


def _about_key(host: Host, place: Place, key: str | None) -> Sequence[str]:
    """Say whose key it is that stands in the file now, or where the host takes it from."""
    if key == SANDBOX_KEY:
        how = "with AVM_API_KEY set in this terminal" if host.key is None else "without --sandbox"
        return [f"The key is sandbox: free, videos are placeholders. For real ones: avm setup {host.name} {how}."]
    if host.key is None and key == place.key:
        return [f"{host.title} can neither ask for a key nor read {VARIABLE}, so yours stands in that file."]
    if host.key is None or key not in (None, host.key):
        free = f"for a free try: avm setup {host.name} --sandbox"
        return [f"The key that stood in that file stays: videos are real, and cost credits; {free}."]
    if INPUT_ID in host.key:
        return [f"No key is written: {host.title} asks for it and keeps it."]
    seen = (
        ""
        if place.key
        else f" It is not set here: get a key at https://aivideomaker.ai, or avm setup {host.name} --sandbox."
    )
    return [f"No key is written: {host.title} reads {VARIABLE} from the environment it is started in.{seen}"]


def _masked(host: Host, entry: Entry) -> Entry:
    key = entry.get("env", {}).get(VARIABLE)
    if key in (None, SANDBOX_KEY, host.key):
        return entry
    return {**entry, "env": {VARIABLE: HIDDEN}}


def _shown(host: Host, entry: Entry) -> str:
    return files.fragment(host, _masked(host, entry))
