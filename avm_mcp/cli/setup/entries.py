"""Our entry in a host's file: with it, without it, and what is in it."""

from collections.abc import Mapping
from typing import Any, cast

from avm_mcp.cli.setup.forms import FORMS, Unreadable, plain, table_at
from avm_mcp.cli.setup.hosts import INPUT_ID, SERVER, VARIABLE, Entry, Host
from avm_mcp.settings import SANDBOX_KEY

INPUT = {
    "type": "promptString",
    "id": INPUT_ID,
    "description": "Key from aivideomaker.ai, or: sandbox",
    "password": True,
}
"""The question that VS Code asks for the key."""


def add_entry(host: Host, text: str, entry: Entry, *, key_counts: bool = False) -> str:
    """Return a host's file with our entry; what else is in it stays.

    Args:
        host: Whose file it is.
        text: What is in it; empty if there is none.
        entry: Ours.
        key_counts: Its key replaces the one that may be there; otherwise only the sandbox's is replaced.

    Raises:
        Unreadable: It is not changed, because it is not certain what it means.
    """
    form = FORMS[host.form]
    content = form.parse(text)
    servers = table_at(content, host.path_to_servers)
    if SERVER in servers:
        present = plain(servers[SERVER])
        if not (isinstance(present, dict) and host.command_key in present):
            raise Unreadable(f"it lists {SERVER} already, and not as a program that the host starts")
        entry = _merge(host, entry, cast("Entry", present), key_counts=key_counts)
    lists: dict[str, list[Any]] = {}
    if entry.get(host.env_key, {}).get(VARIABLE) == f"${{input:{INPUT_ID}}}":
        inputs = _inputs(content)
        lists["inputs"] = inputs if any(map(_is_ours, inputs)) else [*inputs, INPUT]
    return form.edit(text, host.path_to_servers, SERVER, entry, **lists)


def remove_entry(host: Host, text: str, backup: str | None) -> str | None:
    """Return a host's file without us; None if nothing is left of it that was not ours.

    Args:
        host: Whose file it is.
        text: What is in it.
        backup: What was in it before us, if there was a file: it comes back to the byte if nothing else has changed.

    Raises:
        Unreadable: It is not changed, because it is not certain what it means.
    """
    form = FORMS[host.form]
    rest = _without(host, text)
    if backup is not None:
        unchanged = plain(form.parse(_without(host, backup))) == plain(form.parse(rest))
        return backup if unchanged and not is_listed(host, backup) else rest
    return rest if form.parse(rest) else None


def _without(host: Host, text: str) -> str:
    form = FORMS[host.form]
    content = form.parse(text)
    lists = {"inputs": [one for one in _inputs(content) if not _is_ours(one)]} if INPUT_ID in (host.key or "") else {}
    return form.edit(text, host.path_to_servers, SERVER, None, **lists)


def key_of(host: Host, text: str) -> str | None:
    """Return the key that stands in our entry of a host's file."""
    env = plain(_servers(host, text)[SERVER]).get(host.env_key)
    key: object = cast("Entry", env).get(VARIABLE) if isinstance(env, dict) else None
    return key if isinstance(key, str) else None


def is_listed(host: Host, text: str | None) -> bool:
    """Return whether a host's file has us."""
    return text is not None and SERVER in _servers(host, text)


def _servers(host: Host, text: str) -> Mapping[str, Any]:
    return table_at(FORMS[host.form].parse(text), host.path_to_servers)


def _inputs(content: Mapping[str, Any]) -> list[object]:
    inputs = content.get("inputs", [])
    if not isinstance(inputs, list):
        raise Unreadable("its inputs are not a list")
    return cast("list[object]", inputs)


def _is_ours(one: object) -> bool:
    return isinstance(one, dict) and cast("Entry", one).get("id") == INPUT_ID


def _merge(host: Host, entry: Entry, present: Entry, *, key_counts: bool) -> Entry:
    """Return our entry over the one that is there: how we are started is ours, further settings are the user's."""
    env: dict[str, str] = {**present[host.env_key]} if isinstance(present.get(host.env_key), dict) else {}
    key = entry.get(host.env_key, {}).get(VARIABLE)
    if key_counts or env.get(VARIABLE) in (None, "", SANDBOX_KEY):
        env.pop(VARIABLE, None)
        env |= {} if key is None else {VARIABLE: key}
    ours = {name: entry.get(name) for name in (host.command_key, "args")}
    merged = {**entry, **present, **ours, host.env_key: env}
    if VARIABLE in env and merged.get(host.inherit_key) == [VARIABLE]:
        del merged[host.inherit_key]
    # In the order that is there, so that writing the same again is writing nothing.
    order = [*present, *(name for name in entry if name not in present)]
    optional = {"args", host.env_key} - set(host.before)
    return {name: merged[name] for name in order if name in merged and (name not in optional or merged[name])}
