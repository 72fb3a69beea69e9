"""What documents say that stands elsewhere too: `python -m tests.docs` writes it, the docs test compares.

The tables of the README are made from the code; `docs/frameworks.md` shows the examples that `make frameworks` runs.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from avm_mcp.domain import errors
from avm_mcp.mcp_server.tool_schemas import PUBLISHED
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.parameters import PARAMETERS
from avm_mcp.settings import Settings
from tests.frameworks.examples import EXAMPLES, Example

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FRAMEWORKS = ROOT / "docs" / "frameworks.md"


def tools() -> str:
    rows = ["| tool | what it does | parameters (default) |", "|---|---|---|"]
    for name, published in PUBLISHED.items():
        reply = []
        for parameter in PARAMETERS[name]:
            held = Settings.model_fields[parameter.setting].default if parameter.setting else parameter.default
            default = "" if held is None else '=""' if held == "" else f"={held}"
            reply.append(f"`{parameter.name}{default}`" + (" **required**" if parameter.required else ""))
        rows.append(f"| `{name}` | {published.description} | {', '.join(reply) or 'none'} |")
    return "\n".join(rows)


def settings() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = (
            ""
            if field.default_factory is not None or field.default in (None, ())
            else f"`{field.default:g}`"
            if isinstance(field.default, float)
            else f"`{field.default}`"
        )
        rows.append(f"| `{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def error_codes() -> str:
    rows = ["| code | when | next step |", "|---|---|---|"]
    audience = replace(MODEL_AUDIENCE, get_task="`get_task`", list_tasks="`list_tasks`")
    for leaf in errors.AvmError.__subclasses__():
        when = (leaf.__doc__ or "").split("\n")[0]
        step = write_next_step(leaf.default_next_step, audience)
        rows.append(f"| `{leaf.code}` | {when} | {step} |")
    return "\n".join(rows)


def frameworks() -> str:
    rows = ["| framework | a call is cut after | its model sees |", "|---|---|---|"]
    for example in EXAMPLES.values():
        cut = f"{example.limit:g} s" if example.limit else "never"
        rows.append(f"| [{example.title}](#{example.title.lower().replace(' ', '-')}) | {cut} | {example.sees} |")
    return "\n".join(rows)


def example_text(example: Example) -> str:
    language = "typescript" if example.path.suffix == ".ts" else "python"
    parts = [
        f"## {example.title}",
        f"```\n{example.install}\n```",
        f"```{language}\n{example.shown()}\n```",
        example.note,
    ]
    if example.http:
        before, after = example.shown().splitlines(), example.shown(example.http).splitlines()
        changes = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
        parts.append("Over HTTP:\n\n```diff\n" + "\n".join(changes) + "\n```")
    return "\n\n".join(parts)


def made() -> Mapping[Path, Mapping[str, str]]:
    """Return what each document's marked places have to say."""
    return {
        README: {"tools": tools(), "settings": settings(), "errors": error_codes()},
        FRAMEWORKS: {
            "frameworks": frameworks(),
            "examples": "\n\n".join(example_text(example) for example in EXAMPLES.values()),
        },
    }


def filled(text: str, parts: Mapping[str, str]) -> str:
    for mark, part in parts.items():
        pattern = rf"(<!-- {mark}: [^\n]*-->\n).*?(<!-- /{mark} -->)"
        text, places = re.subn(pattern, lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text, flags=re.DOTALL)
        assert places == 1, mark
    return text


if __name__ == "__main__":
    for path, parts in made().items():
        path.write_text(filled(path.read_text(), parts))
