"""The keeper: goes on watching and saving when the process that was asked has ended (P2, P3).

Hosts end a stdio server with SIGTERM, or start one for each call. What must outlive them is in the journal; the
keeper is the process that acts on it: one for each state and account, in a session of its own, with nothing on its
command line. It waits until it holds the watch, saves films, and ends when there is nothing left to wait for.
"""

import contextlib
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from avm_mcp.config import Settings, child_environment
from avm_mcp.errors import AuthFailed, AvmError, StateUnavailable
from avm_mcp.journal import Journal
from avm_mcp.machine import name_of

if TYPE_CHECKING:
    from avm_mcp.runtime import Runtime

logger = logging.getLogger(__name__)

LEASE, RENEW = 30.0, 5.0
"""Seconds that its place is held without being renewed, and between two renewals."""

STARTING = 30.0
"""Seconds that a started keeper has to take its place; no other is started meanwhile, unless it has died."""

LIFE = 25 * 3600.0
"""Seconds after which it no longer waits for a job: links are dead after a day."""

AUTH_PATIENCE = 3600.0
"""Seconds during which the API itself must refuse the key, and say nothing else, before it is believed."""

LOG_NAME, LOG_BYTES = "keeper.log", 500_000

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")

Spawn = Callable[[Mapping[str, str]], int | None]
"""Starts a process with an environment and returns its id; None where it has none."""


def lease_name(account: str) -> str:
    """Return the name of the place that only one keeper of an account can hold."""
    return f"keep:{account}"


def starting_name(account: str) -> str:
    """Return the name of the lease that is held from before a keeper is started until it has its place."""
    return f"start-keeper:{account}"


def possible(settings: Settings, journal: Journal) -> bool:
    """Return whether a keeper can do anything here: films of a sandbox, or a state in memory, end with the process.

    In a container it ends with the container, which mostly ends with us: there it has to be asked for.
    """
    if settings.AVM_KEEPER == "off" or settings.api_key is None or settings.sandboxed or not journal.durable:
        return False
    contained = any(Path(mark).exists() for mark in CONTAINER_MARKS)
    return os.getpid() != 1 and (not contained or "AVM_KEEPER" in settings.model_fields_set)


class Keeper:
    """Starts the keeper of one account when there is none.

    Args:
        settings: Handed on in the child's environment.
        journal: Says whether one is alive.
        account: Fingerprint of key and base URL.
        spawn: Starts the process.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        account: str,
        spawn: Spawn | None = None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._account = account
        self._spawn = spawn or spawn_keeper
        self._left = anyio.Event()

    async def ensure(self) -> None:
        """Start the keeper unless one is alive. A failure is logged: the job itself is safe in the journal."""
        try:
            if await self._alive(lease_name(self._account)) is None:
                await self._start()
        except (AvmError, OSError) as error:
            logger.warning("no keeper could be started: %s", error)

    async def run(self) -> None:
        """Look again after a start that was left to another process: it may have died before it. Until cancelled."""
        while True:
            await self._left.wait()
            self._left = anyio.Event()
            await anyio.sleep(STARTING + 1)
            await self.ensure()

    async def _alive(self, name: str) -> str | None:
        """Return who holds a lease. One whose holder was killed is ended before its time."""
        holder = await self._journal.holder(name, self._journal.clock())
        if holder is None or not self._journal.machine.gone(holder):
            return holder
        await self._journal.release(name, holder)
        return None

    async def _start(self) -> None:
        """Start one, unless any process has just begun to.

        The lease of the start is its starter's until the process exists, and then that process's own: whichever of them
        is killed, the next call starts another.
        """
        name, me = starting_name(self._account), f"{self._journal.machine.process}-{secrets.token_hex(4)}"
        if await self._alive(name) or not await self._journal.lease(name, me, self._journal.clock(), STARTING):
            self._left.set()
            return
        try:
            child = self._spawn(child_environment(self._settings))
        except OSError:
            await self._journal.release(name, me)
            raise
        if child is not None:
            await self._journal.pass_lease(name, me, name_of(child))


def spawn_keeper(environment: Mapping[str, str]) -> int:
    """Start the keeper where no signal, closed terminal or ended parent reaches it, and return its process id."""
    how: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        how = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [sys.executable, "-m", "avm_mcp", "keep"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,
        env=dict(environment),
        close_fds=True,
        **how,  # type: ignore[call-overload]
    ).pid


async def keep(settings: Settings, runtime: "Runtime | None" = None) -> None:
    """Watch and save until nothing is left to wait for, or another keeper of this account is alive.

    A key that is refused ends it only after an hour in which the API said nothing else, and once all finished films are
    saved, which takes no key.

    Args:
        settings: What was set.
        runtime: One that is not entered yet; made from the settings when left out.
    """
    from avm_mcp.runtime import Runtime

    async with runtime or Runtime(settings) as runtime:
        journal, account = runtime.journal, runtime.service.account
        place = _Place(journal, lease_name(account))
        if not journal.durable or not await place.take():
            return
        await journal.free(starting_name(account))
        logger.info("keeping account %s", account)
        give_up = anyio.current_time() + LIFE
        refused: float | None = None  # since when the key is
        while (now := anyio.current_time()) < give_up:
            refused = (now if refused is None else refused) if isinstance(runtime.service.trouble, AuthFailed) else None
            try:
                if refused is not None and now - refused > AUTH_PATIENCE and not await journal.films_wanted(account):
                    break
                if not await place.take() or not await _needed(journal, account, place):
                    break
            except StateUnavailable as error:  # a full disk, a lock of another program: the films are still to come
                logger.warning("%s", error.message)
            else:
                give_up = anyio.current_time() + LIFE
            await anyio.sleep(RENEW)
        await place.leave()
        logger.info("done")


async def _needed(journal: Journal, account: str, place: "_Place") -> bool:
    """Return whether there is something left to wait for; where there is not, the place is free."""
    if await journal.unfinished(account, journal.clock() - LIFE):
        return True
    # Given up before the last look, so that a submit which sees the place taken is itself seen.
    await place.leave()
    return await journal.unfinished(account, journal.clock() - LIFE) and await place.take()


class _Place:
    """The place of the one keeper."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._name = name
        self._holder = journal.machine.process

    async def take(self) -> bool:
        return await self._journal.lease(self._name, self._holder, self._journal.clock(), LEASE)

    async def leave(self) -> None:
        await self._journal.release(self._name, self._holder)


class _PrivateLog(RotatingFileHandler):
    """A log that only its owner reads: it names tasks, folders and what the service said."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError, AttributeError):  # one of an older version, and systems without modes
            os.fchmod(descriptor, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", errors="backslashreplace")


def main() -> int:
    """Run the keeper; nobody reads its output, so it logs to a file in the state folder."""
    settings, refusal = Settings.read()
    if refusal is not None:  # who started it had settings that could be used
        return 1
    try:
        handler = _PrivateLog(settings.AVM_STATE_DIR / LOG_NAME, maxBytes=LOG_BYTES, backupCount=1)
    except OSError:
        return 0
    logging.basicConfig(handlers=[handler], level="INFO", format="%(asctime)s %(process)d %(levelname)s %(message)s")
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        anyio.run(keep, settings)
    except Exception:
        logger.exception("the keeper ended")
        return 1
    return 0
