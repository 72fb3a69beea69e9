"""`avm-mcp serve` as a context manager."""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


@contextlib.contextmanager
def over_http(command: Sequence[str | Path], environ: Mapping[str, str], cwd: Path) -> Iterator[str]:
    """Run a command that serves and prints JSON; give the URL of its MCP endpoint once it answers."""
    with subprocess.Popen(command, env=environ, cwd=cwd, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            _wait_for_answer(url.removesuffix("/mcp") + "/healthz")
            yield url
        finally:
            end(process)


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Terminate a process, and kill it if it does not end."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    process.kill()


def _wait_for_answer(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310 - ours
            return
        time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")
