"""`avm setup HOST`: add the server to a host's own configuration, and remove it again without a trace.

The change is written in one step and printed; a copy of the old file is kept beside it. A file that is not understood
is not changed, and the entry to add by hand is printed instead.
"""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avm_mcp.cli import exits
from avm_mcp.cli.setup.entries import add_entry, is_listed, key_of, remove_entry
from avm_mcp.cli.setup.files import File
from avm_mcp.cli.setup.forms import Unreadable
from avm_mcp.cli.setup.hosts import HOSTS, INPUT_ID, SERVER, VARIABLE, Entry, Host
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain.errors import BadSetting, InvalidInput
from avm_mcp.settings import SANDBOX_KEY, Settings

__all__ = ["HOSTS", "run"]

HIDDEN = "(your key)"


@dataclass(frozen=True, slots=True)
class Machine:
    """What setup has to know about this machine."""

    home: Path
    here: Path
    command: tuple[str, ...]
    key: str | None

    @classmethod
    def standard(cls, settings: Settings) -> "Machine":
        """Return this process's own.

        Raises:
            BadSetting: There is no home folder.
        """
        try:
            return cls(Path.home(), Path.cwd(), find_program(), settings.api_key)
        except (OSError, RuntimeError) as error:
            raise BadSetting(f"There is no home or working folder to look in: {error}.") from None


def run(args: Namespace, settings: Settings, terminal: Terminal) -> int:
    """Run the command and return its exit code."""
    machine = Machine.standard(settings)
    if args.host is None:
        return _list_hosts(machine, terminal)
    host = HOSTS.get(args.host.lower().replace("_", "-").replace(" ", "-"))
    if host is None:
        known = ", ".join(HOSTS)
        raise InvalidInput(f"No host is called {args.host[:40]!r}. Known: {known}.", field="host", allowed=known)
    file = host.path(machine.home, machine.here)
    try:
        if args.remove:
            return _remove(host, File.read(file), machine, terminal, dry_run=args.print)
        return _add(host, File.read(file), machine, terminal, dry_run=args.print, sandbox=args.sandbox)
    except Unreadable as why:
        by_hand = (
            ""
            if args.remove
            else f"\nPut this into it by hand:\n{_format_entry(host, _build_entry(host, machine, args.sandbox))}"
        )
        raise BadSetting(f"{file} was left as it is: {why}.{by_hand}", field="host") from None
    except OSError as error:
        raise BadSetting(f"{file} was left as it is: it cannot be written ({error.strerror}).", field="host") from None


