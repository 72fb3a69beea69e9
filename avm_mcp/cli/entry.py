"""The entry points: read the command line, set up logging, run one verb, turn what happened into an exit code."""

import contextlib
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avm_mcp.cli import exits
from avm_mcp.cli.parser import VERBS, Usage, build_parser, given, read
from avm_mcp.cli.terminal import Terminal, abandon_stdout
from avm_mcp.domain.errors import AvmError, BadSetting, Internal, InvalidInput
from avm_mcp.domain.next_steps import Action

if TYPE_CHECKING:
    from avm_mcp.settings import Settings

logger = logging.getLogger(__name__)

PAID = ("text-to-video", "image-to-video", "long-video")

CHATTY = ("httpx2", "httpcore2")
"""Libraries that tell of each request at INFO."""


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
            return _failed(program, error, terminal, paid=paid)
        except OSError as unwritten:  # stdout is a full disk, or nobody's any more
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


def _failed(program: str, error: Exception, terminal: Terminal, *, paid: bool) -> int:
    """Say what ended the program, whether it may have been `paid` for, and return its exit code."""
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
    if argv == ["work"]:  # our own child; not for people, so no verb of the help text
        from avm_mcp import worker

        return worker.main()
    parser = build_parser(program)
    args = read(parser, argv)
    if args.version:
        from avm_mcp import __version__

        terminal.result(lambda: f"avm-mcp {__version__}", lambda: {"version": __version__})
        return exits.OK
    if args.verb is None and terminal.json:
        raise Usage("--json goes with a verb", program)
    if args.verb is None:
        terminal.say(parser.format_help().rstrip())
        return exits.OK
    return _tool(args, terminal) if VERBS[args.verb].tool is not None else _PROGRAMS[args.verb](args, terminal)


def _settings() -> "Settings":
    """Read the settings and start logging: ours comes before anybody else's, and never goes to stdout."""
    settings, refusal = _read()
    if refusal is not None:
        raise refusal
    return settings


def _read() -> "tuple[Settings, BadSetting | None]":
    """Do the same for programs that go on, and tell at each call what is refused."""
    from avm_mcp.settings import Settings

    settings, refusal = Settings.read()
    _log(settings.AVM_LOG_LEVEL)
    return settings, refusal


def _log(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level, format="avm-mcp: %(levelname)s: %(message)s")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR if level == "ERROR" else logging.WARNING)
    # It tells with a trace that a setting of another program does not suit it, and goes on.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


# --- what each verb imports is imported here, and only when it runs ---


def _tool(args: Namespace, terminal: Terminal) -> int:
    from avm_mcp.presentation import arguments

    verb = VERBS[args.verb]
    settings = _settings()
    checked = arguments.read(verb.tool or "", given(verb, args))

    import anyio

    from avm_mcp.app import Runtime
    from avm_mcp.cli import commands

    return anyio.run(commands.run, checked, Runtime(settings), terminal)


def _video(args: Namespace, terminal: Terminal) -> int:
    settings = _settings()

    import anyio

    from avm_mcp.app import Runtime
    from avm_mcp.cli import videos

    return anyio.run(videos.run, args, Runtime(settings), terminal)


def _serve_stdio(terminal: Terminal) -> int:
    settings, refusal = _read()
    if sys.stdin is not None and sys.stdin.isatty():
        terminal.note("avm-mcp speaks MCP on stdin and stdout, for a host that starts it. For people: avm --help")
    try:
        from avm_mcp.cli import servers
        from avm_mcp.mcp_server import server
    except Exception as error:  # a library that cannot be loaded: the host is told at each call
        from avm_mcp import fast_start

        logger.debug("loading failed", exc_info=error)
        fast_start.refuse(error)
        return exits.INTERNAL
    _ = server  # the SDK, with all that it imports
    return servers.stdio(settings, refusal)


def _serve_http(args: Namespace, terminal: Terminal) -> int:
    settings, refusal = _read()
    from avm_mcp.cli import servers

    return servers.http(settings, refusal, args.host, args.port, args.socket, terminal)


def _sandbox(args: Namespace, terminal: Terminal) -> int:
    _log("WARNING")
    from avm_mcp.cli import servers

    return servers.sandbox(args, terminal)


def _doctor(args: Namespace, terminal: Terminal) -> int:  # noqa: ARG001 - one signature
    settings, refusal = _read()

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


_PROGRAMS = {
    "save": _video,
    "open": _video,
    "serve": _serve_http,
    "sandbox": _sandbox,
    "doctor": _doctor,
    "demo": _demo,
    "setup": _setup,
}
