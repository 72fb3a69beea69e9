"""`avm doctor`: check every part by itself, then print what to do, the most important first."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import anyio

from avm_mcp import fast_start
from avm_mcp.app import Runtime
from avm_mcp.cli import exits, worker_status
from avm_mcp.cli.signals import Stopped, stopping, unless_stopped
from avm_mcp.cli.terminal import Terminal
from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AuthFailed, AvmError, BadSetting, BlockedOnTheWay, StateUnavailable, quoted
from avm_mcp.presentation.audience import SHELL_AUDIENCE, money, spoken
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.provider import pools
from avm_mcp.settings import Settings

Verdict = Literal["ok", "warn", "FAIL"]

SKEW_NOTICED = 30.0
"""Seconds between our clock and the service's from which a warning is printed."""

FREE_NEEDED = 200_000_000
"""Bytes: about ten videos."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: Two words at most.
        verdict: As printed.
        found: What was found.
        todo: What to do about it; empty where nothing is.
        code: The exit code, if this is the most important failure.
    """

    name: str
    verdict: Verdict
    found: str
    todo: str = ""
    code: int = exits.OK


NO_WAY = "check the network, a proxy (HTTPS_PROXY), and AVM_BASE_URL; then try again."

Knock = Callable[[str], Awaitable[str | None]]
"""Connects to an address; returns why that failed, or None."""


async def run(runtime: Runtime, terminal: Terminal) -> int:
    """Run the checks, print them, and return the exit code."""
    stop = anyio.Event()
    async with stopping(stop):
        try:
            checks = await unless_stopped(stop, lambda: examine(runtime))
        except Stopped:
            terminal.interrupted()
            return exits.INTERRUPTED
        return print_checks(checks, terminal)


async def examine(runtime: Runtime, knock: Knock | None = None) -> list[Check]:
    """Return the findings, in the order in which they should be repaired."""
    settings = runtime.settings
    async with runtime:
        if runtime.trouble is not None:
            checks = [_start_failure(runtime.trouble)]
        else:
            checks = [
                *await _service(runtime, knock or pools.try_connection),
                await _state(runtime),
                await _worker(runtime),
                await _hosts(runtime),
            ]
    return [*checks, _output(settings), _inputs(runtime), *_libraries(), _fast_start(), _versions()]


def _start_failure(error: AvmError) -> Check:
    """Return what keeps everything from starting."""
    kinds = {BadSetting: "settings", StateUnavailable: "state folder"}
    name = next((word for kind, word in kinds.items() if isinstance(error, kind)), "start")
    return Check(name, "FAIL", error.message, write_next_step(error.next_step, SHELL_AUDIENCE), exits.of_error(error))


def print_checks(checks: list[Check], terminal: Terminal) -> int:
    """Print the checks and return the exit code of the most important failure."""
    todo = [f"{check.name}: {check.todo}" for check in _by_weight(checks) if check.todo]
    failed = [check for check in checks if check.verdict == "FAIL"]
    rows = [f"{check.verdict:<4}  {check.name:<14}  {check.found}" for check in checks]
    steps = ["What to do:", *(f"{number}. {step}" for number, step in enumerate(todo, 1))] if todo else ["All is well."]
    terminal.result(
        lambda: "\n".join([*rows, "", *steps]),
        lambda: {
            "ok": not failed,
            "checks": [{"name": c.name, "verdict": c.verdict.lower(), "found": c.found} for c in checks],
            "todo": todo,
        },
    )
    return failed[0].code if failed else exits.OK


def _by_weight(checks: list[Check]) -> list[Check]:
    return sorted(checks, key=lambda check: ("FAIL", "warn", "ok").index(check.verdict))


# --- the service ---


async def _service(runtime: Runtime, knock: Knock) -> list[Check]:
    settings = runtime.settings
    if runtime.client is None:
        failure = await knock(settings.AVM_BASE_URL)
        missing = Check(
            "API key",
            "FAIL",
            "none is set",
            "get a key at https://aivideomaker.ai and set AVM_API_KEY; AVM_API_KEY=sandbox tries everything for free.",
            exits.SETUP,
        )
        return [missing, _reached(settings, failure)]
    begun = anyio.current_time()
    try:
        account = await runtime.client.account()
        if account is None:  # the API of March 2026 has no account endpoint, so the list of tasks tries the key
            await runtime.client.tasks()
    except AuthFailed as error:
        refused = Check(
            "API key",
            "FAIL",
            f"{_named(runtime)}: {error.message}",
            "check the key at https://aivideomaker.ai and set AVM_API_KEY again.",
            exits.SETUP,
        )
        return [refused, _reached(settings, None), *_clock(runtime)]
    except AvmError as error:
        unknown = Check("API key", "warn", f"{_named(runtime)}: it could not be tried")
        step = write_next_step(error.next_step, SHELL_AUDIENCE) if isinstance(error, BlockedOnTheWay) else NO_WAY
        return [unknown, _reached(settings, error.message, step=step), *_clock(runtime)]
    took = f" in {anyio.current_time() - begun:.1f} s"
    checks = [Check("API key", "ok", f"{_named(runtime)}: accepted"), _reached(settings, None, took)]
    return [*checks, _balance(account.balance if account else None), *_clock(runtime)]


def _named(runtime: Runtime) -> str:
    sandbox = " (the embedded sandbox)" if runtime.settings.sandboxed else ""
    return f"fingerprint {runtime.service.account}{sandbox}"


