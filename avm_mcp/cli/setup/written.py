"""Our block in a file that we cannot parse and write back: Codex's TOML, Goose's YAML. It stands between two marks."""

import json
import re
import tomllib
from typing import Any

from avm_mcp.cli.setup.hosts import SERVER, VARIABLE, Entry

BEGIN = f"# >>> {SERVER}: written by avm setup, removed by avm setup --remove"
END = f"# <<< {SERVER}"
_BLOCK = re.compile(
    rf"^[ ]*{re.escape(BEGIN)}[ ]*\r?\n.*?^[ ]*{re.escape(END)}[ ]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
_OURS = re.compile(rf"[ ]*\[mcp_servers\.['\"]?{SERVER}['\"]?[.\]]")
_PLAIN = re.compile(r"['\"]?[\w.-]+['\"]?[ ]*:(?:\s|\Z)|-(?:\s|\Z)")


class Unreadable(Exception):
    """A file that is not changed, since what it means is not sure; the message says why."""


def toml_block(entry: Entry) -> str:
    """Return Codex's table for us; without a key of its own it is told to pass the variable on."""
    fields = dict(entry)
    env = fields.pop("env", None)
    lines = [f"[mcp_servers.{SERVER}]", *(f"{name} = {_toml(value)}" for name, value in fields.items())]
    if "command" in fields:
        lines.append(f"env = {{ {VARIABLE} = {_toml(env[VARIABLE])} }}" if env else f'env_vars = ["{VARIABLE}"]')
    return "\n".join(lines)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings, whole numbers and lists of strings are the same in TOML


def yaml_block(entry: Entry) -> str:
    """Return Goose's extension for us, unindented."""
    fields: dict[str, Any] = {"enabled": True, "name": SERVER}
    if "command" in entry:
        fields |= {"type": "stdio", "cmd": entry["command"], "args": entry.get("args", [])}
        env = entry.get("env")
        fields |= {"envs": env} if env else {"env_keys": [VARIABLE]}
    else:
        fields |= {"type": "streamable_http", "uri": entry["uri"]}
    fields |= {"timeout": entry.get("timeout", 600)}
    # A JSON value is a YAML value too, whatever is in it.
    return "\n".join([f"{SERVER}:", *(f"  {name}: {json.dumps(value)}" for name, value in fields.items())])


def marked(block: str, indent: str = "") -> str:
    """Return a block between our marks."""
    return "".join(f"{indent}{line}\n" for line in (BEGIN, *block.split("\n"), END))


def without(text: str) -> str:
    """Return a text without our block."""
    return _BLOCK.sub(_of_others, text)


def _of_others(block: re.Match[str]) -> str:
    """Return what is not ours between our marks: Codex adds a table above the last comment, our closing mark."""
    between = block[0].splitlines(keepends=True)[1:-1]
    _, *tables = re.split(r"^(?=[ ]*\[)", "".join(between), flags=re.MULTILINE)
    return "".join(table for table in tables if not _OURS.match(table))


def with_toml(text: str, block: str) -> str:
    """Return Codex's file with our table at its end.

    Raises:
        Unreadable: It is no TOML, or lists us by somebody else's hand.
    """
    rest = without(text)
    listed = _toml_of(rest).get("mcp_servers", {})
    if not isinstance(listed, dict) or SERVER in listed:
        raise Unreadable(f"it lists {SERVER} already, not by avm setup (codex mcp remove {SERVER} takes it out)")
    result = _ended(rest) + marked(block)
    _toml_of(result)
    return result


def _toml_of(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"it is not valid TOML: {error}") from None


def with_yaml(text: str, block: str) -> str:
    """Return Goose's file with our extension first under `extensions`.

    YAML is not parsed here, so only the plain form is touched that Goose writes itself.

    Raises:
        Unreadable: It is not in that form, or lists us by somebody else's hand.
    """
    rest = without(text)
    if "\t" in rest or re.search(r"^(---|\.\.\.)", rest.lstrip(), re.MULTILINE):
        raise Unreadable("it has tabs or several documents")
    lines = [line for line in rest.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if any(line[0] != " " and not _PLAIN.match(line) for line in lines) or (lines[:1] and lines[0][0] == " "):
        raise Unreadable("it is not written as plain lines of names and values")
    if re.search(rf"^\s+['\"]?{SERVER}['\"]?\s*:", rest, re.MULTILINE):
        raise Unreadable(f"it lists {SERVER} already, not by avm setup")
    heads = list(re.finditer(r"^['\"]?extensions['\"]?[ ]*:(?P<rest>[^\n]*)\n?", rest, re.MULTILINE))
    if not heads:
        return _ended(rest, blank="") + "extensions:\n" + marked(block, "  ")
    head = heads[0]
    if len(heads) > 1 or not re.fullmatch(r"\s*(\{\s*\})?\s*(#.*)?", head["rest"]):
        raise Unreadable("its extensions are not written as a plain block")
    below = re.match(r"(?:[ ]*(?:#[^\n]*)?\r?\n)*(?P<indent>[ ]+)\S", rest[head.end() :])
    indent = below["indent"] if below else "  "
    line = head[0].replace("{", "").replace("}", "").rstrip() if "{" in head["rest"] else head[0].rstrip("\n")
    return rest[: head.start()] + f"{line}\n" + marked(block, indent) + rest[head.end() :]


def _ended(text: str, blank: str = "\n") -> str:
    """Return a text that ends with a line end, and an empty line before what follows."""
    if not text.strip():
        return ""
    return text + ("" if text.endswith("\n") else "\n") + ("" if text.endswith("\n\n") else blank)
