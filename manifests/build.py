"""Write every manifest: `python -m manifests.build`. What comes out is committed; a test compares it with the code."""

import json
import sys
from typing import Any

from manifests import clients, facts, registries, skill
from manifests.facts import MANIFESTS, ROOT


def documents() -> dict[str, str]:
    """Return the text of every generated file, by its path below `manifests/`."""
    made = {
        "mcpb/manifest.json": _json(registries.mcpb()),
        "server.json": _json(registries.server_json()),
        "plugin/.claude-plugin/plugin.json": _json(registries.plugin()),
        "plugin/.claude-plugin/marketplace.json": _json(registries.marketplace()),
        "gemini/gemini-extension.json": _json(registries.gemini()),
        "gemini/GEMINI.md": registries.GEMINI_MD,
        "docker/server.yaml": registries.docker_yaml(),
        "../llms.txt": llms(),
        **clients.files(),
    }
    for name, text in skill.files().items():
        made[f"skill/{facts.SKILL}/{name}"] = text
        made[f"plugin/skills/{facts.SKILL}/{name}"] = text
    return made


def llms() -> str:
    """Return the page for models that look at the repository."""
    tools = "\n".join(f"- `{name}`: {text}" for name, text in facts.TOOLS.items())
    return f"""# {facts.NAME}

> {facts.SENTENCE} An MCP server (`avm-mcp`), a command line (`avm`) and a local sandbox of the API, in Python.

Install: `uv tool install '.[sandbox]'` in a checkout, then `avm setup HOST` (`avm setup` lists the hosts).
`AVM_API_KEY` is a key from {facts.SITE}; the word `sandbox` in its place is free and makes placeholder videos.
A paid call returns a task at once; `get_task` waits for it. Never repeat a paid call to check on it.

## Tools

{tools}

## Docs

- [README](README.md): install, what it costs, what leaves the machine, tools, settings, errors
- [Hosts](manifests/clients/README.md): the entry for each host, commands, links
- [Skill](manifests/skill/{facts.SKILL}/SKILL.md): driving the command line
- [Contributing](CONTRIBUTING.md): the map of the code, tests
- [Privacy](PRIVACY.md), [Security](SECURITY.md), [Changelog](CHANGELOG.md)
"""


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write what differs, and say what that was."""
    for name, text in documents().items():
        path = (MANIFESTS / name).resolve()
        if path.is_file() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
