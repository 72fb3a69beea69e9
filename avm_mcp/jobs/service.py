"""The use cases of one account: start, wait, find, list, cancel, save, quote, account. No MCP, no HTTP, no printing.

A call is a window on a job, not the job. What sends, polls and saves runs in the runtime's task group, and a caller
that hangs up ends none of it.
"""

from collections.abc import Callable
from pathlib import Path

import anyio

from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AvmError, NotConfigured
from avm_mcp.domain.job import UNKNOWN, Price
from avm_mcp.domain.request import VideoRequest
from avm_mcp.jobs import cancelling, listing, saving
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.client_timeouts import ClientTimeouts
from avm_mcp.jobs.start_worker import lease_name
from avm_mcp.jobs.tasks import Tasks
from avm_mcp.jobs.upstream import Upstream, answer_soon
from avm_mcp.jobs.views import Beat, Found, Funds, Listing
from avm_mcp.provider.wire import Account
from avm_mcp.store import Store

SUBMIT_WAIT = 3.0
"""Seconds that a submit waits for the API's answer before it returns without one; the request goes on (P4)."""


class Service:
    """The use cases of one account.

    Args:
        store: What is known here.
        prices: What videos cost, and what may be spent.
        upstream: None without a key; then only what needs no key works.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        prices: Prices,
        upstream: Upstream | None,
        *,
        account: str,
        now: Callable[[], float],
    ) -> None:
        self.account = account
        self.prices = prices
        self.client_timeouts = ClientTimeouts(store, now)
        self._store = store
        self._given = upstream
        self._known = Tasks(store, upstream, account=account, now=now) if upstream is not None else None
        self._now = now

    @property
    def _tasks(self) -> Tasks:
        if self._known is None:
            raise _not_configured()
        return self._known

    @property
    def _upstream(self) -> Upstream:
        if self._given is None:
            raise _not_configured()
        return self._given

    @property
    def configured(self) -> bool:
        return self._given is not None

    @property
    def trouble(self) -> AvmError | None:
        """Why the last poll failed; None after one that succeeded."""
        return self._given.poller.trouble if self._given is not None else None

    async def worker_alive(self) -> bool:
        """Return whether a background worker of this account is at work."""
        return await self._store.holder(lease_name(self.account), self._store.clock()) is not None

    @property
    def sandboxed(self) -> bool:
        """Whether videos are placeholders."""
        return self._given is not None and self._given.sandboxed

    # --- start ---

    async def question(
        self, request: VideoRequest, *, max_credits: int | None = None, caller: str = ""
    ) -> Price | None:
        """Return the price that a person should be asked about before `submit`; None where none needs to be."""
        return await self._upstream.submitter.question(request, max_credits=max_credits, caller=caller)

    async def submit(
        self,
        request: VideoRequest,
        *,
        max_credits: int | None = None,
        caller: str = "",
        approval: bool | None = None,
        began: float = float("inf"),
    ) -> Found:
        """Start a video, or return the one that the same request has started already.

        Returns within about three seconds. A request that is still waiting for its answer goes on, and its job says
        SUBMITTING; one whose answer was lost says UNKNOWN. The seconds count from `began`, by the event loop's clock.

        Raises:
            AvmError: Any leaf; nothing was charged, unless the error says otherwise.
        """
        upstream, tasks = self._upstream, self._tasks
        end = min(began, anyio.current_time()) + SUBMIT_WAIT
        reservation = await upstream.submitter.start(request, max_credits=max_credits, caller=caller, approval=approval)
        with anyio.move_on_at(end):
            await upstream.sender.answer(reservation.job.id, SUBMIT_WAIT)
            while not reservation.duplicate and (job := await tasks.current(reservation.job)).status == UNKNOWN:
                await tasks.change(job)  # the reconciler looks at once, and often finds it
        return await tasks.describe(await tasks.current(reservation.job), deduplicated=reservation.duplicate)

    # --- tasks ---

    async def wait(self, found: Found, seconds: float, beat: Beat | None = None) -> Found:
        """Wait until the job is done or the time is up; see `Tasks.wait`."""
        return await self._tasks.wait(found, seconds, beat)

    async def find(self, given: str) -> Found:
        """Return the job with this id; see `Tasks.find`."""
        return await self._tasks.find(given)

    async def save(self, given: str, folder: Path | None = None) -> Found:
        """Save a finished video now; see `saving`."""
        return await saving.save_video(self._tasks, given, folder)

    async def list(self, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        """Return a page of tasks; see `listing`."""
        return await listing.list_tasks(self._tasks, status=status, limit=limit, cursor=cursor)

    async def cancel(self, given: str) -> Found:
        """Cancel a task that is still SUBMITTED; see `cancelling`."""
        return await cancelling.cancel_task(self._tasks, given)

    # --- account ---

    async def funds(self) -> Funds:
        """Return balance, spending and models; what the API does not tell is left out."""
        today = await self._store.spending_today(self.account, self._now())
        known: tuple[str, ...] = tuple(catalog.MODELS)
        if self._given is None:
            return Funds(None, today, known, ("There is no API key, so no video can be made.",), keyless=True)
        account = await answer_soon(self._given.client.account())
        known, notes = _offered(account, known) if account else (known, ("The service does not tell the balance.",))
        warned = (self._store.warning,) if self._store.warning else ()
        return Funds(account.balance if account else None, today, known, (*notes, *warned))

    # --- after a restart ---

    async def reconcile(self) -> None:
        """Publish what was left unfinished, so that it is polled and saved again (P2, P3)."""
        upstream = self._upstream
        left = False
        for job in await self._store.unsettled(self.account):
            upstream.poller.publish(job)
            left = True
        if left and upstream.worker_starter is not None:
            await upstream.worker_starter.ensure()
        upstream.poller.nudge()
        upstream.downloader.nudge()


def _offered(account: Account, known: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which of our models the account has, and what to say of those it lacks."""
    if not account.supported_models:
        return known, ()
    missing = [name for name in known if name not in account.supported_models]
    note = (f"Not offered to this account: {', '.join(missing)}.",) if missing else ()
    return tuple(name for name in known if name in account.supported_models), note


def _not_configured() -> NotConfigured:
    return NotConfigured("Not set up: no API key. Nothing was started.")
