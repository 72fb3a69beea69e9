"""Saves finished videos into the user's folder until they are there or their link has ended (P3).

Every failure is retried: DNS, a proxy, a login page or a firewall may be passing, and a link that the file host refuses
is replaced by a fresh one. Two things are final. The link's end is, by the service's clock, which is asked once more
before. And for a video without a link, the API's answer that there is no such task is, if it stays so for an hour.
"""

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx2
from anyio.abc import TaskGroup

from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.job import Job
from avm_mcp.domain.timings import Timings
from avm_mcp.downloads.attempts import CUT_TIMEOUT, Attempts
from avm_mcp.downloads.failures import VideoError, VideoGone
from avm_mcp.downloads.fresh_links import FreshLinks, link_end
from avm_mcp.downloads.names import video_name
from avm_mcp.downloads.safe_http import Resolver, look_up
from avm_mcp.downloads.saving import save_video
from avm_mcp.provider.protocol import Provider
from avm_mcp.store import RowMissing, Store

logger = logging.getLogger(__name__)

MAX_CURRENT = 3
"""Downloads side by side, not counting those that have run for longer than `Timings.longest_download_turn`."""

MAX_RUNNING = 12
"""Downloads side by side in all."""

FAILED_PAUSE = 5.0
"""Seconds before the store is read again after that failed."""

UNKNOWN_TIMEOUT = 3600.0
"""Seconds for which the API must say that there is no such task before a video without a link is given up."""


