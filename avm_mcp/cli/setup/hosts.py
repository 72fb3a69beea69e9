"""The hosts that `avm setup` knows: where each lists its servers, how it spells one, where a key comes from.

Each row was read in the host's own documentation or seen with the host's own program; `manifests/clients` is made
from this table too.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

SERVER = "avm-mcp"
"""The name under which hosts list us."""

VARIABLE = "AVM_API_KEY"
INPUT_ID = "avm-key"

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Host:
    """One host.

    Attributes:
        name: As typed after `avm setup`.
        title: As people know it.
        form: What its file is written in.
        file: Where the file is below a person's home, or below the working folder; by system where they differ.
        place: The keys that lead to its table of servers.
        key: What stands for the API key: how its file refers to the environment or to a prompt; None where it can
            do neither, so that the key itself has to stand in the file.
        more: Further fields of an entry over stdio.
        remote: An entry over HTTP, with the address under its own name; None where the file has no such thing.
        traces: Folders below the home that say it is installed.
        programs: Commands that say so.
        in_project: The file belongs to the working folder, and may be shared: no path of this machine goes into it.
        then: What a person does next.
    """

    name: str
    title: str
    form: Literal["json", "toml", "yaml"]
    file: str | Mapping[str, str]
    place: tuple[str, ...]
    key: str | None
    more: Entry = field(default_factory=dict[str, Any])
    remote: Callable[[str], Entry] | None = None
    traces: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    in_project: bool = False
    then: str = ""

    def path(self, home: Path, here: Path, system: str = sys.platform) -> Path:
        """Return its file on this system."""
        return (here if self.in_project else home) / self.relative(system)

    def relative(self, system: str = sys.platform) -> str:
        return self.file if isinstance(self.file, str) else self.file.get(system, self.file["linux"])

    def entry(self, command: Sequence[str], key: str | None) -> Entry:
        """Return its entry for us over stdio.

        Args:
            command: The program and its arguments.
            key: The key, or how this host refers to it; None leaves it to what the host passes on by itself.
        """
        program, *arguments = command
        entry: Entry = {"command": program, **({"args": arguments} if arguments else {})}
        if key is not None:
            entry["env"] = {VARIABLE: key}
        return {**self.more, **entry} if "type" in self.more else {**entry, **self.more}


def _url(**more: Any) -> Callable[[str], Entry]:
    return lambda address: {**more, "url": address}


_CLAUDE = "claude_desktop_config.json"

HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        Host(
            "claude-desktop",
            "Claude Desktop",
            "json",
            {
                "darwin": f"Library/Application Support/Claude/{_CLAUDE}",
                "win32": f"AppData/Roaming/Claude/{_CLAUDE}",
                "linux": f".config/Claude/{_CLAUDE}",
            },
            ("mcpServers",),
            None,
            traces=("Library/Application Support/Claude", "AppData/Roaming/Claude", ".config/Claude"),
            then="Quit Claude Desktop and start it again.",
        ),
        Host(
            "claude-code",
            "Claude Code (this project)",
            "json",
            ".mcp.json",
            ("mcpServers",),
            "${AVM_API_KEY:-}",
            more={"type": "stdio"},
            remote=_url(type="http"),
            traces=(".claude",),
            programs=("claude",),
            in_project=True,
            then="Start claude in this folder and allow the server.",
        ),
        Host(
            "cursor",
            "Cursor",
            "json",
            ".cursor/mcp.json",
            ("mcpServers",),
            "${env:AVM_API_KEY}",
            remote=_url(),
            traces=(".cursor",),
            programs=("cursor",),
            then="Switch avm-mcp on in Cursor's settings, under MCP.",
        ),
        Host(
            "vscode",
            "VS Code",
            "json",
            {
                "darwin": "Library/Application Support/Code/User/mcp.json",
                "win32": "AppData/Roaming/Code/User/mcp.json",
                "linux": ".config/Code/User/mcp.json",
            },
            ("servers",),
            f"${{input:{INPUT_ID}}}",
            more={"type": "stdio"},
            remote=_url(type="http"),
            traces=("Library/Application Support/Code", "AppData/Roaming/Code", ".config/Code"),
            programs=("code",),
            then="Start the server from VS Code's list of MCP servers.",
        ),
        Host(
            "windsurf",
            "Windsurf",
            "json",
            ".codeium/windsurf/mcp_config.json",
            ("mcpServers",),
            "${env:AVM_API_KEY}",
            remote=lambda address: {"serverUrl": address},
            traces=(".codeium/windsurf",),
            programs=("windsurf",),
            then="Refresh the list of MCP servers in Windsurf.",
        ),
        Host(
            "codex",
            "Codex",
            "toml",
            ".codex/config.toml",
            ("mcp_servers",),
            "",
            more={"startup_timeout_sec": 60, "tool_timeout_sec": 600},
            remote=_url(),
            traces=(".codex",),
            programs=("codex",),
            then="Start codex again.",
        ),
        Host(
            "gemini",
            "Gemini CLI",
            "json",
            ".gemini/settings.json",
            ("mcpServers",),
            "${AVM_API_KEY}",
            more={"timeout": 600_000},
            remote=_url(type="http"),
            traces=(".gemini",),
            programs=("gemini",),
            then="Start gemini again; /mcp lists the server.",
        ),
        Host(
            "goose",
            "Goose",
            "yaml",
            {"win32": "AppData/Roaming/Block/goose/config/config.yaml", "linux": ".config/goose/config.yaml"},
            ("extensions",),
            "",
            more={"timeout": 600},
            remote=lambda address: {"uri": address},
            traces=(".config/goose", "AppData/Roaming/Block/goose"),
            programs=("goose",),
            then="Start a new Goose session.",
        ),
        Host(
            "lm-studio",
            "LM Studio",
            "json",
            ".lmstudio/mcp.json",
            ("mcpServers",),
            None,
            remote=_url(),
            traces=(".lmstudio",),
            programs=("lms",),
            then="Switch avm-mcp on in LM Studio, under Integrations.",
        ),
        Host(
            "openclaw",
            "OpenClaw",
            "json",
            ".openclaw/openclaw.json",
            ("mcp", "servers"),
            "${AVM_API_KEY}",
            remote=_url(transport="streamable-http"),
            traces=(".openclaw",),
            programs=("openclaw",),
            then="Run openclaw mcp probe avm-mcp.",
        ),
    )
}
