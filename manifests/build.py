"""Write every manifest from its template: `python -m manifests.build`. The result is committed; a test compares it.

A template has the name of its manifest and holds `<<names>>`, for which a document's values are filled in.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from manifests import clients, facts, skill
from manifests.facts import MANIFESTS, ROOT

TEMPLATES = MANIFESTS / "templates"
PLACEHOLDER = re.compile(r"<<(\w+)>>")


def documents() -> dict[str, str]:
    """Return the text of every generated file, by its path below `manifests/`."""
    shared = {
        "version": facts.VERSION,
        "python": facts.PYTHON,
        "owner": facts.OWNER,
        "sentence": facts.SENTENCE,
        "mcp_url": facts.MCP_URL,
        **facts.SETTINGS,
    }
    own: dict[str, dict[str, Any]] = {
        "mcpb/manifest.json": {"tools": [{"name": name, "description": text} for name, text in facts.TOOLS.items()]},
        "llms.txt": {"tools": "\n".join(f"- `{name}`: {text}" for name, text in facts.TOOLS.items())},
        "clients/README.md": {
            "hosts": clients.host_rows(),
            "links": "\n".join(f"- {name}: `{link}`" for name, link in clients.links().items()),
        },
        f"skill/{facts.SKILL}/references/commands.md": skill.commands(),
        f"skill/{facts.SKILL}/references/errors.md": skill.failures(),
    }
    made = clients.files()
    for path in sorted(path for path in TEMPLATES.rglob("*") if path.is_file()):
        name = path.relative_to(TEMPLATES).as_posix()
        text = fill(path, shared | own.get(name, {}))
        made["../llms.txt" if name == "llms.txt" else name] = text
        if name.startswith("skill/"):
            made[f"plugin/{name.replace('skill/', 'skills/', 1)}"] = text
    return made


def fill(template: Path, values: dict[str, Any]) -> str:
    """Return a template's text with its values; those in JSON are escaped, and the document is laid out anew.

    Raises:
        KeyError: The template has a name without a value.
    """
    text = template.read_text()
    if template.suffix != ".json":
        return PLACEHOLDER.sub(lambda found: values[found[1]], text)

    def escape(found: re.Match[str]) -> str:
        value = values[found[1]]
        return json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)

    return json.dumps(json.loads(PLACEHOLDER.sub(escape, text)), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write what differs, and print the names of those files."""
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
