"""The parser of both names: commands as data, options generated from the parameters of the tools.

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
from avm_mcp.presentation.parameters import PARAMETERS, Parameter


class Usage(Exception):
    """A command line that cannot be read; the program that was asked is in `program`."""

    def __init__(self, message: str, program: str) -> None:
        super().__init__(message)
        self.program = program


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command that is no tool; without dashes it is a positional."""

    flag: str
    about: str
    default: Any = None
    kind: Callable[[str], Any] = str
    words: tuple[str, ...] = ()
    metavar: str | None = None
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

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
        str(path).encode()  # bytes that are no text can be neither printed nor stored
    except (OSError, RuntimeError, ValueError):  # or there is no such user, or no working folder
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


_TASK = Option("task", "Its id, as another command returned it.", metavar="TASK")
_HOST = Option("--host", "Address to listen on; only this machine's own.", "127.0.0.1")

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command("text-to-video", "make a video from text", "text_to_video", ("prompt",)),
        Command("image-to-video", "make a video that starts from a picture", "image_to_video", ("image", "prompt")),
        Command("long-video", "make up to 30 s from a picture, 5 s per prompt", "long_video", ("image", "prompts")),
        Command("get", "wait for a task; save and show its video", "get_task", ("task_id",)),
        Command("list", "list this account's videos", "list_tasks"),
        Command("cancel", "cancel a task that has not begun", "cancel_task", ("task_id",)),
        Command("quote", "the price of a video; starts nothing", "quote_video", ("model",)),
        Command("account", "balance, spending, caps, folders", "get_account"),
        Command(
            "save",
            "save a finished video again, or somewhere else",
            options=(
                _TASK,
                Option("--to", "Folder for it. Default: the output folder.", None, _path, metavar="FOLDER"),
            ),
        ),
        Command("open", "show a finished video in this machine's player", options=(_TASK,)),
        Command("doctor", "check key, service, folders and clock, and say what to do"),
        Command(
            "demo",
            "make three videos on a local sandbox; needs no key",
            options=(
                Option("--out", "Folder for the videos. Default: avm-demo, here.", None, _path, metavar="FOLDER"),
                Option("--keep", "Keep the demo's state and the server's log.", False, bool),
            ),
        ),
        Command(
            "sandbox",
            "run a local copy of the service",
            options=(
                _HOST,
                Option("--port", "Port; 0 takes a free one.", 0, _port),
                Option("--profile", "Generation of the API that it copies.", "live", words=("live", "seed")),
                Option("--speed", "How many times faster than the service.", 1.0, _speed),
                Option("--seed", "Seed of its random numbers.", 0, int),
                Option("--balance", "Credits of each key.", 1000, int),
                Option("--no-render", "Serve bundled clips instead of drawing videos.", False, bool),
                Option("--control", "Let tests read its requests and inject faults, under /_control/.", False, bool),
            ),
        ),
        Command(
            "setup",
            "put the server into a host's settings; without HOST: list the hosts",
            options=(
                Option("host", "Its name, as avm setup lists it.", metavar="HOST", may_lack=True),
                Option("--sandbox", "Set it up for a free try: no key, no money, placeholder videos.", False, bool),
                Option("--print", "Only show what would be written.", False, bool),
                Option("--remove", "Take it out again.", False, bool),
            ),
        ),
        Command(
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
    "max_credits": "Highest price to pay without asking. Default: AVM_APPROVE_ABOVE.",
    "image": "Path or public https link of a PNG, JPEG or WebP.",
    "prompts": "What happens in each five seconds, in order; six make 30 seconds.",
    "task_id": "As another command returned it.",
    "limit": "How many.",
    "cursor": "next_cursor of the previous page.",
}


_ABOUT_OF: Mapping[tuple[str, str], str] = {
    ("image-to-video", "aspect_ratio"): "Shape you want; refused, unpaid, if the picture differs.",
}


class Parser(argparse.ArgumentParser):
    """Raises where argparse exits, because `--json` answers in JSON then too."""

    def error(self, message: str) -> NoReturn:
        raise Usage(message, self.prog)


def build_parser(program: str) -> Parser:
    """Return the parser for `avm` or `avm-mcp`."""
    bare = " Without a command: the MCP server on stdin and stdout, as hosts start it." if program == "avm-mcp" else ""
    parser = Parser(
        prog=program,
        description=f"Videos by AI Video Maker (aivideomaker.ai): ask, wait, and find the video on your disk.{bare}",
        epilog=exits.epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    # `--json` is also understood before the command; `Terminal` reads it.
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    for command in COMMANDS.values():
        sentence = command.about[0].upper() + command.about[1:] + "."
        below = commands.add_parser(command.name, help=command.about, description=sentence, allow_abbrev=False)
        if command.tool is not None:
            _add_parameters(below, command, PARAMETERS[command.tool])
        for option in command.options:
            _add_option(below, option)
        below.add_argument(
            "--json", action="store_true", help="Print one JSON object on stdout, and nothing else there."
        )
    return parser


def read(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Return what was typed. Words left over count as the command's, although argparse finds them last.

    Raises:
        Usage: It cannot be read.
    """
    typed, rest = parser.parse_known_args(argv)
    if rest:
        loose = "prompt" in vars(typed) and not any(word.startswith("-") for word in rest)
        quotes = "; a prompt of several words goes in quotes" if loose else ""
        asked = f"{parser.prog} {typed.command}" if typed.command else parser.prog
        raise Usage(f"unrecognized arguments: {' '.join(rest)}{quotes}", asked)
    return typed


def _add_parameters(parser: argparse.ArgumentParser, command: Command, parameters: Sequence[Parameter]) -> None:
    by_name = {p.name: p for p in parameters}
    for name in command.positionals:
        parameter = by_name[name]
        several = {"array": "+"}.get(parameter.kind) or (None if parameter.required else "?")
        about = _help(parameter, command)
        parser.add_argument(name, metavar=_METAVARS.get(name, name.upper()), nargs=several, help=about)
    for name, parameter in by_name.items():
        if name not in command.positionals:
            flag = _FLAGS.get(name) or "--" + name.replace("_", "-")
            about = _help(parameter, command)
            parser.add_argument(flag, dest=name, metavar=_METAVARS.get(name, name.upper()), help=about)


def _help(parameter: Parameter, command: Command) -> str:
    about = _ABOUT_OF.get((command.name, parameter.name)) or _ABOUT.get(parameter.name, parameter.about)
    allowed = ", ".join(map(str, parameter.words or parameter.numbers))
    default = f" Default: {parameter.shown_default}." if parameter.shown_default else ""
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


def given(command: Command, args: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a command's tool that were typed."""
    typed = vars(args)
    values = {p: typed[p.name] for p in PARAMETERS[command.tool or ""] if typed[p.name] is not None}
    return {p.name: _number(value) if p.kind == "integer" else value for p, value in values.items()}


def _number(text: str) -> int | str:
    """Return a whole number as one; anything else is left to `arguments`."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text