def _reached(settings: Settings, failure: str | None, took: str = "", step: str = NO_WAY) -> Check:
    where = "the embedded sandbox" if settings.sandboxed else settings.AVM_BASE_URL
    if failure is None:
        return Check("service", "ok", f"{where} answers{took}")
    return Check("service", "FAIL", f"{where}: {failure}", step, exits.SERVICE)


def _balance(balance: int | None) -> Check:
    cheapest = min(
        catalog.estimate(catalog.sample(model.name, model.durations[0])) for model in catalog.MODELS.values()
    )
    if balance is None:
        return Check("balance", "ok", "this generation of the service does not report it")
    if balance < cheapest:
        step = f"add credits at https://aivideomaker.ai; the cheapest video costs up to {cheapest}."
        return Check("balance", "FAIL", money(balance), step, exits.MONEY)
    return Check("balance", "ok", money(balance))


def _clock(runtime: Runtime) -> list[Check]:
    skew = runtime.client.clock_skew if runtime.client is not None else None
    if skew is None:
        return [Check("clock", "ok", "the service did not report its time")]
    if abs(skew) <= SKEW_NOTICED:
        return [Check("clock", "ok", f"within {spoken(SKEW_NOTICED)} of the service's")]
    way = "behind" if skew > 0 else "ahead of"
    step = "set this machine's clock, best by NTP; times shown here are wrong by as much."
    return [Check("clock", "warn", f"{spoken(abs(skew))} {way} the service's", step)]


# --- this machine ---


async def _state(runtime: Runtime) -> Check:
    settings, store = runtime.settings, runtime.store
    try:
        await store.check()
    except StateUnavailable as error:
        return Check(
            "state folder", "FAIL", error.message, write_next_step(error.next_step, SHELL_AUDIENCE), exits.FOLDER
        )
    folder = settings.AVM_STATE_DIR
    if store.durable:
        verdict = "warn" if store.warning else "ok"
        return Check("state folder", verdict, store.warning or f"{folder} (journal mode {store.mode})")
    found = store.warning or f"{folder} cannot be written; jobs are kept in memory only."
    step = "set AVM_STATE_DIR to a folder that can be written."
    if settings.AVM_MAX_CREDITS_PER_DAY is not None:
        step += " Until then AVM_MAX_CREDITS_PER_DAY refuses every video."
        return Check("state folder", "FAIL", found, step, exits.FOLDER)
    return Check("state folder", "warn", found, step)


async def _worker(runtime: Runtime) -> Check:
    return Check("worker", "ok", worker_status.describe(runtime, await worker_status.read_status(runtime)))


async def _hosts(runtime: Runtime) -> Check:
    learned = await runtime.service.client_timeouts.limits()
    limits = "; ".join(f"{quoted(name, 40)} after {spoken(seconds)}" for name, seconds in learned.items())
    if not limits:
        return Check("host limits", "ok", "no host has cut calls short")
    return Check("host limits", "ok", f"cuts calls: {limits}. Waits end before that; forgotten after a month")


def _output(settings: Settings) -> Check:
    if settings.AVM_SAVE == "off":
        return Check("output folder", "warn", "AVM_SAVE=off: videos are not saved; their links live 24 hours")
    folder = settings.AVM_OUTPUT_DIR
    step = "set AVM_OUTPUT_DIR to a folder that can be written."
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        trouble = _unwritable(existing)
        free = shutil.disk_usage(existing).free
    except (OSError, StopIteration) as error:
        return Check("output folder", "FAIL", f"{folder}: {error}", step, exits.FOLDER)
    if trouble is not None:
        return Check("output folder", "FAIL", f"{folder} cannot be written: {trouble}", step, exits.FOLDER)
    space = f"{free / 1e9:.1f} GB free"
    if free < FREE_NEEDED:
        return Check("output folder", "warn", f"{folder}, {space}", "free some space: a video takes up to 20 MB.")
    made = "" if existing == folder else ", made with the first video"
    return Check("output folder", "ok", f"{folder}, {space}{made}")


def _unwritable(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _inputs(runtime: Runtime) -> Check:
    folders = list(runtime.input_folders)
    there = [folder for folder in folders if folder.is_dir() and os.access(folder, os.R_OK)]
    absent = [str(folder) for folder in folders if folder not in there]
    if absent:
        return Check("input folders", "warn", f"not there: {', '.join(absent)}", "correct AVM_INPUT_DIRS.")
    if not there:
        step = "set AVM_INPUT_DIRS to the folders that hold pictures."
        return Check("input folders", "warn", "none: pictures come by https link only", step)
    return Check("input folders", "ok", ", ".join(map(str, there)))


def _libraries() -> list[Check]:
    """Load the libraries that only the server needs."""
    try:
        import avm_mcp.mcp_server.server
    except Exception as error:  # noqa: BLE001 - whatever keeps a library from loading
        found = f"the server cannot be loaded ({type(error).__name__}: {quoted(error, 200)})"
        return [
            Check("libraries", "FAIL", found, "repair the installation or the variable that is named.", exits.SETUP)
        ]
    _ = avm_mcp.mcp_server.server
    return []


def _fast_start() -> Check:
    why = fast_start.why_off()
    if not why:
        return Check("fast start", "ok", "the server answers while it is still starting")
    found = f"off: {why}. The first answer comes about a second later"
    if "SDK" not in why:
        return Check("fast start", "ok", found)
    return Check("fast start", "warn", found, "update avm-mcp; with a late server some hosts show no tools.")


def _versions() -> Check:
    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    found = f"avm-mcp {of('avm-mcp')}, mcp {of('mcp')}, Python {platform.python_version()} on {platform.system()}"
    zone = time.strftime("%z")
    return Check("versions", "ok", f"{found}, UTC{zone}")