def find_program() -> tuple[str, ...]:
    """Return the command that starts the server: an absolute path, because desktop hosts have a short PATH.

    A copy that uvx made for one run is temporary, so uvx is named instead of it.
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


# --- the three actions ---


def _list_hosts(machine: Machine, terminal: Terminal) -> int:
    rows = [_build_row(host, machine) for host in HOSTS.values()]
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


def _build_row(host: Host, machine: Machine) -> dict[str, str]:
    path = host.path(machine.home, machine.here)
    there = any((machine.home / trace).is_dir() for trace in host.traces) or any(map(shutil.which, host.programs))
    state = "found" if there else "not found"
    try:
        if is_listed(host, File.read(path).text):
            state = "set up"
    except Unreadable:
        state = "file not readable"
    return {"host": host.name, "state": state, "file": str(path)}


def _add(host: Host, file: File, machine: Machine, terminal: Terminal, *, dry_run: bool, sandbox: bool) -> int:
    entry = _build_entry(host, machine, sandbox)
    # A key that is set in this terminal replaces the one in the file.
    mine = host.key is None and machine.key not in (None, SANDBOX_KEY)
    text = add_entry(host, file.text or "", entry, key_counts=sandbox or mine)
    changed = text != file.text
    key = key_of(host, text)
    if key is not None:
        entry = {**entry, host.env_key: {VARIABLE: key}}
    secret = key not in (None, SANDBOX_KEY, host.key)
    closed = secret and not dry_run and file.is_open_to_others
    if (changed or closed) and not dry_run:
        file.keep()
        file.write(text, private=secret)
    action = "Would write" if dry_run else "Wrote" if changed else "Already there, nothing to change:"
    lines = [f"{action} {file.path}", _format_entry(host, entry)]
    if changed and file.text is not None and not dry_run:
        lines.append(f"The file as it was before: {file.backup}")
    if closed:
        lines.append("Others on this machine could read that file; since it holds a key, now only you can.")
    lines += _describe_path(host, machine)
    lines += _describe_key(host, machine, key)
    lines.append(
        f"Next: {host.next_step} Then ask it for a video; avm setup {host.name} --remove takes this out again."
    )
    fields = {"host": host.name, "file": str(file.path), "changed": changed and not dry_run, "would_change": changed}
    terminal.result(lambda: "\n".join(lines), lambda: {**fields, "entry": _mask_key(host, entry), "notes": lines[2:]})
    return exits.OK


def _remove(host: Host, file: File, machine: Machine, terminal: Terminal, *, dry_run: bool) -> int:
    fields = {"host": host.name, "file": str(file.path)}
    if not is_listed(host, file.text):
        terminal.result(lambda: f"Nothing to remove: {file.path}", lambda: {**fields, "changed": False})
        return exits.OK
    kept = File.read(file.backup)
    text = remove_entry(host, file.text or "", kept.text)
    if not dry_run:
        if text is None:
            file.unlink(below=machine.here if host.in_project else machine.home)
        else:
            file.write(text)
        kept.path.unlink(missing_ok=True)
    gone = " (nothing else was in it, so the file goes too)" if text is None else ""
    action = "Would take" if dry_run else "Took"
    terminal.result(lambda: f"{action} {SERVER} out of {file.path}{gone}", lambda: {**fields, "changed": not dry_run})
    return exits.OK


# --- what is written ---


def _build_entry(host: Host, machine: Machine, sandbox: bool) -> Entry:
    command = (SERVER,) if host.in_project else machine.command
    if sandbox:
        return host.entry(command, SANDBOX_KEY)
    if host.key is None:
        return host.entry(command, machine.key or SANDBOX_KEY)
    return host.entry(command, host.key or None)


def _describe_path(host: Host, machine: Machine) -> Sequence[str]:
    """Warn if a shared file has the bare name and the PATH does not hold the program."""
    program = Path(machine.command[0])
    if not host.in_project or program.stem != SERVER or shutil.which(SERVER) is not None:
        return []
    return [f"{SERVER} is not on your PATH, and this host finds it only there: add {program.parent} to PATH first."]


def _describe_key(host: Host, machine: Machine, key: str | None) -> Sequence[str]:
    """Say which key is in the file now, or where the host takes it from."""
    if key == SANDBOX_KEY:
        how = "with AVM_API_KEY set in this terminal" if host.key is None else "without --sandbox"
        return [f"The key is sandbox: free, videos are placeholders. For real ones: avm setup {host.name} {how}."]
    if host.key is None and key == machine.key:
        return [f"{host.title} can neither ask for a key nor read {VARIABLE}, so yours stands in that file."]
    if host.key is None or key not in (None, host.key):
        free = f"for a free try: avm setup {host.name} --sandbox"
        return [f"The key that stood in that file stays: videos are real, and cost credits; {free}."]
    if INPUT_ID in host.key:
        return [f"No key is written: {host.title} asks for it and keeps it."]
    seen = (
        ""
        if machine.key
        else f" It is not set here: get a key at https://aivideomaker.ai, or avm setup {host.name} --sandbox."
    )
    return [f"No key is written: {host.title} reads {VARIABLE} from the environment it is started in.{seen}"]


def _mask_key(host: Host, entry: Entry) -> Entry:
    key = entry.get(host.env_key, {}).get(VARIABLE)
    if key in (None, SANDBOX_KEY, host.key):
        return entry
    return {**entry, host.env_key: {VARIABLE: HIDDEN}}


def _format_entry(host: Host, entry: Entry) -> str:
    return add_entry(host, "", _mask_key(host, entry)).rstrip("\n")
