"""Finished videos onto the user's disk, waited for or not, until they are there or their link is dead (P3).

Whatever a try meets is taken for passing: what DNS, a proxy, a login page or a firewall says, and what the file host
itself says of a link, for which a fresh one is asked. Only the end of the link's day is final, by the service's clock,
which is asked once more before; and the API's own word that there is no such task, where it never told a link.
"""

import logging
import os
import random
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
from anyio.abc import TaskGroup

from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import AvmError, TaskNotFound
from avm_mcp.domain.job import Job
from avm_mcp.downloads.failures import VideoCut, VideoError, VideoGone
from avm_mcp.downloads.names import video_name
from avm_mcp.downloads.safe_http import Resolver, look_up
from avm_mcp.downloads.saving import save_video
from avm_mcp.provider.client import AvmClient
from avm_mcp.store import FILE_LIFE, RowMissing, Store

logger = logging.getLogger(__name__)

AT_ONCE = 3
"""Videos fetched side by side."""

STALE_AFTER = 2
"""Failures of any kind after which a fresh link is asked for; where the link itself was refused, it is at once."""

SLOWEST_RETRY = 300.0
"""Seconds between tries at most; a link lives a day."""

REST_INTERVAL = 30.0
"""Seconds between two readings of the journal while no video is wanted: who was saving one may have died."""

FAILED_PAUSE = 5.0
"""Seconds before the journal is read again where that failed."""

LONGEST_TURN = 300.0
"""Seconds after which a download that goes on no longer counts among those `AT_ONCE`: a slow host holds up no other."""

AT_MOST = 12
"""Videos on their way in all, the slow ones too."""

LINK_INTERVAL = 60.0
"""Seconds between two questions for fresh links, among all processes of a state and for all videos together."""

END_DOUBT = 7 * 24 * 3600.0
"""Seconds after a link's end by our clock after which it is believed though the service's clock could not be asked."""

CUT_TIMEOUT = 900.0
"""Seconds after completion during which a video that looks cut is not taken as it is: its host may still be writing it.
It is, so long before its link dies."""

CUT_AGAIN = 20.0
"""Seconds for which a process must have seen it cut, whatever its age: what kept it away may keep half of it too."""

DENIED_TIMEOUT = 3600.0
"""Seconds during which the API itself must say nothing else than that there is no such task, before a video of which it
never told a link is given up."""


