"""The terminal: `avm` for people and skills, `avm-mcp` for hosts. The only package that prints.

One parser under two names. Bare `avm` prints its help; bare `avm-mcp` is the MCP server on stdin and stdout.
Each command imports what it needs when it runs, so that a help text costs no more than the table of parameters.
"""

import signal
import sys

__all__ = ["main", "server_main"]


def main() -> int:
    """Run `avm`."""
    try:
        from avm_mcp.cli import entry
    except KeyboardInterrupt:
        return 130  # exits.INTERRUPTED, which cannot be imported yet
    return entry.main()


def server_main() -> int:
    """Run `avm-mcp`. For the stdio server the first answers are given before anything else is imported."""
    try:
        if not sys.argv[1:]:
            from avm_mcp import fast_start

            # Nothing has been sent yet, so the process may end at once; an exception could be lost inside an import.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            fast_start.start()
        from avm_mcp.cli import entry
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if sys.argv[1:]:
            raise
        from avm_mcp import fast_start

        fast_start.refuse(error)
        return 1
    return entry.server_main()
