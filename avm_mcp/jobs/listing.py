"""A page of tasks: what the service lists, and what only the store knows."""

from avm_mcp.domain.errors import AvmError, StateUnavailable
from avm_mcp.domain.job import Job
from avm_mcp.jobs.discover import read_listed_jobs
from avm_mcp.jobs.tasks import Tasks
from avm_mcp.jobs.upstream import answer_soon
from avm_mcp.jobs.views import Listing
from avm_mcp.provider.wire import TaskList
from avm_mcp.store import cursors


async def list_tasks(tasks: Tasks, *, status: str | None, limit: int, cursor: str | None) -> Listing:
    """Return the union of what the service lists and the store holds, newest first.

    Raises:
        AvmError: The service could not be asked, and nothing is known here.
    """
    after = cursors.read(cursor) if cursor else None
    notes: list[str] = []
    store, upstream, account = tasks.store, tasks.upstream, tasks.account
    trouble: AvmError | None = None
    try:
        listed = await answer_soon(upstream.poller.list_tasks())
    except AvmError as error:
        trouble, listed = error, TaskList((), whole=False)
        why = "was not asked" if isinstance(error, StateUnavailable) else "could not be asked"
        notes.append(f"The service {why}. {error.message} This is what is known here.")
    if listed.left_out:
        told = len(listed) + listed.left_out
        notes.append(f"The service lists {told:,} tasks; its newest {len(listed):,} are looked at here.")
    rows = await read_listed_jobs(store, listed, account, tasks.now, upstream.poller.publish)
    for job in await store.page(account, status=status, limit=limit + 1, before=after):
        rows.setdefault(job.task_id or job.id, job)
    if trouble is not None and not rows and not await store.page(account, status=None, limit=1):
        raise trouble  # to find nothing where nobody could be asked is no answer
    wanted = [job for job in rows.values() if _matches(job, status)]
    wanted.sort(key=cursors.place, reverse=True)
    page = [job for job in wanted if after is None or cursors.place(job) < after]
    shown = page[:limit]
    found = tuple([await tasks.describe(await tasks.check_file(job)) for job in shown])
    return Listing(found, cursors.after(shown[-1]) if len(page) > limit else None, tuple(notes))


def _matches(job: Job, status: str | None) -> bool:
    return status is None or job.status == status or (status == "ACTIVE" and not job.final)
