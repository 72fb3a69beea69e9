"""The hosts that `avm setup` knows: where each lists its servers, the fields of an entry, and the source of the key.

Each row is from the host's own documentation, or was seen with the host's own program. `manifests/clients` is made
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
        form: The format of its file.
        file: Where the file is below a person's home, or below the working folder; by system where they differ.
        path_to_servers: The names that lead to its table of servers.
        key: How its file refers to the key: a reference to the environment or to a prompt, or empty; None where it can
            do neither, so that the file has to hold the key itself.
        before: Fields that an entry over stdio begins with.
        more: Further fields of an entry over stdio.
        command_key: The name of its field for the program.
        env_key: The name of its field for variables with their values.
        inherit_key: The name of its field for variables that are passed on from the environment; empty where all are.
        remote: Builds an entry over HTTP from the URL; None if the file has no such entries.
        traces: Folders below the home that show that it is installed.
        programs: Commands that show it too.
        in_project: The file is in the working folder and may be shared, so no path of this machine goes into it.
        next_step: What the user does next.
    """

    name: str
    title: str
    form: Literal["json", "toml", "yaml"]
    file: str | Mapping[str, str]
    path_to_servers: tuple[str, ...]
    key: str | None
    before: Entry = field(default_factory=dict[str, Any])
    more: Entry = field(default_factory=dict[str, Any])
    command_key: str = "command"
    env_key: str = "env"
    inherit_key: str = ""
    remote: Callable[[str], Entry] | None = None
    traces: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    in_project: bool = False
    next_step: str = ""

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
        entry: Entry = {**self.before, self.command_key: program, **({"args": arguments} if arguments else {})}
        if key is not None:
            entry[self.env_key] = {VARIABLE: key}
        elif self.inherit_key:
            entry[self.inherit_key] = [VARIABLE]
        return {**entry, **self.more}


def _url(**more: Any) -> Callable[[str], Entry]:
    return lambda address: {**more, "url": address}


def _goose_url(address: str) -> Entry:
    return {"enabled": True, "name": SERVER, "type": "streamable_http", "uri": address, "timeout": 600}


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
            next_step="Quit Claude Desktop and start it again.",
        ),
        Host(
            "claude-code",
            "Claude Code (this project)",
            "json",
            ".mcp.json",
            ("mcpServers",),
            "${AVM_API_KEY:-}",
            before={"type": "stdio"},
            remote=_url(type="http"),
            traces=(".claude",),
            programs=("claude",),
            in_project=True,
            next_step="Start claude in this folder and allow the server.",
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
            next_step="Switch avm-mcp on in Cursor's settings, under MCP.",
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
            before={"type": "stdio"},
            remote=_url(type="http"),
            traces=("Library/Application Support/Code", "AppData/Roaming/Code", ".config/Code"),
            programs=("code",),
            next_step="Start the server from VS Code's list of MCP servers.",
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
            next_step="Refresh the list of MCP servers in Windsurf.",
        ),
        Host(
            "codex",
            "Codex",
            "toml",
            ".codex/config.toml",
            ("mcp_servers",),
            "",
            more={"startup_timeout_sec": 60, "tool_timeout_sec": 600},
            inherit_key="env_vars",
            remote=_url(),
            traces=(".codex",),
            programs=("codex",),
            next_step="Start codex again.",
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
            next_step="Start gemini again; /mcp lists the server.",
        ),
        Host(
            "goose",
            "Goose",
            "yaml",
            {"win32": "AppData/Roaming/Block/goose/config/config.yaml", "linux": ".config/goose/config.yaml"},
            ("extensions",),
            "",
            before={"enabled": True, "name": SERVER, "type": "stdio", "cmd": "", "args": []},
            more={"timeout": 600},
            command_key="cmd",
            env_key="envs",
            inherit_key="env_keys",
            remote=_goose_url,
            traces=(".config/goose", "AppData/Roaming/Block/goose"),
            programs=("goose",),
            next_step="Start a new Goose session.",
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
            next_step="Switch avm-mcp on in LM Studio, under Integrations.",
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
            next_step="Run openclaw mcp probe avm-mcp.",
        ),
    )
}