class Downloader:
    """Saves the videos of one account.

    Args:
        journal: Says which videos are wanted, and learns what became of them.
        client: Asked for links that were missing or refused, and for the time.
        http: A pool without the API key: the file host is not the API.
        folder: Where videos go.
        base_url: Origin of the API; the one host that may be private, for the sandbox.
        account: Fingerprint of key and base URL.
        now: Wall clock, seconds since 1970.
        changed: Called with each job whose video changed.
        resolver: How host names of the file host are looked up; the system's way when left out.
        notice: Shows a saved video to the user, by title and message; None where that is not wanted.
    """

    def __init__(
        self,
        store: Store,
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
        self._store = store
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
        self._busy: dict[str, float] = {}  # since when
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._stale: set[str] = set()  # jobs whose link was refused
        self._denied: dict[str, float] = {}  # since when the API knows no such task
        self._cut: dict[str, float] = {}  # since when it looks cut
        self._asked_next = 0.0
        self._asks = 0
        self._answered = float("-inf")
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret

    def nudge(self) -> None:
        """Tell the loop that a video may be wanted."""
        self._nudged.set()

    async def run(self) -> None:
        """Save videos until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                try:
                    pause = self._start(group, await self._store.wanted_downloads(self._account))
                except AvmError as error:
                    logger.warning("videos: %s", error.message)
                    pause = FAILED_PAUSE
                except Exception:
                    logger.exception("looking for videos to save failed; going on")
                    pause = FAILED_PAUSE
                with anyio.move_on_after(pause):
                    await self._nudged.wait()
                self._nudged = anyio.Event()

    def _start(self, group: TaskGroup, wanted: Sequence[Job]) -> float:
        """Start what is due, the first to end first, as far as there is room; return the seconds until the next."""
        pause, now = REST_INTERVAL, anyio.current_time()
        for job in sorted(wanted, key=_end):
            wait = self._due.get(job.id, 0.0) - now
            if job.id in self._busy:
                continue
            turns = [since + LONGEST_TURN - now for since in self._busy.values() if since + LONGEST_TURN > now]
            if wait <= 0 and (len(turns) >= AT_ONCE or len(self._busy) >= AT_MOST):
                wait = min(turns, default=REST_INTERVAL)
            if wait > 0:
                pause = min(pause, wait)
                continue
            self._busy[job.id] = now
            group.start_soon(self._save, job)
        return pause

    async def _save(self, job: Job) -> None:
        """Try once; what becomes of it is in the journal, and when to try again in `_due`."""
        try:
            await self._try(job)
        except AvmError as error:
            self._later(job, None)
            logger.warning("video of %s: %s", job.public_id, error.message)
        except RowMissing:  # the journal was moved meanwhile
            self._forget(job)
        except Exception:
            self._later(job, None)
            logger.exception("video of %s: saving failed; it is tried again", job.public_id)
        finally:
            self._busy.pop(job.id, None)
            self.nudge()

    async def _try(self, job: Job) -> None:
        if job.video_url is None or job.id in self._stale:
            await self._renew(job)
            job = await self._store.find(self._account, job.id) or job
        if job.video_url is None:
            await self._without_link(job)
            return
        try:
            dying = self._dying(job)
            path = await self.fetch(job, self.folder, take_cut=dying or self._wait_while_busy(job), take_rest=dying)
        except VideoError as error:
            await self._failed(job, error)
            return
        self._forget(job)
        if self._notice is not None:
            self._notice("Your video is ready", str(path))

    def _dying(self, job: Job) -> bool:
        return job.expires_at is not None and self._client.clock.at_least() > job.expires_at - CUT_TIMEOUT

    def _wait_while_busy(self, job: Job) -> bool:
        """Return whether a video that looks cut has had its time to become whole."""
        if VideoCut.says in (job.download_error or ""):
            self._cut.setdefault(job.id, float("-inf"))  # an earlier process has seen it
        new = anyio.current_time() - self._cut.get(job.id, anyio.current_time()) < CUT_AGAIN
        # By the job's own times, which outlive a process.
        return not new and self._client.clock.at_least() > (job.completed_at or job.created_at) + CUT_TIMEOUT

    async def fetch(self, job: Job, folder: Path, *, take_cut: bool, take_rest: bool) -> Path:
        """Save a finished video into `folder` now, and return where it is.

        Args:
            job: The video's.
            folder: Where to.
            take_cut: As in `save_video`.
            take_rest: Likewise.

        Raises:
            VideoError: It cannot be saved; what happened, and whether another try can help, is in it.
        """
        if job.video_url is None:
            raise VideoGone("the service gave no link to the video")
        name = video_name(datetime.fromtimestamp(job.created_at, UTC), job.prompt, job.public_id)
        saved = await save_video(
            job.video_url,
            folder=folder,
            name=name,
            http=self._http,
            base_url=self._base_url,
            take_cut=take_cut,
            take_rest=take_rest,
            resolver=self._resolver,
        )
        with suppress(RowMissing):  # the journal was moved meanwhile; the video is in place
            self._changed(
                await self._store.record_download(job, "saved", path=str(saved.path), size=saved.size, error=None)
            )
        return saved.path

    async def fetch_now(self, job: Job, folder: Path | None) -> Path:
        """Save a video for a person who asks: what there is of it, by a fresh link where the known one is refused.

        Raises:
            VideoError: As `fetch`.
        """
        try:
            return await self.fetch(job, folder or self.folder, take_cut=True, take_rest=True)
        except VideoError as error:
            fresh = await self._fresh(job) if error.link_at_fault else None
            if fresh is None or fresh.video_url in (None, job.video_url):
                raise
        return await self.fetch(fresh, folder or self.folder, take_cut=True, take_rest=True)

    async def _fresh(self, job: Job) -> Job | None:
        assert job.task_id is not None
        with suppress(AvmError):
            shown = await self._client.task(job.task_id)
            return await self._store.observed(self._account, shown, self._store.clock())
        return None

    async def _renew(self, job: Job) -> None:
        """Ask for the links that were refused or are missing, in one question, and rarely: it is allowed few.

        Every other question is about `job` alone, which is tried next: a list may be late, and its links run out.
        """
        now = anyio.current_time()
        if now < self._asked_next:
            return
        self._asks += 1
        self._asked_next = now + min(LINK_INTERVAL, 2.0**self._asks)
        if not await self._store.lease(f"links:{self._account}", self._name, self._store.clock(), LINK_INTERVAL):
            return
        wanted = {job.task_id: job for job in await self._store.wanted_downloads(self._account)}
        ill = [job for job in wanted.values() if job.id in self._stale or job.video_url is None]
        heard = self._client.clock.heard
        try:
            await self._ask_links(ill if self._asks % 2 else [job])
        except AvmError as error:
            logger.info("no fresh links: %s", error.message)
        if self._client.clock.heard > heard:  # whatever it said, it told the time
            self._answered = anyio.current_time()

    async def _ask_links(self, ill: Sequence[Job]) -> None:
        if len(ill) > 1:
            rows = await self._client.tasks(urgent=False, only={job.task_id for job in ill if job.task_id})
        elif ill:
            (job,) = ill
            assert job.task_id is not None
            try:
                rows = [await self._client.task(job.task_id, urgent=False)]
            except TaskNotFound:
                self._denied.setdefault(job.id, anyio.current_time())
                return
        else:
            return
        by_task = {job.task_id: job for job in ill}
        for row in rows:
            if (job := by_task.get(row.id)) is None:
                continue
            self._denied.pop(job.id, None)
            seen = await self._store.observed(self._account, row, self._store.clock())
            if seen is not None and seen.video_url is not None:
                self._stale.discard(job.id)
                if seen.video_url != job.video_url:  # it may live for a minute only
                    self._due.pop(job.id, None)
                    self.nudge()
                self._changed(seen)

    async def _without_link(self, job: Job) -> None:
        """COMPLETED without a link: the service may add it later, so it is asked for again."""
        denied = anyio.current_time() - self._denied.get(job.id, anyio.current_time())
        if denied > DENIED_TIMEOUT or await self._over(job):
            await self._lose(job, "the service gave no link to the video")
        else:
            self._later(job, None)

    async def _over(self, job: Job) -> bool:
        """Return whether the link is dead for sure: its day is over by what the service says when it is asked now."""
        end = _end(job)
        if self._client.clock.at_least() <= end:
            return False
        await self._renew(job)
        asked = anyio.current_time() - self._answered <= LINK_INTERVAL
        return (asked and self._client.clock.at_least() > end) or self._now() > end + END_DOUBT

    async def _failed(self, job: Job, error: VideoError) -> None:
        if isinstance(error, VideoCut) and job.id not in self._cut:
            self._cut[job.id] = anyio.current_time()
            self._tries[job.id] = 0  # the rest may come soon, however long the way to it was closed
        if error.link_at_fault or self._tries.get(job.id, 0) >= STALE_AFTER:
            self._stale.add(job.id)
        if await self._over(job):
            await self._lose(job, error.message)
            return
        self._later(job, error.retry_after)
        if error.message != job.download_error:  # said once, not at each try
            logger.warning("video of %s: %s; it is tried again", job.public_id, error.message.rstrip("."))
        self._changed(await self._store.record_download(job, "wanted", path=None, size=None, error=error.message))

    async def _lose(self, job: Job, why: str) -> None:
        self._forget(job)
        logger.error("video of %s is lost: %s", job.public_id, why)
        self._changed(await self._store.record_download(job, "lost", path=None, size=None, error=why))

    def _forget(self, job: Job) -> None:
        for known in (self._due, self._tries, self._denied, self._cut):
            known.pop(job.id, None)
        self._stale.discard(job.id)
        self._asks = 0

    def _later(self, job: Job, asked: float | None) -> None:
        tries = self._tries.get(job.id, 0) + 1
        self._tries[job.id] = tries
        # Never sooner than of our own accord, whatever is asked for, nor so late that the link may be dead.
        nominal = max(asked or 0.0, rate_limit.backoff(1, self._rng) * 2 ** min(tries, 10))
        self._due[job.id] = anyio.current_time() + min(SLOWEST_RETRY, nominal)


def _end(job: Job) -> float:
    """Return when the link is dead, by the service's clock, in seconds since 1970."""
    return job.expires_at if job.expires_at is not None else (job.completed_at or job.created_at) + FILE_LIFE
