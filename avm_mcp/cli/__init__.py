"""The terminal face: `avm` for people and skills, `avm-mcp` for hosts. The only package that prints.

One parser under two names. Bare `avm` prints its help; bare `avm-mcp` is the MCP server on stdin and stdout.
Each verb imports what it needs when it runs, so that a help text costs no more than the table of parameters.
"""

from avm_mcp.cli.entry import main, server_main

__all__ = ["main", "server_main"]
