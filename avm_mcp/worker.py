"""The background worker: polls and saves until nothing is left to wait for (P2, P3).

One runs for each state and account. It does what any process does: it polls once it holds the poll lease, and saves.
"""

import contextlib
import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler

import anyio

from avm_mcp.app import Runtime
from avm_mcp.domain.errors import AuthFailed, StateUnavailable
from avm_mcp.jobs.start_worker import lease_name, starting_name
from avm_mcp.settings import Settings
from avm_mcp.store import Store

logger = logging.getLogger(__name__)

LEASE, RENEW = 30.0, 5.0
"""Seconds that its lease is held without being renewed, and between two renewals."""

LIFE = 25 * 3600.0
"""Seconds after which it no longer waits for a job, whose link is dead after a day."""

AUTH_TIMEOUT = 3600.0
"""Seconds during which the API itself must refuse the key, and say nothing else, before it is believed."""

LOG_NAME, LOG_BYTES = "worker.log", 500_000


async def run_worker(settings: Settings, runtime: Runtime | None = None) -> None:
    """Poll and save until nothing is left to wait for, or another background worker of this account is alive.

    A key that is refused ends it only after an hour in which the API said nothing else, and once all finished videos
    are saved, which takes no key.

    Args:
        settings: What was set.
        runtime: One that is not entered yet; made from the settings when left out.
    """
    async with runtime or Runtime(settings) as runtime:
        store, account = runtime.store, runtime.service.account
        lease = _WorkerLease(store, lease_name(account))
        if not store.durable or not await lease.take():
            return
        await store.free(starting_name(account))
        logger.info("working for account %s", account)
        give_up = anyio.current_time() + LIFE
        refused: float | None = None  # since when the key is
        while (now := anyio.current_time()) < give_up:
            refused = (now if refused is None else refused) if isinstance(runtime.service.trouble, AuthFailed) else None
            try:
                if refused is not None and now - refused > AUTH_TIMEOUT and not await store.wanted_downloads(account):
                    break
                if not await lease.take() or not await _needed(store, account, lease):
                    break
            except StateUnavailable as error:  # a full disk, a lock of another program: the videos are still to come
                logger.warning("%s", error.message)
            else:
                give_up = anyio.current_time() + LIFE
            await anyio.sleep(RENEW)
        await lease.leave()
        logger.info("done")


async def _needed(store: Store, account: str, lease: "_WorkerLease") -> bool:
    """Return whether something is left to wait for; where nothing is, the lease is given up."""
    if await store.unfinished(account, store.clock() - LIFE):
        return True
    # The lease is given up before the last check: a submit that still found it taken is seen by that check.
    await lease.leave()
    return await store.unfinished(account, store.clock() - LIFE) and await lease.take()


class _WorkerLease:
    """The lease that one background worker of an account holds."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._holder = store.machine.process

    async def take(self) -> bool:
        return await self._store.lease(self._name, self._holder, self._store.clock(), LEASE)

    async def leave(self) -> None:
        await self._store.release(self._name, self._holder)


class _PrivateLog(RotatingFileHandler):
    """A log that only its owner reads: it names tasks, folders and what the service said."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError, AttributeError):  # one of an older version, and systems without modes
            os.fchmod(descriptor, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", errors="backslashreplace")


def main() -> int:
    """Run the background worker; nobody reads its output, so it logs to a file in the state folder."""
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
        anyio.run(run_worker, settings)
    except Exception:
        logger.exception("the background worker ended")
        return 1
    return 0
