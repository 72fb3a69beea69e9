"""Starts the background worker, which goes on when the process that was asked has ended (P2, P3).

Hosts end a stdio server with SIGTERM, or start one for each call. What must outlive them is in the state; the
background worker is the process that acts on it: one for each state and account, in a session of its own, with nothing
on its command line.
"""

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from avm_mcp.domain.errors import AvmError
from avm_mcp.settings import Settings, child_environment
from avm_mcp.store import Journal
from avm_mcp.store.machine import name_of

logger = logging.getLogger(__name__)

STARTING = 30.0
"""Seconds that a started keeper has to take its place; no other is started meanwhile, unless it has died."""

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
