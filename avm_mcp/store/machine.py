"""This machine, as its processes share it: a clock that nobody sets, and which of its processes still run.

Sources of the clock, all of which count suspended time: CLOCK_BOOTTIME on Linux (clock_gettime(2)), CLOCK_MONOTONIC_RAW
on macOS (clock_gettime(3)), `time.monotonic()` on Windows and elsewhere. It begins anew with each start of the machine,
so its readings mean something only together with the boot id.
"""

import contextlib
import ctypes
import hashlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_MARKS = ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/time")
"""The kernel's name of this start, and the namespace that may shift CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one process knows of its machine.

    Attributes:
        boot: Tells this start of the machine from all others.
        seconds: The shared clock: seconds since some moment of this start, suspended time included.
        process: The name of this process among all that share a state, of all machines.
        gone: Whether the process of a name has ended; None where that cannot be known.
    """

    boot: str
    seconds: Callable[[], float]
    process: str
    gone: Callable[[str], bool | None]


def this_machine() -> Machine:
    """Return this machine, with a name for this process that no other has had."""
    return Machine(boot_id(), boot_seconds, name_of(os.getpid()), is_gone)


def name_of(pid: int) -> str:
    """Return a new name for a process of this machine, by which `is_gone` knows it."""
    return f"{_place()}/{pid}/{_started(pid) or 0}-{secrets.token_hex(4)}"


def boot_seconds() -> float:
    """Return the reading of the clock that all processes share until the machine is started again."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    return time.monotonic()


@cache
def boot_id() -> str:
    """Return the name of this start of the machine."""
    marks = [socket.gethostname() if sys.platform != "linux" else "", *_marks(*_BOOT_MARKS)]
    if sys.platform == "darwin":
        marks.append(_sysctl(b"kern.bootsessionuuid"))
    if sys.platform == "win32":
        marks.append(_windows_boot())
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]


def is_gone(process: str) -> bool | None:
    """Return whether a process ran here and has ended; None where that cannot be known from here."""
    place, _, rest = process.partition("/")
    pid, _, start = rest.partition("/")
    if place != _place() or not pid.isdigit() or sys.platform == "win32":  # there, asking would be killing
        return None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(int(pid), os.WNOHANG)  # our own child that has ended is still there until it was waited for
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    began = _started(int(pid))
    if began is None:
        return False
    # The number may have been given to another process since.
    known = start.partition("-")[0]
    return began == _ZOMBIE or (known.isdigit() and known != "0" and known != began)


_ZOMBIE = "zombie"


def _started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks since the boot; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return _ZOMBIE if fields[0] == b"Z" else fields[19].decode()


def _place() -> str:
    """Return what tells this machine, this start of it, and this container from all others that share a state."""
    marks = [socket.gethostname(), boot_id(), *_marks("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:12]


def _marks(*paths: str) -> list[str]:
    found: list[str] = []
    for path in map(Path, paths):
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
    return found


def _sysctl(name: bytes) -> str:  # pragma: no cover - macOS
    size = ctypes.c_size_t(64)
    held = ctypes.create_string_buffer(size.value)
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).sysctlbyname(name, held, ctypes.byref(size), None, 0) == 0:
            return held.value.decode()
    return ""


def _windows_boot() -> str:  # pragma: no cover - Windows counts its starts
    with contextlib.suppress(ImportError, OSError):
        import winreg

        where = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, where) as key:  # type: ignore[attr-defined,unused-ignore]
            return str(winreg.QueryValueEx(key, "BootId")[0])  # type: ignore[attr-defined,unused-ignore]
    return ""
