"""The tables of the README, made from the code: `python -m tests.docs` writes them, the docs test compares."""

import re
from pathlib import Path

from avm_mcp import arguments, errors
from avm_mcp.config import Settings
from avm_mcp.report import MODEL_FACE
from avm_mcp.tools.published import PUBLISHED

README = Path(__file__).parent.parent / "README.md"


def tools() -> str:
    rows = ["| tool | what it does | parameters (default) |", "|---|---|---|"]
    for name, published in PUBLISHED.items():
        told = []
        for parameter in arguments.PARAMETERS[name]:
            default = f"={parameter.default}" if parameter.default is not None else ""
            told.append(f"`{parameter.name}{default}`" + (" **required**" if parameter.required else ""))
        rows.append(f"| `{name}` | {published.description} | {', '.join(told) or 'none'} |")
    return "\n".join(rows)


def settings() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = (
            ""
            if field.default_factory is not None or field.default is None
            else f"`{field.default:g}`"
            if isinstance(field.default, float)
            else f"`{field.default}`"
        )
        rows.append(f"| `{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def error_codes() -> str:
    rows = ["| code | when | next step |", "|---|---|---|"]
    for leaf in errors.AvmError.__subclasses__():
        when = (leaf.__doc__ or "").split("\n")[0]
        step = MODEL_FACE.say(leaf.default_next_step, get_task="`get_task`", list_tasks="`list_tasks`")
        rows.append(f"| `{leaf.code}` | {when} | {step} |")
    return "\n".join(rows)


def filled(text: str) -> str:
    for mark, made in (("tools", tools()), ("settings", settings()), ("errors", error_codes())):
        pattern = rf"(<!-- {mark}: [^\n]*-->\n).*?(<!-- /{mark} -->)"
        text = re.sub(pattern, lambda m, made=made: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
