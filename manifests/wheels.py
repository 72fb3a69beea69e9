"""The wheel alone, as a user gets it: in clean environments, with the oldest allowed and the newest libraries.

For each Python of the classifiers that is on this machine, or that uv can fetch: with and without the extra. The server
starts from a bare environment, far from this checkout; it lists its tools, with its fast start and without, and makes a
video over stdio. Then `avm` makes one with a terminal in front of it, where it draws.
"""

import os
import re
import subprocess
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from pathlib import Path

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from manifests import facts, terminal, trial
from manifests.bench import ROOM, Bench, Check, Skipped

RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
EXTRAS = ((), ("sandbox",))


def versions() -> list[str]:
    """Return the Pythons that the package says it runs on."""
    project = tomllib.loads((facts.ROOT / "pyproject.toml").read_text())["project"]
    return re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)


def required(wheel: Path, extras: Sequence[str]) -> list[str]:
    """Return what a wheel asks for: to a resolver these have to be direct, or it takes the newest of each."""
    with zipfile.ZipFile(wheel) as downloader:
        name = next(name for name in downloader.namelist() if name.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(downloader.read(name)).get_all("Requires-Dist", [])
    found: list[str] = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == '([^']+)'", marker)
        if extra is None or extra[1] in extras:
            found.append(requirement.strip())
    return found


def interpreter(version: str, uv: Path) -> Path:
    """Return a Python of this version: on the PATH, of pyenv, of uv, or fetched by uv.

    Raises:
        Skipped: There is none, and none can be had.
    """
    named = f"python{version}"
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin"))
    for found in (*(folder / named for folder in folders), *(folder / named for folder in pyenv)):
        if found.is_file() and _runs(found, version):
            return found
    environ = os.environ | {"UV_PYTHON_INSTALL_DIR": str(ROOM / "pythons"), "UV_HTTP_TIMEOUT": "20"}
    fetched = subprocess.run(  # noqa: S603
        [uv, "python", "install", "--no-bin", version],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    for found in sorted((ROOM / "pythons").glob(f"cpython-{version}.*/bin/{named}")):
        if _runs(found, version):
            return found
    why = (fetched.stderr.strip().splitlines() or ["nothing came"])[-1].strip()
    raise Skipped(f"Python {version} is not on this machine, and uv cannot fetch it ({why})")


def _runs(program: Path, version: str) -> bool:
    code = "import sys, venv, sqlite3; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode == 0 and done.stdout.strip() == version


def checks(bench: Bench) -> Iterator[Check]:
    """Yield one check for each Python, age of the libraries, and extra."""
    uv = bench.python("py") / "uv"
    wheel = bench.wheel()
    for version in versions():
        try:
            python = interpreter(version, uv)
        except Skipped as why:
            yield Check(f"Python {version}", lambda why=why: _raise_skipped(why))
            continue
        for age in RESOLUTIONS:
            for extras in EXTRAS:
                with_extra = " with " + ", ".join(extras) if extras else ""
                yield Check(
                    f"Python {version}, {age} libraries{with_extra}",
                    lambda p=python, a=age, e=extras: _try_wheel(uv, wheel, p, a, e),
                )


def _raise_skipped(why: Skipped) -> str:
    raise why


def _try_wheel(uv: Path, wheel: Path, python: Path, age: str, extras: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="avm-wheel-") as folder:
        room = Path(folder)
        environ = trial.clean(os.environ, room)
        cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout  # noqa: S603
        tool = environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_CACHE_DIR": cache.strip()}
        programs = room / "env" / "bin"
        install = [uv, "pip", "install", "--quiet", "--python", programs / "python", "--only-binary", ":all:"]
        install += ["--resolution", RESOLUTIONS[age], wheel, *required(wheel, extras)]
        for command in ([uv, "venv", "--quiet", "--python", python, room / "env"], install):
            done = subprocess.run(command, env=tool, cwd=room, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                return done.stderr[-2000:]
        try:
            anyio.run(_try_stdio, programs, room, environ)
            _try_terminal(programs, room, environ)
        except AssertionError as error:
            return f"{error}\n{_freeze(uv, programs, tool)}"
        except BaseExceptionGroup as group:
            return f"{group.exceptions!r}\n{_freeze(uv, programs, tool)}"
    return ""


def _freeze(uv: Path, programs: Path, environ: dict[str, str]) -> str:
    freeze = [uv, "pip", "freeze", "--python", programs / "python"]
    return subprocess.run(freeze, env=environ, capture_output=True, text=True, check=False).stdout  # noqa: S603


async def _try_stdio(programs: Path, room: Path, environ: dict[str, str]) -> None:
    """Over stdio: the tools as the SDK itself lists them, and then, with the fast start, a video."""
    command = str(programs / "avm-mcp")
    bare = StdioServerParameters(command=command, env=environ | {"AVM_FAST_START": "off"}, cwd=room)
    with anyio.fail_after(trial.TIMEOUT):
        async with stdio_client(bare) as streams, ClientSession(*streams) as client:
            await client.initialize()
            listed = {tool.name: tool.description for tool in (await client.list_tools()).tools}
    assert listed == facts.TOOLS, listed
    video = await trial.make_video(
        StdioServerParameters(command=command, env=environ | trial.FAST, cwd=room), list(facts.TOOLS)
    )
    assert video.is_relative_to(room), video
    video.unlink()


def _try_terminal(programs: Path, room: Path, environ: dict[str, str]) -> None:
    """At a terminal: a bar moves, and the video's path is printed."""
    command = [str(programs / "avm"), "text-to-video", "a red kite"]
    code, frames = terminal.record(command, environ | trial.FAST, room, columns=100, rows=20)
    shown = "".join(text for _, text in frames)
    assert code == 0, shown
    assert "━" in shown, shown
    videos = [path for path in room.rglob("*.mp4") if "env" not in path.relative_to(room).parts]
    assert len(videos) == 1, (videos, shown)
    assert trial.is_video(videos[0])
    assert videos[0].name in re.sub(r"\s", "", shown), shown
