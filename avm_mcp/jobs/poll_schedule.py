"""What is asked next, and when: one schedule for all tasks in flight, from experience. No clock and no I/O of its own.

The list answers for every task at once, so its videos' chances to have ended are added up, and it is asked when the
sum is worth a question. Two kinds of video have a schedule of their own and are asked about one by one: those that
the last list did not show, and all of them while the list has grown so long that single answers are cheaper, which is
measured: an answer weighs one question, and another for every `HEAVY` bytes of it.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from avm_mcp.domain.timings import STANDARD, Timings
from avm_mcp.jobs import eta
from avm_mcp.jobs.eta import Durations, NextPoll

HEAVY = 100_000
"""Bytes of an answer that cost as much as a question of the allowance."""

WORTH_COMPARING = 1.5
"""How many single answers a list must weigh before it is worth finding out what they would cost."""

HIDDEN_FOR = 60.0
"""Seconds after which a video that a list left out is looked for in a list again."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A task in flight: its job, how long such videos take, and how many seconds ago it was submitted."""

    id: str
    durations: Durations
    elapsed: float


@dataclass(frozen=True, slots=True)
class Query:
    """What to ask next: for the list, or for one video.

    Attributes:
        ids: The jobs that it is asked for.
        listed: Whether it is the list.
        due: When, by the event loop's clock.
        urgent: Somebody has asked for one of them.
    """

    ids: tuple[str, ...]
    listed: bool
    due: float
    urgent: bool = False


class PollSchedule:
    """Remembers when each video was last looked at, and plans the next question.

    Times are of a clock that never jumps. No two questions come closer than the shortest interval, whatever is due: a
    crowd of videos that no list shows takes turns.
    """

    def __init__(self, timings: Timings = STANDARD) -> None:
        self._timings = timings
        self._polled: dict[str, float] = {}
        self._hidden: dict[str, float] = {}
        self._soon: set[str] = set()
        self._new: set[str] = set()
        self._asked = float("-inf")
        self._listed_last = False

    def soon(self, job_id: str, clock: float) -> None:
        """Let the next look at this video come at once, unless the last one was just now."""
        if clock - self._polled.get(job_id, float("-inf")) >= self._timings.poll_freshness:
            self._soon.add(job_id)

    def wanted(self, job_id: str) -> bool:
        """Return whether somebody has asked for this video, and it was not looked at since."""
        return job_id in self._soon

    def heard(self, job_id: str, clock: float, ago: float, *, listed: bool = False) -> None:
        """Note that another process has looked at this video, or read a list that should show it, so long ago."""
        if listed and job_id in self._hidden:
            return
        self._polled[job_id] = max(clock - ago, self._polled.get(job_id, float("-inf")))
        if ago < self._timings.poll_freshness:
            self._soon.discard(job_id)

    def plan(self, videos: Sequence[InFlight], clock: float, *, list_bytes: int = 0, single_bytes: int = 0) -> Query:
        """Return the next question for these videos, of which there is at least one.

        Args:
            videos: All that are in flight.
            clock: Now.
            list_bytes: How long the last list was; 0 before there was one.
            single_bytes: How long the last answer for one video was.
        """
        self._forget({video.id for video in videos})
        self._new |= {video.id for video in videos if video.elapsed <= self._timings.poll_freshness}
        price = eta.price(len(videos))
        list_price, single_price = (price * (1 + size / HEAVY) for size in (list_bytes, single_bytes))
        group = [video for video in videos if self._hidden.get(video.id, clock) <= clock]
        singles = [video for video in videos if self._hidden.get(video.id, clock) > clock]
        questions: list[Query] = []
        if len(group) > 1 and self._list_pays(group, list_price, single_price, clock):
            questions.append(self._question(group, list_price, clock, listed=True))
        else:
            singles = list(videos)
        questions += [self._question([video], single_price, clock, listed=False) for video in singles]
        due = [question for question in questions if question.due <= clock]
        if len(due) > 1 and due[0].listed:
            due = due[1:] if self._listed_last else due[:1]  # neither the list nor what it leaves out may starve
        chosen = min(due or questions, key=lambda question: question.due)
        urgent = any(job_id in self._soon for job_id in chosen.ids)
        return replace(chosen, due=max(chosen.due, self._asked + self._timings.shortest_poll_interval), urgent=urgent)

    def asked(self, question: Query, clock: float, shown: Container[str]) -> None:
        """Note that a question was asked, and which of its videos the answer showed; a failed one counts as asked."""
        self._asked, self._listed_last = clock, question.listed
        for job_id in question.ids:
            self._soon.discard(job_id)
            if job_id in shown:
                self._hidden.pop(job_id, None)
            elif question.listed:
                self._hidden[job_id] = clock + HIDDEN_FOR
                continue
            self._polled[job_id] = clock

    def _question(self, videos: Sequence[InFlight], price: float, clock: float, *, listed: bool) -> Query:
        ids = tuple(video.id for video in videos)
        if any(self._is_due(video) for video in videos):
            return Query(ids, listed, clock)
        began, look = self._next_poll(videos, price, clock)
        return Query(ids, listed, began + look.interval)

    def _is_due(self, video: InFlight) -> bool:
        return video.id in self._soon or not (video.id in self._polled or video.id in self._new)

    def _next_poll(self, videos: Sequence[InFlight], price: float, clock: float) -> tuple[float, NextPoll]:
        """Return when the videos were last looked at, or the first of them was submitted, and the look after that."""
        began = max(
            (self._polled[video.id] for video in videos if video.id in self._polled),
            default=clock - max(video.elapsed for video in videos),
        )
        # Videos of one kind and age are counted, not computed each.
        kinds = Counter((video.durations, round(video.elapsed - (clock - began))) for video in videos)
        return began, eta.next_poll(((kind, age, count) for (kind, age), count in kinds.items()), price, self._timings)

    def _list_pays(self, videos: Sequence[InFlight], list_price: float, single_price: float, clock: float) -> bool:
        """Return whether one list for all costs less, in questions, bytes and waiting, than asking for each."""
        if list_price < WORTH_COMPARING * single_price:
            return True
        singles = sum(self._next_poll([video], single_price, clock)[1].cost for video in videos)
        return self._next_poll(videos, list_price, clock)[1].cost <= singles

    def _forget(self, known: set[str]) -> None:
        for kept in (self._polled, self._hidden):
            for job_id in [job_id for job_id in kept if job_id not in known]:
                del kept[job_id]
        self._soon &= known
        self._new &= known
