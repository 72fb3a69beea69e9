"""Cursors: where a page of a list of jobs, newest first, ends, as text that a caller hands back."""

import base64
import json
from typing import Any

from avm_mcp.domain.errors import InvalidInput
from avm_mcp.domain.job import Job

LONGEST = 2_000
"""Characters of a cursor; ours are shorter."""


Place = tuple[float, str]
"""A job's place in a list: when it was created, then its id of ours, which no other job has."""


def place(job: Job) -> Place:
    """Return a job's place: one page begins below where the last one ended, whatever came in between."""
    return (job.created_at, job.id)


def after(job: Job) -> str:
    """Return the cursor of the page that begins after this job."""
    return base64.urlsafe_b64encode(json.dumps(place(job)).encode()).decode().rstrip("=")


def read(cursor: str) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        InvalidInput: It is not one of ours.
    """
    try:
        if len(cursor) > LONGEST:
            raise ValueError("longer than any of ours")
        raw: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        created, job_id = raw
        return (float(created), str(job_id))
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(
            "cursor is not one of ours.", field="cursor", allowed="next_cursor of the previous page, or nothing"
        ) from None
