"""The query limit as processes share it: several on one state, in any interleaving (P6)."""

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from avm_mcp.domain.rate_limit import BACKGROUND_TIMEOUT, PLACE_LIFETIME, RESERVED_FOR_CALLS, PendingQuery
from avm_mcp.domain.timings import STANDARD
from avm_mcp.store import open_store
from tests.clock import VirtualWall

CAPACITY, REFILL = STANDARD.bucket_capacity, STANDARD.bucket_refill
EGRESS = "here"
PER_MINUTE = 55
EXAMPLES = 100 if os.environ.get("AVM_FULL") == "1" else 12
"""Interleavings of each property; a thorough run takes some minutes."""

# What each process does: it pauses, asks for so many questions in a row, and pauses again.
HABITS = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 40)), min_size=1, max_size=5)
KINDS = st.tuples(st.sampled_from(["a1", "a2", "a3"]), st.booleans())


@dataclass
class Granted:
    """A question that was allowed: when, for whom, and how long it had waited. Seconds of virtual time."""

    at: float
    account: str
    urgent: bool
    waited: float


def granted(processes, *, kinds=None, closes=()):
    """Return every question that was allowed; `kinds` holds the account of each process, and whether it is urgent."""
    allowed: list[Granted] = []

    async def main(folder: Path) -> None:
        wall = VirtualWall()
        stores = [await open_store(folder, now=wall()) for _ in processes]

        async def ask(store, habits, account, urgent):
            for pause, questions in habits:
                await anyio.sleep(pause)
                for number in range(questions):
                    began = anyio.current_time()
                    name = f"{id(store)} {number}"
                    while True:
                        waited = anyio.current_time() - began
                        query = PendingQuery(account, urgent=urgent, waited=waited, name=name)
                        if not (wait := await store.take_token(EGRESS, wall(), query)):
                            break
                        await anyio.sleep(wait)
                    allowed.append(Granted(anyio.current_time(), account, urgent, waited))

        async def close(at, seconds):
            await anyio.sleep(at)
            await stores[0].close_bucket(EGRESS, wall() + seconds)

        async with anyio.create_task_group() as group:
            of_kind = kinds or [("a1", True)] * len(processes)
            for store, habits, (account, urgent) in zip(stores, processes, of_kind, strict=True):
                group.start_soon(ask, store, habits, account, urgent)
            for at, seconds in closes:
                group.start_soon(close, at, seconds)
        for store in stores:
            store.close()

    with tempfile.TemporaryDirectory() as folder:
        clock = trio.testing.MockClock(autojump_threshold=0)
        anyio.run(main, Path(folder), backend="trio", backend_options={"clock": clock})
    return sorted(allowed, key=lambda one: one.at)


def times_of(allowed):
    return [one.at for one in allowed]


def assert_within_limits(times):
    times = sorted(times)
    for first, start in enumerate(times):
        assert sum(start <= at < start + 60 for at in times[first:]) <= PER_MINUTE
        for last in range(first, len(times), 7):
            assert last - first + 1 <= CAPACITY + REFILL * (times[last] - start) + 1e-3


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.lists(st.tuples(HABITS, KINDS), min_size=1, max_size=6))
def test_no_window_ever_passes_more_than_the_limit_whoever_asks(asking):
    """P6, whatever goes first and whose turn it is."""
    processes = [habits for habits, _ in asking]
    times = times_of(granted(processes, kinds=[kind for _, kind in asking]))
    assert len(times) == sum(questions for habits in processes for _, questions in habits), "and everybody is served"
    assert_within_limits(times)


@settings(deadline=None, max_examples=EXAMPLES // 2)
@given(
    st.lists(HABITS, min_size=2, max_size=4),
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 60)), min_size=1, max_size=3),
)
def test_what_a_429_closes_is_closed_for_every_process(processes, closes):
    times = times_of(granted(processes, closes=closes))
    assert_within_limits(times)
    for at, seconds in closes:
        assert not any(at + 0.1 < time < at + seconds - 0.1 for time in times)


def test_twenty_greedy_processes_share_what_one_would_have():
    times = times_of(granted([[(0.0, 10)]] * 20))
    assert len(times) == 200
    assert_within_limits(times)
    assert max(times) - min(times) < (200 - CAPACITY) / REFILL + 5, "nothing is wasted either"


# What a user asks for goes first


