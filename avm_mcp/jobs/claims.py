"""Gives requests the tasks that exist for them already, so that none is paid twice (P1)."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from avm_mcp.domain.job import CANCEL, FAILED, FINAL, Job
from avm_mcp.jobs.matching import Sent, read_created_at
from avm_mcp.jobs.poller import Poller
from avm_mcp.provider.bodies import picture_fields
from avm_mcp.provider.protocol import Provider
from avm_mcp.provider.wire import Accepted, TaskSnapshot
from avm_mcp.store import Store

logger = logging.getLogger(__name__)

CLOCK_SLACK = 3.0
"""Seconds: the `Date` header, which gives the service's clock, has whole seconds and arrives a little later."""

LATE = 180.0
"""Seconds after the sender's last sign of life in which a delayed request is likely to make its task. A row made later
is taken only if none was made before."""

YOUNG = 3600.0
"""Seconds of a store's life in which a task that is older than the store may still be running."""


class Claims:
    """Gives the requests of one account their tasks.

    Args:
        store: Holds the requests and their tasks.
        client: Lists the service's tasks, and gives its time.
        poller: Publishes a job that has got its task.
        account: Fingerprint of key and base URL.
    """

    def __init__(self, store: Store, client: Provider, poller: Poller, *, account: str) -> None:
        self._store = store
        self._client = client
        self._poller = poller
        self._account = account
        self._clock = store.clock

    async def list_recent(self, window: float) -> list[TaskSnapshot]:
        """Return the tasks that run, or ended within `window` seconds, where the store is too young to know them.

        Without them a request that was paid before the store was lost, or from another process's memory, would be paid
        again.
        """
        if self._store.durable and self._clock() - self._store.born > max(window, YOUNG):
            return []
        rows = await self._client.tasks()
        earliest = self._client.clock.at_least() - window
        ended = ((row, row.completed_at or row.created_at) for row in rows)
        return [row for row, at in ended if row.status not in FINAL or (at is not None and at.timestamp() > earliest)]

    async def claim(self, job: Job, rows: Sequence[TaskSnapshot]) -> Job | None:
        """Give a request that is about to be sent the task that an equal request has made already, if there is one.

        Of the equal tasks without a job, take n gets the n-th that was made, or the last where there are fewer: a
        missing take can be requested again, but a payment cannot be taken back.
        """
        sent = replace(await self.describe_sent(job, rows), earliest=float("-inf"))
        claimed = await self._store.find_claimed(self._account, [row.id for row in rows])
        lost = [
            await self.describe_sent(other, rows) for other in await self._store.unanswered(self._account, float("inf"))
        ]
        free = [
            row
            for row in rows
            if row.id not in claimed
            and row.status not in (FAILED, CANCEL)
            and not any(other.job.id != job.id and other.is_likely(row) for other in lost)
            and sent.is_possible(row.model_copy(update={"idempotency_key": None}))
        ]
        free.reverse()  # the list has the newest first
        free.sort(key=read_created_at)
        for row in free[job.take - 1 :] or free[-1:]:
            found = await self.assign_task(job, row)
            if found.task_id == row.id:  # unless another request has just taken it
                return found
        return None

    async def describe_sent(self, job: Job, rows: Sequence[TaskSnapshot]) -> Sent:
        """Return what was sent for a job, in terms of a list of the service."""
        names = picture_fields(job.model)
        shown = {str(row.input[name]) for row in rows for name in names if row.input.get(name)}
        # Dates by the service's clock are computed from ages: the sender's wall clock may be wrong.
        at, service_now = self._clock(), self._client.service_now()
        last_sign = job.answer_by if job.answer_by is not None else job.started
        return Sent(
            job=job,
            fields=json.loads(await self._store.sent_fields(job.id)),
            pictures=frozenset(await self._store.pictures_sent(self._account, shown)),
            earliest=service_now - (at - job.started) - CLOCK_SLACK,
            latest=service_now - (at - last_sign) + LATE,
        )

    async def assign_task(self, job: Job, row: TaskSnapshot) -> Job:
        """Give the job its task, and publish it. If this is cancelled, the next search finds it again."""
        answer = Accepted(taskId=row.id, status=row.status, creditsCharged=row.credits_charged)
        found = await self._store.record_accepted(job.id, answer)
        found = await self._store.record_snapshot(self._account, row, self._clock()) or found
        logger.warning("%s: found as task %s", job.id, found.public_id)
        self._poller.publish(found)
        self._poller.nudge()
        return found
