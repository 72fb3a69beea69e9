"""The ground under tests with real processes: a sandbox on a real socket in this loop, and programs beside it."""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.abc
import httpx2

from avm_mcp.domain.timings import Timings
from avm_mcp.sandbox import SandboxOptions, build_sandbox
from avm_mcp.sandbox.ledger import fingerprint
from avm_mcp.sandbox.server import running

T = TypeVar("T")

KEY = "ak_ground_0123456789"
ROOT = Path(__file__).parents[2]
AVM = (sys.executable, "-c", "import sys; from avm_mcp.cli import main; sys.exit(main())")

FAST = SandboxOptions(speed=200, render=False, query_limit=None, balance=100_000, durations={"t2v": 100.0})
"""A video of t2v takes half a second."""

QUICK = Timings(
    heartbeat_interval=0.2,
    heartbeat_lifetime=0.8,
    poll_lease=0.8,
    follow_interval=0.2,
    idle_follow_interval=0.3,
    rest_interval=0.5,
    reconcile_lease=0.8,
    reconcile_interval=0.2,
    idle_reconcile_interval=0.4,
    poll_freshness=0.2,
    shortest_poll_interval=0.25,
    longest_poll_interval=0.5,
    bucket_capacity=1000.0,
    bucket_refill=1000.0,
)
"""The timings that a worker is started with: a minute takes about a second."""


def clips() -> set[str]:
    """Return the digests of the videos that a sandbox without a renderer serves."""
    found = (resources.files("avm_mcp.sandbox") / "clips").iterdir()
    return {sha256(clip.read_bytes()).hexdigest() for clip in found}


def whole(path: Path) -> bool:
    """Return whether a file is one of the sandbox's videos, to the last byte."""
    return sha256(path.read_bytes()).hexdigest() in clips()


