"""A process that asks for videos, and can be told to die at any step of it.

Run as a program it is a nursery: it imports the product once, reads jobs from stdin, one JSON object a line, and forks
a process for each. It says `{"started": pid}` and `{"ended": pid, "status": …}` on stdout.

On trio an instrument counts every scheduling step from the request until its video is saved. A step is what a task does
between two awaits that yield, so dying before each of them is dying at every await. `CRASH_AT` is a number, or a place
and its occurrence as the list of steps names it.
"""

import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, TypedDict

import anyio
import trio
import trio._core._run

import avm_mcp.worker  # the nursery has everything in memory before it forks
from avm_mcp.app import Runtime
from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import UNKNOWN
from avm_mcp.domain.request import VideoRequest
from avm_mcp.domain.timings import Timings
from avm_mcp.jobs.views import Found
from avm_mcp.presentation.audience import SHELL_AUDIENCE
from avm_mcp.presentation.errors import dump_error
from avm_mcp.presentation.task import build_task, format_task
from avm_mcp.settings import Settings

POLL = 0.02
LIFE = 300
"""Seconds after which a worker that nobody has ended ends."""

HOUSE = str(Path(avm_mcp.__file__).parent)


class Job(TypedDict, total=False):
    """What a worker is told."""

    environ: dict[str, str]
    timings: dict[str, float]  # the fields of `Timings`
    out: str  # what it says, one JSON object for each answer
    err: str  # its stderr
    backend: str
    rounds: list[list[str]]  # prompts: those of a round at once, one round after the other
    crowd: int  # with so many workers, each round begins at the same instant
    meet: str  # the folder in which they wait for each other
    open_together: bool  # they wait for each other before they open the state, too
    wait: str  # "answer": as long as a submit takes; "task": until its id is known; "video": until it is saved
    unclear: float  # seconds after which an unclear one is left
    linger: float  # seconds to live on after the last answer
    crash_at: str
    steps: str  # where the list of steps is written
    file_limit: int  # RLIMIT_FSIZE


