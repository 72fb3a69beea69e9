"""The pages of the skill that follow from the code: commands, errors, and the version in its front matter."""

import re

from avm_mcp.cli import exits
from avm_mcp.cli.parser import VERBS
from avm_mcp.domain import catalog, errors
from avm_mcp.presentation import arguments
from avm_mcp.presentation.audience import JSON_AUDIENCE
from manifests import facts

SOURCE = facts.MANIFESTS / "skill" / facts.SKILL
FLAGS = {"wait_seconds": "--wait"}
LABELS = {"task_id": "TASK", "prompts": "PROMPT..."}


def files() -> dict[str, str]:
    """Return every file of the skill, by its path inside it."""
    body = (SOURCE / "SKILL.md").read_text()
    body = re.sub(r'^(  version: ").*(")$', rf"\g<1>{facts.VERSION}\2", body, count=1, flags=re.MULTILINE)
    body = re.sub(r"https://github\.com/\S+", facts.REPOSITORY, body)
    examples = (SOURCE / "references" / "examples.md").read_text()
    return {
        "SKILL.md": body,
        "references/commands.md": commands(),
        "references/errors.md": failures(),
        "references/examples.md": examples,
    }


def commands() -> str:
    """Return the verbs that an agent needs, with what they take."""
    parts = ["# Commands", "", "`--json` may follow every command. Free means: costs no credits.", ""]
    for verb in VERBS.values():
        if verb.tool is None:
            continue
        parameters = {p.name: p for p in arguments.PARAMETERS[verb.tool]}
        labels = {name: LABELS.get(name, name.upper()) for name in verb.positionals}
        paid = "spends credits" if verb.tool in catalog.TOOLS else "free"
        parts += [
            f"## avm {' '.join([verb.name, *labels.values()])}",
            "",
            f"{verb.about[0].upper()}{verb.about[1:]}; {paid}.",
            "",
        ]
        for name, parameter in parameters.items():
            label = labels.get(name) or FLAGS.get(name) or "--" + name.replace("_", "-")
            allowed = ", ".join(map(str, parameter.words or parameter.numbers))
            words = [_AT_A_TERMINAL.get(name, parameter.about), f"One of {allowed}." if allowed else ""]
            words.append(f"Default: {parameter.told_default}." if parameter.told_default else "")
            parts.append(f"- `{label}` " + " ".join(filter(None, words)))
        parts += [""] if parameters else []
    parts += ["## Others", ""]
    parts += [f"- `avm {name}`: {VERBS[name].about}; free." for name in ("save", "open", "doctor")]
    return "\n".join(parts).rstrip() + "\n"


_AT_A_TERMINAL = {
    "wait_seconds": "Longest wait in seconds; 0 returns at once. Left out: until it is done, for an hour at most.",
    "max_credits": "Highest price to pay without asking. Left out: AVM_APPROVE_ABOVE, 50. Above it, ask the user, then "
    "give the price they agreed to.",
    "image": "Path or public https link of a PNG, JPEG or WebP of at most 10 MB.",
    "task_id": "As another command returned it.",
    "cursor": "next_cursor of the previous page.",
    "prompts": "One per 5 seconds, in order, each as an argument of its own; six make 30 seconds.",
}


def failures() -> str:
    """Return what each exit code and each error code means, and what to do."""
    codes = ["| exit code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in exits.MEANINGS.items())]
    rows = ["| error.code | exit code | what happened | next step |", "|---|---|---|---|"]
    for kind in errors.AvmError.__subclasses__():
        step = JSON_AUDIENCE.say(kind.default_next_step, id="TASK")
        step = re.sub(r"avm (?:get TASK|list)", r"`\g<0>`", step.replace("--max-credits", "`--max-credits`"))
        when = (kind.__doc__ or "").split("\n")[0].replace("upstream", "service")
        rows.append(f"| `{kind.code}` | {exits.BY_ERROR[kind]} | {when} | {step[0].upper()}{step[1:]} |")
    return f"""# When a command fails

With `--json`, a failure is one object on stdout: `error.code`, `error.message`, `error.charged` (`no`, `yes` or
`unknown`), `error.next_step`, and `error.retry_after` in seconds where waiting helps. Do what `error.next_step` says.

{chr(10).join(codes)}

{chr(10).join(rows)}

**Exit code 75 is no failure.** The video is being made, or it is not known yet whether it was accepted. Run
`avm get TASK` with the id that was printed. Do not run the paid command again: while the first is unclear, the same
request returns the same task.

**A video that failed at the service** ends with exit code 5 and `"status": "FAILED"`; the service gives the credits
back. Tell the user, and try again only if they want it, best with a simpler prompt.
"""
