"""The exit codes: one for each kind of result, so that a script need not read text."""

from collections.abc import Mapping
from typing import cast

from avm_mcp.domain import errors
from avm_mcp.domain.job import CANCEL, COMPLETED, FAILED, NOT_CREATED, Job

OK, INTERNAL, USAGE, SETUP, MONEY, NO_VIDEO, SERVICE, TASK, PICTURE, FOLDER = range(10)
UNFINISHED = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

MEANINGS: Mapping[int, str] = {
    OK: "done; with --wait 0: started",
    INTERNAL: "a bug in avm",
    USAGE: "bad usage, a bad setting, or an argument no model accepts",
    SETUP: "no API key, or one that is refused",
    MONEY: "too few credits, above a cap, or the price needs approval",
    NO_VIDEO: "rejected, failed, cancelled or never created: there is no video",
    SERVICE: "the service is busy, unreachable, or answers in an unknown way",
    TASK: "no such task, or it can no longer be cancelled",
    PICTURE: "the picture cannot be used",
    FOLDER: "the state folder (doctor: or the output folder) cannot be used",
    UNFINISHED: "not finished when the wait ran out or was interrupted, or unclear: run avm get TASK",
    INTERRUPTED: "interrupted; nothing was started",
}

BY_ERROR: Mapping[type[errors.AvmError], int] = {
    errors.InvalidInput: USAGE,
    errors.NotConfigured: SETUP,
    errors.BadSetting: USAGE,
    errors.FileRefused: PICTURE,
    errors.BudgetExceeded: MONEY,
    errors.ApprovalRequired: MONEY,
    errors.StateUnavailable: FOLDER,
    errors.TaskNotFound: TASK,
    errors.NotCancellable: TASK,
    errors.AuthFailed: SETUP,
    errors.InsufficientCredits: MONEY,
    errors.ContentRejected: NO_VIDEO,
    errors.RateLimited: SERVICE,
    errors.UpstreamUnavailable: SERVICE,
    errors.BlockedOnTheWay: SERVICE,
    errors.UpstreamUnexpected: SERVICE,
    errors.SubmissionUnknown: UNFINISHED,
    errors.Internal: INTERNAL,
}

BY_STATUS: Mapping[str, int] = {COMPLETED: OK, FAILED: NO_VIDEO, CANCEL: NO_VIDEO, NOT_CREATED: NO_VIDEO}
"""Final statuses; a task with any other one is unfinished."""


def leaf(error: Exception) -> Exception:
    """Return what went wrong first, out of the groups that task groups wrap it in."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


def of_error(error: errors.AvmError) -> int:
    """Return the exit code of an error that ended a command."""
    return BY_ERROR.get(type(error), INTERNAL)


def of_job(job: Job) -> int:
    """Return the exit code of a command that waited for a job; a video that is not on the disk yet is not finished."""
    if job.status == COMPLETED and job.download == "wanted":
        return UNFINISHED
    return BY_STATUS.get(job.status, UNFINISHED)


def epilog() -> str:
    """Return the table as the end of the help text."""
    rows = [f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["exit codes:", *rows])