def names(folder: Path) -> list[str]:
    """Return everything in a folder, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


async def until(found: Callable[[], T], what: str, seconds: float = 30, interval: float = 0.05) -> T:
    """Return the first truth that `found` gives."""
    give_up = anyio.current_time() + seconds
    while not (answer := found()):
        assert anyio.current_time() < give_up, f"not within {seconds} s: {what}"
        await anyio.sleep(interval)
    return answer


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not yet waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@dataclass
class Workspace:
    """A folder, and a service that belongs to the test. `mine` gives each story a key and folders of its own."""

    folder: Path
    sandbox: Any
    url: str
    key: str = KEY

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    def mine(self, name: str) -> "Workspace":
        folder = self.folder / name
        folder.mkdir(parents=True)
        return replace(self, folder=folder, key=f"{self.key}_{name}")

    def environ(self, **more: str) -> dict[str, str]:
        given = {name: text for name, text in os.environ.items() if not name.startswith(("AVM_", "AIVIDEO_", "XDG_"))}
        ours = {
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
            "AVM_API_KEY": self.key,
            "AVM_BASE_URL": self.url,
            "AVM_STATE_DIR": str(self.state),
            "AVM_OUTPUT_DIR": str(self.videos),
            "AVM_WORKER": "off",
        }
        return given | ours | more

    # --- what the service knows; nothing here looks into the journal ---

    @property
    def tasks(self) -> list[Any]:
        return self.sandbox.tasks(self.key)

    @property
    def charges(self) -> list[Any]:
        return self.sandbox.entries("charge", self.key)

    @property
    def posts(self) -> int:
        return len(self.requests("generate"))

    def requests(self, endpoint: str) -> list[Any]:
        """Return what was asked of an endpoint; videos are fetched without a key."""
        seen = [one for one in self.sandbox.requests if one.endpoint == endpoint]
        return [one for one in seen if endpoint == "file" or one.key == fingerprint(self.key)]

    async def made_before(self, prompt: str = "the one before") -> None:
        """Let the account have a task already, by which an upstream that keeps keys is known to."""
        async with httpx2.AsyncClient() as http:
            answer = await http.post(
                f"{self.url}/api/v1/generate/t2v",
                headers={"key": self.key, "Idempotency-Key": f"before-{self.key}"},
                json={"prompt": prompt, "duration": "5", "aspectRatio": "16:9"},
            )
        assert answer.status_code == 200, answer.text

    # --- the videos on the disk ---

    def saved(self) -> list[Path]:
        return [self.videos / name for name in names(self.videos) if not name.startswith(".")]

    def only_whole_videos(self, count: int) -> None:
        """Assert that the output folder holds so many videos, each whole, and nothing else."""
        found = names(self.videos)
        assert len(found) == count, found
        assert all(whole(self.videos / name) for name in found), found


@asynccontextmanager
async def open_workspace(folder: Path, options: SandboxOptions = FAST) -> AsyncGenerator[Workspace]:
    """A service in this loop, for programs in other processes."""
    app = build_sandbox(options)
    async with running(app=app) as url:
        yield Workspace(folder, app.sandbox, url)


@asynccontextmanager
async def program(
    argv: Sequence[str], env: Mapping[str, str], *, err: Path | None = None, **how: Any
) -> AsyncGenerator[anyio.abc.Process]:
    """A process with pipes, dead when the block is left."""
    with open(err or os.devnull, "ab") as stderr:
        process = await anyio.open_process(argv, env=env, stderr=stderr, **how)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def output(argv: Sequence[str], env: Mapping[str, str], seconds: float = 60) -> tuple[int, str, str]:
    """Run a program to its end; return its exit code, stdout and stderr."""
    with anyio.fail_after(seconds):
        done = await anyio.run_process(argv, env=env, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def avm(workspace: Workspace, *argv: str, seconds: float = 60, **more: str) -> dict[str, Any]:
    """Run `avm … --json` and return what it says."""
    code, out, err = await output([*AVM, *argv, "--json"], workspace.environ(**more), seconds)
    assert out.strip(), (code, err)
    return json.loads(out) | {"_exit": code, "_stderr": err}


# --- workers: processes that cost nothing to start, because they are forked from one that has imported everything ---


@dataclass
class Worker:
    """One worker process."""

    pid: int
    reply_to: Path
    ended: anyio.Event = field(default_factory=anyio.Event)
    status: int = 0

    def printed(self) -> list[dict[str, Any]]:
        """Return what it has said so far, one object for each line that is whole."""
        text = self.reply_to.read_text() if self.reply_to.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    @property
    def err(self) -> str:
        return self.reply_to.with_suffix(".err").read_text()

    async def up(self) -> "Worker":
        """Wait until its runtime is entered."""
        await until(lambda: self.printed() or self.ended.is_set(), "a worker that is up")
        assert self.printed(), self.err[-3000:]
        return self

    async def end(self, seconds: float = 60) -> list[dict[str, Any]]:
        """Wait until it has ended or was killed; return what it said."""
        with anyio.fail_after(seconds):
            await self.ended.wait()
        assert self.status in (0, -signal.SIGKILL), self.err[-3000:]
        return self.printed()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class Workers:
    """The nursery of workers: `tests.e2e.crash_worker`, which forks one for each job."""

    def __init__(self, process: anyio.abc.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._number = 0
        self._ordered: deque[tuple[anyio.Event, list[Worker], Path]] = deque()
        self._running: dict[int, Worker] = {}

    async def listen(self) -> None:
        assert self._process.stdout is not None
        pending = b""
        async for chunk in self._process.stdout:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                news = json.loads(line)
                if "started" in news:
                    reply, found, path = self._ordered.popleft()
                    self._running[news["started"]] = worker = Worker(news["started"], path)
                    found.append(worker)
                    reply.set()
                else:
                    worker = self._running.pop(news["ended"])
                    worker.status = news["status"]
                    worker.ended.set()

    async def start(self, workspace: Workspace, **job: Any) -> Worker:
        """Start a worker; see `crash_worker.Job` for what it can be told."""
        assert self._process.stdin is not None
        self._number += 1
        out = self._folder / f"worker-{self._number}.jsonl"
        order = {"timings": asdict(QUICK), **job, "out": str(out), "err": str(out.with_suffix(".err"))}
        order["environ"] = workspace.environ(**job.get("environ", {}))
        reply, found = anyio.Event(), list[Worker]()
        self._ordered.append((reply, found, out))
        await self._process.stdin.send(json.dumps(order).encode() + b"\n")
        await reply.wait()
        return found[0]

    async def run(self, workspace: Workspace, seconds: float = 60, **job: Any) -> list[dict[str, Any]]:
        """Run a worker to its end and return what it said."""
        worker = await self.start(workspace, **job)
        try:
            return await worker.end(seconds)
        except TimeoutError:
            raise AssertionError(f"{job} took too long: {worker.printed()} {worker.err[-3000:]}") from None


@asynccontextmanager
async def workers(folder: Path) -> AsyncGenerator[Workers]:
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "tests.e2e.crash_worker"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with program(argv, env, err=folder / "nursery.err", cwd=ROOT) as process:
        nursery = Workers(process, folder)
        async with anyio.create_task_group() as group:
            group.start_soon(nursery.listen)
            try:
                yield nursery
            finally:
                assert process.stdin is not None
                with anyio.move_on_after(5, shield=True):
                    await process.stdin.aclose()  # upon which it kills what it has started
                    await process.wait()
                group.cancel_scope.cancel()


async def side_by_side(work: Sequence[Callable[[], Awaitable[T]]], at_once: int = 4) -> list[T]:
    """Do all of it, so many at a time, and return the results in order."""
    results: dict[int, T] = {}
    places = anyio.CapacityLimiter(at_once)

    async def one(number: int, do: Callable[[], Awaitable[T]]) -> None:
        async with places:
            results[number] = await do()

    async with anyio.create_task_group() as group:
        for number, do in enumerate(work):
            group.start_soon(one, number, do)
    return [results[number] for number in range(len(work))]


# --- a host, as plain as the protocol allows ---


class Host:
    """JSON-RPC over the pipes of one `avm-mcp`. Calls may overlap: `send` them, then `take` their results."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self._pending = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}

    async def open(self) -> "Host":
        client = {"name": "raw", "version": "1"}
        await self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        await self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def call(self, tool: str, seconds: float = 30, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured result."""
        return await self.take(await self.send(tool, **arguments), seconds)

    async def send(self, tool: str, **arguments: Any) -> int:
        """Call a tool without waiting for its result; return the number of the call."""
        return await self._request("tools/call", name=tool, arguments=arguments)

    async def take(self, number: int, seconds: float = 30) -> dict[str, Any]:
        """Return the structured result of a call; a `TimeoutError` is a host's that gives up."""
        return (await self._answer(number, seconds))["structuredContent"]

    async def give_up(self, number: int) -> None:
        """Tell the server, as hosts do, that nobody waits for this call any more."""
        params = {"requestId": number, "reason": "timed out"}
        await self._write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def ask(self, method: str, seconds: float = 30, /, **params: Any) -> dict[str, Any]:
        return await self._answer(await self._request(method, **params), seconds)

    async def _request(self, method: str, **params: Any) -> int:
        self._number += 1
        await self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        return self._number

    async def _answer(self, number: int, seconds: float) -> dict[str, Any]:
        with anyio.fail_after(seconds):
            while number not in self._answers:
                message = await self._read()
                assert message["jsonrpc"] == "2.0"
                if "id" in message:
                    self._answers[message["id"]] = message
        return self._answers.pop(number)["result"]

    async def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps(message).encode() + b"\n")

    async def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\n" not in self._pending:
            self._pending += await self.process.stdout.receive()
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)


@asynccontextmanager
async def host(workspace: Workspace, *, err: Path | None = None, **more: str) -> AsyncGenerator[Host]:
    """A host and its `avm-mcp`, in a process group of its own."""
    argv = [sys.executable, "-m", "avm_mcp"]
    async with program(argv, workspace.environ(**more), err=err, start_new_session=True) as process:
        yield await Host(process).open()
