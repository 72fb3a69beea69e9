"""Finished films onto the user's disk, waited for or not, until they are there or their link is dead (P3)."""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2

from avm_mcp import pacing
from avm_mcp.client import AvmClient
from avm_mcp.errors import AvmError, TaskNotFound
from avm_mcp.journal import Journal
from avm_mcp.media import FilmError, FilmGone, Resolver, film_name, look_up, save_film
from avm_mcp.models import Job

logger = logging.getLogger(__name__)

AT_ONCE = 3
"""Films fetched side by side."""

SLOWEST_RETRY = 300.0
"""Seconds between tries at most; a link lives a day."""

REST_GAP = 30.0
"""Seconds between two readings of the journal while no film is wanted: who was saving one may have died."""

FAILED_PAUSE = 5.0
"""Seconds before the journal is read again where that failed."""

LONGEST_TRY = 900.0
"""Seconds that one try may take before it lets others go first; the next one goes on where it was."""

GONE_PATIENCE = 900.0
"""Seconds during which a file host must say nothing else than that there is no film, before it is believed: it may
not have it yet, or a network's login page may answer in its place."""

CUT_PATIENCE = 900.0
"""Seconds after completion during which a film that looks cut is not taken as it is: its host may still be writing it,
or something on the way may keep half of it. It is, so long before its link dies."""

URL_PATIENCE = 3600.0
"""Seconds after completion during which a link that is missing from the answer may still appear."""


