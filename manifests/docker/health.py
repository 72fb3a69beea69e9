# ruff: noqa: INP001 - a script of the image, not a module of a package
"""The container's health check: over HTTP the server answers; on stdin and stdout its process lives."""

import itertools
import sys
from http.client import HTTPConnection
from pathlib import Path


def address(command: list[str]) -> tuple[str, int] | None:
    """Return where the server listens, from the command line of the container's first process; None for stdio."""
    if "serve" not in command:
        return None
    options = dict(itertools.pairwise(command))
    options |= dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)
    return options.get("--host", "127.0.0.1"), int(options.get("--port", "8765"))


def main() -> int:
    """Return 0 when all is well."""
    command = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    listening = address(command)
    if listening is None:
        return 0 if any("avm-mcp" in part for part in command) else 1
    connection = HTTPConnection(*listening, timeout=4)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
