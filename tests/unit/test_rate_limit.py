"""How fast, how often, and whether again: the pure functions under every input that matters."""

import random
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.domain import rate_limit
from avm_mcp.domain.rate_limit import MAX_RETRY_AFTER, Bucket
from avm_mcp.domain.timings import STANDARD

CAPACITY, REFILL = STANDARD.bucket_capacity, STANDARD.bucket_refill
START = 1_800_000_000.0
SMALL = 1e-4  # floats at 1.8e9 seconds are good to a quarter of a microsecond; sums of many drift a little

# Backoff


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_backoff_is_between_half_and_all_of_a_doubling_capped_delay(attempt: int, seed: int) -> None:
    nominal = min(15.0, 0.5 * 2 ** min(attempt - 1, 50))
    assert nominal / 2 <= rate_limit.backoff(attempt, random.Random(seed)) <= nominal


def test_backoff_spreads_a_crowd() -> None:
    rng = random.Random(0)
    drawn = [rate_limit.backoff(4, rng) for _ in range(1000)]
    assert min(drawn) < 2.1
    assert max(drawn) > 3.9
    assert len(set(drawn)) > 990


# Retry-After


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("  ", None), ("soon", None), ("-1", None), ("1.5", None), ("+3", None),
        ("1e3", None), ("٣", None), ("²", None), ("0x10", None), ("5 s", None),
        ("0", 0.0), ("7", 7.0), (" 7 ", 7.0), ("007", 7.0), ("86400", 86400.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2027 08:00:30", 30.0),  # no zone: read as UTC
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),  # the obsolete form of RFC 850
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("Fri, 15 Jan 99999 08:00:30 GMT", None),
    ],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    now = datetime(2027, 1, 15, 8, 0, tzinfo=UTC).timestamp()
    assert rate_limit.retry_after(header, now) == seconds


@given(st.integers(0, 10**60))
def test_retry_after_in_seconds_never_lies_below_what_matters(seconds: int) -> None:
    read = rate_limit.retry_after(str(seconds), START)
    assert read is not None
    assert read == min(seconds, rate_limit.LONGEST_PAUSE) > MAX_RETRY_AFTER or read == seconds


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31)), st.integers(-720, 840))
def test_retry_after_as_a_date(when: datetime, offset_minutes: int) -> None:
    moment = when.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_minutes)))
    wait = max(0.0, moment.timestamp() - START)
    assert rate_limit.retry_after(format_datetime(moment), START) == min(wait, rate_limit.LONGEST_PAUSE)


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Za-z]{3} \d{1,6} \d\d:\d\d:\d\d .{0,5}"))
def test_no_header_breaks_it(text: str) -> None:
    read = rate_limit.retry_after(text, START)
    assert read is None or read >= 0
    rate_limit.http_date(text)


# Whether a paid request may have happened


PROOF_ALONE = {301, 302, 307, 308, 401, 403, 404, 405, 407, 411, 413, 414, 415, 421, 429, 431, 451}


@pytest.mark.parametrize("enveloped", [False, True])
def test_nothing_happened_is_this_table(enveloped: bool) -> None:
    proven = {status for status in range(100, 600) if rate_limit.nothing_happened(status, enveloped)}
    assert proven == (PROOF_ALONE | set(range(400, 500)) if enveloped else PROOF_ALONE)


def test_no_answer_of_the_server_side_and_no_success_proves_anything() -> None:
    for status in (*range(200, 300), 303, 304, *range(500, 600)):
        assert not rate_limit.nothing_happened(status, enveloped=True)
        assert not rate_limit.nothing_happened(status, enveloped=False)
    assert not rate_limit.nothing_happened(408, enveloped=False)  # a gateway may say so after the work was begun
    assert not rate_limit.nothing_happened(400, enveloped=False)


# The bucket

# Real seconds that pass before a request; how far the wall clock jumps back at it; and how old its reading of the
# clock is when it is served, since a process reads the clock first and waits for the lock then.
STEPS = st.lists(
    st.tuples(
        st.floats(0, 30) | st.floats(0, 0.2) | st.floats(0, 3000),
        st.just(0.0) | st.floats(0, 5) | st.floats(0, 1e6),
        st.just(0.0) | st.floats(0, 10),
    ),
    max_size=150,
)


def _grants(steps: list[tuple[float, float, float]], full: float = CAPACITY) -> list[float]:
    """Return at which real times a question was granted."""
    bucket, real, wall, granted = Bucket(full, START), 0.0, START, []
    for passed, back, stale in steps:
        real += passed
        wall += passed - back
        bucket, wait = rate_limit.take_token(bucket, wall - min(stale, real))
        assert wait >= 0
        assert 0 <= bucket.tokens <= CAPACITY
        if wait == 0:
            granted.append(real)
    return granted


@given(STEPS)
def test_no_window_ever_holds_more_than_the_capacity_and_its_refill(steps: list[tuple[float, float, float]]) -> None:
    _assert_bound(_grants(steps), oldest=max((stale for *_, stale in steps), default=0.0))


@given(st.lists(st.tuples(st.floats(0, 30), st.just(0.0) | st.floats(0, 1e6), st.just(0.0)), max_size=150))
def test_with_fresh_readings_the_bound_is_exact(steps: list[tuple[float, float, float]]) -> None:
    _assert_bound(_grants(steps), oldest=0.0)


