"""The container image, built and started for real, by Docker, Podman or Buildah, whichever works here.

Buildah builds without an engine that runs; what it built is then started in namespaces of its own, which takes root.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, StdioServerParameters

from manifests import facts, serving, trial
from manifests.bench import Bench, Check, Skipped
from manifests.facts import ROOT

TAG = f"{facts.NAME}:{facts.VERSION}"
USER = "10001"
HEALTH = ("python", "-IS", "/opt/health.py")
WRITABLE = "id -u && touch /data/.probe && rm /data/.probe && ! touch /opt/venv/.probe 2>/dev/null"
VIDEO = "import sys; sys.exit(open(sys.argv[1], 'rb').read(8)[4:] != b'ftyp')"
UNREACHABLE = ("no such host", "dial tcp", "pinging container registry", "short-name")


def _run(words: Sequence[str | Path], **more: Any) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout  # noqa: S603


class Docker:
    """Docker, or Podman, which takes the same words."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._name = f"avm-image-check-{os.getpid()}"
        _run([program, "info"])

    def build(self) -> None:
        _run([self._program, "build", "--tag", TAG, ROOT])

    def about(self) -> Mapping[str, Any]:
        return json.loads(_run([self._program, "image", "inspect", TAG]))[0]["Config"]

    def size(self) -> float:
        return json.loads(_run([self._program, "image", "inspect", TAG]))[0]["Size"] / 1e6

    def command(self, words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
        """Return what starts a container with these words; its stdin and stdout lead to its first process."""
        given = [f"--env={name}={value}" for name, value in environ.items()]
        options = ["--rm", "--interactive", "--network=host", f"--name={self._name}", f"--entrypoint={words[0]}"]
        return [self._program, "run", *options, *given, TAG, *words[1:]]

    def inside(self, words: Sequence[str]) -> int:
        """Run something in the container that was started last, and return its exit code."""
        return subprocess.run([self._program, "exec", self._name, *words], check=False).returncode  # noqa: S603


class Buildah:
    """Buildah, and Linux's own namespaces in place of an engine."""

    def __init__(self) -> None:
        _run(["buildah", "info"])
        self._root = ""

    def build(self) -> None:
        _run(["buildah", "bud", "--format", "docker", "--tag", TAG, ROOT])
        if os.geteuid() != 0:
            raise Skipped("it was built; to start it without an engine takes root")
        self._root = _run(["buildah", "mount", _run(["buildah", "from", "--pull-never", TAG]).strip()]).strip()

    def about(self) -> Mapping[str, Any]:
        return json.loads(_run(["buildah", "inspect", "--type", "image", TAG]))["Docker"]["config"]

    def size(self) -> float:
        return sum(path.lstat().st_size for path in Path(self._root).rglob("*") if not path.is_symlink()) / 1e6

    def command(self, words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
        config = self.about()
        variables = [*config["Env"], *(f"{name}={value}" for name, value in environ.items()), "HOME=/home/app"]
        own = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self._root}/proc"]
        return [*own, *self._at(["env", "-i", f"--chdir={config['WorkingDir']}", *variables, *words], config["User"])]

    def inside(self, words: Sequence[str]) -> int:
        config = self.about()
        parent = _run(["pgrep", "--newest", "--full", f"unshare .*{self._root}/proc"]).strip()
        first = _run(["pgrep", "--parent", parent]).strip()
        enter = ["nsenter", f"--target={first}", "--pid", "--mount"]
        return subprocess.run(  # noqa: S603
            [*enter, *self._at(["env", "-i", *config["Env"], *words], config["User"])], check=False
        ).returncode

    def _at(self, words: Sequence[str], user: str) -> list[str]:
        return ["chroot", f"--userspec={user}", self._root, *words]


Engine = Docker | Buildah


def engine() -> Engine:
    """Return one that works here.

    Raises:
        Skipped: There is none.
    """
    for make, program in (
        (partial(Docker, "docker"), "docker"),
        (partial(Docker, "podman"), "podman"),
        (Buildah, "buildah"),
    ):
        if shutil.which(program):
            try:
                return make()
            except subprocess.CalledProcessError:  # a client whose engine is elsewhere
                continue
    raise Skipped("neither Docker nor Podman nor Buildah works here")


def checks(bench: Bench) -> Iterator[Check]:
    """Yield the checks of the image."""
    made = engine()
    wrong = _build(made)
    yield Check(f"it is built, by {type(made).__name__}", lambda: wrong)
    if wrong:
        return
    about, entry = made.about(), "avm-mcp"
    yield Check(f"its configuration; {made.size():.0f} MB with its base", partial(_check_configuration, about))
    words = made.command(["sh", "-c", WRITABLE], {})
    yield Check(f"it runs as {USER}, and can write to /data only", words, USER)
    yield Check("tools and a video over stdio; healthy meanwhile", partial(_stdio, made, entry))
    yield Check("tools over HTTP; healthy meanwhile", partial(_http, made, entry, bench.scratch))
    yield Check("unhealthy where nothing listens", partial(_check_unhealthy, made))


def _build(made: Engine) -> str:
    try:
        made.build()
    except subprocess.CalledProcessError as failed:
        if any(words in failed.stderr for words in UNREACHABLE):
            raise Skipped(f"its base cannot be had here: {failed.stderr.strip().splitlines()[-1][:200]}") from None
        return failed.stderr[-2000:]
    return ""


def _check_configuration(about: Mapping[str, Any]) -> str:
    labels = about.get("Labels") or {}
    found = {
        "User": (about["User"], f"{USER}:{USER}"),
        "Entrypoint": (about["Entrypoint"], ["avm-mcp"]),
        "Volumes": (list(about["Volumes"]), ["/data"]),
        "server name": (labels.get("io.modelcontextprotocol.server.name"), facts.REGISTRY_NAME),
        "version": (labels.get("org.opencontainers.image.version"), facts.VERSION),
        "licence": (labels.get("org.opencontainers.image.licenses"), facts.LICENSE),
        "Healthcheck": ((about.get("Healthcheck") or {}).get("Test"), ["CMD", *HEALTH]),
    }
    return "\n".join(f"{name}: {is_!r}, not {meant!r}" for name, (is_, meant) in found.items() if is_ != meant)


def _stdio(made: Engine, entry: str) -> str:
    def there(video: Path) -> bool:
        assert video.parent == Path("/data"), video
        return made.inside(["python", "-c", VIDEO, str(video)]) == 0 and made.inside(HEALTH) == 0

    first, *rest = made.command([entry], trial.FAST)
    server = StdioServerParameters(command=first, args=rest, env=dict(os.environ))
    anyio.run(trial.make_video, server, list(facts.TOOLS), there)
    return ""


def _http(made: Engine, entry: str, cwd: Path) -> str:
    with socket.socket() as free:  # the health check reads the port from the command line
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = made.command([entry, "serve", "--port", port, "--json"], trial.FAST)
    with serving.over_http(command, os.environ, cwd) as url:
        anyio.run(_list_tools, url)
        health = httpx2.get(url.removesuffix("/mcp") + "/healthz").status_code
        inside = made.inside(HEALTH)
    return "" if (health, inside) == (200, 0) else f"/healthz says {health}, the health check {inside}"


async def _list_tools(url: str) -> None:
    async with Client(url) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools == list(facts.TOOLS), tools


def _check_unhealthy(made: Engine) -> str:
    command = made.command(["sh", "-c", "sleep 30", "serve", "--port", "9"], {})
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # noqa: S603
        try:
            time.sleep(2)
            return "" if made.inside(HEALTH) == 1 else "it calls itself healthy"
        finally:
            serving.end(process)