class Archive:
    """Saves the films of one account.

    Args:
        journal: Says which films are wanted, and learns what became of them.
        client: Asked again for a link that was missing.
        http: A pool without the API key: the file host is not the API.
        folder: Where films go.
        base_url: Origin of the API; the one host that may be private, for the sandbox.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
        changed: Called with each job whose film changed.
        resolver: How host names of the file host are looked up; the system's way when left out.
        notice: Shows a saved film to the user, by title and message; None where that is not wanted.
    """

    def __init__(
        self,
        journal: Journal,
        client: AvmClient,
        http: httpx2.AsyncClient,
        *,
        folder: Path,
        base_url: str,
        account: str,
        now: Callable[[], float],
        changed: Callable[[Job], None],
        resolver: Resolver = look_up,
        notice: Callable[[str, str], None] | None = None,
    ) -> None:
        self._journal = journal
        self._client = client
        self._http = http
        self.folder = folder
        self._base_url = base_url
        self._account = account
        self._now = now
        self._changed = changed
        self._resolver = resolver
        self._notice = notice
        self._nudged = anyio.Event()
        self._busy: set[str] = set()
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._denied: dict[str, float] = {}
        self._places = anyio.Semaphore(AT_ONCE)
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret

    def nudge(self) -> None:
        """Tell the loop that a film may be wanted."""
        self._nudged.set()

    async def run(self) -> None:
        """Save films until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                pause = REST_GAP
                try:
                    for job in await self._journal.films_wanted(self._account):
                        wait = self._due.get(job.id, 0.0) - anyio.current_time()
                        if job.id in self._busy:
                            continue
                        if wait > 0:
                            pause = min(pause, wait)
                            continue
                        self._busy.add(job.id)
                        group.start_soon(self._save, job)
                except AvmError as error:
                    logger.warning("films: %s", error.message)
                    pause = FAILED_PAUSE
                except Exception:
                    logger.exception("looking for films to save failed; going on")
                    pause = FAILED_PAUSE
                with anyio.move_on_after(pause):
                    await self._nudged.wait()
                self._nudged = anyio.Event()

    async def _save(self, job: Job) -> None:
        """Try once; what becomes of it is in the journal, and when to try again in `_due`."""
        try:
            async with self._places:
                await self._try(job)
        except AvmError as error:
            self._later(job, None)
            logger.warning("film of %s: %s", job.public_id, error.message)
        except Exception:
            self._later(job, None)
            logger.exception("film of %s: saving failed; it is tried again", job.public_id)
        finally:
            self._busy.discard(job.id)
            self.nudge()

    async def _try(self, job: Job) -> None:
        if job.video_url is None:
            await self._find_url(job)
            return
        path: Path | None = None
        try:
            with anyio.move_on_after(LONGEST_TRY):
                path = await self.fetch(job, self.folder, take_cut=self._last_chance(job))
        except FilmError as error:
            await self._failed(job, error)
            return
        if path is None:
            self._later(job, None)
            return
        self._forget(job)
        if self._notice is not None:
            self._notice("Your video is ready", str(path))

    def _last_chance(self, job: Job) -> bool:
        """Return whether a film that looks cut is taken as it is: it has had its time, or will soon be gone."""
        now = self._client.service_now()
        # By the job's own times, which outlive a process: where there is no keeper, none may live for so long.
        patient = now <= (job.completed_at or job.created_at) + CUT_PATIENCE
        return not patient or (job.expires_at is not None and now > job.expires_at - CUT_PATIENCE)

    async def fetch(self, job: Job, folder: Path, *, take_cut: bool) -> Path:
        """Save a finished film into `folder` now, and return where it is.

        Args:
            job: The film's.
            folder: Where to.
            take_cut: Whether half of it is better than none.

        Raises:
            FilmError: It cannot be saved; what happened, and whether another try can help, is in it.
        """
        if job.video_url is None:
            raise FilmGone("the service gave no link to the film")
        name = film_name(datetime.fromtimestamp(job.created_at, UTC), job.prompt, job.public_id)
        saved = await save_film(
            job.video_url,
            folder=folder,
            name=name,
            http=self._http,
            base_url=self._base_url,
            take_cut=take_cut,
            resolver=self._resolver,
        )
        self._changed(await self._journal.film(job, "saved", path=str(saved.path), size=saved.size, error=None))
        return saved.path

    async def _find_url(self, job: Job) -> None:
        """COMPLETED without a link: the service may add it later, so it is asked for again for a while."""
        assert job.task_id is not None
        with suppress(TaskNotFound):  # not shown any more: as good as an answer without a link
            shown = await self._client.task(job.task_id, urgent=False)
            seen = await self._journal.observed(self._account, shown, self._journal.clock())
            if seen is not None and seen.video_url is not None:
                self._changed(seen)
                return
        if self._client.service_now() > (job.completed_at or job.created_at) + URL_PATIENCE:
            await self._lose(job, "the service gave no link to the film")
        else:
            self._later(job, None)

    async def _failed(self, job: Job, error: FilmError) -> None:
        now = self._now()
        if error.retryable:
            self._denied.pop(job.id, None)
        denied = not error.retryable and now - self._denied.setdefault(job.id, now) > GONE_PATIENCE
        if denied or (job.expires_at is not None and self._client.service_now() > job.expires_at):
            await self._lose(job, error.message)
            return
        self._later(job, error.retry_after)
        if error.message != job.film_error:  # said once, not at each try
            logger.warning("film of %s: %s; it is tried again", job.public_id, error.message.rstrip("."))
        self._changed(await self._journal.film(job, "wanted", path=None, size=None, error=error.message))

    async def _lose(self, job: Job, why: str) -> None:
        self._forget(job)
        logger.error("film of %s is lost: %s", job.public_id, why)
        self._changed(await self._journal.film(job, "lost", path=None, size=None, error=why))

    def _forget(self, job: Job) -> None:
        for known in (self._due, self._tries, self._denied):
            known.pop(job.id, None)

    def _later(self, job: Job, asked: float | None) -> None:
        tries = self._tries.get(job.id, 0) + 1
        self._tries[job.id] = tries
        # Never sooner than of our own accord, whatever is asked for, nor so late that the link may be dead.
        nominal = max(asked or 0.0, pacing.backoff(1, self._rng) * 2 ** min(tries, 10))
        self._due[job.id] = anyio.current_time() + min(SLOWEST_RETRY, nominal)
