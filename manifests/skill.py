"""The tables of the skill that follow from the code: commands and errors."""

import re

from avm_mcp.cli import exits
from avm_mcp.cli.parser import COMMANDS, Command
from avm_mcp.domain import catalog, errors
from avm_mcp.presentation.audience import JSON_AUDIENCE
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.presentation.parameters import PARAMETERS

FLAGS = {"wait_seconds": "--wait"}
LABELS = {"task_id": "TASK", "prompts": "PROMPT..."}
AT_A_TERMINAL = {
    "wait_seconds": "Longest wait in seconds; 0 returns at once. Left out: until it is done, for an hour at most.",
    "max_credits": "Highest price to pay without asking. Left out: AVM_APPROVE_ABOVE, 50. Above it, ask the user, then "
    "give the price they agreed to.",
    "image": "Path or public https link of a PNG, JPEG or WebP of at most 10 MB.",
    "task_id": "As another command returned it.",
    "cursor": "next_cursor of the previous page.",
    "prompts": "One per 5 seconds, in order, each as an argument of its own; six make 30 seconds.",
}
"""What parameters mean at a terminal, where that differs from what they mean to a model."""


def commands() -> dict[str, str]:
    """Return the commands that an agent needs, with what they take, and the other ones."""
    others = (f"- `avm {name}`: {COMMANDS[name].about}; free." for name in ("save", "open", "doctor"))
    return {
        "commands": "\n\n".join(_command(command) for command in COMMANDS.values() if command.tool is not None),
        "other_commands": "\n".join(others),
    }


def _command(command: Command) -> str:
    labels = {name: LABELS.get(name, name.upper()) for name in command.positionals}
    paid = "spends credits" if command.tool in catalog.TOOLS else "free"
    rows: list[str] = []
    for parameter in PARAMETERS[command.tool or ""]:
        name = parameter.name
        label = labels.get(name) or FLAGS.get(name) or "--" + name.replace("_", "-")
        allowed = ", ".join(map(str, parameter.words or parameter.numbers))
        words = [AT_A_TERMINAL.get(name, parameter.about), f"One of {allowed}." if allowed else ""]
        words.append(f"Default: {parameter.shown_default}." if parameter.shown_default else "")
        rows.append(f"- `{label}` " + " ".join(filter(None, words)))
    title = " ".join(["## avm", command.name, *labels.values()])
    return "\n\n".join(
        [title, f"{command.about[0].upper()}{command.about[1:]}; {paid}.", *(["\n".join(rows)] if rows else [])]
    )


def failures() -> dict[str, str]:
    """Return the rows that say what each exit code and each error code means, and what to do."""
    return {
        "exit_codes": "\n".join(f"| {code} | {text} |" for code, text in exits.MEANINGS.items()),
        "error_codes": "\n".join(map(_failure, errors.AvmError.__subclasses__())),
    }


def _failure(kind: type[errors.AvmError]) -> str:
    step = write_next_step(kind.default_next_step, JSON_AUDIENCE, "TASK")
    step = re.sub(r"avm (?:get TASK|list)", r"`\g<0>`", step.replace("--max-credits", "`--max-credits`"))
    when = (kind.__doc__ or "").split("\n")[0].replace("upstream", "service")
    return f"| `{kind.code}` | {exits.BY_ERROR[kind]} | {when} | {step[0].upper()}{step[1:]} |"