def test_what_a_user_asks_for_is_asked_at_once_however_many_looks_are_waiting():
    """DESIGN 6: background looks leave a few questions for those who call."""
    polls = [[(0.0, 60)]] * 10
    kinds = [("a1", False)] * len(polls)
    calls = [[(100.0, int(RESERVED_FOR_CALLS)), (60.0, 1)]]
    allowed = granted([*polls, *calls], kinds=[*kinds, ("a1", True)])
    urgent = [one.waited for one in allowed if one.urgent]
    assert len(urgent) == RESERVED_FOR_CALLS + 1
    assert max(urgent) < 0.1
    assert_within_limits(times_of(allowed))


def test_what_a_user_asks_for_waits_for_other_calls_only():
    """More calls than the reserve: they have every question that comes free, until they are served."""
    allowed = granted([[(0.0, 200)]] * 5 + [[(100.0, 1)]] * 10, kinds=[("a1", False)] * 5 + [("a1", True)] * 10)
    urgent = [one for one in allowed if one.urgent]
    assert max(one.waited for one in urgent) < (10 - RESERVED_FOR_CALLS) / REFILL + 0.5
    between = [one for one in allowed if urgent[0].at < one.at < urgent[-1].at and not one.urgent]
    assert len(between) <= 1 + (urgent[-1].at - urgent[0].at) / BACKGROUND_TIMEOUT


@settings(deadline=None, max_examples=EXAMPLES // 2)
@given(st.integers(1, 8), st.integers(1, 4))
def test_a_look_in_the_background_is_served_in_the_end(storm, polls):
    """Calls that never stop asking hold a look up, but for a bounded time."""
    kinds = [("a1", True)] * storm + [("a2", False)] * polls
    allowed = granted([[(0.0, 400 // storm)]] * storm + [[(20.0, 3)]] * polls, kinds=kinds)
    waited = [one.waited for one in allowed if not one.urgent]
    assert len(waited) == 3 * polls
    assert max(waited) < polls * (BACKGROUND_TIMEOUT + 3)


# Accounts take turns


@pytest.mark.parametrize("urgent", [True, False])
def test_accounts_take_turns_however_many_processes_each_has(urgent):
    allowed = granted([[(0.0, 20)]] * 10 + [[(0.0, 60)]], kinds=[("a1", urgent)] * 10 + [("a2", urgent)])
    both = [one.account for one in allowed if one.at < 100][int(CAPACITY) :]
    counts = Counter(both)
    assert len(both) > 60
    assert abs(counts["a1"] - counts["a2"]) <= 0.1 * len(both)


def test_who_asks_for_little_is_not_held_up_by_who_asks_for_much():
    allowed = granted(
        [[(0.0, 60)]] * 6 + [[(30.0, 1)] * 5], kinds=[("a1", False)] * 3 + [("a2", False)] * 3 + [("a3", False)]
    )
    waited = [one.waited for one in allowed if one.account == "a3"]
    assert len(waited) == 5
    assert max(waited) < 3 / REFILL


# What breaks


async def spent(store, now):
    while not await store.take_token(EGRESS, now, PendingQuery("a1", name="spends")):
        pass


async def test_who_dies_while_it_waits_holds_nobody_up_for_long(tmp_path):
    """Crash-safe: a query that is not renewed runs out."""
    store = await open_store(tmp_path, now=0.0)
    now = 1000.0
    await spent(store, now)
    for number in range(20):
        assert await store.take_token(EGRESS, now, PendingQuery("a2", name=f"dead {number}"))
    assert await store.take_token(EGRESS, now + 2, PendingQuery("a1", waited=2.0, name="alive")) > 0
    assert await store.take_token(EGRESS, now + PLACE_LIFETIME + 0.1, PendingQuery("a1", waited=3.1, name="alive")) == 0
    store.close()


async def test_calls_that_give_up_take_no_question_from_those_that_come_after(tmp_path):
    """P4: hosts cut calls and repeat them; the places of those that are gone must not hold up all that live."""
    wall = VirtualWall()
    store = await open_store(tmp_path, now=wall())
    served = []

    async def call(number):
        began = anyio.current_time()
        with anyio.move_on_after(2):
            while wait := await store.take_token(
                EGRESS, wall(), PendingQuery("a1", waited=anyio.current_time() - began, name=str(number))
            ):
                await anyio.sleep(wait)
            served.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for number in range(600):
            group.start_soon(call, number)
            await anyio.sleep(0.2)
    assert_within_limits(served)
    assert len(served) > 0.9 * 120 * REFILL
    store.close()
