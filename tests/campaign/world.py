"""One user's machine in virtual time: servers that can die at any await, the wire, and the service behind it.

A *process* is one server of ours: a runtime and its tools, all of its tasks under one cancel scope. Its *death* is one
instant, between two steps of the scheduler, in this order:

1. its connections to the journal are closed, as the system closes those of a killed process, and refuse every later
   statement; its half-written videos point nowhere; its wire is cut and refuses;
2. if no other process lives, the folders are copied, and the copy takes their place;
3. only then its tasks are cancelled, so that no `finally` of the dead can reach anything that is left.
"""

import contextvars
import functools
import itertools
import logging
import os
import random
import re
import shutil
import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import trio
import trio.testing

import avm_mcp.app
import avm_mcp.downloads.downloader
import avm_mcp.jobs.query_limit
import avm_mcp.jobs.submit
import avm_mcp.provider.client
import avm_mcp.store.sqlite
from avm_mcp.app import Runtime
from avm_mcp.downloads.partials import Partial
from avm_mcp.images import inline
from avm_mcp.mcp_server import Tools
from avm_mcp.sandbox import SandboxOptions, build_sandbox
from avm_mcp.sandbox.ledger import Task
from avm_mcp.settings import Settings
from avm_mcp.store import open_store
from tests.campaign import stops
from tests.campaign.schedule import PICTURES, Event, Intent, Schedule, Step
from tests.clock import EPOCH, Skewed, VirtualMachine, VirtualWall
from tests.transport import Link, StreamingASGITransport

KEY = "ak_0123456789abcdef"
PUBLIC = "93.184.216.34"
"""Where the file host lives."""

HEALTHY = 2400.0
"""Seconds of good weather at the end: ten minutes of lists, at gaps of up to five, and the videos' own retries."""

SPARE, LAST = 96, 99
"""Slots of the server that starts beside the others, and of the one that starts when all have gone."""

BOUND = 90.0 + 2 * 10.0
"""Seconds after which a sender that lives may give its paid request up: the phases of one exchange in all."""

DEAF = 1800.0
"""Seconds after which the harness gives a call up that no host has cancelled."""

_process: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)
_root = contextvars.copy_context()


# --- what the judge is given ---


@dataclass(slots=True)
class Call:
    """One tool call, as its caller saw it."""

    tool: str
    arguments: dict[str, Any]
    intent: int | None
    process: int
    start: float
    end: float = 0.0
    outcome: str = "open"  # answer, given up, died
    text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    is_error: bool = False
    token: bool = False
    progress: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def error(self) -> dict[str, Any]:
        return self.fields.get("error") or {}

    @property
    def reply_id(self) -> str | None:
        return self.fields.get("task_id") or self.error.get("task_id")


@dataclass(slots=True)
class Post:
    """One paid request on the wire."""

    at: float
    process: int
    key: str
    prompt: str
    until: float = 0.0
    end: str = "open"  # answered, lost (an error on the wire), died, hung up


@dataclass
class Record:
    """What happened in one run, all of it from outside."""

    schedule: Schedule
    calls: list[Call] = field(default_factory=list)
    last: list[Call] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    key_of: dict[str, str] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    videos: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    busiest_minute: int = 0
    limited: int = 0
    ended: float = 0.0
    deaths: dict[int, float] = field(default_factory=dict)
    stops: list[tuple[int, float, float]] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


# --- a process ---


class Mortal(sqlite3.Connection):
    """A connection to the journal that ends with its process."""

    dead = False

    def execute(self, *given: Any) -> Any:
        if self.dead:
            raise sqlite3.OperationalError("this process is dead")
        return super().execute(*given)

    @property
    def in_transaction(self) -> bool:
        return not self.dead and super().in_transaction

    def die(self) -> None:
        super().close()  # rolls back what was not committed, and gives up its locks, as the system does
        self.dead = True


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False, factory=Mortal
    )
    connection.row_factory = sqlite3.Row
    if (process := _process.get()) is not None:
        process.connections.append(connection)
        if not process.alive:
            connection.die()
    return connection


_hold = Partial.hold.__func__  # type: ignore[attr-defined]


def _held(cls: type[Partial], folder: Path, name: str) -> Partial | None:
    process = _process.get()
    if process is not None and not process.alive:
        raise OSError(5, "this process is dead")
    part: Partial | None = _hold(cls, folder, name)
    if part is not None and process is not None:
        process.partials.append(part)
    return part