class Downloader:
    """Saves the videos of one account.

    Args:
        store: Tells which videos are wanted, and records what became of them.
        client: Asked for links that are missing or were refused, and for the time.
        http: A pool without the API key, since the file host is not the API.
        folder: Where videos go.
        base_url: Origin of the API: the one host that may be private, for the sandbox.
        account: Fingerprint of key and base URL.
        now: Wall clock, in seconds since 1970.
        changed: Called with each job whose video changed.
        timings: How often the store is read, and how long a download counts among `MAX_CURRENT`.
        resolver: Resolves the file host's name; the system's resolver when left out.
        notice: Shows a saved video to the user, by title and message; None where that is not wanted.
    """

    def __init__(
        self,
        store: Store,
        client: Provider,
        http: httpx2.AsyncClient,
        *,
        folder: Path,
        base_url: str,
        account: str,
        now: Callable[[], float],
        changed: Callable[[Job], None],
        timings: Timings,
        resolver: Resolver = look_up,
        notice: Callable[[str, str], None] | None = None,
    ) -> None:
        self._store = store
        self._client = client
        self._http = http
        self.folder = folder
        self._base_url = base_url
        self._account = account
        self._changed = changed
        self._timings = timings
        self._resolver = resolver
        self._notice = notice
        self._nudged = anyio.Event()
        self._running: dict[str, float] = {}  # when the download of each job began
        self._attempts: dict[str, Attempts] = {}
        self._links = FreshLinks(
            store, client, account=account, attempts=self._attempts_of, found=self._link_found, now=now
        )
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret

    def nudge(self) -> None:
        """Wake the loop, since a video may be wanted."""
        self._nudged.set()

    async def run(self) -> None:
        """Save videos until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                try:
                    pause = self._start_due(group, await self._store.wanted_downloads(self._account))
                except AvmError as error:
                    logger.warning("the list of videos to save could not be read: %s", error.message)
                    pause = FAILED_PAUSE
                except Exception:
                    logger.exception("the list of videos to save could not be read; it is tried again")
                    pause = FAILED_PAUSE
                with anyio.move_on_after(pause):
                    await self._nudged.wait()
                self._nudged = anyio.Event()

    def _start_due(self, group: TaskGroup, wanted: Sequence[Job]) -> float:
        """Start the downloads that are due, those whose link ends first; return the seconds until the next one is."""
        rest, turn = self._timings.rest_interval, self._timings.longest_download_turn
        pause, now = rest, anyio.current_time()
        for job in sorted(wanted, key=link_end):
            if job.id in self._running:
                continue
            wait = self._attempts[job.id].due - now if job.id in self._attempts else 0.0
            turns = [since + turn - now for since in self._running.values() if since + turn > now]
            if wait <= 0 and (len(turns) >= MAX_CURRENT or len(self._running) >= MAX_RUNNING):
                wait = min(turns, default=rest)
            if wait > 0:
                pause = min(pause, wait)
                continue
            self._running[job.id] = now
            group.start_soon(self._try_to_save, job)
        return pause

    async def _try_to_save(self, job: Job) -> None:
        """Try once, and see to it that whatever fails is tried again."""
        try:
            await self._save(job)
        except AvmError as error:
            self._schedule_retry(job)
            logger.warning("video of %s: %s", job.public_id, error.message)
        except RowMissing:  # the store was moved meanwhile
            self._forget(job)
        except Exception:
            self._schedule_retry(job)
            logger.exception("video of %s: saving failed; it is tried again", job.public_id)
        finally:
            self._running.pop(job.id, None)
            self.nudge()

    async def _save(self, job: Job) -> None:
        """Save a video by the link that is known, or by a fresh one, and record the result."""
        attempts = self._attempts_of(job)
        if job.video_url is None or attempts.link_refused:
            await self._links.renew(job)
            job = await self._store.find(self._account, job.id) or job
        if job.video_url is None:
            await self._wait_for_link(job)
            return
        ends_soon = self._ends_soon(job)
        take_cut = ends_soon or attempts.accepts_cut(job, self._client.clock.at_least())
        try:
            path = await self.fetch(job, self.folder, take_cut=take_cut, take_rest=ends_soon)
        except VideoError as error:
            await self._record_failure(job, error)
            return
        self._forget(job)
        if self._notice is not None:
            self._notice("Your video is ready", str(path))

    def _ends_soon(self, job: Job) -> bool:
        return job.expires_at is not None and self._client.clock.at_least() > job.expires_at - CUT_TIMEOUT

    async def fetch(self, job: Job, folder: Path, *, take_cut: bool, take_rest: bool) -> Path:
        """Save a finished video into `folder` now, and return its path.

        Args:
            job: The job that made the video.
            folder: Where to save it.
            take_cut: As in `save_video`.
            take_rest: As in `save_video`.

        Raises:
            VideoError: It could not be saved.
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
        with suppress(RowMissing):  # the store was moved meanwhile; the video is in place
            self._changed(
                await self._store.record_download(job, "saved", path=str(saved.path), size=saved.size, error=None)
            )
        return saved.path

    async def fetch_now(self, job: Job, folder: Path | None) -> Path:
        """Save what there is of a video for a person who asks, by a fresh link if the known one is refused.

        Raises:
            VideoError: It could not be saved.
        """
        folder = folder or self.folder
        try:
            return await self.fetch(job, folder, take_cut=True, take_rest=True)
        except VideoError as error:
            fresh = await self._links.query(job) if error.link_at_fault else None
            if fresh is None or fresh.video_url in (None, job.video_url):
                raise
        return await self.fetch(fresh, folder, take_cut=True, take_rest=True)

    async def _wait_for_link(self, job: Job) -> None:
        """Ask again later for the link of a COMPLETED task: the service may add it after completion."""
        unknown_since = self._attempts_of(job).unknown_since
        unknown = unknown_since is not None and anyio.current_time() - unknown_since > UNKNOWN_TIMEOUT
        if unknown or await self._links.has_ended(job):
            await self._give_up(job, "the service gave no link to the video")
        else:
            self._schedule_retry(job)

    async def _record_failure(self, job: Job, error: VideoError) -> None:
        self._attempts_of(job).record_failure(error)
        if await self._links.has_ended(job):
            await self._give_up(job, error.message)
            return
        self._schedule_retry(job, error.retry_after)
        if error.message != job.download_error:  # logged once, not at each try
            logger.warning("video of %s: %s; it is tried again", job.public_id, error.message.rstrip("."))
        self._changed(await self._store.record_download(job, "wanted", path=None, size=None, error=error.message))

    async def _give_up(self, job: Job, reason: str) -> None:
        self._forget(job)
        logger.error("video of %s is lost: %s", job.public_id, reason)
        self._changed(await self._store.record_download(job, "lost", path=None, size=None, error=reason))

    def _link_found(self, job: Job, is_new: bool) -> None:
        if is_new:
            self.nudge()
        self._changed(job)

    def _attempts_of(self, job: Job) -> Attempts:
        return self._attempts.setdefault(job.id, Attempts())

    def _schedule_retry(self, job: Job, retry_after: float | None = None) -> None:
        self._attempts_of(job).schedule_retry(self._rng, retry_after)

    def _forget(self, job: Job) -> None:
        self._attempts.pop(job.id, None)
        self._links.reset_interval()
