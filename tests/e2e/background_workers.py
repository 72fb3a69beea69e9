"""Background worker processes, looked at from outside through /proc."""

from contextlib import suppress
from pathlib import Path

from tests.e2e.workspace import Workspace, alive

ON = {"AVM_WORKER": "on"}
"""Written down: machines of CI are containers, where there is no background worker unless it is asked for."""

TAKEN_OVER = 60.0
"""Seconds: the dead watcher's lease (15), a look of the background worker's, the video, and a busy machine."""


def environ_of(pid: int) -> dict[str, str]:
    with suppress(OSError):
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return {}


def background_workers(workspace: Workspace) -> list[int]:
    """Return the background worker processes of one state that are alive."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            argv = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if argv[-1] == b"work" and alive(pid) and environ_of(pid).get("AVM_STATE_DIR") == str(workspace.state):
                found.append(pid)
    return found


def log(workspace: Workspace) -> str:
    path = workspace.state / "worker.log"
    return path.read_text() if path.exists() else ""