class Meter(trio.abc.Instrument):
    """Counts steps, lists them, and kills its process before one of them."""

    def __init__(self, steps: str | None, crash_at: str | None) -> None:
        self.counting = False
        self._crash_at = crash_at
        self._number = 0
        self._places = Counter[str]()
        self._list = os.open(steps, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if steps else None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.counting:
            self.step(place(task))

    def step(self, where: str) -> None:
        """Count this one, say where it is, and die here if that was asked for."""
        self._number += 1
        self._places[where] += 1
        occurrence = f"{where} #{self._places[where]}"
        if self._list is not None:
            os.write(self._list, f"{self._number}: {occurrence}\n".encode())
        if self._crash_at in (str(self._number), occurrence):
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Count what is done to files too: there is no await between a video's name and the end of its part file."""
        if self.counting and event in ("os.link", "os.rename", "os.remove") and ".part" in str(args[0]):
            self.step(f"{event} {'info' if str(args[0]).endswith('.info') else 'video'}")


def place(task: trio.lowlevel.Task) -> str:
    """Return which line of ours is about to go on, and in which functions of which libraries it waits."""
    frames: list[tuple[FrameType, int]] = list(task.iter_await_frames())
    ours = [at for at in frames if at[0].f_code.co_filename.startswith(HOUSE)]
    theirs = [at for at in frames[frames.index(ours[-1]) + 1 if ours else 0 :] if "/trio/_core/" not in _file(at)]
    inner = [at[0].f_code.co_qualname for at in theirs if "/anyio/" not in _file(at)]
    names = " > ".join(inner[-2:]) or (theirs[-1][0].f_code.co_qualname if theirs else "")
    # The driver's line says little; the method of the store that it serves is the place.
    while len(ours) > 1 and "/store/sqlite.py" in _file(ours[-1]):
        ours.pop()
    if not ours:
        return f"(task {task.name.rpartition('.')[2]}) {names}".rstrip()
    module = _file(ours[-1]).removeprefix(HOUSE).removesuffix(".py").strip("/").replace("/", ".")
    here = f"{module}.{ours[-1][0].f_code.co_qualname}:{ours[-1][1]}"
    return f"{here} in {names}" if names else here


def _file(at: tuple[FrameType, int]) -> str:
    return at[0].f_code.co_filename


def say(job: Job, reply: dict[str, Any]) -> None:
    with open(job["out"], "a") as out:
        out.write(json.dumps(reply) + "\n")


async def work(job: Job, meter: Meter) -> None:
    if job.get("open_together"):
        await _met(job, -1)
    async with Runtime(Settings.from_env(job["environ"]), timings=Timings(**job["timings"])) as runtime:
        say(job, {"ready": os.getpid()})
        for number, prompts in enumerate(job["rounds"]):
            await _met(job, number)
            meter.counting = True
            async with anyio.create_task_group() as group:
                for prompt in prompts:
                    group.start_soon(_call, job, runtime, prompt)
            meter.counting = False
        await anyio.sleep(job.get("linger", 0))


async def _met(job: Job, number: int) -> None:
    """Begin when everybody is there: at one wall-clock instant that the last to come has set."""
    if "crowd" not in job:
        return
    folder = Path(job["meet"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}-{os.getpid()}").touch()
    while len(list(folder.glob(f"{number}-*"))) < job["crowd"]:
        await anyio.sleep(POLL)
    at = max(path.stat().st_mtime for path in folder.glob(f"{number}-*")) + 3 * POLL
    while (left := at - time.time()) > 0:
        await anyio.sleep(left)


async def _call(job: Job, runtime: Runtime, prompt: str) -> None:
    request = VideoRequest("t2v", 5, (prompt,), "16:9")
    try:
        found = await runtime.service.submit(request)
        while job.get("wait") == "task" and found.job.task_id is None:
            found = await runtime.service.wait(found, 0.2)
        if job.get("wait") == "download":
            found = await _video(found, runtime, job.get("unclear", 3.0))
    except AvmError as error:
        say(job, {"prompt": prompt, **dump_error(error, SHELL_AUDIENCE)})
        return
    result = build_task(found, SHELL_AUDIENCE, runtime.place)
    say(job, {**result.dump(), "text": format_task(result), "prompt": prompt, "pid": os.getpid()})


async def _video(found: Found, runtime: Runtime, unclear: float) -> Found:
    """Wait, as the command line does, until the video is on the disk, or it stays unclear whether there is one."""
    begun = anyio.current_time()
    while not found.job.final or found.job.download == "wanted":
        if found.job.status == UNKNOWN and anyio.current_time() - begun > unclear:
            break
        found = await runtime.service.wait(found, 0.5)
        if found.job.final:
            await anyio.sleep(POLL)
    return found


def run(job: Job) -> None:
    """Be the worker."""
    os.dup2(os.open(job["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    import logging

    logging.basicConfig(level="WARNING", stream=sys.stderr)
    if "file_limit" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], resource.RLIM_INFINITY))
    meter = Meter(job.get("steps"), job.get("crash_at"))
    sys.addaudithook(meter.audit)
    if job.get("backend", "asyncio") == "asyncio":
        anyio.run(work, job, meter)
        return
    # The order of tasks within a batch is trio's to shuffle; for a numbered list it is the same each time.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio._core._run._r = random.Random(3)
    anyio.run(work, job, meter, backend="trio", backend_options={"instruments": [meter]})


def nursery() -> None:
    """Fork a worker for each line; when stdin ends, so does everything."""
    _warm_up()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    children = set[int]()
    pending = b""
    while True:
        ready = select.select([0, wake], [], [])[0]
        if wake in ready:
            os.read(wake, 1000)
            for pid in list(children):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    children.discard(pid)
                    _news(ended=pid, status=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _child(json.loads(line))
                children.add(pid)
                _news(started=pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Import here what would be imported late, in every worker."""
    settings = Settings(AVM_API_KEY="k", AVM_BASE_URL="http://127.0.0.1:9", AVM_STATE_DIR=Path(os.devnull) / "none")

    async def enter() -> None:
        async with Runtime(settings):
            pass

    for backend in ("asyncio", "trio"):
        anyio.run(enter, backend=backend)


def _child(job: Job) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.alarm(LIFE)
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        random.seed()
        run(job)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _news(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    nursery()
