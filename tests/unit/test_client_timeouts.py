"""What a host's cuts teach, and what people's stops do not. Ages and dates are numbers here."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.domain.client_timeouts import HOSTS, KEPT, SAVING, YOUNGEST, Cuts, Host, host
from avm_mcp.jobs import tasks

NOW = 1_795_000_000.0
LIMITS = [5.0, 30.0, 60.0, 300.0]


def cut(cuts: Cuts, *ages: float, at: float = NOW, pause: float = 1.0) -> tuple[Cuts, float]:
    """Cut calls of these ages one after the other; return what is known then, and when that is."""
    for age in ages:
        at += pause + age
        cuts = cuts.after_cut(age, at)
    return cuts, at


@pytest.mark.parametrize("limit", LIMITS)
def test_two_cuts_at_the_same_age_teach_a_limit_and_one_does_not(limit: float) -> None:
    once, at = cut(Cuts(), limit)
    assert once.limit(at) is None
    twice, at = cut(once, limit + 0.2, at=at)
    assert twice.limit(at) == limit


@pytest.mark.parametrize("limit", LIMITS)
def test_a_wait_that_keeps_to_a_limit_ends_before_it_with_the_video_s_saving(limit: float) -> None:
    cuts, at = cut(Cuts(), limit, limit)
    longest = host("any", cuts, at).longest
    assert longest is not None
    assert longest + min(SAVING, longest) < limit * 0.96
    assert longest >= limit * 0.4


def test_what_is_learned_only_tightens_what_is_known() -> None:
    cuts, at = cut(Cuts(), 60.0, 60.0)
    assert host("google-adk", cuts, at) == HOSTS["google-adk"]
    assert host("claude-code", cuts, at) == Host(longest=52, get_task=110)
    assert host("any", Cuts(), at) == Host()


@given(st.lists(st.floats(YOUNGEST, 400), max_size=30))
def test_ages_that_differ_teach_nothing(ages: list[float]) -> None:
    distinct: list[float] = []
    for age in ages:
        if not distinct or abs(age - distinct[-1]) > 1 + 0.02 * max(age, distinct[-1]):
            distinct.append(age)
    cuts, at = cut(Cuts(), *distinct)
    assert cuts.limit(at) is None


def test_who_stops_calls_at_random_hardly_ever_teaches_a_limit() -> None:
    """A false limit costs shorter waits for a month at most; each answer that took longer ends it."""
    rng = random.Random(4)
    taught = 0
    for _ in range(300):
        cuts, at = Cuts(), NOW
        for _ in range(10):
            cuts, at = cut(cuts, rng.uniform(2, 45), at=at)
            cuts = cuts.after_answer(rng.uniform(0, 45))
        taught += cuts.limit(at) is not None
    assert taught < 30


def test_several_calls_that_one_stop_ends_are_one_cut() -> None:
    first = Cuts().after_cut(20.0, NOW)
    assert first.after_cut(20.0, NOW) == first
    assert first.after_cut(20.0, NOW + 0.3) == first
    assert first.after_cut(20.0, NOW + 20.0).limit(NOW) == 20.0


def test_a_stop_in_the_first_seconds_teaches_nothing() -> None:
    assert cut(Cuts(), *[YOUNGEST - 0.1] * 5)[0] == Cuts()


def test_a_call_that_lived_longer_shows_that_there_is_no_limit() -> None:
    once, at = cut(Cuts(), 20.0)
    assert cut(once.after_answer(25.0), 20.0, at=at)[0].limit(at) is None
    twice, at = cut(once, 20.0, at=at)
    assert twice.after_answer(19.0).limit(at) == 20.0
    assert twice.after_answer(25.0).limit(at) is None
    assert cut(twice, 60.0, at=at)[0].limit(at) is None, "nor does one that was cut later"
    assert cut(twice, 60.0, 60.0, at=at)[0].limit(at) == 60.0


def test_a_host_whose_limit_has_become_shorter_teaches_the_shorter_one() -> None:
    cuts, at = cut(Cuts(), 60.0, 60.0, 30.0)
    assert cuts.limit(at) == 60.0
    assert cut(cuts, 30.0, at=at)[0].limit(at) == 30.0


def test_a_limit_is_forgotten_after_a_month_and_so_is_a_single_cut() -> None:
    twice, at = cut(Cuts(), 60.0, 60.0)
    assert twice.limit(at + KEPT - 1) == 60.0
    assert twice.limit(at + KEPT + 1) is None
    once, at = cut(Cuts(), 60.0)
    assert cut(once, 60.0, at=at + KEPT)[0].limit(at + KEPT) is None


@pytest.mark.parametrize("jump", [-1e6, -100.0, 100.0, 1e6])
def test_a_jump_of_the_wall_clock_breaks_nothing(jump: float) -> None:
    once, at = cut(Cuts(), 60.0)
    assert cut(once, 60.0, 60.0, at=at + jump)[0].limit(at + jump) == 60.0


def test_the_video_s_saving_is_as_long_as_it_is_waited_for() -> None:
    assert SAVING == tasks.SAVE_TIMEOUT
