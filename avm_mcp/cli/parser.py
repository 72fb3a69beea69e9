"""The parser of both names: verbs as data, options generated from the parameters of the tools.

Values are not checked here: they pass through `arguments.read` as a tool's do, so that "5s" and "vertical" are
understood, and refused, in the same words.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from avm_mcp.cli import exits
from avm_mcp.presentation.arguments import PARAMETERS, Parameter


class Usage(Exception):
    """A command line that cannot be read; the program that was asked is in `program`."""

    def __init__(self, message: str, program: str) -> None:
        super().__init__(message)
        self.program = program


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a verb that is no tool; without dashes it is a positional."""

    flag: str
    about: str
    default: Any = None
    kind: Callable[[str], Any] = str
    words: tuple[str, ...] = ()
    metavar: str | None = None
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        name: As typed.
        about: One line.
        tool: The tool whose parameters it takes, if it is one.
        positionals: Which of those are written without a name, in this order.
        options: What it takes if it is no tool.
    """

    name: str
    about: str
    tool: str | None = None
    positionals: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()


def _port(text: str) -> int:
    """Read a port; the system would take a larger number for another one."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed: 0 to 65535")
    return int(text)


def _path(text: str) -> Path | None:
    if not text:
        return None  # as if it had been left out
    try:
        path = Path(text).expanduser().absolute()
        str(path).encode()  # bytes that are no text could be told nowhere, nor kept in the journal
    except (OSError, RuntimeError, ValueError):  # or there is nobody of that name, or no working folder
        raise argparse.ArgumentTypeError(f"{text!r} is no path that can be named") from None
    return path


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no speed; allowed: a number above 0")
    return speed


_TASK = Option("task", "Its id, as another verb returned it.", metavar="TASK")
_HOST = Option("--host", "Address to listen on; only this machine's own.", "127.0.0.1")

VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("text-to-video", "make a video from text", "text_to_video", ("prompt",)),
        Verb("image-to-video", "make a video that starts from a picture", "image_to_video", ("image", "prompt")),
        Verb("long-video", "make up to 30 s from a picture, 5 s per prompt", "long_video", ("image", "prompts")),
        Verb("get", "wait for a task; save and show its video", "get_task", ("task_id",)),
        Verb("list", "list this account's videos", "list_tasks"),
        Verb("cancel", "cancel a task that has not begun", "cancel_task", ("task_id",)),
        Verb("quote", "the price of a video; starts nothing", "quote_video", ("model",)),
        Verb("account", "balance, spending, caps, folders", "get_account"),
        Verb(
            "save",
            "save a finished video again, or somewhere else",
            options=(
                _TASK,
                Option("--to", "Folder for it. Default: the output folder.", None, _path, metavar="FOLDER"),
            ),
        ),
        Verb("open", "show a finished video in this machine's player", options=(_TASK,)),
        Verb("doctor", "check key, service, folders and clock, and say what to do"),
        Verb(
            "demo",
            "make three videos on a local sandbox; needs no key",
            options=(
                Option("--out", "Folder for the videos. Default: avm-demo, here.", None, _path, metavar="FOLDER"),
                Option("--keep", "Keep the demo's state and the server's log for a look afterwards.", False, bool),
            ),
        ),
        Verb(
            "sandbox",
            "run a local copy of the service",
            options=(
                _HOST,
                Option("--port", "Port; 0 takes a free one.", 0, _port),
                Option("--profile", "Generation of the API that it copies.", "live", words=("live", "seed")),
                Option("--speed", "How many times faster than the service.", 1.0, _speed),
                Option("--seed", "Where its chance comes from.", 0, int),
                Option("--balance", "Credits of each key.", 1000, int),
                Option("--no-render", "Serve bundled clips instead of drawing videos.", False, bool),
                Option("--control", "Let tests read its ledger and spoil its answers, under /_control/.", False, bool),
            ),
        ),
        Verb(
            "setup",
            "put the server into a host's settings; alone: which hosts there are",
            options=(
                Option("host", "Its name, as avm setup lists it.", metavar="HOST", may_lack=True),
                Option("--sandbox", "Set it up for a free try: no key, no money, placeholder videos.", False, bool),
                Option("--print", "Only show what would be written.", False, bool),
                Option("--remove", "Take it out again.", False, bool),
            ),
        ),
        Verb(
            "serve",
            "serve MCP over HTTP",
            options=(
                _HOST,
                Option("--port", "Port; 0 takes a free one.", 8765, _port),
                Option("--socket", "Unix socket that only you can use, in place of a port.", None, _path, (), "PATH"),
            ),
        ),
    )
}

_FLAGS: Mapping[str, str] = {"wait_seconds": "--wait"}
_METAVARS: Mapping[str, str] = {"task_id": "TASK", "prompts": "PROMPT", "wait_seconds": "SECONDS", "take": "NUMBER"}

