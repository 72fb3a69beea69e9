"""One task as a result, and a result as text."""

from collections.abc import Mapping
from typing import Any, TypeVar

from avm_mcp.domain.job import COMPLETED, UNKNOWN, Job
from avm_mcp.jobs.views import Found
from avm_mcp.presentation.audience import Audience, Place, clipped, stamp
from avm_mcp.presentation.results import Credits, ErrorResult, TaskResult, TaskRow
from avm_mcp.presentation.situations import Situation, shown_file, shown_link

VIDEOS: Mapping[str, str] = {"saved": "saved", "wanted": "pending", "lost": "lost", "off": "not saved"}
"""What became of a video; `missing` is one that was moved or deleted since."""

T = TypeVar("T", bound=TaskResult)


def build_task(
    found: Found,
    audience: Audience,
    place: Place,
    *,
    normalized: Mapping[str, Any] | None = None,
    slow_down: bool = False,
    fresh: bool = False,
) -> TaskResult:
    """Return one task as a result.

    Args:
        found: The job and where it stands.
        audience: Who reads it.
        place: Where videos go.
        normalized: What was understood from input that was not in its usual form.
        slow_down: The same unfinished task was asked for too often; the next step says so.
        fresh: This answers the paid call that started the task.
    """
    situation = Situation(found, audience, place, slow_down=slow_down, fresh=fresh)
    return _build(TaskResult, found, situation, normalized)


def build_row(found: Found, audience: Audience, place: Place) -> TaskRow:
    """Return one task as a row of a list."""
    return _build(TaskRow, found, Situation(found, audience, place, slow_down=False, fresh=False), None)


def format_task(result: TaskResult) -> str:
    """Return a result as lines; the last begins with "Next: "."""
    lines = [result.message]
    lines += [f"Understood {name} as {value}." for name, value in (result.normalized or {}).items()]
    lines += [f"Note: {note}" for note in result.notes or ()]
    return "\n".join([*lines, f"Next: {result.next_step}"])


def name_download(job: Job) -> str | None:
    """Return what became of a finished video on this side; None of one that is not finished."""
    if job.status != COMPLETED:
        return None
    return "missing" if job.download == "saved" and job.download_error is not None else VIDEOS.get(job.download)


def _build(kind: type[T], found: Found, situation: Situation, normalized: Mapping[str, Any] | None) -> T:
    job, progress, link = found.job, found.progress, shown_link(found.job)
    lines, step = situation.describe()
    cost = Credits(
        quoted=job.credits_quoted,
        charged=job.credits_charged,
        refunded=job.credits_refunded,
        basis="charge" if job.credits_charged is not None else job.credits_basis,
    )
    return kind(
        task_id=job.public_id,
        status=job.status,
        done=job.final,
        message="\n".join(lines),
        next_step=step,
        model=job.model,
        prompt=clipped(job.prompt) or None,
        progress_percent=round(progress.percent, 1),
        elapsed_seconds=round(progress.elapsed),
        typical_seconds=round(progress.typical),
        download=name_download(job),
        file=shown_file(job),
        video_url=link,
        expires_at=stamp(job.expires_at) if link else None,
        credits=cost if cost.dump() else None,
        created_at=stamp(job.created_at),
        completed_at=stamp(job.completed_at),
        poll_after_seconds=None if job.final else max(5, min(60, round(progress.typical - progress.elapsed))),
        deduplicated=True if found.deduplicated else None,
        normalized=dict(normalized) if normalized else None,
        notes=list(found.notes) or None,
        error=_lost_answer(job, step) if job.status == UNKNOWN else None,
    )


def _lost_answer(job: Job, step: str) -> ErrorResult:
    """A lost answer is not an error to the host, which may hide the id of one; the structured part names it."""
    return ErrorResult(
        code="SUBMISSION_UNKNOWN",
        message=job.error_text or "The service's answer was lost.",
        retryable=False,
        charged="unknown",
        next_step=step,
        task_id=job.id,
    )
