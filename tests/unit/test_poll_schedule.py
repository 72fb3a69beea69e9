"""The poll schedule: which queries are sent, when, and how few. Time is a number here; no loop, no network."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avm_mcp.domain.timings import STANDARD
from avm_mcp.jobs.eta import estimate_durations
from avm_mcp.jobs.poll_schedule import BYTES_PER_QUERY, HIDDEN_FOR, InFlight, PollSchedule, Query

SHORTEST, LONGEST = STANDARD.shortest_poll_interval, STANDARD.longest_poll_interval
BELIEF = estimate_durations("t2v", [random.Random(1).lognormvariate(5.97, 0.25) for _ in range(50)])
SPAN = 4000.0


class World:
    """Videos that start and end at times of their own, a list that may show only some, and a loop that polls."""

    def __init__(self, videos, *, shows=None, row=700, fails=(), past=0):
        self.schedule = PollSchedule()
        self.videos = dict(videos)  # id: (start, seconds)
        self.shows = shows  # how many of the newest the list shows
        self.row = row
        self.past = past  # rows of the list that are of other days
        self.fails = frozenset(fails)  # numbers of queries that are not answered
        self.sent: list[tuple[float, Query]] = []
        self.answered: dict[str, list[float]] = {video: [] for video in self.videos}
        self.seen: dict[str, float] = {}
        self.sizes = {"list_bytes": 0, "single_bytes": 0}

    def run(self, until=SPAN, nap=5.0):
        clock = 0.0
        while clock < until and len(self.seen) < len(self.videos):
            flying = [f for f, (start, _) in self.videos.items() if start <= clock and f not in self.seen]
            query = None
            if flying:
                videos = [InFlight(video, BELIEF, clock - self.videos[video][0]) for video in flying]
                query = self.schedule.plan(videos, clock, **self.sizes)
                assert set(query.ids) <= set(flying)
            if query is not None and query.due <= clock:
                self.ask(query, clock)
                continue
            starts = [start for start, _ in self.videos.values() if start > clock]
            clock = min([clock + nap, *starts, *([query.due] if query else [])])
        return self

    def ask(self, query, clock):
        number = len(self.sent)
        self.sent.append((clock, query))
        shown = query.ids
        if number not in self.fails:
            if query.is_list:
                started = sorted((start, video) for video, (start, _) in self.videos.items() if start <= clock)
                listed = {video for _, video in started[-self.shows if self.shows else 0 :]}
                shown = [video for video in query.ids if video in listed]
                self.sizes["list_bytes"] = self.row * (len(started) + self.past)
            else:
                self.sizes["single_bytes"] = 30
            for video in shown:
                self.answered[video].append(clock)
                if clock >= sum(self.videos[video]):
                    self.seen[video] = clock
        self.schedule.record_query(query, clock, shown)

    @property
    def late(self):
        return {video: self.seen[video] - sum(self.videos[video]) for video in self.videos}

    @property
    def kinds(self):
        return Counter("list" if query.is_list else "single" for _, query in self.sent)


def some(count, over=300.0, seed=3):
    rng = random.Random(seed)
    return {f"video{n}": (over * n / count, rng.lognormvariate(5.97, 0.25)) for n in range(count)}


VIDEOS = st.lists(st.tuples(st.floats(0, 600), st.floats(0.1, 2000)), min_size=1, max_size=12).map(
    lambda drawn: {f"video{n}": video for n, video in enumerate(drawn)}
)


@settings(deadline=None, max_examples=50)
@given(VIDEOS, st.none() | st.integers(1, 5), st.sets(st.integers(0, 40), max_size=8), st.sampled_from([0, 5000]))
def test_intervals_are_bounded_and_everything_is_seen_in_the_end(videos, shows, fails, past):
    """Must-show 4: never two queries within 2 s; every video that can be polled is polled, and its end is seen."""
    world = World(videos, shows=shows, fails=fails, past=past).run(8000)
    assert set(world.seen) == set(videos)
    for (a, _), (b, _) in pairwise(world.sent):
        assert b - a >= SHORTEST - 1e-9
    # A turn for each other video, and the failures, may come between.
    timeout = LONGEST + SHORTEST * 2 * len(videos) + LONGEST * len(fails)
    assert all(late <= timeout for late in world.late.values())
    if not fails and shows is None and not past:
        assert all(late <= LONGEST + 1e-6 for late in world.late.values())


def test_one_video_is_polled_by_itself():
    assert World(some(1)).run().kinds.keys() == {"single"}


@pytest.mark.parametrize("count", [2, 10, 100])
def test_several_videos_are_polled_with_one_list(count):
    world = World(some(count)).run()
    last = max(start + seconds for start, seconds in world.videos.values())
    first = sorted(start for start, _ in world.videos.values())[1]
    for clock, query in world.sent:
        flying = [video for video, (start, s) in world.videos.items() if start <= clock <= start + s]
        assert query.is_list or len(query.ids) == 1
        if len(flying) > 1 and first < clock < last:
            assert query.is_list


def test_more_videos_need_hardly_more_queries():
    """DESIGN 6: with the list, the cost of polling does not grow with the number of tasks."""
    one, ten, hundred = (len(World(some(count)).run().sent) for count in (1, 10, 100))
    assert ten <= 80
    assert ten < 8 * one
    assert hundred < 4 * ten


def test_a_list_that_has_grown_long_is_queried_less_and_then_not_at_all():
    """The measured size of the answers decides."""
    small, long, huge = (World(some(10), past=past).run() for past in (0, 300, 20_000))
    assert small.kinds["list"] > long.kinds["list"] > huge.kinds["list"]
    assert huge.kinds["list"] <= 2
    assert huge.kinds["single"] > 60
    many = World(some(60), past=2 * BYTES_PER_QUERY // 700).run()
    assert many.kinds["list"] > many.kinds["single"], "a list of 200 kB still pays for sixty videos"


def test_what_the_list_leaves_out_is_checked_but_not_all_at_once():
    """A video that a list does not show is polled by itself; a hundred of them take turns."""
    world = World(some(100, over=10), shows=20).run(9000)
    assert set(world.seen) == set(world.videos)
    assert world.kinds["list"] > 20, "the list does not starve"
    assert world.kinds["single"] > 80
    times = [clock for clock, _ in world.sent]
    assert max(sum(start <= at < start + 60 for at in times) for start in times) <= 60 / SHORTEST
    hidden = [video for video in world.videos if len(world.answered[video]) <= 1]
    assert len(hidden) < 100


def test_a_video_that_a_late_list_did_not_have_yet_comes_back_to_it():
    world = World(some(5, over=1))
    world.run(35)
    query = next(query for _, query in world.sent if query.is_list)
    schedule = PollSchedule()
    schedule.record_query(query, 100.0, ())
    videos = [InFlight(video, BELIEF, 60.0) for video in query.ids]
    assert not schedule.plan(videos, 101.0).is_list
    assert schedule.plan(videos, 101.0 + HIDDEN_FOR).is_list


def test_a_video_found_after_a_restart_is_polled_at_once_and_a_new_one_is_not():
    schedule = PollSchedule()
    assert schedule.plan([InFlight("old", BELIEF, 200.0)], 50.0).due == 50.0
    assert schedule.plan([InFlight("new", BELIEF, 0.0)], 50.0).due > 60.0
    assert schedule.plan([InFlight("new", BELIEF, 10.0)], 60.0).due > 60.0, "and it stays a new one"


def test_a_requested_poll_is_due_at_once_but_not_twice():
    schedule = PollSchedule()
    schedule.plan([InFlight("a", BELIEF, 0.0)], 0.0)
    schedule.request_poll("a", 20.0)
    query = schedule.plan([InFlight("a", BELIEF, 20.0)], 20.0)
    assert query.due == 20.0
    schedule.record_query(query, 20.0, query.ids)
    schedule.request_poll("a", 20.0 + STANDARD.poll_freshness - 0.1)
    assert schedule.plan([InFlight("a", BELIEF, 25.0)], 25.0).due > 25.0
    schedule.request_poll("a", 20.0 + STANDARD.poll_freshness)
    assert schedule.plan([InFlight("a", BELIEF, 25.0)], 25.0).due == 25.0


def test_a_query_that_failed_is_not_repeated_at_once():
    schedule = PollSchedule()
    query = schedule.plan([InFlight("a", BELIEF, 400.0)], 10.0)
    schedule.record_query(query, 10.0, query.ids)
    assert schedule.plan([InFlight("a", BELIEF, 400.0)], 10.0).due >= 10.0 + SHORTEST


@pytest.mark.parametrize("jump", [-1e6, -300.0, 300.0, 1e6])
def test_a_jump_of_the_wall_clock_only_moves_the_next_poll(jump):
    """Ages are by the wall clock, times by the loop's: a jump changes one interval, within the bounds."""
    schedule = PollSchedule()
    query = schedule.plan([InFlight("a", BELIEF, 300.0)], 10.0)
    schedule.record_query(query, 10.0, query.ids)
    due = schedule.plan([InFlight("a", BELIEF, max(0.0, 300.0 + jump))], 10.0).due
    assert 10.0 + SHORTEST <= due <= 10.0 + LONGEST


# With the stack


@pytest.mark.parametrize("stack", [{"options": {"list_cap": 5}}], indirect=True)
async def test_videos_beyond_the_end_of_a_short_list_are_made_all_the_same(stack):
    """DESIGN 6: how many tasks the API lists is not documented."""
    import anyio

    from avm_mcp.domain.request import VideoRequest

    late = []
    await stack.with_history()
    async with stack.runtime() as runtime, anyio.create_task_group() as group:

        async def make(number):
            found = await runtime.service.submit(VideoRequest("t2v", 5, (f"kite {number}",), "16:9"))
            found = await runtime.service.wait(found, 3000)
            assert found.job.status == "COMPLETED"
            late.append(stack.wall() - stack.sandbox.ledger.tasks[found.job.task_id].ends_at)

        for number in range(20):
            group.start_soon(make, number)
    assert len(late) == 20
    assert max(late) < 90
    assert stack.sandbox.busiest_minute() <= 45
    assert stack.sandbox.counts["429"] == 0
