"""The runtime: what outlives every call, put together once per process. No MCP."""

import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import anyio
import httpx2
from anyio.abc import TaskGroup

from avm_mcp import __version__, notify
from avm_mcp.domain.accounts import account_of, earlier_accounts, service
from avm_mcp.domain.errors import AvmError, Internal
from avm_mcp.domain.masking import mask
from avm_mcp.domain.next_steps import Action
from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.downloads.downloader import Downloader
from avm_mcp.downloads.output_folder import find_write_problem
from avm_mcp.downloads.safe_http import Resolver, look_up
from avm_mcp.images import Offload, ThreadOffload, default_input_folders
from avm_mcp.jobs import start_worker
from avm_mcp.jobs.budget import Prices
from avm_mcp.jobs.discover import Discoverer
from avm_mcp.jobs.poller import Poller
from avm_mcp.jobs.query_limit import QueryLimit
from avm_mcp.jobs.reconcile import Reconciler
from avm_mcp.jobs.sending import Sender
from avm_mcp.jobs.service import Service
from avm_mcp.jobs.start_worker import WorkerStarter
from avm_mcp.jobs.submit import Submitter
from avm_mcp.jobs.upstream import Upstream
from avm_mcp.presentation.audience import Place
from avm_mcp.provider import pools
from avm_mcp.provider.client import AvmClient
from avm_mcp.provider.exchange import build_timeout
from avm_mcp.settings import SANDBOX_KEY, Settings, network_variables, shared_folders
from avm_mcp.store import Store, open_store
from avm_mcp.store.machine import Machine, this_machine

logger = logging.getLogger(__name__)


