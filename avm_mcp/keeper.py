"""The keeper: goes on watching and saving when the process that was asked has ended (P2, P3).

Hosts end a stdio server with SIGTERM, or start one for each call. What must outlive them is in the journal; the
keeper is the process that acts on it: one for each state and account, in a session of its own, with nothing on its
command line. It waits until it holds the watch, saves films, and ends when there is nothing left to wait for.
"""

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path

import anyio

from avm_mcp.config import Settings, child_environment
from avm_mcp.errors import AuthFailed, AvmError
from avm_mcp.journal import Journal

logger = logging.getLogger(__name__)

LEASE, RENEW = 30.0, 5.0
"""Seconds that its place is held without being renewed, and between two renewals."""

LIFE = 25 * 3600.0
"""Seconds after which it no longer waits for a job: links are dead after a day."""

LOG_NAME, LOG_BYTES = "keeper.log", 500_000

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")

Spawn = Callable[[Mapping[str, str]], None]


def lease_name(account: str) -> str:
    """Return the name of the place that only one keeper of an account can hold."""
    return f"keep:{account}"


def possible(settings: Settings, journal: Journal) -> bool:
    """Return whether a keeper can do anything here: films of a sandbox, or a state in memory, end with the process."""
    if settings.AVM_KEEPER == "off" or settings.api_key is None or settings.sandboxed or not journal.durable:
        return False
    return not any(Path(mark).exists() for mark in CONTAINER_MARKS) and os.getpid() != 1


class Keeper:
    """Starts the keeper of one account when there is none.

    Args:
        settings: Handed on in the child's environment.
        journal: Says whether one is alive.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
        spawn: Starts the process.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        account: str,
        now: Callable[[], float],
        spawn: Spawn | None = None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._account = account
        self._now = now
        self._spawn = spawn or spawn_keeper

    async def ensure(self) -> None:
        """Start the keeper unless one is alive. A failure is logged: the job itself is safe in the journal."""
        try:
            if await self._journal.holder(lease_name(self._account), self._now()) is None:
                self._spawn(child_environment(self._settings))
        except (AvmError, OSError) as error:
            logger.warning("no keeper could be started: %s", error)


def spawn_keeper(environment: Mapping[str, str]) -> None:
    """Start the keeper where no signal, closed terminal or ended parent reaches it."""
    how: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        how = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    subprocess.Popen(
        [sys.executable, "-m", "avm_mcp", "keep"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,
        env=dict(environment),
        close_fds=True,
        **how,  # type: ignore[call-overload]
    )


async def keep(settings: Settings) -> None:
    """Watch and save until nothing is left to wait for, or another keeper of this account is alive."""
    from avm_mcp.runtime import Runtime

    async with Runtime(settings) as runtime:
        journal, account = runtime.journal, runtime.service.account
        place = _Place(journal, lease_name(account), runtime.now)
        if not journal.durable or not await place.take():
            return
        logger.info("keeping account %s", account)
        while not isinstance(runtime.service.trouble, AuthFailed):
            if not await journal.unfinished(account, place.now() - LIFE):
                # Given up before the last look, so that a submit which sees the place taken is itself seen.
                await place.leave()
                if not await journal.unfinished(account, place.now() - LIFE) or not await place.take():
                    break
            await anyio.sleep(RENEW)
            if not await place.take():
                break
        await place.leave()
        logger.info("done")


class _Place:
    """The place of the one keeper."""

    def __init__(self, journal: Journal, name: str, now: Callable[[], float]) -> None:
        self.now = now
        self._journal = journal
        self._name = name
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"

    async def take(self) -> bool:
        return await self._journal.lease(self._name, self._holder, self.now(), LEASE)

    async def leave(self) -> None:
        await self._journal.release(self._name, self._holder)


def main() -> int:
    """Run the keeper; nobody reads its output, so it logs to a file in the state folder."""
    settings = Settings.from_env()
    try:
        handler = RotatingFileHandler(settings.AVM_STATE_DIR / LOG_NAME, maxBytes=LOG_BYTES, backupCount=1)
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
