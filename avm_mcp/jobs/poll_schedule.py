"""The poll schedule: which query is sent next, and when, for all tasks in flight. No clock and no I/O of its own.

`GET /tasks` answers for all tasks at once. The chances that each has ended are added up, and the list is queried when
their sum is worth a query. Two kinds of task are queried one by one, each by its own schedule: tasks that the last list
did not show, and all tasks while single answers are cheaper than the list. The price of an answer is one query, plus
one for every `BYTES_PER_QUERY` bytes of it, as measured at the last answer.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.jobs import eta
from avm_mcp.jobs.eta import Durations, NextPoll

BYTES_PER_QUERY = 100_000
"""Bytes of an answer that weigh as much as one query."""

COMPARED_ABOVE = 1.5
"""A list that weighs less than so many single answers is queried without comparing the two."""

HIDDEN_FOR = 60.0
"""Seconds until a task that a list left out is expected in a list again."""

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class InFlight:
    """A task in flight: its job, how long such videos take, and how many seconds ago it was submitted."""

    id: str
    durations: Durations
    elapsed: float


@dataclass(frozen=True, slots=True)
class Query:
    """A query for the list of tasks, or for one task.

    Attributes:
        ids: The jobs that it polls.
        is_list: Whether it is for the list.
        due: When to send it, by the event loop's clock.
        urgent: Whether somebody asked for one of the jobs.
    """

    ids: tuple[str, ...]
    is_list: bool
    due: float
    urgent: bool = False


class PollSchedule:
    """Remembers when each task was last polled, and plans the next query.

    Times are by a monotonic clock. Two queries are never closer than the shortest interval, so tasks that no list shows
    take turns.

    Args:
        timings: The bounds of the interval, and how long a poll counts as fresh.
    """

    def __init__(self, timings: Timings = STANDARD) -> None:
        self._timings = timings
        self._polled: dict[str, float] = {}
        self._hidden_until: dict[str, float] = {}
        self._requested: set[str] = set()
        self._just_submitted: set[str] = set()
        self._last_query = NEVER
        self._last_was_list = False

    def request_poll(self, job_id: str, clock: float) -> None:
        """Let the next poll of this job be due at once, unless the last one is still fresh."""
        if clock - self._polled.get(job_id, NEVER) >= self._timings.poll_freshness:
            self._requested.add(job_id)

    def is_requested(self, job_id: str) -> bool:
        """Return whether a poll of this job was requested and has not happened yet."""
        return job_id in self._requested

    def record_poll_elsewhere(self, job_id: str, clock: float, ago: float, *, is_list: bool = False) -> None:
        """Record that another process polled this job, or the list, `ago` seconds before `clock`."""
        if is_list and job_id in self._hidden_until:
            return
        self._polled[job_id] = max(clock - ago, self._polled.get(job_id, NEVER))
        if ago < self._timings.poll_freshness:
            self._requested.discard(job_id)

    def record_query(self, query: Query, clock: float, shown: Container[str]) -> None:
        """Record that a query was sent, and which of its jobs the answer showed; a failed query counts as sent."""
        self._last_query, self._last_was_list = clock, query.is_list
        for job_id in query.ids:
            self._requested.discard(job_id)
            if job_id in shown:
                self._hidden_until.pop(job_id, None)
            elif query.is_list:
                self._hidden_until[job_id] = clock + HIDDEN_FOR
                continue
            self._polled[job_id] = clock

    def plan(self, tasks: Sequence[InFlight], clock: float, *, list_bytes: int = 0, single_bytes: int = 0) -> Query:
        """Return the next query for these tasks, of which there is at least one.

        Args:
            tasks: All that are in flight.
            clock: Now.
            list_bytes: Size of the last list; 0 before there was one.
            single_bytes: Size of the last answer for one task.
        """
        self._forget_all_but({task.id for task in tasks})
        self._just_submitted |= {task.id for task in tasks if task.elapsed <= self._timings.poll_freshness}
        price = eta.price_query(len(tasks))
        list_price, single_price = (price * (1 + size / BYTES_PER_QUERY) for size in (list_bytes, single_bytes))
        listed = [task for task in tasks if self._hidden_until.get(task.id, clock) <= clock]
        singles = [task for task in tasks if self._hidden_until.get(task.id, clock) > clock]
        queries: list[Query] = []
        if len(listed) > 1 and self._list_is_cheaper(listed, list_price, single_price, clock):
            queries.append(self._plan_query(listed, list_price, clock, is_list=True))
        else:
            singles = list(tasks)
        queries += [self._plan_query([task], single_price, clock, is_list=False) for task in singles]
        due = [query for query in queries if query.due <= clock]
        if len(due) > 1 and due[0].is_list:
            due = due[1:] if self._last_was_list else due[:1]  # the list and the tasks that it leaves out alternate
        chosen = min(due or queries, key=lambda query: query.due)
        urgent = any(job_id in self._requested for job_id in chosen.ids)
        earliest = self._last_query + self._timings.shortest_poll_interval
        return replace(chosen, due=max(chosen.due, earliest), urgent=urgent)

    def _plan_query(self, tasks: Sequence[InFlight], price: float, clock: float, *, is_list: bool) -> Query:
        ids = tuple(task.id for task in tasks)
        if any(self._is_due_at_once(task) for task in tasks):
            return Query(ids, is_list, clock)
        began, poll = self._plan_poll(tasks, price, clock)
        return Query(ids, is_list, began + poll.interval)

    def _is_due_at_once(self, task: InFlight) -> bool:
        return task.id in self._requested or not (task.id in self._polled or task.id in self._just_submitted)

    def _plan_poll(self, tasks: Sequence[InFlight], price: float, clock: float) -> tuple[float, NextPoll]:
        """Return when the tasks were last polled, or the first of them was submitted, and the poll after that."""
        began = max(
            (self._polled[task.id] for task in tasks if task.id in self._polled),
            default=clock - max(task.elapsed for task in tasks),
        )
        # Tasks of the same durations and age are counted, so that each kind is computed once.
        kinds = Counter((task.durations, round(task.elapsed - (clock - began))) for task in tasks)
        counted = ((durations, age, count) for (durations, age), count in kinds.items())
        return began, eta.plan_next_poll(counted, price, self._timings)

    def _list_is_cheaper(self, tasks: Sequence[InFlight], list_price: float, single_price: float, clock: float) -> bool:
        """Return whether polling all by the list costs less, in queries, bytes and waiting, than one by one."""
        if list_price < COMPARED_ABOVE * single_price:
            return True
        singles = sum(self._plan_poll([task], single_price, clock)[1].cost for task in tasks)
        return self._plan_poll(tasks, list_price, clock)[1].cost <= singles

    def _forget_all_but(self, known: set[str]) -> None:
        for times in (self._polled, self._hidden_until):
            for job_id in [job_id for job_id in times if job_id not in known]:
                del times[job_id]
        self._requested &= known
        self._just_submitted &= known