def _assert_bound(granted: list[float], oldest: float) -> None:
    """No more than 10 + 0.75 a second in any window; seconds that an old reading has not seen yet come on top."""
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            window = granted[last] - start + oldest
            assert last - first + 1 <= CAPACITY + REFILL * window + SMALL


@given(st.lists(st.floats(0, 2), max_size=300), st.floats(0, CAPACITY))
def test_at_most_55_in_any_minute_for_greedy_processes(intervals: list[float], full: float) -> None:
    granted = _grants([(interval, 0.0, 0.0) for interval in intervals], full)
    for start in granted:
        assert sum(start <= at < start + 60 for at in granted) <= 55


def test_greedy_askers_get_all_that_is_allowed_and_no_more() -> None:
    granted = _grants([(0.01, 0.0, 0.0)] * 60_000)
    assert len(granted) == pytest.approx(10 + 600 * 0.75, abs=1)
    assert max(sum(start <= at < start + 60 for at in granted) for start in granted) in (54, 55)


def test_processes_whose_readings_come_out_of_order_gain_nothing() -> None:
    # Twenty processes read the clock up to half a second before they hold the lock, for ten minutes.
    rng = random.Random(3)
    granted = _grants([(0.05, 0.0, 0.5 * rng.random()) for _ in range(12_000)])
    assert 400 < len(granted) <= 10 + 600 * 0.75 + 1


@pytest.mark.parametrize("seed", range(10))
def test_greedy_processes_on_a_machine_whose_clock_jumps_back_keep_to_the_bound(seed: int) -> None:
    rng = random.Random(seed)

    def back() -> float:
        return rng.choice([3, 9, 40, 5000]) * rng.random() if rng.random() < 0.01 else 0.0

    steps = [(rng.choice([0.01, 0.1, 1.0]), back(), 9.9 * rng.random() ** 3) for _ in range(1500)]
    granted = _grants(steps)
    assert len(granted) >= CAPACITY
    _assert_bound(granted, oldest=9.9)


@given(st.floats(0, 10), st.floats(0, 1e6))
def test_who_waits_as_told_is_served(tokens: float, later: float) -> None:
    bucket, wait = rate_limit.take_token(Bucket(tokens, START), START + later)
    if wait:
        assert rate_limit.take_token(bucket, START + later + wait + 1e-6)[1] == 0
        assert wait <= max(0.01, (1 - bucket.tokens) / REFILL)


@given(st.floats(0, MAX_RETRY_AFTER), st.floats(0, MAX_RETRY_AFTER))
def test_closed_until_the_very_end(seconds: float, asked: float) -> None:
    closed = Bucket(CAPACITY, START, START + seconds)
    bucket, wait = rate_limit.take_token(closed, START + asked)
    if START + asked < START + seconds:  # dates are coarser than durations
        assert wait == pytest.approx(seconds - asked, abs=1e-6)
        assert bucket.closed_until == START + seconds
        assert bucket.tokens == CAPACITY
    else:
        assert wait == 0


def test_the_longest_closure_holds_for_a_reader_whose_clock_is_a_moment_older() -> None:
    closed = Bucket(CAPACITY, START, START + MAX_RETRY_AFTER)
    assert rate_limit.take_token(closed, START - 0.01)[1] > 100


def test_a_closure_from_before_the_clock_jumped_back_is_void() -> None:
    closed = Bucket(CAPACITY, START, START + MAX_RETRY_AFTER)
    bucket, wait = rate_limit.take_token(closed, START - 3600)
    assert wait == 0
    assert bucket.closed_until == 0


# The day


@pytest.mark.parametrize(
    ("when", "day"),
    [
        (datetime(2026, 11, 22, 23, 59, 59, 999_000, tzinfo=UTC), "2026-11-22"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23"),
        (datetime(2026, 11, 22, 23, 0, tzinfo=timezone(timedelta(hours=-5))), "2026-11-23"),
    ],
)
def test_a_day_is_utc(when: datetime, day: str) -> None:
    assert rate_limit.day_of(when.timestamp()) == day


def test_the_services_clock_is_not_moved_ahead_by_one_answer_or_by_a_jump_of_ours() -> None:
    """P3: what is over by it is given up."""
    ours = [1_800_000_000.0]
    clock = rate_limit.ServiceClock(lambda: ours[0])

    def hear(ahead: float) -> None:
        clock.hear(format_datetime(datetime.fromtimestamp(ours[0] + ahead, UTC), usegmt=True))

    assert clock.skew is None
    assert clock.at_least() == ours[0]
    hear(2 * 86400)  # the first answer, and it is wrong
    assert clock.skew == 2 * 86400
    assert clock.at_least() == ours[0]
    for _ in range(3):
        hear(60)
    assert clock.at_least() == ours[0] + 60, "ours is a minute behind, say three"
    hear(2 * 86400)
    assert clock.at_least() == ours[0] + 60
    ours[0] += 2 * 86400
    hear(60 - 2 * 86400)  # the first answer after a jump of ours
    assert clock.at_least() == ours[0] + 60 - 2 * 86400
    for header in (None, "", "yesterday"):
        clock.hear(header)
    assert clock.heard == 6
