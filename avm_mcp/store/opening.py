"""Opening the state: where it can be written, brought up to date, and in place of a file that is damaged or gone."""

import contextlib
import errno
import logging
import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal

from avm_mcp.domain.errors import StateUnavailable
from avm_mcp.domain.next_steps import Action
from avm_mcp.store.driver import Driver, Transaction
from avm_mcp.store.machine import Machine, this_machine
from avm_mcp.store.sqlite import DAMAGED, START_TIMEOUT, SqliteDriver
from avm_mcp.store.state import Store

logger = logging.getLogger(__name__)

FILE_NAME = "journal.db"

JUST_BEGUN = 60.0
"""Seconds. A state that replaced another one, and is younger than this, holds all that was written since."""

_IN_MEMORY = (
    "Jobs are kept in memory only: once this process has ended, a video is found again only in the account's list, the"
    " same request makes and costs another one, and a daily cap refuses every paid call."
)
_FOR_A_WHILE = (
    "Jobs are kept in {folder} for a while: all processes here share them, but once that folder is emptied a video is"
    " found again only in the account's list, the same request makes and costs another one, and a daily cap refuses"
    " every paid call."
)
_FULL = "The disk is full: paid calls are refused until there is space and avm-mcp was started again."


async def open_store(
    folder: Path,
    *,
    now: float,
    save: Literal["mine", "all", "off"] = "mine",
    machine: Machine | None = None,
    elsewhere: Sequence[Path] = (),
    memory: bool = True,
) -> Store:
    """Open the state in `folder`, bringing an older one up to date.

    Where the folder cannot be written (a read-only disk), the state lives in one of the folders `elsewhere`, which
    processes share, or else in memory, where without `memory` it takes no paid request; `warning` says what that
    costs. Where the disk is full, it takes no paid request. A damaged file is set aside and a new one started, now or
    when a statement meets the damage; nothing is deleted.

    Raises:
        StateUnavailable: The state was written by a newer version of this program.
    """
    path = folder / FILE_NAME
    machine = machine or this_machine()
    moment = _Moment(now, machine)
    warning: str | None = None
    full = False
    try:
        driver: SqliteDriver | None = await _open_driver(path, moment)
    except StateUnavailable as refusal:
        if refusal.field == "version":
            raise
        driver = None
        if refusal.field == DAMAGED:
            with contextlib.suppress(OSError, StateUnavailable):  # it can neither be read nor replaced
                kept_as, driver = await _set_aside_and_open(path, moment)
                if kept_as is not None:
                    warning = _describe_replacement(refusal, kept_as)
        if driver is None:
            full = _is_full(folder)
            warning = f"{refusal.message} {_FULL if full else _IN_MEMORY}"
    if driver is None and not full:
        driver, warning = await _open_shared(elsewhere, moment, warning or "")
    fleeting = driver is None and not full and not memory
    driver = driver or await _open_driver(None, moment)
    born = float((await driver.rows("SELECT value FROM facts WHERE name = 'born'"))[0]["value"])
    ahead = float((await driver.rows("SELECT ahead FROM clocks WHERE boot = ?", machine.boot))[0]["ahead"])
    store = Store(driver, save=save, warning=warning, born=born, full=full, machine=machine, ahead=ahead)
    store.fleeting = fleeting
    if driver.path is not None and driver.durable:
        driver.successor = partial(_replace_file, store, path)
    return store


def _is_ours(folder: Path) -> bool:
    """Return whether only this user can use a folder, whose parent everybody may write to. It is made if missing."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    private = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return stat.S_ISDIR(found.st_mode) and private


async def _replace_file(store: Store, path: Path, damage: StateUnavailable | None) -> SqliteDriver:
    """Open what is at `path` after the file there was moved, deleted or replaced under a living process.

    With `damage`, which a statement has met, the file is set aside first. What the old one held may be missing: the
    service's list is read before anything is paid for, and the last day is rebuilt from it.

    Raises:
        StateUnavailable: What is there cannot be used, or not be set aside.
    """
    moment = _Moment(store.clock(), store.machine)
    driver: SqliteDriver | None = None
    if damage is None:
        logger.error("The state file %s was moved, deleted or replaced; going on with what is there now.", path)
        try:
            driver = await _open_driver(path, moment, damaged=True)
        except StateUnavailable as refusal:
            if refusal.field != DAMAGED:
                raise
            damage = refusal
    if driver is None:
        assert damage is not None
        try:
            kept_as, driver = await _set_aside_and_open(path, moment)
        except OSError as error:
            raise StateUnavailable(f"{damage.message} It cannot be set aside: {error.strerror}.") from error
        if kept_as is not None:
            store.warning = _describe_replacement(damage, kept_as)
            logger.error("%s", store.warning)
    async with driver.writing() as tx:
        born = float((await tx.rows("SELECT value FROM facts WHERE name = 'born'"))[0]["value"])
        if born < moment.now - JUST_BEGUN:  # an older one, that does not know what was written since
            await tx.run("UPDATE facts SET value = ? WHERE name IN ('born', 'damaged')", moment.now)
            await tx.run("DELETE FROM facts WHERE name LIKE 'rebuilt:%'")
            born = moment.now
        ahead = await tx.rows("SELECT ahead FROM clocks WHERE boot = ?", store.machine.boot)
    store.set_state(born=born, ahead=float(ahead[0]["ahead"]))
    return driver


def _describe_replacement(damage: StateUnavailable, kept_as: Path) -> str:
    return f"{damage.message} It is kept as {kept_as}, and a new one was started."


@dataclass(frozen=True, slots=True)
class _Moment:
    """When, and on which machine, a state is opened."""

    now: float
    machine: Machine


def _is_full(folder: Path) -> bool:
    """Return whether the disk is full, rather than read-only or not there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 65536)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


