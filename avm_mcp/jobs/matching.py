"""Finds the row of the service's list that is the task of a request whose answer was lost, and never guesses."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from avm_mcp.domain.job import Job
from avm_mcp.provider.bodies import picture_fields
from avm_mcp.provider.wire import TaskSnapshot


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent, in terms of the service's list.

    Attributes:
        job: Its row.
        fields: The fields that were sent.
        pictures: Links to pictures that this account has sent.
        earliest, latest: When its task was probably made, in seconds since 1970 by the service's clock.
    """

    job: Job
    fields: Mapping[str, Any]
    pictures: frozenset[str]
    earliest: float
    latest: float

    def is_likely(self, row: TaskSnapshot) -> bool:
        """Return whether this row is likely its task: by the key where the row has one, else by input and date."""
        if row.idempotency_key is not None:
            return row.idempotency_key == self.job.idempotency_key
        return self.is_equal(row) and row.created_at is not None and row.created_at.timestamp() <= self.latest

    def is_equal(self, row: TaskSnapshot) -> bool:
        """Return whether this row has no key, holds what was sent, and was made after it, however long after."""
        return row.created_at is not None and self.is_possible(row)

    def is_possible(self, row: TaskSnapshot, *, doubt: float = 0.0) -> bool:
        """Return whether this row has no key, holds what was sent, and is not dated before it.

        A date up to `doubt` seconds before the send does not count as before.
        """
        if row.idempotency_key is not None or (row.created_at and row.created_at.timestamp() < self.earliest - doubt):
            return False
        return row.model == self.job.model and all(self._has_same(name, row.input) for name in self.fields)

    def _has_same(self, name: str, shown: Mapping[str, Any]) -> bool:
        ours, theirs = self.fields[name], shown.get(name)
        if name in picture_fields(self.job.model) and str(ours).startswith("data:"):
            # The service stores the bytes and shows a link of its own, so any link fits that was not sent as one.
            return isinstance(theirs, str) and theirs not in self.pictures
        return theirs is not None and _normalize(ours) == _normalize(theirs)


def _normalize(value: object) -> object:
    """Return a field's value without the changes that a service may make: white space, and 5 for "5"."""
    if isinstance(value, list):
        return [_normalize(item) for item in cast("list[object]", value)]
    return " ".join(str(value).split())


def match(
    sent: Sent, rows: Sequence[TaskSnapshot], claimed: Container[str], *, lost: Sequence[Sent], waiting: Sequence[Sent]
) -> TaskSnapshot | None:
    """Return the row that is the lost task; None where no row is, or where it would be a guess.

    Args:
        sent: The request whose task is searched for.
        rows: The service's list.
        claimed: Ids of the tasks that belong to a job.
        lost: The other requests whose answers are lost.
        waiting: The requests whose answers may still come and name their tasks.
    """
    left = sorted((row for row in rows if row.id not in claimed), key=read_created_at)
    for fits in (Sent.is_likely, Sent.is_equal):
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


def read_created_at(row: TaskSnapshot) -> float:
    """Return when a task was made, in seconds since 1970 by the service's clock; 0 where its row has no date."""
    return row.created_at.timestamp() if row.created_at else 0.0
