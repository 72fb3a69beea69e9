"""The fast start of stdio: the first answers come from a packaged snapshot while the SDK is still being imported.

Importing the SDK takes most of a second of CPU, and a host that starts a process for each chat pays it each time.
What a server says of itself is constant for a version, so a thread of this module, standard library only, answers
`initialize`, `server/discover`, `ping` and the lists, and keeps everything else, in order, for the SDK:

    host ──> descriptor 0 ──> thread: Front ──> snapshot ──> descriptor 1 ──> host      until the SDK begins to read
                                       └──> kept ──> sys.stdin.buffer ──> SDK            then, and for good

There is no pump. `sys.stdin` and `sys.stdout` are replaced by streams whose `buffer` is the wire: that is what the
SDK serves when a standard stream is not its descriptor. It is shown the request that opened the connection, its own
answer to that one is dropped, and nothing behind it is shown before. After what was kept it reads the descriptor
itself, at its own pace. Whatever it reads has been examined (`lines`), for it drops what it cannot parse; that holds
where there is no fast start too (`attach`).

Only the plainest requests are answered here. A line that this module is not sure to read as the SDK does ends the
fast start: it and everything behind it are the SDK's. There is none at all (`start`) where it is switched off, with an
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
from avm_mcp.fast_start.answers import Front, Snapshot
from avm_mcp.fast_start.wire import Stream, Wire

SNAPSHOT = os.path.join(os.path.dirname(__file__), "snapshot.json")  # noqa: PTH118, PTH120 - pathlib costs 7 ms

_VARIANTS: Mapping[str, str] = {"mine": "saved", "all": "saved", "off": "linked"}
"""The instructions by AVM_SAVE: whether videos are saved here, or only linked. A value that is refused is no value."""

_LIBRARIES = ("OTEL_", "PYTHON", "PYDANTIC_")
"""Variables that the libraries of the server, and the interpreter, obey while they are loaded."""


def start() -> None:
    """Take over stdin and stdout, and answer from a thread until the SDK does; or change nothing."""
    why, content = _looked_up()
    if why or not _are_pipes():
        return
    try:
        snapshot = _snapshot(content)
        source, sink = _moved()
    except (OSError, ValueError, KeyError):
        return
    wire = _wired(Front(snapshot), source, sink)
    threading.Thread(target=wire.answer, name="fast start", daemon=True).start()


def attach() -> None:
    """Take over stdin and stdout where there was no fast start, so that every line is examined before the SDK reads it.

    Nothing is changed where a standard stream is not its descriptor.
    """
    if isinstance(sys.stdin, Stream) or not _are_in_place():
        return
    try:
        source, sink = _moved()
    except OSError:
        return
    _wired(Front(None), source, sink).answer()


def _wired(front: Front, source: int, sink: int) -> Wire:
    wire = Wire(front, source, sink)
    sys.stdin = Stream(0, "rb", wire.stdin)
    sys.stdout = Stream(1, "wb", wire.stdout)
    return wire


def refuse(error: Exception) -> None:
    """Answer each call with why the server could not start, until stdin ends."""
    from avm_mcp.fast_start import refusing

    why = f"avm-mcp could not start ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
    about = sorted(name for name in os.environ if name.startswith(_LIBRARIES))
    if about:
        why += f" It may be about {', '.join(about[:6])} in its environment."
    sys.stderr.write(f"avm-mcp: {why}\n")
    content = _looked_up()[1]
    refusing.serve(why, _snapshot(content) if content else None)


def off() -> str:
    """Return why a server that is started here has no fast start; empty where it has one."""
    return _looked_up()[0]


def _snapshot(content: Any) -> Snapshot:
    return Snapshot(content, _VARIANTS.get(_set("AVM_SAVE"), "saved"), _threshold())


def _threshold() -> str:
    return variables.value(os.environ, "AVM_APPROVE_ABOVE")


def _looked_up() -> tuple[str, Any]:
    """Return why there is no fast start, if so, and the packaged snapshot."""
    if os.name != "posix":
        return "there is none on this system", None
    if _set("AVM_FAST_START") == "off":
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


def _set(name: str) -> str:
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
    """Return whether the standard streams are where Python has them, block, and lead to a program."""
    return _are_in_place() and not os.isatty(0) and os.get_blocking(0) and os.get_blocking(1)


def _are_in_place() -> bool:
    """Return whether the standard streams are on their descriptors."""
    try:
        return all(stream is not None and stream.fileno() == at for at, stream in enumerate((sys.stdin, sys.stdout)))
    except (OSError, ValueError):  # they are no files
        return False


def _elsewhere(number: int) -> int:
    """Return a copy of a descriptor that children do not inherit, above the standard ones."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(number)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)


def _moved() -> tuple[int, int]:
    """Move the client's descriptors out of the way of children and stray prints, which get null and stderr."""
    null = os.open(os.devnull, os.O_RDWR)
    source, sink = _elsewhere(0), _elsewhere(1)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(null, 1)
    os.close(null)
    return source, sink
