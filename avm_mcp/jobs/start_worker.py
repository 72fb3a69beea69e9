"""Starts the background worker, which goes on after the process that started it has ended (P2, P3).

Hosts end a stdio server with SIGTERM, or start one for each call. The background worker polls and saves what is left in
the state: one process for each state and account, in a session of its own, with no secret on its command line.
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
from avm_mcp.store import Store
from avm_mcp.store.machine import name_of

logger = logging.getLogger(__name__)

STARTING = 30.0
"""Seconds that a started background worker has to take its lease. No other is started meanwhile, unless it has died."""

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")

Spawn = Callable[[Mapping[str, str]], int | None]
"""Starts a process with an environment and returns its id; None where it has none."""


def lease_name(account: str) -> str:
    """Return the name of the lease that only one background worker of an account can hold."""
    return f"worker:{account}"


def starting_name(account: str) -> str:
    """Return the name of the lease that is held from before a background worker is started until it has its own."""
    return f"start-worker:{account}"


def possible(settings: Settings, store: Store) -> bool:
    """Return whether a background worker is of use here.

    Videos of the embedded sandbox and a state in memory end with this process. A background worker in a container ends
    with the container, mostly when this process does, so there it is started only where AVM_WORKER is set.
    """
    if settings.AVM_WORKER == "off" or settings.api_key is None or settings.sandboxed or not store.durable:
        return False
    contained = any(Path(mark).exists() for mark in CONTAINER_MARKS)
    return os.getpid() != 1 and (not contained or "AVM_WORKER" in settings.model_fields_set)


class WorkerStarter:
    """Starts the background worker of one account when there is none.

    Args:
        settings: Handed on in the child's environment.
        store: Says whether one is alive.
        account: Fingerprint of key and base URL.
        spawn: Starts the process.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        account: str,
        spawn: Spawn | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._account = account
        self._spawn = spawn or spawn_worker
        self._left = anyio.Event()

    async def ensure(self) -> None:
        """Start the background worker unless one is alive. A failure is only logged, since the job is in the store."""
        try:
            if await self._alive(lease_name(self._account)) is None:
                await self._start()
        except (AvmError, OSError) as error:
            logger.warning("no background worker could be started: %s", error)

    async def run(self) -> None:
        """Check again, until cancelled, after a start that was left to another process: it may have died."""
        while True:
            await self._left.wait()
            self._left = anyio.Event()
            await anyio.sleep(STARTING + 1)
            await self.ensure()

    async def _alive(self, name: str) -> str | None:
        """Return who holds a lease; the lease of a process that has ended is released."""
        holder = await self._store.holder(name, self._store.clock())
        if holder is None or not self._store.machine.gone(holder):
            return holder
        await self._store.release(name, holder)
        return None

    async def _start(self) -> None:
        """Start one, unless any process has just begun to.

        The lease of the start is its starter's until the process exists, and then that process's own: whichever of them
        is killed, the next call starts another.
        """
        name, me = starting_name(self._account), f"{self._store.machine.process}-{secrets.token_hex(4)}"
        if await self._alive(name) or not await self._store.lease(name, me, self._store.clock(), STARTING):
            self._left.set()
            return
        try:
            child = self._spawn(child_environment(self._settings))
        except OSError:
            await self._store.release(name, me)
            raise
        if child is not None:
            await self._store.pass_lease(name, me, name_of(child))


def spawn_worker(environment: Mapping[str, str]) -> int:
    """Start the background worker, and return its process id.

    No signal, closed terminal or ended parent reaches it.
    """
    how: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        how = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [sys.executable, "-m", "avm_mcp", "work"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(sys.executable).anchor,
        env=dict(environment),
        close_fds=True,
        **how,  # type: ignore[call-overload]
    ).pid