async def _open_shared(folders: Sequence[Path], moment: _Moment, warning: str) -> tuple[SqliteDriver | None, str]:
    """Open a state that this user's processes share for a while, where that can be had; and say what that means."""
    for folder in folders:
        if _is_ours(folder):
            with contextlib.suppress(StateUnavailable):
                driver = await _open_driver(folder / FILE_NAME, moment, durable=False, check=True)
                return driver, warning.replace(_IN_MEMORY, _FOR_A_WHILE.format(folder=folder))
    return None, warning


async def _set_aside_and_open(path: Path, moment: _Moment) -> tuple[Path | None, SqliteDriver]:
    """Set a damaged file aside and start a new one, unless another process has just done so.

    Returns:
        Where it was set aside; None where another process has done it. And the new state.
    """
    guard = SqliteDriver(path.with_name(f"{path.name}.repair"))  # an empty file; its lock ends with its process
    try:
        async with guard.writing():
            try:
                return None, await _open_driver(path, moment, check=True)
            except StateUnavailable as refusal:
                if refusal.field != DAMAGED:
                    raise
            return _set_aside(path, moment.now), await _open_driver(path, moment, damaged=True)
    finally:
        guard.close()


def _set_aside(path: Path, now: float) -> Path:
    kept_as = path.with_name(f"{path.name}.damaged-{int(now)}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept_as.with_name(kept_as.name + suffix))
    return kept_as


async def _open_driver(
    path: Path | None, moment: _Moment, *, damaged: bool = False, durable: bool = True, check: bool = False
) -> SqliteDriver:
    driver = SqliteDriver(path, durable=durable)
    timeout, driver.timeout = driver.timeout, START_TIMEOUT
    try:
        await driver.start()
        await _migrate(driver, moment.now)
        if check or (driver.log_left and not await _ran_before(driver, moment.machine)):
            await driver.check()
        async with driver.writing() as tx:
            at = await _set_clock(tx, moment)
            await tx.run("INSERT INTO facts (name, value) VALUES ('born', ?) ON CONFLICT DO NOTHING", at)
            if damaged:  # in the file, since this process may end before it has rebuilt anything
                await tx.run("INSERT INTO facts (name, value) VALUES ('damaged', ?) ON CONFLICT DO NOTHING", at)
    except BaseException:
        driver.close()
        raise
    driver.timeout = timeout
    return driver


async def _ran_before(driver: Driver, machine: Machine) -> bool:
    """Return whether the state was opened since the machine was started.

    A log that is left from before that is of an unclean end: a power cut, or a crash of the system. The end of a
    process alone, by whatever signal, damages no file.
    """
    return bool(await driver.rows("SELECT 1 AS one FROM clocks WHERE boot = ?", machine.boot))


async def _set_clock(tx: Transaction, moment: _Moment) -> float:
    """Continue the state's clock under this start of the machine, unless that was done; return its reading."""
    machine, reading = moment.machine, moment.machine.seconds()
    reached = float((await tx.rows("SELECT COALESCE(MAX(served_at), 0) AS at FROM turns"))[0]["at"])
    known = await tx.rows("SELECT ahead FROM clocks WHERE boot = ?", machine.boot)
    at = max(reading + float(known[0]["ahead"]) if known else moment.now, reached)
    if not known or reading + float(known[0]["ahead"]) < at:  # another machine's was ahead
        await tx.run(
            "INSERT INTO clocks (boot, ahead) VALUES (?, ?) ON CONFLICT (boot) DO UPDATE SET ahead = excluded.ahead",
            *(machine.boot, at - reading),
        )
    return at


def migrations() -> list[tuple[int, str]]:
    """Return the numbered migrations, each a file."""
    folder = resources.files("avm_mcp.store") / "migrations"
    found = sorted((entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), sql) for name, sql in found]


async def _migrate(driver: Driver, now: float) -> None:
    steps = migrations()
    have = await driver.version()
    if have > steps[-1][0]:
        raise StateUnavailable(
            f"The state is of a newer version of avm-mcp (state {have}, this program knows {steps[-1][0]}).",
            field="version",
            next_step=Action.UPDATE_PROGRAM(),
        )
    for number, sql in steps:
        if number > have:
            await driver.script(number, sql, now)
