"""Rows of the table of jobs, read: what an earlier version wrote is bounded as what the upstream says now."""

from dataclasses import fields
from typing import Any

from avm_mcp.domain import bounds
from avm_mcp.domain.job import Job
from avm_mcp.store.driver import Row, Transaction

COLUMNS = tuple(f.name for f in fields(Job))
SELECT = f"SELECT {', '.join(COLUMNS)} FROM jobs"  # noqa: S608 - column names of our own


class RowMissing(Exception):
    """The state has no row of this job: another one has taken its place."""


async def one(tx: Transaction, job_id: str) -> Job:
    """Return the job of an id of ours.

    Raises:
        RowMissing: There is none.
    """
    found = await tx.rows(f"{SELECT} WHERE id = ?", job_id)
    if not found:
        raise RowMissing(job_id)
    return job_of(found[0])


def job_of(row: Row) -> Job:
    """Return the job of a row."""
    values: dict[str, Any] = dict(row)
    values["mine"] = bool(values["mine"])  # SQLite has no booleans
    for name in ("credits_quoted", "credits_charged"):
        values[name] = bounds.read_price(values[name])
    paid = values["credits_quoted"] if values["credits_charged"] is None else values["credits_charged"]
    values["credits_refunded"] = bounds.limit_refund(bounds.read_price(values["credits_refunded"]), paid)
    for name in ("status", "model"):
        values[name] = bounds.clean_word(values[name])
    values["video_url"] = bounds.clean_link(values["video_url"]) if values["video_url"] else None
    return Job(**values)
