"""The allowance as processes share it: several holders of one journal, in any interleaving (P6, Must-show 4)."""

import tempfile
from pathlib import Path

import anyio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from avm_mcp.journal import open_journal
from avm_mcp.pacing import BUCKET_CAPACITY, BUCKET_REFILL
from tests.clock import VirtualWall

EGRESS = "here"
PER_MINUTE = 55

# What each process does: it pauses, asks for so many questions in a row, and pauses again.
HABITS = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 40)), min_size=1, max_size=5)


def granted(processes, *, closes=()):
    """Return when each question of each process was allowed, in seconds of virtual time."""
    times: list[float] = []

    async def main(folder: Path) -> None:
        wall = VirtualWall()
        journals = [await open_journal(folder, now=wall()) for _ in processes]

        async def ask(journal, habits):
            for pause, questions in habits:
                await anyio.sleep(pause)
                for _ in range(questions):
                    while (wait := await journal.take_token(EGRESS, wall())) > 0:
                        await anyio.sleep(wait)
                    times.append(anyio.current_time())

        async def close(at, seconds):
            await anyio.sleep(at)
            await journals[0].close_bucket(EGRESS, wall() + seconds)

        async with anyio.create_task_group() as group:
            for journal, habits in zip(journals, processes, strict=True):
                group.start_soon(ask, journal, habits)
            for at, seconds in closes:
                group.start_soon(close, at, seconds)
        for journal in journals:
            journal.close()

    with tempfile.TemporaryDirectory() as folder:
        clock = trio.testing.MockClock(autojump_threshold=0)
        anyio.run(main, Path(folder), backend="trio", backend_options={"clock": clock})
    return times


def assert_within_limits(times):
    times = sorted(times)
    for first, start in enumerate(times):
        assert sum(start <= at < start + 60 for at in times[first:]) <= PER_MINUTE
        for last in range(first, len(times), 7):
            assert last - first + 1 <= BUCKET_CAPACITY + BUCKET_REFILL * (times[last] - start) + 1e-3


@settings(deadline=None, max_examples=25)
@given(st.lists(HABITS, min_size=1, max_size=6))
def test_no_window_ever_passes_more_than_the_limit_whoever_asks(processes):
    times = granted(processes)
    assert len(times) == sum(questions for habits in processes for _, questions in habits), "and everybody is served"
    assert_within_limits(times)


@settings(deadline=None, max_examples=10)
@given(
    st.lists(HABITS, min_size=2, max_size=4),
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 60)), min_size=1, max_size=3),
)
def test_what_a_429_closes_is_closed_for_every_process(processes, closes):
    times = granted(processes, closes=closes)
    assert_within_limits(times)
    for at, seconds in closes:
        assert not any(at + 0.1 < time < at + seconds - 0.1 for time in times)


def test_twenty_greedy_processes_share_what_one_would_have():
    times = granted([[(0.0, 10)]] * 20)
    assert len(times) == 200
    assert_within_limits(times)
    assert max(times) - min(times) < (200 - BUCKET_CAPACITY) / BUCKET_REFILL + 5, "nothing is wasted either"
