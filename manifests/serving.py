"""`avm-mcp serve` for as long as somebody asks it something."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def over_http(program: Path, environ: Mapping[str, str], cwd: Path) -> Iterator[str]:
    """Run it on a free port and give the address of its MCP end point."""
    command = [program, "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, env=environ, cwd=cwd, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
