"""The entry points: read the command line, set up logging, run one command, return its exit code."""

import contextlib
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avm_mcp.cli import exits
from avm_mcp.cli.parser import COMMANDS, Usage, build_parser, given, read
from avm_mcp.cli.terminal import Terminal, abandon_stdout
from avm_mcp.domain.errors import AvmError, BadSetting, Internal, InvalidInput
from avm_mcp.domain.next_steps import Action

if TYPE_CHECKING:
    from avm_mcp.settings import Settings

logger = logging.getLogger(__name__)

PAID = ("text-to-video", "image-to-video", "long-video")

CHATTY = ("httpx2", "httpcore2")
"""Libraries that log each request at INFO."""


def main() -> int:
    """Run `avm`."""
    return run("avm", sys.argv[1:])


def server_main() -> int:
    """Run `avm-mcp`: without arguments the stdio server."""
    return run("avm-mcp", sys.argv[1:])


def run(program: str, argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; no error leaves as a traceback."""
    terminal = Terminal.standard(json="--json" in argv)
    paid = argv[:1] != [] and argv[0] in PAID
    try:
        return _run(program, argv, terminal)
    except Exception as error:  # noqa: BLE001 - the one place where a program of ours ends
        try:
            return _report_failure(program, error, terminal, paid=paid)
        except OSError as unwritten:  # the disk is full, or nobody reads stdout any more
            abandon_stdout()
            with contextlib.suppress(OSError):
                terminal.note(f"{program}: the result could not be written ({unwritten.strerror}).")
            return exits.INTERNAL
    except (KeyboardInterrupt, BaseExceptionGroup) as end:
        if paid and isinstance(end, BaseExceptionGroup):
            terminal.refuse(Internal("Interrupted. Whether a video was started, and charged, is not known."))
        elif terminal.json:
            terminal.interrupted()
        return exits.INTERRUPTED


def _report_failure(program: str, error: Exception, terminal: Terminal, *, paid: bool) -> int:
    """Print what ended the program, and whether money may have been spent if `paid`; return the exit code."""
    error = exits.leaf(error)
    if isinstance(error, BrokenPipeError):  # the reader went away: `avm list | head -1`
        abandon_stdout()
        return exits.OK
    if isinstance(error, Usage):
        refusal = InvalidInput(f"{error}.", next_step=Action.SEE_HELP(program=error.program))
        terminal.refuse(refusal, f"{error.program}: {error}. See {error.program} --help")
        return exits.USAGE
    if isinstance(error, AvmError):
        terminal.refuse(error, f"{program}: {error.message}" if isinstance(error, BadSetting) else None)
        return exits.of_error(error)
    logger.debug("%s failed", program, exc_info=error)
    kind = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    failed = f"{program} failed ({kind}); AVM_LOG_LEVEL=DEBUG shows where."
    if paid:
        terminal.refuse(Internal(f"{failed} Whether a video was started, and charged, is not known."))
    else:
        terminal.refuse(Internal(failed, charged="no", next_step=Action.REPORT_BUG()))
    return exits.INTERNAL


def _run(program: str, argv: Sequence[str], terminal: Terminal) -> int:
    argv = list(argv)
    if program == "avm-mcp" and not argv:
        return _serve_stdio(terminal)
    if argv == ["work"]:  # the background worker, which we start ourselves; it is not in the help text
        from avm_mcp import worker

        return worker.main()
    parser = build_parser(program)
    args = read(parser, argv)
    if args.version:
        from avm_mcp import __version__

        terminal.result(lambda: f"avm-mcp {__version__}", lambda: {"version": __version__})
        return exits.OK
    if args.command is None and terminal.json:
        raise Usage("--json goes with a command", program)
    if args.command is None:
        terminal.say(parser.format_help().rstrip())
        return exits.OK
    return (
        _run_tool(args, terminal) if COMMANDS[args.command].tool is not None else _RUNNERS[args.command](args, terminal)
    )


def _settings() -> "Settings":
    """Read the settings and start logging, which never goes to stdout.

    Raises:
        BadSetting: One of them cannot be used.
    """
    settings, refusal = _read_settings()
    if refusal is not None:
        raise refusal
    return settings


def _read_settings() -> "tuple[Settings, BadSetting | None]":
    """Do the same for servers, which start all the same and answer each call with the refusal."""
    from avm_mcp.settings import Settings

    settings, refusal = Settings.read()
    _log(settings.AVM_LOG_LEVEL)
    return settings, refusal


def _log(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level, format="avm-mcp: %(levelname)s: %(message)s")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR if level == "ERROR" else logging.WARNING)
    # It logs a traceback when a setting meant for another program does not suit it.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


# --- each command imports what it needs, and only when it runs ---


def _run_tool(args: Namespace, terminal: Terminal) -> int:
    from avm_mcp.presentation import arguments

    command = COMMANDS[args.command]
    settings = _settings()
    checked = arguments.read(command.tool or "", given(command, args))

    import anyio

    from avm_mcp.app import Runtime
    from avm_mcp.cli import tasks

    return anyio.run(tasks.run, checked, Runtime(settings), terminal)


def _video(args: Namespace, terminal: Terminal) -> int:
    settings = _settings()

    import anyio

    from avm_mcp.app import Runtime
    from avm_mcp.cli import videos

    return anyio.run(videos.run, args, Runtime(settings), terminal)


def _serve_stdio(terminal: Terminal) -> int:
    settings, refusal = _read_settings()
    if sys.stdin is not None and sys.stdin.isatty():
        terminal.note("avm-mcp speaks MCP on stdin and stdout; a host starts it. For people: avm --help")
    try:
        from avm_mcp.cli import servers
        from avm_mcp.mcp_server import server
    except Exception as error:  # a library that cannot be loaded: each call is answered with that
        from avm_mcp import fast_start

        logger.debug("loading failed", exc_info=error)
        fast_start.refuse(error)
        return exits.INTERNAL
    _ = server  # loads the SDK with everything it imports
    return servers.stdio(settings, refusal)


def _serve_http(args: Namespace, terminal: Terminal) -> int:
    settings, refusal = _read_settings()
    from avm_mcp.cli import servers

    return servers.http(settings, refusal, args.host, args.port, args.socket, terminal)


def _sandbox(args: Namespace, terminal: Terminal) -> int:
    _log("WARNING")
    from avm_mcp.cli import servers

    return servers.sandbox(args, terminal)


def _doctor(args: Namespace, terminal: Terminal) -> int:  # noqa: ARG001 - one signature
    settings, refusal = _read_settings()

    import anyio

    from avm_mcp.app import Runtime
    from avm_mcp.cli import doctor

    return anyio.run(doctor.run, Runtime(settings, refusal), terminal)


def _demo(args: Namespace, terminal: Terminal) -> int:
    _log("WARNING")
    from avm_mcp.cli import demo

    return demo.run(args.out, keep=args.keep, terminal=terminal)


def _setup(args: Namespace, terminal: Terminal) -> int:
    settings = _settings()
    from avm_mcp.cli import setup

    return setup.run(args, settings, terminal)


_RUNNERS = {
    "save": _video,
    "open": _video,
    "serve": _serve_http,
    "sandbox": _sandbox,
    "doctor": _doctor,
    "demo": _demo,
    "setup": _setup,
}
