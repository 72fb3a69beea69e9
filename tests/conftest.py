"""What all tests have in common: virtual time, and folders of their own.

An async test needs no mark (`anyio_mode = "auto"` in pyproject.toml). It runs on trio with a clock that jumps to the
next deadline as soon as nothing else is left to do; `process` and `asyncio_backend` tests run on asyncio, in real time.
"""

import itertools
import os
import platform
import signal
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio.testing

from tests.clock import EPOCH, VirtualWall

REAL_TIME = ("process", "asyncio_backend")


# A shell starts what runs in the background with SIGINT ignored, and children inherit that: here they do not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a landing must not hang on luck. AVM_EXPLORE=1 looks for new ones. A busy machine is
# no failure, so no example has a deadline.
hypothesis.settings.register_profile(
    "house",
    derandomize=not os.environ.get("AVM_EXPLORE"),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asyncio_backend: runs on asyncio in real time, not on trio in virtual time")


def pytest_report_header() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("mcp", "httpx2", "anyio", "trio"))
    return f"avm-mcp: python {platform.python_version()}, {versions}"


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str | tuple[str, dict[str, Any]]:
    """Trio with a clock of the test's own that jumps, or asyncio for what is real."""
    if any(request.node.get_closest_marker(name) for name in REAL_TIME):
        return "asyncio"
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def epoch() -> datetime:
    """The date at which `wall` starts; override it in a module, or parametrize it."""
    return EPOCH


@pytest.fixture
def wall(epoch: datetime) -> VirtualWall:
    """`now()` for the test's runtime: the epoch plus virtual time plus `wall.skew`."""
    return VirtualWall(epoch)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fresh folder after folder; not `tmp_path`, which stays empty for the test."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and none of the developer's settings: no test reads or writes the real ones."""
    home = next(_homes)
    folders = {
        "HOME": home,
        "USERPROFILE": home,
        "APPDATA": home / "appdata",
        "LOCALAPPDATA": home / "localappdata",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_RUNTIME_DIR": home / ".run",
        "XDG_STATE_HOME": home / ".local" / "state",
    }
    for name in os.environ:
        if name.startswith(("AVM_", "AIVIDEO_", "XDG_")):
            monkeypatch.delenv(name)
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        monkeypatch.setenv(name, str(folder))
    return home


@pytest.fixture
def stack(tmp_path, wall, request):
    """A machine with nothing on it; `@pytest.mark.parametrize("stack", [...], indirect=True)` sets it up."""
    from avm_mcp.sandbox import SandboxOptions
    from tests.stack import Stack

    given = getattr(request, "param", {})
    options = SandboxOptions(render=False, **given.get("options", {}))
    return Stack(tmp_path, wall, options, given.get("environ", {}))