class Runtime:
    """Everything that lives as long as the process: store, client, poller, downloader, service.

    Entering it raises nothing but a cancellation. What keeps it from starting is in `trouble`, and every use of the
    service or the store raises it, so that a server stays up and says it at each call.

    Args:
        settings: What was set.
        refusal: Why it must not start: settings that cannot be used.
        now: The wall clock of this process, for dates.
        machine: The clock that its processes share, and which of them still run; this one's when left out.
        timings: Intervals, leases and the query limit.
        transport, download_transport: How HTTP leaves; the network when left out.
        resolver: How the file host's name is looked up; the system's way when left out.
        paths_allowed: False where callers are on another machine: then pictures come by link only.
        offload: How pictures are read without blocking the event loop; in threads when left out.
    """

    def __init__(
        self,
        settings: Settings,
        refusal: AvmError | None = None,
        *,
        now: Callable[[], float] = time.time,
        machine: Machine | None = None,
        timings: Timings = STANDARD,
        transport: httpx2.AsyncBaseTransport | None = None,
        download_transport: httpx2.AsyncBaseTransport | None = None,
        resolver: Resolver = look_up,
        paths_allowed: bool = True,
        offload: Offload | None = None,
    ) -> None:
        self.settings = settings
        self.paths_allowed = paths_allowed
        self.offload: Offload = offload or ThreadOffload()
        self._now = now
        self._machine = machine or this_machine()
        self._timings = timings
        self._transport = transport
        self._download_transport = download_transport
        self._resolver = resolver
        self._stack = AsyncExitStack()
        self._refusal = refusal
        self._service: Service | None = None
        self._store: Store | None = None
        self.trouble: AvmError | None = None
        """Why it could not start."""
        self.client: AvmClient | None = None
        """The API, where there is a key and the runtime was entered."""

    @property
    def service(self) -> Service:
        """Return the use cases.

        Raises:
            AvmError: The runtime could not start.
        """
        self._require_start()
        assert self._service is not None, "the runtime has not been entered"
        return self._service

    @property
    def store(self) -> Store:
        """Return the store.

        Raises:
            AvmError: The runtime could not start.
        """
        self._require_start()
        assert self._store is not None, "the runtime has not been entered"
        return self._store

    @property
    def now(self) -> Callable[[], float]:
        return self._now

    @property
    def place(self) -> Place:
        if self.settings.AVM_SAVE == "off":
            return Place(None)
        keeps = self._store is not None and self._has_worker
        folder = self.settings.AVM_OUTPUT_DIR
        return Place(folder, goes_on=keeps, fleeting=self.settings.sandboxed, trouble=find_write_problem(folder))

    @property
    def _has_worker(self) -> bool:
        """Return whether a background worker goes on when this process ends; over HTTP the service itself goes on."""
        return self.paths_allowed and start_worker.possible(self.settings, self.store)

    @property
    def published_settings(self) -> Mapping[str, int]:
        """Return the settings that hold a published default of a parameter, by name."""
        return {"AVM_APPROVE_ABOVE": self.settings.AVM_APPROVE_ABOVE}

    @property
    def input_folders(self) -> Sequence[Path]:
        if self.settings.AVM_INPUT_DIRS is not None:
            return self.settings.AVM_INPUT_DIRS
        return default_input_folders(_home(), _cwd())

    async def __aenter__(self) -> Self:
        try:
            async with self._stack:
                await self._start()
                self._stack = self._stack.pop_all()
        except Exception as failure:  # noqa: BLE001 - whatever it is, each call raises it
            self.client = self._service = self._store = None
            self.trouble = _read_failure(failure)
            logger.error("avm-mcp answers, and can do nothing else: %s", self.trouble.message)  # noqa: TRY400
        return self

    def _require_start(self) -> None:
        if self.trouble is not None:
            raise self.trouble.amend()  # a copy, since each call has a traceback of its own

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _start(self) -> None:
        settings = self.settings
        if self._refusal is not None:
            raise self._refusal
        self._store = store = await open_store(
            settings.AVM_STATE_DIR,
            now=self._now(),
            save=settings.AVM_SAVE,
            machine=self._machine,
            elsewhere=shared_folders(settings.AVM_STATE_DIR),
            memory=settings.sandboxed or settings.AVM_ALLOW_MEMORY_STATE == "on",
        )
        self._stack.callback(store.close)
        if store.warning:
            logger.warning("%s", store.warning)
        base_url = settings.AVM_BASE_URL
        if settings.sandboxed:
            base_url = await self._stack.enter_async_context(_embedded_sandbox(settings.AVM_SANDBOX_SPEED))
        elif self._transport is None:
            pools.check_environment(base_url, network_variables())
        account = account_of(settings.api_key or "", base_url)
        await store.merge_accounts(earlier_accounts(settings.api_key or "", base_url), account)
        if settings.api_key is None:
            prices = Prices(settings, store, None, account=account, now=self._now)
            self._service = Service(store, prices, None, account=account, now=self._now)
            return
        self.client = client = await self._client(settings.api_key, base_url, account, store)
        prices = Prices(settings, store, client, account=account, now=self._now)
        videos = await self._stack.enter_async_context(
            self._pool(self._download_transport or self._transport, base_url)
        )
        # Last in and so first out: a paid request that waits for its answer when the process is asked to end still
        # needs the pools and the store.
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        upstream = self._upstream(client, videos, prices, base_url, account, group)
        group.start_soon(upstream.poller.run)
        group.start_soon(upstream.downloader.run)
        group.start_soon(upstream.reconciler.run)
        group.start_soon(upstream.discoverer.run)
        if upstream.worker_starter is not None:
            group.start_soon(upstream.worker_starter.run)
        self._service = Service(store, prices, upstream, account=account, now=self._now)
        await self._service.reconcile()

    def _pool(self, transport: httpx2.AsyncBaseTransport | None, base_url: str) -> httpx2.AsyncClient:
        settings = self.settings
        return pools.build_pool(
            transport, base_url, build_timeout(settings.AVM_READ_TIMEOUT, settings.AVM_CONNECT_TIMEOUT)
        )

    async def _client(self, key: str, base_url: str, account: str, store: Store) -> AvmClient:
        settings = self.settings
        # Each service has its own limit: a sandbox takes nothing from the real one's allowance, and never waits for it.
        egress = SANDBOX_KEY if settings.sandboxed else f"{settings.AVM_EGRESS_ID} {service(base_url)}"
        http = await self._stack.enter_async_context(self._pool(self._transport, base_url))
        limit = QueryLimit(store, egress, account, self._timings)
        return AvmClient(
            base_url,
            key,
            http,
            allowance=limit.wait,
            closed=limit.close,
            now=self._now,
            user_agent=settings.AVM_USER_AGENT or f"avm-mcp/{__version__}",
            submit_timeout=settings.AVM_SUBMIT_TIMEOUT,
            read_timeout=settings.AVM_READ_TIMEOUT,
            connect_timeout=settings.AVM_CONNECT_TIMEOUT,
        )

    def _upstream(
        self,
        client: AvmClient,
        videos: httpx2.AsyncClient,
        prices: Prices,
        base_url: str,
        account: str,
        group: TaskGroup,
    ) -> Upstream:
        settings, store = self.settings, self.store
        holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        poller = Poller(
            store, client, account=account, holder=holder, finished=lambda: downloader.nudge(), timings=self._timings
        )
        downloader = Downloader(
            store,
            client,
            videos,
            folder=settings.AVM_OUTPUT_DIR,
            base_url=base_url,
            account=account,
            now=self._now,
            changed=poller.publish,
            timings=self._timings,
            resolver=self._resolver,
            notice=notify.show if settings.AVM_NOTIFY == "on" else None,
        )
        reconciler = Reconciler(store, client, poller, account=account, holder=holder, timings=self._timings)
        discoverer = Discoverer(store, client, poller, account=account, holder=holder, now=self._now)
        worker_starter = WorkerStarter(settings, store, account=account) if self._has_worker else None
        sender = Sender(store, client, poller, reconciler, prices, worker_starter, group=group, timings=self._timings)
        submitter = Submitter(
            settings, store, poller, prices, sender, account=account, now=self._now, timings=self._timings
        )
        return Upstream(client, poller, downloader, reconciler, discoverer, submitter, sender, worker_starter)


def _read_failure(failure: Exception) -> AvmError:
    """Return what kept the runtime from starting, as an error with our own words and no secrets."""
    while isinstance(failure, ExceptionGroup):
        failure = cast("ExceptionGroup[Exception]", failure).exceptions[0]
    if isinstance(failure, AvmError):
        return failure
    logger.debug("the start failed", exc_info=failure)
    words = f"{type(failure).__name__}: {failure}".split("\n")[0].split()
    kind = " ".join(map(mask, words))[:200]
    said = f"avm-mcp could not start ({kind}); AVM_LOG_LEVEL=DEBUG shows where."
    return Internal(said, charged="no", next_step=Action.REPORT_BUG())


@asynccontextmanager
async def _embedded_sandbox(speed: float) -> AsyncGenerator[str]:
    from avm_mcp.sandbox import SandboxOptions
    from avm_mcp.sandbox.server import running

    # Its tasks die with it, so each start gets ids of its own.
    options = SandboxOptions(speed=speed, seed=secrets.randbits(48))
    async with running(options) as base_url:
        yield base_url


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _cwd() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # the folder was deleted
        return None
