"""Cancels a task that the service still lets be cancelled."""

from dataclasses import replace

from avm_mcp.domain.errors import AvmError, NotCancellable, TaskNotFound, UpstreamUnavailable
from avm_mcp.domain.job import CANCEL, COMPLETED, NOT_CREATED, SUBMITTING, Job
from avm_mcp.domain.next_steps import Action
from avm_mcp.jobs.tasks import Tasks
from avm_mcp.jobs.upstream import answer_soon
from avm_mcp.jobs.views import Found

ANSWER_TIMEOUT = 3.0
"""Seconds that the answer to a paid request is waited for, since without it there is no task to cancel."""


async def cancel_task(tasks: Tasks, given: str) -> Found:
    """Cancel a task that is still SUBMITTED; one that is cancelled already is a success too.

    Raises:
        NotCancellable: It is being made, or ended, or its answer is lost.
    """
    found = await tasks.find(given)
    if found.job.status == SUBMITTING:
        found = await tasks.wait(found, ANSWER_TIMEOUT)
    job = found.job
    if job.status == NOT_CREATED:
        raise NotCancellable(
            f"Nothing to cancel: {job.id} was never created.",
            task_id=job.id,
            charged=job.charged,
            next_step=Action.NOTHING(),
        )
    if job.task_id is None:
        raise NotCancellable(
            f"Not cancelled: whether {job.id} was started is not known yet; its answer is being looked for.",
            task_id=job.id,
            charged=job.charged,
        )
    if job.status != CANCEL:
        try:
            if job.final:
                raise NotCancellable("It has ended.")
            await _ask_to_cancel(tasks, job)
        except (NotCancellable, TaskNotFound):
            await _poll_now(tasks, job)
            job = await tasks.current(job)
            if job.status != CANCEL:
                step = Action.SEE_TASK() if job.final else None
                raise NotCancellable(
                    _why_not(job), task_id=job.public_id, charged=job.charged, next_step=step
                ) from None
        return await _describe_cancelled(tasks, job)
    return await tasks.describe(await tasks.current(job))


async def _describe_cancelled(tasks: Tasks, job: Job) -> Found:
    """Return the job that the service has just cancelled, with what came back if that can be read already."""
    try:
        await _poll_now(tasks, job)
    except AvmError as error:
        note = f"What came back could not be read yet. {error.message}"
        return await tasks.describe(replace(job, status=CANCEL), notes=(note,))
    return await tasks.describe(await tasks.current(job))


async def _ask_to_cancel(tasks: Tasks, job: Job) -> None:
    assert job.task_id is not None
    try:
        await answer_soon(tasks.upstream.client.cancel(job.task_id))
    except (NotCancellable, TaskNotFound):
        raise
    except AvmError as error:
        if isinstance(error, UpstreamUnavailable):  # the service may have received it
            unclear = error.amend(task_id=job.public_id, charged="unknown", next_step=Action.CHECK_CANCELLED())
            raise unclear from error
        raise _about(error, job) from error


async def _poll_now(tasks: Tasks, job: Job) -> None:
    assert job.task_id is not None
    try:
        seen = await answer_soon(tasks.upstream.client.task(job.task_id))
    except AvmError as error:
        raise _about(error, job) from error
    known = await tasks.store.record_snapshot(tasks.account, seen, tasks.store.clock())
    if known is not None:
        tasks.upstream.poller.publish(known)


def _about(error: AvmError, job: Job) -> AvmError:
    """Return the error with the id of the job, and whether that is paid for (P2)."""
    return error.amend(task_id=job.public_id, charged=job.charged)


def _why_not(job: Job) -> str:
    state = {"PROGRESS": "is being made and can no longer be stopped", COMPLETED: "is ready", "FAILED": "has failed"}
    return f"Not cancelled: task {job.public_id} {state.get(job.status, f'is {job.status}')}."
