"""Rows of the table of jobs, read: what an earlier version wrote is bounded as what the upstream says now."""

from dataclasses import fields
from typing import Any

from avm_mcp import bounds
from avm_mcp.journal.driver import Row
from avm_mcp.models import Job

COLUMNS = tuple(f.name for f in fields(Job))
SELECT = f"SELECT {', '.join(COLUMNS)} FROM jobs"  # noqa: S608 - column names of our own


def job_of(row: Row) -> Job:
    """Return the job of a row."""
    values: dict[str, Any] = dict(row)
    values["mine"] = bool(values["mine"])  # SQLite has no booleans
    for name in ("credits_quoted", "credits_charged"):
        values[name] = bounds.price(values[name])
    paid = values["credits_quoted"] if values["credits_charged"] is None else values["credits_charged"]
    values["credits_refunded"] = bounds.refund(bounds.price(values["credits_refunded"]), paid)
    for name in ("status", "model"):
        values[name] = bounds.word(values[name])
    values["video_url"] = bounds.link(values["video_url"]) if values["video_url"] else None
    return Job(**values)