class Wire(StreamingASGITransport):
    """A process's way to the service, which outlives it."""

    def __init__(self, world: "World", process: "Process") -> None:
        super().__init__(dict.fromkeys(("127.0.0.1:9", "localhost:9", PUBLIC), world.app), link=process.link)
        self._world = world
        self._process = process
        self._group = world.nursery  # type: ignore[assignment] - the service's own, not this client's
        self._context = _root

    async def __aenter__(self) -> "Wire":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for exchange in self._in_flight():
            exchange.hang_up(cancel=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        endpoint = _endpoint(request.method, request.url.path)
        world, process = self._world, self._process
        process.seen[endpoint] += 1
        world.approach(process, endpoint)
        if endpoint != "generate":
            return await super().handle_async_request(request)
        content = b"".join([chunk async for chunk in request.stream])  # type: ignore[union-attr]
        post = Post(world.time(), process.number, request.headers["idempotency-key"], _prompt_of(content))
        world.record.posts.append(post)
        try:
            response = await super().handle_async_request(request)
        except httpx2.HTTPError:
            post.end = "lost" if process.alive else "died"
            raise
        except trio.Cancelled:
            late = world.time() - post.at >= BOUND
            post.end = "died" if not process.alive or process.leaving.is_set() else "lost" if late else "hung up"
            raise
        else:
            post.end = "answered"
            return response
        finally:
            post.until = world.time()


def _endpoint(method: str, path: str) -> str:
    if path.startswith("/files/"):
        return "file"
    parts = path.split("/")[3:]
    if parts[0] != "tasks":
        return parts[0]
    return ("list", "task", parts[-1])[len(parts) - 1]


_PROMPT = re.compile(r"video \d+ +of a fox in the snow")


def _prompt_of(body: bytes) -> str:
    found = _PROMPT.search(body.decode())
    return found.group(0) if found else ""


class Process:
    """One server of ours."""

    def __init__(self, world: "World", number: int, slot: int) -> None:
        self.world = world
        self.number = number
        self.slot = slot
        self.wall = Skewed(world.wall, world.ahead(slot))
        self.alive = True
        self.link = Link(up=not world.outage)
        self.wire = Wire(world, self)
        self.machine = world.machine.process()
        self.connections: list[Mortal] = []
        self.partials: list[Partial] = []
        self.seen: Counter[str] = Counter()
        self.ready = trio.Event()
        self.leaving = trio.Event()
        self.gone = trio.Event()
        self.scope = trio.CancelScope()
        self.tools: Tools | None = None
        self.nursery: trio.Nursery | None = None
        self.stopped = False
        self.held: list[trio.lowlevel.Task] = []

    async def run(self) -> None:
        _process.set(self)
        with self.scope:
            try:
                await self._serve()
            except Exception as error:
                if self.alive:
                    self.world.crash(f"process {self.number} ended with {_leaves(error)}")
        self.alive = False
        self.ready.set()
        self.gone.set()

    async def _serve(self) -> None:
        runtime = Runtime(
            self.world.settings(self.slot),
            now=self.wall,
            machine=self.machine,
            transport=self.wire,
            download_transport=self.wire,
            resolver=self.world.resolve,
            offload=inline,
        )
        async with runtime:
            self.tools = Tools(runtime)
            async with trio.open_nursery() as self.nursery:
                self.ready.set()
                await self.leaving.wait()
                self.nursery.cancel_scope.cancel()

    async def call(
        self, tool: str, arguments: dict[str, Any], *, intent: int | None, timeout: float | None, token: bool
    ) -> Call:
        """Call a tool as a host does, and return what came of it."""
        world = self.world
        call = Call(tool, arguments, intent, self.number, world.time(), token=token)
        world.record.calls.append(call)
        world.say(f"process {self.number}: {tool} {arguments}" + (f", time-out {timeout:g} s" if timeout else ""))
        if not self.alive or self.leaving.is_set() or self.nursery is None:
            call.outcome, call.end = "died", world.time()
            return call
        answered = trio.Event()
        scope = trio.CancelScope()

        async def answer() -> None:
            assert self.tools is not None
            _process.set(self)
            try:
                with scope:
                    result = await self.tools._answer(tool, arguments, _Host(world, call, token=token))  # type: ignore[arg-type]
                    if self.alive:
                        call.text = "\n".join(
                            getattr(block, "text", None) or str(block.uri) for block in result.content
                        )
                        call.fields, call.is_error = result.structured_content, result.is_error
                        call.outcome = "answer"
            finally:
                answered.set()

        self.nursery.start_soon(answer)
        with trio.move_on_after(DEAF if timeout is None else timeout) as waiting:
            await answered.wait()
        call.end = world.time()
        if waiting.cancelled_caught:
            call.outcome = "given up"
            scope.cancel()
            if timeout is None and not self.stopped and not any(n == self.number for n, *_ in world.record.stops):
                world.crash(f"{tool} {arguments} was not answered within {DEAF} s")
        elif call.outcome == "open":
            call.outcome = "died"
        world.say(f"process {self.number}: {tool} -> {call.outcome} {call.fields.get('status', '')} {call.text!r}")
        return call

    def die(self) -> None:
        """Be gone from one instant to the next; see the module."""
        world = self.world
        if not self.alive:
            return
        self.alive = False
        stops.go_on(self)  # a kill reaches a stopped process too
        world.record.counts["deaths"] += 1
        world.machine.dead.add(self.machine.process)
        world.record.deaths[self.number] = world.time()
        world.say(f"process {self.number} DIES")
        for connection in self.connections:
            if not connection.dead:
                connection.die()
        grave = world.root / "grave"
        nowhere = os.open(os.devnull, os.O_RDWR)
        for part in self.partials:
            part._target, part._path, part._info_path = grave / "download", grave / "part", grave / "info"
            for file in (part._file, part._info):
                if not file.closed:
                    os.dup2(nowhere, file.fileno())  # closes what was open there, and with it the lock
        os.close(nowhere)
        self.link.up = False
        self.link.cut()
        if not any(other.alive for other in world.processes):
            world.copy_folders()
        self.scope.cancel()

    def stop(self, seconds: float) -> None:
        """Stop here and now, and go on after so long."""
        world = self.world
        assert world.nursery is not None
        world.record.counts["stops"] += 1
        world.say(f"process {self.number} STOPS for {seconds:g} s")
        stops.stop(self)
        _root.copy().run(world.nursery.start_soon, self._go_on, seconds)

    async def _go_on(self, seconds: float) -> None:
        since = self.world.time()
        await trio.sleep(seconds)
        self.world.record.stops.append((self.number, since, self.world.time()))
        if self.stopped:
            self.world.say(f"process {self.number} goes on")
            stops.go_on(self)

    async def leave(self) -> None:
        """End in order, as after SIGTERM."""
        self.world.say(f"process {self.number} is asked to end")
        self.leaving.set()
        await self.gone.wait()
        self.world.say(f"process {self.number} has ended")


class _Host:
    """What a tool sees of the host that called it."""

    client_capabilities = None
    headers = None
    protocol_version = "2025-11-25"
    input_responses = None
    session = SimpleNamespace(
        client_params=SimpleNamespace(client_info=SimpleNamespace(name="campaign")), can_send_request=False
    )

    def __init__(self, world: "World", call: Call, *, token: bool) -> None:
        self.request_context = SimpleNamespace(meta={"progress_token": 1} if token else None)
        self._world = world
        self._call = call

    async def report_progress(self, progress: float, total: float, message: str) -> None:
        self._call.progress.append((self._world.time(), progress, message))
        await trio.lowlevel.checkpoint()


# --- the world ---


class World:
    """One run of one schedule."""

    def __init__(self, schedule: Schedule, root: Path, *, loud: bool = False) -> None:
        self.schedule = schedule
        self.root = root
        self.loud = loud
        self.record = Record(schedule)
        self.wall = VirtualWall(EPOCH)
        self.machine = VirtualMachine(self.wall)
        self.app = build_sandbox(SandboxOptions(**schedule.options), now=self.wall)
        self.sandbox = self.app.sandbox
        self.processes: list[Process] = []
        self.slots: dict[int, Process] = {}
        self.outage = False
        self.over = False
        self.nursery: trio.Nursery | None = None
        self._watch_charges()
        self._armed = [event for event in schedule.events if event.kind in ("death_at", "stop_at")]
        self.leads_to: str | None = None
        self.steps: Counter[int] = Counter()
        home = root / "home"
        self.videos = home / "videos"
        self._environ = {
            "AVM_API_KEY": KEY,
            "AVM_STATE_DIR": str(home / "state"),
            "AVM_OUTPUT_DIR": str(self.videos),
            "AVM_INPUT_DIRS": str(root / "pictures"),
            "AVM_WORKER": "off",
            "AVM_APPROVE_ABOVE": "200",  # long videos are drawn in, and it is not about approval
            **schedule.environ,
        }

    def settings(self, slot: int) -> Settings:
        """Return what a server in this place of the host's configuration is given."""
        spelled = self.schedule.forms
        return Settings.from_env({**self._environ, "AVM_BASE_URL": spelled[slot % len(spelled)]})

    async def resolve(self, host: str, port: int) -> list[str]:
        """Look a name up, as the network has it at the moment."""
        await trio.lowlevel.checkpoint()
        if self.leads_to == "nowhere":
            raise OSError("Name or service not known")
        return [self.leads_to or PUBLIC]

    def time(self) -> float:
        return trio.current_time()

    def say(self, text: str) -> None:
        if self.loud:
            self.record.timeline.append((self.time(), text))

    def crash(self, text: str) -> None:
        self.record.crashes.append(text)
        self.say(f"CRASH {text}")

    def _watch_charges(self) -> None:
        """Note under which key each task was made, also where the service does not keep it."""
        table = self.app._endpoints._table
        generate = table["generate"]

        def noted(call: Any, account: Any, at: float) -> Any:
            before = len(self.sandbox.ledger.tasks)
            answer = generate(call, account, at)
            if len(self.sandbox.ledger.tasks) > before:
                task_id = next(reversed(self.sandbox.ledger.tasks))
                self.record.key_of[task_id] = call.headers.get("idempotency-key", "")
                self.say(f"service: task {task_id} is made and charged ({call.headers.get('idempotency-key')})")
            return answer

        table["generate"] = noted

    # processes

    async def process(self, slot: int) -> Process:
        """Return the living server in this place of the host's configuration, starting it if there is none."""
        for _ in range(10):
            process = self.slots.get(slot)
            if process is None or not process.alive or process.leaving.is_set():
                process = self.start(slot)
            await process.ready.wait()
            if process.alive and not process.leaving.is_set():
                return process
            await trio.sleep(0.5)
        raise AssertionError("no server stays alive")

    def start(self, slot: int) -> Process:
        assert self.nursery is not None
        process = self.slots[slot] = Process(self, len(self.processes), slot)
        self.processes.append(process)
        self.say(f"process {process.number} starts in slot {slot}")
        self.nursery.start_soon(process.run)
        return process

    def approach(self, process: Process, endpoint: str) -> None:
        """Arm the death, or the stop, that waits for this request."""
        for event in self._armed:
            if event.endpoint == endpoint and process.seen[endpoint] > event.skip:
                self._armed.remove(event)
                self._strike(event, process)
                return

    def _strike(self, event: Event, process: Process) -> None:
        """Let a death or a stop befall a process so many steps from now."""

        def act() -> None:
            if self.over or not process.alive:
                return
            try:
                if event.kind in ("stop", "stop_at"):
                    process.stop(event.seconds)
                else:
                    process.die()
            except Exception as error:  # an instrument's own error would only be logged
                self.crash(f"the harness failed: {error!r}")

        trio.lowlevel.add_instrument(stops.Countdown(event.steps, act))

    def copy_folders(self) -> None:
        """Take what a machine would find on its disk at this instant."""
        home, copy = self.root / "home", self.root / "copy"
        shutil.copytree(home, copy)
        home.rename(self.root / f"dead-{self.record.counts['deaths']}")
        copy.rename(home)

    # accidents

    async def _happen(self, event: Event) -> None:
        await trio.sleep_until(event.at)
        self.say(f"EVENT {event}")
        alive = [process for process in self.processes if process.alive]
        if event.kind == "fault":
            assert event.fault is not None
            how = {"lasts": event.seconds} if event.seconds else {"count": event.count, "skip": event.skip}
            self.sandbox.faults.next(event.endpoint, event.fault, **how)
        elif event.kind == "dns":
            self.leads_to = event.what
            await trio.sleep(event.seconds)
            self.leads_to = None
        elif event.kind == "step":
            self.steps[event.slot] += event.seconds
            for process in [p for p in alive if p.slot == event.slot]:
                process.wall.skew += event.seconds
        elif event.kind == "moved":
            self._move(event.what)
        elif event.kind == "wire":
            match = _matching(event.endpoint)
            for process in [p for p in alive if p is self.slots.get(event.slot)] or alive[:1]:
                process.link.next(event.error, event.when, match=match, times=event.count)
        elif event.kind == "outage":
            await self._outage(event.seconds)
        elif event.kind == "storm":
            await self._storm(await self.process(event.slot), event.count)
        elif event.kind == "exit":
            process = self.slots.get(event.slot)
            if process is not None and process.alive and not process.leaving.is_set():
                self.record.counts["exits"] += 1
                await process.leave()
        else:
            victims = alive if event.kind == "power" else [p for p in alive if p is self.slots.get(event.slot)]
            for victim in victims:
                self._strike(event, victim)

    def ahead(self, slot: int) -> float:
        """Return by how much the clock of this slot's servers is ahead now."""
        return self.schedule.clocks[slot % len(self.schedule.clocks)] + self.steps[slot]

    def _move(self, how: str) -> None:
        """Take the state away, or damage it so that the next server to start sets it aside."""
        self.record.counts[f"state {how}"] += 1
        self.record.moved.append(self.time())
        state = self.root / "home" / "state"
        if how == "deleted":
            state.rename(self.root / f"moved-{len(self.record.moved)}")
        else:
            store = state / "journal.db"
            store.write_bytes(b"no database" * 400)
            (state / "journal.db-wal").write_bytes(b"")
            self.start(SPARE)

    async def _storm(self, process: Process, calls: int) -> None:
        self.record.counts["storms"] += 1
        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                ask = functools.partial(process.call, intent=None, timeout=120.0, token=False)
                nursery.start_soon(ask, "list_tasks", {})

    async def _outage(self, seconds: float) -> None:
        self.record.counts["outages"] += 1
        self.outage = True
        for process in self.processes:
            process.link.up = False
            process.link.cut()
        await trio.sleep(seconds)
        self._restore()

    def _restore(self) -> None:
        self.outage = False
        for process in self.processes:
            process.link.up = process.alive

    # agents

    async def _agent(self, intent: Intent, start: float, steps: tuple[Step, ...]) -> None:
        await trio.sleep_until(start)
        rng = random.Random(f"agent/{self.schedule.seed}/{intent.number}")
        async with trio.open_nursery() as nursery:
            for step in steps:
                await trio.sleep(step.after)
                if step.parallel:
                    nursery.start_soon(self._act, intent, step, rng)
                else:
                    await self._act(intent, step, rng)

    async def _act(self, intent: Intent, step: Step, rng: random.Random) -> Call | None:
        if step.kind == "obey":
            await self._obey(intent, step)
            return None
        process = await self.process(step.slot)
        how: dict[str, Any] = {"intent": intent.number, "timeout": step.timeout, "token": step.token}
        if step.kind == "ask":
            return await process.call(intent.tool, self._paid(intent, step), **how)
        if step.kind in ("look", "cancel"):
            known = self._ids(intent)
            if known:
                given: dict[str, Any] = {"task_id": rng.choice(known)}
                if step.kind == "look" and step.wait is not None:
                    given["wait_seconds"] = step.wait
                tool = "get_task" if step.kind == "look" else "cancel_task"
                return await process.call(tool, given, **how)
        how["intent"] = None
        if step.kind == "free":
            await process.call("quote_video", {"model": "t2v", "duration": 5}, **how)
            return await process.call("get_account", {}, **how)
        return await process.call("list_tasks", {}, **how)

    def _paid(self, intent: Intent, step: Step) -> dict[str, Any]:
        given = dict(intent.arguments)
        if "image" in given and given["image"] in PICTURES:
            given["image"] = str(self.root / "pictures" / given["image"])
        if step.wait is not None:
            given["wait_seconds"] = step.wait
        if step.cap is not None:
            given["max_credits"] = step.cap
        return given

    def _ids(self, intent: Intent) -> list[str]:
        reply = [call.reply_id for call in self.record.calls if call.intent == intent.number]
        return list(dict.fromkeys(task_id for task_id in reply if task_id))

    async def _obey(self, intent: Intent, step: Step) -> None:
        """Do to the letter what the last answer says is next, eight times at most."""
        for _ in range(8):
            last = next(
                (c for c in reversed(self.record.calls) if c.intent == intent.number and c.outcome == "answer"), None
            )
            printed = "" if last is None else str(last.error.get("next_step") or last.fields.get("next_step", ""))
            process = await self.process(step.slot)
            how: dict[str, Any] = {"intent": intent.number, "timeout": step.timeout, "token": step.token}
            if last is None or "epeating the call is safe" in printed or "repeat the call." in printed:
                await trio.sleep(float(last.error.get("retry_after") or 1) if last else 0)
                await process.call(intent.tool, self._paid(intent, step), **how)
            elif "try again in a minute" in printed:
                await trio.sleep(60)
                await process.call(intent.tool, self._paid(intent, step), **how)
            elif price := re.search(r"max_credits=(\d+)", printed):
                given = self._paid(intent, step) | {"max_credits": int(price.group(1))}
                await process.call(intent.tool, given, **how)
            elif named := re.search(r'call get_task\(task_id="([^"]+)"\)', printed):
                given = {"task_id": named.group(1)} | ({} if step.wait is None else {"wait_seconds": step.wait})
                await trio.sleep(min(20.0, last.fields.get("poll_after_seconds", 5)))
                await process.call("get_task", given, **how)
            else:
                return

    # the run

    async def main(self) -> None:
        self.wall()  # from here on it goes
        stops.RunQueue.install(_process)
        async with trio.open_nursery() as self.nursery:
            async with trio.open_nursery() as busy:
                for event in self.schedule.events:
                    if event not in self._armed:
                        busy.start_soon(self._happen, event)
                for number, start, steps in self.schedule.agents:
                    busy.start_soon(self._agent, self.schedule.intents[number], start, steps)
            await self._end()
            self.nursery.cancel_scope.cancel()

    async def _end(self) -> None:
        """The servers go, all or all but one; the weather turns good; one last server settles what can be settled."""
        sandbox = self.sandbox
        while any(process.stopped for process in self.processes):
            await trio.sleep(1)
        alive = [process for process in self.processes if process.alive]
        if self.schedule.ending == "stay" and alive:
            alive.pop(self.schedule.seed % len(alive))
        for process in alive:
            if self.schedule.ending == "exit":
                await process.leave()
            else:
                process.die()
        self._armed.clear()
        self.over = True
        sandbox.faults.clear()
        for process in self.processes:
            process.link._faults.clear()
        self._restore()
        self.say("GOOD WEATHER from here on")
        staying = [process for process in self.processes if process.alive and not process.leaving.is_set()]
        process = staying[0] if staying else self.start(LAST)
        self.say(f"process {process.number} is the last")
        await process.ready.wait()
        await trio.sleep(HEALTHY)
        reply = [call.reply_id for call in self.record.calls]
        for task_id in dict.fromkeys(task_id for task_id in reply if task_id):
            self.record.last.append(await self._asked(process, "get_task", {"task_id": task_id, "wait_seconds": 0}))
            await trio.sleep(2)
        cursor: dict[str, Any] = {}
        while True:
            listing = await self._asked(process, "list_tasks", {"limit": 100, **cursor})
            self.record.last.append(listing)
            if "next_cursor" not in listing.fields:
                break
            cursor = {"cursor": listing.fields["next_cursor"]}
        await process.leave()
        self._gather()

    async def _asked(self, process: Process, tool: str, given: dict[str, Any]) -> Call:
        call = await process.call(tool, given, intent=None, timeout=None, token=False)
        self.record.calls.remove(call)
        return call

    def _gather(self) -> None:
        """Read the ledger and the disk."""
        record, sandbox = self.record, self.sandbox
        record.ended = self.time()
        record.tasks = sandbox.tasks()
        record.entries = sandbox.entries()
        at = self.wall()
        record.statuses = {task.id: task.status(at) for task in record.tasks}
        record.requests = sandbox.requests
        record.busiest_minute = sandbox.busiest_minute()
        record.limited = sandbox.counts["429"]
        for path in self.videos.glob("*") if self.videos.exists() else ():
            record.videos[path.name] = path.stat().st_size
        record.sizes = {task.id: _CLIP[_shape(task)] for task in record.tasks}
        for process in self.processes:
            record.crashes += [f"the sandbox failed: {error!r}" for error in process.wire.failures]
            process.wire.failures.clear()
        counts = record.counts
        counts["processes"] = len(self.processes)
        counts["posts"] = len(record.posts)
        counts["tasks"] = len(record.tasks)
        counts["calls"] = len(record.calls)
        counts["requests"] = len(record.requests)
        counts["virtual_seconds"] = int(record.ended)
        for call in record.calls:
            counts[f"calls {call.outcome}"] += 1
        for seen in record.requests:
            if seen.fault:
                counts[f"fault {seen.endpoint} {seen.fault}"] += 1


def _shape(task: Task) -> str:
    from avm_mcp.sandbox.orders import order_of

    return order_of(task, 0.5).shape


def _clip_sizes() -> dict[str, int]:
    from avm_mcp.sandbox.video_host import clip

    return {shape: len(clip(shape)) for shape in ("wide", "vertical", "square")}


_CLIP = _clip_sizes()


def _matching(endpoint: str) -> Any:
    return lambda request: _endpoint(request.method, request.url.path) == endpoint


def _leaves(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_leaves(leaf) for leaf in error.exceptions)
    return f"{type(error).__name__}: {error}"


# --- running one ---


class _Received(logging.Handler):
    """What the living log: an exception that was caught and logged is a bug that was survived."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG if world.loud else logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        process = _process.get()
        if process is None or not process.alive:
            return
        if record.exc_info:
            error = record.exc_info[1]
            self._world.crash(f"logged: {record.getMessage()}: {_leaves(error) if error else ''}")
        else:
            self._world.say(f"process {process.number} logs: {record.getMessage()}")


@contextmanager
def staged(world: World) -> Generator[None]:
    """Make chance the schedule's own, and put the harness's hands where processes touch the machine."""
    rng = random.Random(f"world/{world.schedule.seed}")
    chance = SimpleNamespace(Random=lambda *seed: random.Random(*(seed or (rng.getrandbits(64),))))
    names = SimpleNamespace(token_hex=lambda n: rng.randbytes(n).hex(), randbits=rng.getrandbits)
    patches: list[tuple[Any, str, Any]] = [
        (avm_mcp.provider.client, "random", chance),
        (avm_mcp.downloads.downloader, "random", chance),
        (avm_mcp.store.sqlite, "random", chance),
        (avm_mcp.store.sqlite, "_connect", _connect),
        (avm_mcp.app, "secrets", names),
        (avm_mcp.jobs.query_limit, "secrets", names),
        (avm_mcp.jobs.submit, "secrets", names),
        (Partial, "hold", classmethod(_held)),
        (trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
    ]
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
    logger, received = logging.getLogger("avm_mcp"), _Received(world)
    level, propagate = logger.level, logger.propagate
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        trio._core._run._r.seed(world.schedule.seed)
        logger.addHandler(received)
        logger.setLevel(received.level)
        logger.propagate = False
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        logger.removeHandler(received)
        logger.setLevel(level)
        logger.propagate = propagate


def run(schedule: Schedule, folder: Path, *, loud: bool = False) -> Record:
    """Run a schedule in a fresh folder below `folder`, and return what happened."""
    root = folder / f"run-{next(_runs)}"
    (root / "home" / "state").mkdir(parents=True)
    shutil.copytree(_pictures(folder), root / "pictures")
    shutil.copy(_store(folder, aged=schedule.aged), root / "home" / "state" / "journal.db")
    world = World(schedule, root, loud=loud)
    try:
        with staged(world):
            trio.run(world.main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if loud:
        _add_requests(world)
    return world.record


_runs = itertools.count()


def _add_requests(world: World) -> None:
    zero = EPOCH.timestamp()
    for seen in world.record.requests:
        what = f"service: {seen.endpoint} {seen.path} -> {seen.status} {'(' + seen.fault + ')' if seen.fault else ''}"
        world.record.timeline.append((seen.at - zero, what))
    for entry in world.record.entries:
        world.record.timeline.append((entry.at - zero, f"ledger: {entry.kind} {entry.credits} for {entry.task_id}"))
    world.record.timeline.sort(key=lambda line: line[0])


def _store(folder: Path, *, aged: bool) -> Path:
    """Return an empty journal that was begun just now, or two days ago."""
    home = folder / ("journal-old" if aged else "journal-new")

    async def make() -> None:
        (await open_store(home, now=EPOCH.timestamp() - (172800 if aged else 0))).close()

    if not home.exists():
        trio.run(make)
    return home / "journal.db"


def _pictures(folder: Path) -> Path:
    home = folder / "pictures"
    if not home.exists():
        home.mkdir(parents=True)
        for shade, name in enumerate(PICTURES):
            (home / name).write_bytes(_png(shade))
    return home


def _png(shade: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([shade]) * 64 for _ in range(64))
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
