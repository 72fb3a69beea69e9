"""`clients/`: what goes into the file of each host, over stdio and over HTTP, and the links that install by a click.

Entries come from the table that `avm setup` writes with, so the two cannot differ.
"""

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

from avm_mcp.cli.setup.files import INPUT
from avm_mcp.cli.setup.hosts import HOSTS, INPUT_ID, VARIABLE, Host
from avm_mcp.cli.setup.written import toml_block, yaml_block
from manifests import facts

COMMAND = ("uvx", facts.NAME)
SUFFIX = {"json": "json", "toml": "toml", "yaml": "yaml"}


def entry(host: Host) -> dict[str, Any]:
    """Return a host's entry over stdio; where only a key itself could stand, it is the sandbox's."""
    return host.entry(COMMAND, "sandbox" if host.key is None else host.key or None)


def document(host: Host, content: dict[str, Any]) -> str:
    """Return what goes into a host's file."""
    if host.form == "toml":
        return toml_block(content) + "\n"
    if host.form == "yaml":
        return "extensions:\n" + "".join(f"  {line}\n" for line in yaml_block(content).split("\n"))
    table: dict[str, Any] = {facts.NAME: content}
    for name in reversed(host.place):
        table = {name: table}
    if content.get("env", {}).get(VARIABLE) == f"${{input:{INPUT_ID}}}":
        table = {"inputs": [INPUT], **table}
    return json.dumps(table, indent=2) + "\n"


def files() -> dict[str, str]:
    """Return every file of `clients/`."""
    made: dict[str, str] = {}
    for host in HOSTS.values():
        made[f"clients/{host.name}.{SUFFIX[host.form]}"] = document(host, entry(host))
        if host.remote is not None:
            made[f"clients/{host.name}-http.{SUFFIX[host.form]}"] = document(host, host.remote(facts.MCP_URL))
    made["clients/README.md"] = readme()
    return made


def links() -> dict[str, str]:
    """Return the links that install by a click. A link never holds a key."""
    inner = {"command": COMMAND[0], "args": list(COMMAND[1:])}
    encoded = base64.b64encode(json.dumps(inner, separators=(",", ":")).encode()).decode()
    query = urlencode({"name": facts.NAME, "config": encoded})
    code = json.dumps({"name": facts.NAME, "type": "stdio", **inner}, separators=(",", ":"))
    vscode = f"vscode:mcp/install?{quote(code, safe='')}"
    goose = urlencode(
        {"cmd": "uvx", "arg": facts.NAME, "id": facts.NAME, "name": facts.TITLE, "description": facts.SENTENCE},
        quote_via=quote,
    )
    return {
        "Cursor": f"cursor://anysphere.cursor-deeplink/mcp/install?{query}",
        "Cursor, on a web page": f"https://cursor.com/en/install-mcp?{query}",
        "LM Studio": f"lmstudio://add_mcp?{query}",
        "VS Code": vscode,
        "VS Code, on a web page": f"https://vscode.dev/redirect?url={quote(vscode, safe='')}",
        "Goose": f"goose://extension?{goose}",
    }


COMMANDS = {
    "Claude Code": "claude mcp add avm-mcp -e AVM_API_KEY='${AVM_API_KEY:-}' -- uvx avm-mcp",
    "Claude Code, over HTTP": f"claude mcp add --transport http avm-mcp {facts.MCP_URL}",
    "Codex": "codex mcp add avm-mcp --env AVM_API_KEY=sandbox -- uvx avm-mcp",
    "Codex, over HTTP": f"codex mcp add avm-mcp --url {facts.MCP_URL}",
    "Gemini CLI": "gemini mcp add -s user avm-mcp uvx avm-mcp",
    "Gemini CLI, over HTTP": f"gemini mcp add -s user -t http avm-mcp {facts.MCP_URL}",
    "OpenClaw": "openclaw mcp add avm-mcp --command uvx --arg avm-mcp",
    "VS Code": """code --add-mcp '{"name":"avm-mcp","command":"uvx","args":["avm-mcp"]}'""",
}
"""What hosts' own programs take. Claude Code wants the name before -e and the command after --."""


def readme() -> str:
    """Return the page that tells what each file is."""
    rows = ["| host | its file | over stdio | over HTTP |", "|---|---|---|---|"]
    for host in HOSTS.values():
        name = f"{host.name}.{SUFFIX[host.form]}"
        remote = f"[{host.name}-http.{SUFFIX[host.form]}]({host.name}-http.{SUFFIX[host.form]})"
        where = f"`{'' if host.in_project else '~/'}{host.relative('linux')}`"
        if not isinstance(host.file, str) and "darwin" in host.file:
            where += f", on a Mac `~/{host.file['darwin']}`"
        if not isinstance(host.file, str) and "win32" in host.file:
            where += f", on Windows `%USERPROFILE%\\{host.file['win32'].replace('/', chr(92))}`"
        over_http = remote if host.remote else "Settings, Connectors"
        rows.append(f"| {host.title} | {where} | [{name}]({name}) | {over_http} |")
    told = "\n".join(f"- {name}: `{link}`" for name, link in links().items())
    typed = "\n".join(f"# {name}\n{command}" for name, command in COMMANDS.items())
    return f"""# Hosts

Made by `make manifests`. `avm setup HOST` writes these entries for you, with the right path and without
your key wherever the host can ask for it or read it from the environment.

{chr(10).join(rows)}

- `uvx avm-mcp` runs the copy that `uv tool install` put on this machine, or else the published one. A desktop program
  that does not find `uvx` wants the whole path: `which uvx` prints it.
- Where a file says `sandbox`, the host can neither ask for a key nor read one: write yours in its place.
  `sandbox` is free and makes placeholder videos.
- Over HTTP, `avm-mcp serve` has to run first; it has the key, so no host needs one.

## The hosts' own commands

```
{typed}
```

## Links that install by a click

{told}

Each has the form that its host documents, or that its users publish (VS Code); none was clicked by us.
"""
