"""Saves one finished video now, for somebody who asks for it."""

from pathlib import Path

from avm_mcp.domain.errors import InvalidInput, TaskNotFound, UpstreamUnavailable
from avm_mcp.domain.job import COMPLETED
from avm_mcp.domain.next_steps import Action
from avm_mcp.downloads.failures import VideoError, VideoUnwritable
from avm_mcp.jobs.tasks import Tasks
from avm_mcp.jobs.views import Found


async def save_video(tasks: Tasks, given: str, folder: Path | None = None) -> Found:
    """Save a finished video now: one that was not saved, was lost, or should lie somewhere else too.

    Raises:
        UpstreamUnavailable: It could not be fetched just now.
        InvalidInput: The folder cannot be written.
        TaskNotFound: There is no video, or its link is dead.
    """
    found = await tasks.find(given)
    if found.job.status != COMPLETED:
        raise TaskNotFound(
            f"Task {found.job.public_id} has no video: it is {found.job.status}.",
            task_id=found.job.public_id,
            charged=found.job.charged,
            next_step=Action.NOTHING() if found.job.final else Action.WAIT_FOR_END(),
        )
    try:
        await tasks.upstream.downloader.fetch_now(found.job, folder)
    except VideoError as error:
        over = tasks.upstream.client.clock.at_least() > (found.job.expires_at or float("inf"))
        leaf = UpstreamUnavailable if error.retryable and not over else TaskNotFound
        if isinstance(error, VideoUnwritable):
            leaf = InvalidInput
        raise leaf(
            f"The video of task {found.job.public_id} could not be saved: {error.message.rstrip('.')}.",
            task_id=found.job.public_id,
            charged=found.job.charged,
            next_step=Action.VIDEO_GONE() if over and not isinstance(error, VideoUnwritable) else error.next_step,
        ) from error
    return await tasks.describe(await tasks.current(found.job))
