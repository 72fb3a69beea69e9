"""What is asked next, and when: one schedule for all tasks in flight, from experience. No clock and no I/O of its own.

The list answers for every task at once, so its films' chances to have ended are added up, and it is asked when the
sum is worth a question. Two kinds of film have a schedule of their own and are asked about one by one: those that
the last list did not show, and all of them while the list has grown so long that single answers are cheaper, which is
measured: an answer weighs one question, and another for every `HEAVY` bytes of it.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from avm_mcp.jobs import eta
from avm_mcp.jobs.eta import SHORTEST_GAP, Durations, Look

FRESH = 5.0
"""Seconds. A film looked at less long ago is not looked at again because somebody asks for it; and one that is younger
when it is first met was submitted just now, while an older one may long be finished."""

HEAVY = 100_000
"""Bytes of an answer that cost as much as a question of the allowance."""

WORTH_COMPARING = 1.5
"""How many single answers a list must weigh before it is worth finding out what they would cost."""

HIDDEN_FOR = 60.0
"""Seconds after which a film that a list left out is looked for in a list again."""


@dataclass(frozen=True, slots=True)
class Film:
    """A task in flight: its job, how long such films take, and how many seconds ago it was submitted."""

    id: str
    durations: Durations
    elapsed: float


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask next: for the list, or for one film.

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


class Cadence:
    """Remembers when each film was last looked at, and plans the next question.

    Times are of a clock that never jumps. No two questions come closer than `SHORTEST_GAP`, whatever is due: a
    crowd of films that no list shows takes turns.
    """

    def __init__(self) -> None:
        self._looked: dict[str, float] = {}
        self._hidden: dict[str, float] = {}
        self._soon: set[str] = set()
        self._new: set[str] = set()
        self._asked = float("-inf")
        self._listed_last = False

    def soon(self, film_id: str, clock: float) -> None:
        """Let the next look at this film come at once, unless the last one was just now."""
        if clock - self._looked.get(film_id, float("-inf")) >= FRESH:
            self._soon.add(film_id)

    def wanted(self, film_id: str) -> bool:
        """Return whether somebody has asked for this film, and it was not looked at since."""
        return film_id in self._soon

    def heard(self, film_id: str, clock: float, ago: float, *, listed: bool = False) -> None:
        """Note that another process has looked at this film, or read a list that should show it, so long ago."""
        if listed and film_id in self._hidden:
            return
        self._looked[film_id] = max(clock - ago, self._looked.get(film_id, float("-inf")))
        if ago < FRESH:
            self._soon.discard(film_id)

    def plan(self, films: Sequence[Film], clock: float, *, list_bytes: int = 0, single_bytes: int = 0) -> Question:
        """Return the next question for these films, of which there is at least one.

        Args:
            films: All that are in flight.
            clock: Now.
            list_bytes: How long the last list was; 0 before there was one.
            single_bytes: How long the last answer for one film was.
        """
        self._forget({film.id for film in films})
        self._new |= {film.id for film in films if film.elapsed <= FRESH}
        price = eta.price(len(films))
        list_price, single_price = (price * (1 + size / HEAVY) for size in (list_bytes, single_bytes))
        group = [film for film in films if self._hidden.get(film.id, clock) <= clock]
        singles = [film for film in films if self._hidden.get(film.id, clock) > clock]
        questions: list[Question] = []
        if len(group) > 1 and self._list_pays(group, list_price, single_price, clock):
            questions.append(self._question(group, list_price, clock, listed=True))
        else:
            singles = list(films)
        questions += [self._question([film], single_price, clock, listed=False) for film in singles]
        due = [question for question in questions if question.due <= clock]
        if len(due) > 1 and due[0].listed:
            due = due[1:] if self._listed_last else due[:1]  # neither the list nor what it leaves out may starve
        chosen = min(due or questions, key=lambda question: question.due)
        urgent = any(film_id in self._soon for film_id in chosen.ids)
        return replace(chosen, due=max(chosen.due, self._asked + SHORTEST_GAP), urgent=urgent)

    def asked(self, question: Question, clock: float, shown: Container[str]) -> None:
        """Note that a question was asked, and which of its films the answer showed; a failed one counts as asked."""
        self._asked, self._listed_last = clock, question.listed
        for film_id in question.ids:
            self._soon.discard(film_id)
            if film_id in shown:
                self._hidden.pop(film_id, None)
            elif question.listed:
                self._hidden[film_id] = clock + HIDDEN_FOR
                continue
            self._looked[film_id] = clock

    def _question(self, films: Sequence[Film], price: float, clock: float, *, listed: bool) -> Question:
        ids = tuple(film.id for film in films)
        if any(self._is_due(film) for film in films):
            return Question(ids, listed, clock)
        began, look = self._look(films, price, clock)
        return Question(ids, listed, began + look.gap)

    def _is_due(self, film: Film) -> bool:
        return film.id in self._soon or not (film.id in self._looked or film.id in self._new)

    def _look(self, films: Sequence[Film], price: float, clock: float) -> tuple[float, Look]:
        """Return when the films were last looked at, or the first of them was submitted, and the look after that."""
        began = max(
            (self._looked[film.id] for film in films if film.id in self._looked),
            default=clock - max(film.elapsed for film in films),
        )
        # Films of one kind and age are counted, not computed each.
        kinds = Counter((film.durations, round(film.elapsed - (clock - began))) for film in films)
        return began, eta.next_look(((kind, age, count) for (kind, age), count in kinds.items()), price)

    def _list_pays(self, films: Sequence[Film], list_price: float, single_price: float, clock: float) -> bool:
        """Return whether one list for all costs less, in questions, bytes and waiting, than asking for each."""
        if list_price < WORTH_COMPARING * single_price:
            return True
        singles = sum(self._look([film], single_price, clock)[1].cost for film in films)
        return self._look(films, list_price, clock)[1].cost <= singles

    def _forget(self, known: set[str]) -> None:
        for kept in (self._looked, self._hidden):
            for film_id in [film_id for film_id in kept if film_id not in known]:
                del kept[film_id]
        self._soon &= known
        self._new &= known
