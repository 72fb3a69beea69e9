"""`clients/`: the entry for each host's file, over stdio and over HTTP, and the links that install by a click.

Entries come from the table that `avm setup` writes with, so the two cannot differ.
"""

import base64
import json
import re
from urllib.parse import quote, urlencode

from avm_mcp.cli.setup.entries import add_entry
from avm_mcp.cli.setup.hosts import HOSTS, Host
from manifests import facts

COMMAND = ("uvx", facts.NAME)


def files() -> dict[str, str]:
    """Return the generated files of `clients/`; an entry that needs a key itself has the sandbox's."""
    made: dict[str, str] = {}
    for host in HOSTS.values():
        entry = host.entry(COMMAND, "sandbox" if host.key is None else host.key or None)
        made[f"clients/{host.name}.{host.form}"] = add_entry(host, "", entry)
        if host.remote is not None:
            made[f"clients/{host.name}-http.{host.form}"] = add_entry(host, "", host.remote(facts.MCP_URL))
    return made


def host_rows() -> str:
    """Return the rows of the table of hosts."""
    return "\n".join(map(_row, HOSTS.values()))


def _row(host: Host) -> str:
    where = f"`{'' if host.in_project else '~/'}{host.relative('linux')}`"
    if not isinstance(host.file, str) and "darwin" in host.file:
        where += f", on a Mac `~/{host.file['darwin']}`"
    if not isinstance(host.file, str) and "win32" in host.file:
        where += f", on Windows `%USERPROFILE%\\{host.file['win32'].replace('/', chr(92))}`"
    local, remote = f"{host.name}.{host.form}", f"{host.name}-http.{host.form}"
    over_http = f"[{remote}]({remote})" if host.remote else "Settings, Connectors"
    return f"| {host.title} | {where} | [{local}]({local}) | {over_http} |"


def commands() -> dict[str, str]:
    """Return the hosts' own commands, by host, as `clients/README.md` lists them."""
    page = (facts.MANIFESTS / "clients" / "README.md").read_text()
    return dict(re.findall(r"^# (.+)\n(.+)$", page.split("```")[1], re.MULTILINE))


def links() -> dict[str, str]:
    """Return the links that install by a click. A link never holds a key."""
    inner = {"command": COMMAND[0], "args": list(COMMAND[1:])}
    encoded = base64.b64encode(json.dumps(inner, separators=(",", ":")).encode()).decode()
    query = urlencode({"name": facts.NAME, "config": encoded})
    code = json.dumps({"name": facts.NAME, "type": "stdio", **inner}, separators=(",", ":"))
    vscode = f"vscode:mcp/install?{quote(code, safe='')}"
    goose = {"cmd": "uvx", "arg": facts.NAME, "id": facts.NAME, "name": facts.TITLE, "description": facts.SENTENCE}
    return {
        "Cursor": f"cursor://anysphere.cursor-deeplink/mcp/install?{query}",
        "Cursor, on a web page": f"https://cursor.com/en/install-mcp?{query}",
        "LM Studio": f"lmstudio://add_mcp?{query}",
        "VS Code": vscode,
        "VS Code, on a web page": f"https://vscode.dev/redirect?url={quote(vscode, safe='')}",
        "Goose": f"goose://extension?{urlencode(goose, quote_via=quote)}",
    }
