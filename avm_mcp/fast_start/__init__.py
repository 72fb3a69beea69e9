"""The fast start of stdio: the first answers come from a packaged snapshot while the SDK is still being imported.

Importing the SDK takes most of a second of CPU, and a host that starts a process for each chat pays it each time.
A server's description of itself is constant for a version, so a thread of this module, standard library only, answers
`initialize`, `server/discover`, `ping` and the lists. It keeps everything else, in order, for the SDK:

    host ──> descriptor 0 ──> thread: Responder ──> snapshot ──> descriptor 1 ──> host      until the SDK begins to read
                                       └──> kept ──> sys.stdin.buffer ──> SDK            then, and for good

There is no pump. `sys.stdin` and `sys.stdout` are replaced by streams whose `buffer` is the wire: that is what the
SDK serves when a standard stream is not its descriptor. The SDK reads the first request of the connection, its answer
to that one is dropped, and only then does it read further. After the kept lines it reads the descriptor itself, at
its own pace. Whatever it reads has been examined (`lines`), because it drops what it cannot parse. That also
holds where there is no fast start (`attach`).

Only the plainest requests are answered here. A line that this module might read otherwise than the SDK ends the fast
start: that line and all later ones go to the SDK. There is no fast start (`start`) where it is switched off, with an
SDK of another series than the snapshot's, on a terminal, and on systems without POSIX descriptors.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Mapping
from typing import Any

from avm_mcp.fast_start import variables
from avm_mcp.fast_start.answers import Responder, Snapshot
from avm_mcp.fast_start.wire import Stream, Wire

SNAPSHOT = os.path.join(os.path.dirname(__file__), "snapshot.json")  # noqa: PTH118, PTH120 - pathlib costs 7 ms

_VARIANTS: Mapping[str, str] = {"mine": "saved", "all": "saved", "off": "linked"}
"""The variant of the instructions by AVM_SAVE: videos are saved, or only linked. A refused value counts as unset."""

_LIBRARIES = ("OTEL_", "PYTHON", "PYDANTIC_")
"""Prefixes of variables that affect the loading of the interpreter and the server's libraries."""


def start() -> None:
    """Take over stdin and stdout and answer from a thread until the SDK does; change nothing if that is impossible."""
    why, content = _look_up()
    if why or not _are_pipes():
        return
    try:
        snapshot = _snapshot(content)
        source, sink = _move_streams()
    except (OSError, ValueError, KeyError):
        return
    wire = _connect(Responder(snapshot), source, sink)
    threading.Thread(target=wire.answer, name="fast start", daemon=True).start()


def attach() -> None:
    """Take over stdin and stdout where there was no fast start, to examine every line before the SDK.

    Nothing is changed where a standard stream is not its descriptor.
    """
    if isinstance(sys.stdin, Stream) or not _are_in_place():
        return
    try:
        source, sink = _move_streams()
    except OSError:
        return
    _connect(Responder(None), source, sink).answer()


def _connect(responder: Responder, source: int, sink: int) -> Wire:
    wire = Wire(responder, source, sink)
    sys.stdin = Stream(0, "rb", wire.stdin)
    sys.stdout = Stream(1, "wb", wire.stdout)
    return wire


def refuse(error: Exception) -> None:
    """Answer each call with the reason why the server could not start, until stdin ends."""
    from avm_mcp.fast_start import unavailable

    why = f"avm-mcp could not start ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
    about = sorted(name for name in os.environ if name.startswith(_LIBRARIES))
    if about:
        why += f" A cause may be {', '.join(about[:6])} in its environment."
    sys.stderr.write(f"avm-mcp: {why}\n")
    content = _look_up()[1]
    unavailable.serve(why, _snapshot(content) if content else None)


def why_off() -> str:
    """Return why a server that is started here has no fast start; empty if it has one."""
    return _look_up()[0]


def _snapshot(content: Any) -> Snapshot:
    return Snapshot(content, _VARIANTS.get(_read_switch("AVM_SAVE"), "saved"), _threshold())


def _threshold() -> str:
    return variables.value(os.environ, "AVM_APPROVE_ABOVE")


def _look_up() -> tuple[str, Any]:
    """Return why there is no fast start (empty if there is one), and the packaged snapshot."""
    if os.name != "posix":
        return "there is none on this system", None
    if _read_switch("AVM_FAST_START") == "off":
        return "AVM_FAST_START=off", None
    if not re.fullmatch(r"|0|[1-9]\d{0,5}|1000000", _threshold(), re.ASCII):
        return "AVM_APPROVE_ABOVE is wrong, or not written plainly", None
    try:
        with open(SNAPSHOT, encoding="utf-8") as file:  # noqa: PTH123 - see SNAPSHOT
            content = json.load(file)
        good = _is_installed(content["sdk"])
    except (OSError, ValueError, KeyError):
        return "its snapshot cannot be used", None
    return "" if good else f"the SDK that is installed is not of the series of mcp {content['sdk']}", content


def _read_switch(name: str) -> str:
    """Return a switch as the settings read it."""
    return variables.switch(variables.value(os.environ, name))


def _is_installed(sdk: str) -> bool:
    """Return whether the SDK that will be imported is of the series that the snapshot was made with."""
    series = "mcp-" + ".".join(sdk.split(".")[:2]) + "."
    for folder in sys.path:
        if os.path.isfile(os.path.join(folder, "mcp", "__init__.py")):  # noqa: PTH113, PTH118 - see SNAPSHOT
            names = os.listdir(folder or ".")  # noqa: PTH208
            known = [name for name in names if name.startswith("mcp-") and name.endswith(".dist-info")]
            return len(known) == 1 and known[0].startswith(series)
    return False


def _are_pipes() -> bool:
    """Return whether the standard streams are on their descriptors, block, and are not a terminal."""
    return _are_in_place() and not os.isatty(0) and os.get_blocking(0) and os.get_blocking(1)


def _are_in_place() -> bool:
    """Return whether the standard streams are on their descriptors."""
    try:
        return all(stream is not None and stream.fileno() == at for at, stream in enumerate((sys.stdin, sys.stdout)))
    except (OSError, ValueError):  # they are not files
        return False


def _duplicate(number: int) -> int:
    """Return a copy of a descriptor that children do not inherit, above the standard ones."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(number)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)


def _move_streams() -> tuple[int, int]:
    """Move the client's descriptors to new numbers; children and stray prints get null and stderr."""
    null = os.open(os.devnull, os.O_RDWR)
    source, sink = _duplicate(0), _duplicate(1)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(null, 1)
    os.close(null)
    return source, sink