# What reads differently at a terminal than to a model.
_ABOUT: Mapping[str, str] = {
    "wait_seconds": "Longest wait in seconds; 0 returns at once. Default: until it is done, for an hour at most.",
    "max_credits": "Highest price to pay without a question. Default: AVM_APPROVE_ABOVE.",
    "image": "Path or public https link of a PNG, JPEG or WebP.",
    "prompts": "What happens in each five seconds, in order; six make 30 seconds.",
    "task_id": "As another verb returned it.",
    "limit": "How many.",
    "cursor": "Where the previous page ended, as it said.",
}


_ABOUT_OF: Mapping[tuple[str, str], str] = {
    ("image-to-video", "aspect_ratio"): "Shape you want; refused, unpaid, if the picture differs.",
}


class Parser(argparse.ArgumentParser):
    """Raises where argparse exits, since `--json` answers in JSON even then."""

    def error(self, message: str) -> NoReturn:
        raise Usage(message, self.prog)


def build_parser(program: str) -> Parser:
    """Return the parser for `avm` or `avm-mcp`."""
    bare = " Without a verb: the MCP server on stdin and stdout, as hosts start it." if program == "avm-mcp" else ""
    parser = Parser(
        prog=program,
        description=f"Videos by AI Video Maker (aivideomaker.ai): ask, wait, and find the video on your disk.{bare}",
        epilog=exits.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    # What `--help` of a verb lists is understood before the verb too; who reads it is `Terminal`.
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=Parser)
    for verb in VERBS.values():
        sentence = verb.about[0].upper() + verb.about[1:] + "."
        below = verbs.add_parser(verb.name, help=verb.about, description=sentence, allow_abbrev=False)
        if verb.tool is not None:
            _add_parameters(below, verb, PARAMETERS[verb.tool])
        for option in verb.options:
            _add_option(below, option)
        below.add_argument(
            "--json", action="store_true", help="Print one JSON object on stdout, and nothing else there."
        )
    return parser


def read(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Return what was typed. Words left over are the verb's, though argparse finds them when it is through with it.

    Raises:
        Usage: It cannot be read.
    """
    typed, rest = parser.parse_known_args(argv)
    if rest:
        loose = "prompt" in vars(typed) and not any(word.startswith("-") for word in rest)
        quotes = "; a prompt of several words goes in quotes" if loose else ""
        asked = f"{parser.prog} {typed.verb}" if typed.verb else parser.prog
        raise Usage(f"unrecognized arguments: {' '.join(rest)}{quotes}", asked)
    return typed


def _add_parameters(parser: argparse.ArgumentParser, verb: Verb, parameters: Sequence[Parameter]) -> None:
    by_name = {p.name: p for p in parameters}
    for name in verb.positionals:
        parameter = by_name[name]
        several = {"array": "+"}.get(parameter.kind) or (None if parameter.required else "?")
        about = _help(parameter, verb)
        parser.add_argument(name, metavar=_METAVARS.get(name, name.upper()), nargs=several, help=about)
    for name, parameter in by_name.items():
        if name not in verb.positionals:
            flag = _FLAGS.get(name) or "--" + name.replace("_", "-")
            about = _help(parameter, verb)
            parser.add_argument(flag, dest=name, metavar=_METAVARS.get(name, name.upper()), help=about)


def _help(parameter: Parameter, verb: Verb) -> str:
    about = _ABOUT_OF.get((verb.name, parameter.name)) or _ABOUT.get(parameter.name, parameter.about)
    allowed = ", ".join(map(str, parameter.words or parameter.numbers))
    default = f" Default: {parameter.told_default}." if parameter.told_default else ""
    return f"{about}{f' One of {allowed}.' if allowed else ''}{default}".replace("%", "%%")


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    if option.kind is bool:
        parser.add_argument(option.flag, action="store_true", help=option.about)
        return
    if not option.flag.startswith("-"):
        nargs = "?" if option.may_lack else None
        parser.add_argument(option.flag, metavar=option.metavar, help=option.about, nargs=nargs)
        return
    default = "" if option.default is None else f" Default: {option.default}."
    parser.add_argument(
        option.flag,
        type=option.kind,
        default=option.default,
        choices=option.words or None,
        metavar=option.metavar,
        help=(option.about + default).replace("%", "%%"),
    )


def given(verb: Verb, args: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a verb's tool that were typed."""
    typed = vars(args)
    values = {p: typed[p.name] for p in PARAMETERS[verb.tool or ""] if typed[p.name] is not None}
    return {p.name: _number(value) if p.kind == "integer" else value for p, value in values.items()}


def _number(text: str) -> int | str:
    """A whole number is one, although a shell has only text; whatever else was typed is left to `arguments`."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text
