"""Which row of the service's list is the task of a request whose answer was lost; never a guess."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from avm_mcp.domain.job import Job
from avm_mcp.provider.bodies import picture_fields
from avm_mcp.provider.wire import TaskSnapshot


@dataclass(frozen=True, slots=True)
class Sent:
    """What is known of a request whose answer was lost, in terms of the upstream's list."""

    job: Job
    fields: Mapping[str, Any]
    pictures: frozenset[str]
    earliest: float
    latest: float

    def is_row(self, row: TaskSnapshot) -> bool:
        """Return whether this row is likely to be what was sent; by key alone where it has one."""
        if row.idempotency_key is not None:
            return row.idempotency_key == self.job.idempotency_key
        return self.is_like(row) and row.created_at is not None and row.created_at.timestamp() <= self.latest

    def is_like(self, row: TaskSnapshot) -> bool:
        """Return whether this row, which has no key, holds what was sent and was made after it, however long after."""
        return row.created_at is not None and self.may_be_row(row)

    def may_be_row(self, row: TaskSnapshot, *, doubt: float = 0.0) -> bool:
        """Return whether this row, which has no key, holds what was sent, and no date says that it was made before.

        With `doubt` a date must say so by more seconds than that.
        """
        if row.idempotency_key is not None or (row.created_at and row.created_at.timestamp() < self.earliest - doubt):
            return False
        return row.model == self.job.model and all(self._same(name, row.input) for name in self.fields)

    def _same(self, name: str, shown: Mapping[str, Any]) -> bool:
        ours, theirs = self.fields[name], shown.get(name)
        if name in picture_fields(self.job.model) and str(ours).startswith("data:"):
            # The upstream stores the bytes and shows a link of its own: any that we have not sent as a link.
            return isinstance(theirs, str) and theirs not in self.pictures
        return theirs is not None and _plain(ours) == _plain(theirs)


def _plain(value: object) -> object:
    """Return a field's value without what an upstream may change in it: white space, and 5 for "5"."""
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[object]", value)]
    return " ".join(str(value).split())


def match(
    sent: Sent, rows: Sequence[TaskSnapshot], claimed: Container[str], *, lost: Sequence[Sent], waiting: Sequence[Sent]
) -> TaskSnapshot | None:
    """Return the row that is the lost task; None where there is none, or where it would be a guess.

    Args:
        sent: What is looked for.
        rows: The upstream's list.
        claimed: Tasks that belong to a job.
        lost: The other requests whose answers are lost.
        waiting: Requests whose answers are being waited for: they will say themselves which task is theirs.
    """
    left = sorted((row for row in rows if row.id not in claimed), key=made_at)
    for fits in (Sent.is_row, Sent.is_like):
        free = [row for row in left if fits(sent, row)]
        if keyed := [row for row in free if row.idempotency_key is not None]:
            return keyed[0]
        if not free:
            continue
        if any(fits(other, row) for other in waiting for row in free):
            return None
        equals = [sent, *(other for other in lost if all(fits(other, row) for row in free))]
        owners = sorted((other.job.started, other.job.id) for other in equals)[-len(free) :]
        me = (sent.job.started, sent.job.id)
        return free[owners.index(me)] if me in owners and len(free) <= len(owners) else None
    return None


def made_at(row: TaskSnapshot) -> float:
    """Return when a row was made, in seconds since 1970 by the service's clock; 0 where it has no date."""
    return row.created_at.timestamp() if row.created_at else 0.0
