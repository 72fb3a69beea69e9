"""The state in real files: what is written once stays true, whoever else writes, and whatever the disk does."""

import itertools
import os
import random
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import BudgetExceeded, ContentRejected, StateUnavailable
from avm_mcp.domain.job import (
    CANCEL,
    COMPLETED,
    FAILED,
    FINAL,
    NOT_CREATED,
    PROGRESS,
    SUBMITTED,
    SUBMITTING,
    UNKNOWN,
    Job,
    rank,
)
from avm_mcp.domain.timings import STANDARD
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.next_steps import write_next_step
from avm_mcp.provider.wire import Accepted, TaskSnapshot
from avm_mcp.store import FILE_NAME, Limits, Store, migrations, open_store
from avm_mcp.store.jobs import FAILURE_WINDOW, FILE_LIFE, MAX_FAILURES
from avm_mcp.store.sqlite import TIMEOUT, SqliteDriver
from tests.clock import VirtualMachine, VirtualWall

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
FREE = Limits(per_day=None, dedupe_seconds=3600)
NUMBERS = itertools.count(1)


def draft(identity: str = "i1", *, at: float = NOW, credits_: int | None = 15, **more: Any) -> Job:
    number = next(NUMBERS)
    given: dict[str, Any] = {
        "id": f"sub_{number}", "account": "a1", "caller": "local", "identity": identity,
        "idempotency_key": f"idem-{number:06d}", "model": "t2v", "seconds": 5, "prompt": "a cat", "status": SUBMITTING,
        "created_at": at, "started": at, "credits_quoted": credits_, "credits_basis": "quote", "answer_by": at + 100,
    }  # fmt: skip
    return Job(**{**given, **more})


async def reserve(store: Store, job: Job, limits: Limits = FREE, body: bytes = b'{"prompt":"a cat"}') -> Any:
    return await store.reserve(job, body=body, input_json='{"prompt":"a cat"}', limits=limits)


def answer(task_id: str, **more: Any) -> Accepted:
    read = Accepted.read({"taskId": task_id, "status": SUBMITTED, **more})
    assert read is not None
    return read


def seen(task_id: str, status: str, **more: Any) -> TaskSnapshot:
    read = TaskSnapshot.read({"id": task_id, "status": status, "model": "t2v", **more})
    assert read is not None
    return read


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    opened = await open_store(tmp_path, now=NOW)
    yield opened
    opened.close()


@pytest.fixture
async def second(tmp_path: Path, store: Store) -> Any:
    """The same file, as another process has it open."""
    opened = await open_store(tmp_path, now=NOW)
    yield opened
    opened.close()


# The life of a row


async def test_a_row_from_intent_to_video(store: Store, second: Store) -> None:
    job = draft()
    made = await reserve(store, job)
    assert (made.duplicate, made.job) == (False, job)
    assert await second.find("a1", job.id) == job
    assert await store.spent_today("a1", NOW) == 15
    accepted = await store.record_accepted(job.id, answer("ck1", creditsCharged=14))
    assert (accepted.task_id, accepted.status, accepted.credits_charged) == ("ck1", SUBMITTED, 14)
    assert await second.find("a1", "ck1") == accepted
    assert [j.id for j in await second.in_flight("a1")] == [job.id]
    done = await store.record_snapshot(
        "a1",
        seen("ck1", COMPLETED, output={"url": "https://x/1.mp4"}, createdAt=iso(NOW), completedAt=iso(NOW + 300)),
        NOW + 310,
    )
    assert done is not None
    assert (done.status, done.video_url, done.download) == (COMPLETED, "https://x/1.mp4", "wanted")
    assert (done.completed_at, done.expires_at) == (NOW + 300, NOW + 300 + FILE_LIFE)
    assert await second.durations("a1", "t2v", 5, 10) == [300.0]
    assert [j.id for j in await second.wanted_downloads("a1")] == [job.id]
    saved = await second.record_download(done, "saved", path="/videos/1.mp4", size=123, error=None)
    assert (saved.download, saved.file_path, saved.file_size) == ("saved", "/videos/1.mp4", 123)
    assert await store.wanted_downloads("a1") == []
    assert await store.in_flight("a1") == []
    assert (await store.record_download(done, "lost", path=None, size=None, error="late")).download == "saved"
    assert [j.id for j in await store.newest("a1", 5)] == [job.id]
    assert await store.newest("a2", 5) == []


async def test_a_final_state_is_settled_once(store: Store, second: Store) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1"))
    first = await store.record_snapshot("a1", seen("ck1", COMPLETED, completedAt=iso(NOW + 5)), NOW + 9)
    for status in (FAILED, CANCEL, PROGRESS, SUBMITTED, COMPLETED, "NEW_WORD"):
        later = await second.record_snapshot("a1", seen("ck1", status, completedAt=iso(NOW + 50)), NOW + 60)
        assert later == first
    # what may still be learned: a refund, and a link that was missing
    refunded = await second.record_snapshot(
        "a1", seen("ck1", COMPLETED, creditsCharged=15, creditsRefunded=15), NOW + 70
    )
    assert refunded is not None
    assert (refunded.credits_charged, refunded.credits_refunded, refunded.charged) == (15, 15, "no")
    linked = await second.record_snapshot("a1", seen("ck1", COMPLETED, output="https://x/1.mp4"), NOW + 80)
    assert linked is not None
    assert linked.video_url == "https://x/1.mp4"
    assert (linked.completed_at, linked.status) == (NOW + 5, COMPLETED)


@pytest.mark.parametrize("final", [COMPLETED, FAILED, CANCEL])
async def test_an_older_look_that_arrives_late_changes_nothing(store: Store, final: str) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1"))
    for status in (PROGRESS, SUBMITTED, final, PROGRESS, SUBMITTED):
        await store.record_snapshot("a1", seen("ck1", status), NOW + 1)
    found = await store.find("a1", "ck1")
    assert found is not None
    assert found.status == final


async def test_a_row_that_never_came_to_be_is_not_called_unknown_again(store: Store, second: Store) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_unknown(job.id, "the answer was lost", NOW + 1)
    await store.record_refused(job.id, "NOT_CREATED", "three lists", NOW + 700)
    late = await second.record_unknown(job.id, "the process ended", NOW + 701)
    assert (late.status, late.error_text) == (NOT_CREATED, "three lists")
    assert await second.unanswered("a1", NOW + 900) == []


async def test_a_late_answer_is_still_learned(store: Store) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_refused(job.id, "NOT_CREATED", "x", NOW + 700)
    assert await store.spent_today("a1", NOW) == 0
    found = await store.record_accepted(job.id, answer("ck1"))
    assert (found.status, found.task_id, found.error_code) == (SUBMITTED, "ck1", None)
    assert await store.spent_today("a1", NOW) == 15


async def test_one_task_belongs_to_one_row(store: Store, second: Store) -> None:
    one, two = draft("i1"), draft("i2")
    for job in (one, two):
        await reserve(store, job)
    await store.record_accepted(one.id, answer("ck1"))
    other = await second.record_accepted(two.id, answer("ck1"))
    assert (other.task_id, other.status) == (None, SUBMITTING)
    again = await second.record_accepted(one.id, answer("ck2"))
    assert again.task_id == "ck1"
    assert await second.find_claimed("a1", ["ck1", "ck2"]) == {"ck1"}
    elsewhere = draft("i1", account="a2")
    await reserve(store, elsewhere)
    assert (await store.record_accepted(elsewhere.id, answer("ck1"))).task_id == "ck1"  # another account's namespace


async def test_a_video_belongs_to_its_task_whichever_row_stands_for_it(store: Store, second: Store) -> None:
    """P3: the row of a task seen here gives way to the request that made it, perhaps while its video is being saved."""
    lost = draft()
    await reserve(store, lost)
    await store.record_unknown(lost.id, "lost", NOW)
    discovered_job = await second.add_discovered(
        draft("x", idempotency_key="x", task_id="ck1", status=SUBMITTED, mine=False), NOW
    )
    await store.record_accepted(lost.id, answer("ck1"))
    saved = await second.record_download(discovered_job, "saved", path="/videos/1.mp4", size=1, error=None)
    assert (saved.id, saved.download) == (lost.id, "saved")


async def test_adopting_a_task_made_elsewhere(store: Store, second: Store) -> None:
    job = draft("adopted", task_id="ck9", status=PROGRESS, mine=False, credits_quoted=None)
    assert await store.add_discovered(job, NOW) == job
    other = draft("adopted", task_id="ck9", status=SUBMITTED, mine=False)
    assert (await second.add_discovered(other, NOW)).id == job.id
    assert await store.spent_today("a1", NOW) == 0
    assert not (await reserve(store, draft("adopted"))).duplicate
    done = await store.record_snapshot("a1", seen("ck9", COMPLETED), NOW + 1)
    assert done is not None
    assert done.download == "off"


# The duplicate guard


async def test_one_live_row_for_each_request(store: Store, second: Store) -> None:
    first = await reserve(store, draft())
    again = await reserve(second, draft())
    assert (again.duplicate, again.job) == (True, first.job)
    for other in (draft("i2"), draft(account="a2"), draft(caller="bob")):
        assert not (await reserve(second, other)).duplicate


@pytest.mark.parametrize(("ending", "live"), [(COMPLETED, True), (FAILED, False), (CANCEL, False)])
async def test_how_long_a_row_guards(store: Store, ending: str, live: bool) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1"))
    await store.record_snapshot("a1", seen("ck1", ending), NOW + 100)
    soon = await reserve(store, draft(at=NOW + 3600))
    assert soon.duplicate is live
    assert (await store.live("a1", "local", "i1", NOW) is not None) or not live
    if live:
        assert not (await reserve(store, draft(at=NOW + 3701))).duplicate


async def test_a_refused_request_guards_nothing_and_a_lost_one_for_ever(store: Store) -> None:
    refused, lost = draft("i1"), draft("i2")
    await reserve(store, refused)
    await store.record_refused(refused.id, "INSUFFICIENT_CREDITS", "x", NOW)
    assert not (await reserve(store, draft("i1"))).duplicate
    await reserve(store, lost)
    await store.record_unknown(lost.id, "x", NOW)
    assert (await reserve(store, draft("i2", at=NOW + 1e7))).duplicate


async def test_what_fails_again_and_again_is_not_started_again(store: Store) -> None:
    for number in range(MAX_FAILURES):
        job = draft(at=NOW + number)
        assert not (await reserve(store, job)).duplicate
        await store.record_accepted(job.id, answer(f"ck{number}"))
        await store.record_snapshot("a1", seen(f"ck{number}", FAILED), NOW + number)
    with pytest.raises(ContentRejected):
        await reserve(store, draft(at=NOW + 10))
    assert not (await reserve(store, draft("other", at=NOW + 10))).duplicate
    assert not (await reserve(store, draft(at=NOW + FAILURE_WINDOW + 10))).duplicate


# Caps


async def test_the_days_cap_is_kept_to_the_credit(store: Store, second: Store) -> None:
    cap = Limits(per_day=40, dedupe_seconds=3600)
    await reserve(store, draft("i1"), cap)
    await reserve(second, draft("i2"), cap)
    with pytest.raises(BudgetExceeded) as caught:
        await reserve(store, draft("i3"), cap)
    assert "30 are spent today" in caught.value.message
    assert (await reserve(store, draft("i4", credits_=10), cap)).duplicate is False
    assert await store.spent_today("a1", NOW) == 40
    with pytest.raises(BudgetExceeded):
        await reserve(store, draft("i5", credits_=1), cap)
    assert (await reserve(store, draft("i1"), cap)).duplicate  # what exists costs nothing more
    assert not (await reserve(store, draft("i5", credits_=0), cap)).duplicate
    assert not (await reserve(store, draft("i6", account="a2"), cap)).duplicate
    assert not (await reserve(store, draft("i7", at=NOW + 86_400), cap)).duplicate


async def test_a_price_that_is_not_known_passes_no_cap(store: Store) -> None:
    with pytest.raises(BudgetExceeded):
        await reserve(store, draft(credits_=None), Limits(per_day=1000, dedupe_seconds=0))
    assert await store.newest("a1", 5) == []


async def test_what_counts_as_spent(store: Store) -> None:
    async def spend(identity: str, **more: Any) -> Job:
        job = draft(identity, **more)
        await reserve(store, job)
        return job

    refused, lost, charged, refunded, seed_failed = [await spend(f"i{n}") for n in range(5)]
    await store.record_refused(refused.id, "X", "x", NOW)
    await store.record_unknown(lost.id, "x", NOW)
    await store.record_accepted(charged.id, answer("ck1", creditsCharged=12))
    await store.record_accepted(refunded.id, answer("ck2", creditsCharged=15))
    await store.record_snapshot("a1", seen("ck2", CANCEL, creditsCharged=15, creditsRefunded=15), NOW)
    await store.record_accepted(seed_failed.id, answer("ck3"))
    await store.record_snapshot("a1", seen("ck3", FAILED), NOW)  # the seed API refunds without a word
    assert await store.spent_today("a1", NOW) == 15 + 12


@pytest.mark.parametrize("stores", [2, 8])
async def test_many_processes_at_once_make_one_row_and_keep_the_cap(tmp_path: Path, stores: int) -> None:
    opened = [await open_store(tmp_path, now=NOW) for _ in range(stores)]
    made: list[Any] = []
    refused: list[str] = []

    async def one(store: Store, identity: str) -> None:
        try:
            made.append(await reserve(store, draft(identity), Limits(per_day=75, dedupe_seconds=3600)))
        except BudgetExceeded:
            refused.append(identity)

    async with anyio.create_task_group() as group:
        for store, number in itertools.product(opened, range(10)):
            group.start_soon(one, store, f"i{number}")
    rows = await opened[0].newest("a1", 1000)
    assert len(rows) == 5  # 75 / 15
    assert len({row.identity for row in rows}) == 5
    assert sum(not r.duplicate for r in made) == 5
    assert len(made) + len(refused) == stores * 10
    assert await opened[-1].spent_today("a1", NOW) == 75
    for store in opened:
        store.close()


# Anything, in any order, by two processes


Run = Callable[..., Any]


def run(work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(work, *args, backend="trio", backend_options={"clock": clock})


STATUSES = st.sampled_from([SUBMITTED, PROGRESS, COMPLETED, FAILED, CANCEL, "NEW_WORD"])
TASKS = st.sampled_from(["ck1", "ck2", "ck3"])
CAP = 60


class StoreMachine(RuleBasedStateMachine):
    """Two processes write whatever they like; the promises are checked on the raw table after each step."""

    jobs = Bundle("jobs")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="avm-state-"))
        self.stores = [run(self._open) for _ in range(2)]
        self.raw = sqlite3.connect(self.folder / FILE_NAME)
        self.raw.row_factory = sqlite3.Row
        self.now = NOW
        self.before: dict[str, sqlite3.Row] = {}

    async def _open(self) -> Store:
        return await open_store(self.folder, now=NOW)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.raw.close()
        shutil.rmtree(self.folder)

    def _store(self, which: int) -> Store:
        return self.stores[which]

    @rule(seconds=st.sampled_from([1, 60, 1800, 3600, 40_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        target=jobs,
        which=st.integers(0, 1),
        identity=st.sampled_from(["i1", "i2", "i3"]),
        credits_=st.sampled_from([None, 0, 5, 15, 40]),
        capped=st.booleans(),
    )
    def reserve(self, which: int, identity: str, credits_: int | None, capped: bool) -> Any:
        store = self._store(which)
        job = draft(identity, at=self.now, credits_=credits_)
        limits = Limits(per_day=CAP if capped else None, dedupe_seconds=3600)
        before = run(store.spent_today, "a1", self.now)
        try:
            made = run(lambda: reserve(store, job, limits))
        except (BudgetExceeded, ContentRejected):
            assert self._row(job.id) is None, "refused, and yet a row"
            return multiple()
        if made.duplicate:
            assert self._row(job.id) is None
            assert made.job.identity == identity
            assert made.job.status not in (FAILED, CANCEL, NOT_CREATED)
            return multiple()
        row = self._row(job.id)
        assert row is not None
        assert row["body"] == b'{"prompt":"a cat"}'
        if capped:
            assert before + (credits_ or 0) <= CAP
            assert credits_ is not None
        return job.id

    @rule(which=st.integers(0, 1), job=jobs, task=TASKS, status=STATUSES, charged=st.none() | st.just(5))
    def accepted(self, which: int, job: str, task: str, status: str, charged: int | None) -> None:
        given = answer(task, status=status, creditsCharged=charged)
        found = run(self._store(which).record_accepted, job, given)
        assert found.id == job

    @rule(which=st.integers(0, 1), job=jobs)
    def refused(self, which: int, job: str) -> None:
        run(self._store(which).record_refused, job, "X", "refused", self.now)

    @rule(which=st.integers(0, 1), job=jobs)
    def unknown(self, which: int, job: str) -> None:
        run(self._store(which).record_unknown, job, "lost", self.now)

    @rule(which=st.integers(0, 1), job=jobs)
    def not_found(self, which: int, job: str) -> None:
        found = run(self._store(which).find, "a1", job)
        run(self._store(which).record_not_found, found, self.now)

    @rule(which=st.integers(0, 1), job=jobs)
    def resending(self, which: int, job: str) -> None:
        row = self._row(job)
        assert row is not None
        body = run(self._store(which).begin_resend, run(self._store(which).find, "a1", job), 3, self.now + 100)
        allowed = row["status"] == UNKNOWN and row["resends"] < 3 and row["task_id"] is None
        assert body == (b'{"prompt":"a cat"}' if allowed else None)

    @rule(which=st.integers(0, 1), task=TASKS, status=STATUSES, refunded=st.none() | st.just(5), url=st.booleans())
    def observed(self, which: int, task: str, status: str, refunded: int | None, url: bool) -> None:
        output = {"url": f"https://x/{task}.mp4"} if url else None
        more = {"createdAt": iso(self.now - 300), "completedAt": iso(self.now), "creditsRefunded": refunded}
        run(self._store(which).record_snapshot, "a1", seen(task, status, output=output, **more), self.now)

    @rule(which=st.integers(0, 1), job=jobs, download=st.sampled_from(["wanted", "saved", "lost", "off"]))
    def download(self, which: int, job: str, download: Any) -> None:
        row = self._row(job)
        assert row is not None
        if row["status"] != COMPLETED:
            return  # there is no video before
        path = "/videos/x.mp4" if download == "saved" else None
        known = run(self._store(which).find, "a1", job)
        run(lambda: self._store(which).record_download(known, download, path=path, size=None, error=None))

    @rule(which=st.integers(0, 1), task=TASKS, status=STATUSES)
    def add_discovered(self, which: int, task: str, status: str) -> None:
        job = draft(f"adopted-{next(NUMBERS)}", task_id=task, status=status, mine=False, at=self.now)
        assert run(self._store(which).add_discovered, job, self.now).task_id == task

    @rule()
    def restart(self) -> None:
        self.stores[0].close()
        self.stores[0] = run(self._open)

    def _row(self, job: str) -> sqlite3.Row | None:
        return self.raw.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()

    @invariant()
    def promises(self) -> None:
        if not hasattr(self, "raw"):
            return
        rows = self.raw.execute("SELECT * FROM jobs").fetchall()
        live = [(r["account"], r["caller"], r["identity"]) for r in rows if r["live"]]
        assert len(live) == len(set(live)), "two live rows for one request"
        tasks = [r["task_id"] for r in rows if r["task_id"]]
        assert len(tasks) == len(set(tasks)), "one task, two rows"
        for row in rows:
            self._check(row, self.before.get(row["id"]))
        self.before = {row["id"]: row for row in rows}
        learned = self.raw.execute("SELECT task_id FROM durations").fetchall()
        assert len(learned) == len({r["task_id"] for r in learned})
        assert not self.raw.in_transaction

    def _check(self, row: sqlite3.Row, was: sqlite3.Row | None) -> None:
        status = row["status"]
        assert (row["task_id"] is None) == (status in (SUBMITTING, UNKNOWN, NOT_CREATED))
        assert not (row["live"] and status in (FAILED, CANCEL, NOT_CREATED)), "a dead row guards"
        assert (row["body"] is not None) == (row["task_id"] is None and status != NOT_CREATED), "when bytes are kept"
        assert (row["settled_at"] is not None) == (status in FINAL)
        if was is None:
            return
        learned_late = was["status"] == NOT_CREATED and row["task_id"] is not None
        assert rank(status) >= rank(was["status"]) or learned_late, f"{was['status']} became {status}"
        if was["status"] in FINAL and not learned_late:
            for name in ("status", "settled_at", "completed_at", "expires_at", "task_id"):
                assert row[name] == was[name], f"{name} of a final row changed"
        if was["task_id"] is not None:
            assert row["task_id"] == was["task_id"]
        if was["download"] == "saved":
            assert (row["download"], row["file_path"]) == ("saved", was["file_path"])
        assert row["live"] <= was["live"] or learned_late, "a row that gave up its guard took it back"
        for name in ("id", "identity", "idempotency_key", "created_at", "credits_quoted", "day", "mine"):
            assert row[name] == was[name]


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestTwoProcesses = StoreMachine.TestCase


# A lock that others hold


async def test_a_lock_is_waited_for(tmp_path: Path, store: Store) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def let_go() -> None:
        await anyio.sleep(2)
        other.execute("COMMIT")

    async with anyio.create_task_group() as group:
        group.start_soon(let_go)
        assert not (await reserve(store, draft())).duplicate
        assert anyio.current_time() >= 2
    other.close()


async def test_but_not_for_ever_and_then_nothing_is_written(tmp_path: Path, store: Store) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = anyio.current_time()
    with pytest.raises(StateUnavailable):
        await reserve(store, draft())
    assert TIMEOUT <= anyio.current_time() - start < TIMEOUT + 1
    assert await store.newest("a1", 5) == []  # reading needs no lock
    other.execute("ROLLBACK")
    assert not (await reserve(store, draft())).duplicate
    other.close()


async def test_a_cancelled_wait_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with anyio.move_on_after(1) as waiting:
        await reserve(store, draft())
    assert waiting.cancelled_caught
    other.execute("ROLLBACK")
    other.close()
    assert await store.newest("a1", 5) == []
    assert not (await reserve(store, draft())).duplicate


async def test_a_crowd_behind_a_lock_that_stays_is_told_together(tmp_path: Path, store: Store) -> None:
    """P4: not one after the other, each after a time-out of its own."""
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = anyio.current_time()
    reply: list[float] = []

    async def one(number: int) -> None:
        with pytest.raises(StateUnavailable, match="too long"):
            await reserve(store, draft(f"i{number}"))
        reply.append(anyio.current_time() - start)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, number)
    assert TIMEOUT <= min(reply) <= max(reply) < TIMEOUT + 1
    other.execute("ROLLBACK")
    other.close()
    assert not (await reserve(store, draft())).duplicate


async def test_an_exception_inside_a_transaction_takes_everything_back(store: Store) -> None:
    async def breaks() -> None:
        async with store._driver.writing() as tx:
            await tx.run("INSERT INTO leases (name, holder, until) VALUES ('x', 'y', 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await breaks()
    assert await store.holder("x", 0) is None
    assert await store.lease("x", "me", NOW, 10)


# Disks


async def test_a_full_disk_refuses_and_leaves_nothing_half_written(store: Store, second: Store) -> None:
    first = draft("i1")
    await reserve(store, first)
    connection = store._driver._connection  # type: ignore[attr-defined]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateUnavailable) as caught:
        await reserve(store, draft("i2"), body=b"x" * 200_000)
    assert caught.value.charged == "no"
    assert "full" in caught.value.message
    assert not connection.in_transaction
    assert [job.id for job in await second.newest("a1", 5)] == [first.id]
    assert await second.spent_today("a1", NOW) == 15
    connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert not (await reserve(store, draft("i2"), body=b"x" * 200_000)).duplicate


async def test_damage_that_a_statement_meets_is_set_aside_while_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """P1, P2, P3: no start reads the file, so whichever statement meets the damage replaces it."""
    works: dict[str, Callable[[Store], Awaitable[Any]]] = {
        "list": lambda store: store.page("a1", status=None, limit=20),
        "sum": lambda store: store.spent_today("a1", NOW),
        "find": lambda store: store.find("a1", "ck1"),
        "check": lambda store: store.check(),
        "reserve": lambda store: reserve(store, draft("new")),
        "lease": lambda store: store.lease("watch", "p1", NOW, 10),
    }
    for name, work in works.items():
        store = await open_store(tmp_path / name, now=NOW)
        other = await open_store(tmp_path / name, now=NOW)
        for number in range(300):
            await reserve(store, draft(f"{name}{number}"))
        connection = store._driver._connection  # type: ignore[attr-defined]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = tmp_path / name / FILE_NAME
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        connection.execute("PRAGMA cache_size = 0")
        if name in ("reserve", "lease"):
            with pytest.raises(StateUnavailable, match="The state is damaged"):
                await work(store)
        await work(store)
        assert (
            len([part for part in path.parent.iterdir() if "damaged" in part.name and part.suffix[:4] != ".db-"]) >= 1
        )
        assert store.warning is not None
        assert "It is kept as" in store.warning
        assert caplog.text.count("a new one was started") == 1
        assert await store.is_rebuilding("a1", NOW + 1)
        assert not (await reserve(store, draft("after"))).duplicate
        assert (await reserve(other, draft("after"))).duplicate, "a process that had the damaged file open follows"
        assert caplog.text.count("a new one was started") == 1
        store.close()
        other.close()
        caplog.clear()


async def test_a_damaged_file_that_cannot_be_set_aside_is_an_error_of_ours(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        await reserve(store, draft(f"i{number}"))
    connection = store._driver._connection  # type: ignore[attr-defined]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / FILE_NAME
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    connection.execute("PRAGMA cache_size = 0")

    def refuse(*_args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    for work in (
        lambda: store.newest("a1", 500), lambda: reserve(store, draft("new")),
        lambda: store.spent_today("a1", NOW), lambda: store.lease("watch", "p1", NOW, 10),
    ):  # fmt: skip
        with pytest.raises(StateUnavailable, match="Permission denied"):
            await work()
    monkeypatch.undo()
    assert await store.lease("watch", "p1", NOW, 10)
    assert await store.is_rebuilding("a1", NOW + 60)


async def damage_deep_in(path: Path, store: Store, table: str) -> None:
    """Close a state, and overwrite the first page of one of its tables."""
    found = await store._driver.rows("SELECT rootpage FROM sqlite_master WHERE name = ?", table)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096 * (found[0]["rootpage"] - 1))
        file.write(b"\xff" * 4096)


async def test_damage_deep_in_the_file_is_found_by_the_first_statement_that_meets_it(tmp_path: Path) -> None:
    store = await open_store(tmp_path, now=NOW)
    for number in range(300):
        await reserve(store, draft(f"i{number}"))
    await damage_deep_in(tmp_path / FILE_NAME, store, "jobs")
    opened = await open_store(tmp_path, now=NOW + 60)
    assert await opened.newest("a1", 5) == []
    assert await opened.is_rebuilding("a1", NOW + 60)
    assert opened.durable
    opened.close()


@pytest.mark.parametrize("restarted", [True, False])
async def test_the_file_is_checked_at_start_after_an_unclean_end_of_the_machine_only(
    tmp_path: Path, restarted: bool
) -> None:
    """A log that is left, and a machine that was started since, are a power cut; a killed process damages nothing."""
    machine = VirtualMachine(VirtualWall())
    store = await open_store(tmp_path, now=NOW, machine=machine.process())
    for number in range(300):
        await reserve(store, draft(f"i{number}"))
    await damage_deep_in(tmp_path / FILE_NAME, store, "durations")
    log = tmp_path / f"{FILE_NAME}-wal"
    log.write_bytes(b"\0" * 64)  # no transaction is in it
    if restarted:
        machine.restart()
    opened = await open_store(tmp_path, now=NOW + 60, machine=machine.process())
    assert (opened.warning is not None) is restarted
    assert await opened.is_rebuilding("a1", NOW + 60) is restarted
    await opened.check()
    assert opened.warning is not None
    assert await opened.is_rebuilding("a1", NOW + 60)
    opened.close()


@pytest.mark.parametrize("damage", ["garbage", "zeros", "cut", "text"])
async def test_a_damaged_file_is_set_aside_not_deleted(tmp_path: Path, damage: str) -> None:
    store = await open_store(tmp_path, now=NOW)
    for number in range(50):
        await reserve(store, draft(f"i{number}"))
    store.close()
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    bad = {
        "garbage": random.Random(1).randbytes(len(whole)),
        "zeros": whole[:10] + bytes(90) + whole[100:],
        "cut": whole[:5000],
        "text": b"this is not a database\n" * 100,
    }[damage]
    path.write_bytes(bad)
    opened = await open_store(tmp_path, now=NOW + 60)
    assert await opened.is_rebuilding("a1", NOW + 60)
    assert opened.durable
    assert opened.warning is not None
    assert opened.born == NOW + 60
    offload = path.with_name(f"{FILE_NAME}.damaged-{int(NOW + 60)}")
    assert str(offload) in opened.warning
    assert offload.read_bytes() == bad
    assert await opened.newest("a1", 5) == []
    assert not (await reserve(opened, draft())).duplicate
    opened.close()
    again = await open_store(tmp_path, now=NOW + 120)
    assert await again.is_rebuilding("a1", NOW + 120), "whoever set it aside may have ended before it rebuilt anything"
    await again.record_rebuilt("a1", NOW + 120)
    assert not await again.is_rebuilding("a1", NOW + 120)
    assert await again.is_rebuilding("a2", NOW + 120)
    assert not await again.is_rebuilding("a2", NOW + 90_000)
    assert len(await again.newest("a1", 5)) == 1
    again.close()


async def test_a_state_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    (await open_store(tmp_path, now=NOW)).close()
    raw = sqlite3.connect(tmp_path / FILE_NAME)
    raw.execute("PRAGMA user_version = 999")
    raw.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StateUnavailable) as caught:
        await open_store(tmp_path, now=NOW)
    assert caught.value.field == "version"
    assert "update avm-mcp" in write_next_step(caught.value.next_step, MODEL_AUDIENCE)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if "damaged" in p.name) == []


@pytest.mark.parametrize("blocked", ["a file in the way", "no such disk", "a folder in the way"])
async def test_where_nothing_can_be_written_it_lives_in_memory_and_says_so(tmp_path: Path, blocked: str) -> None:
    if blocked == "a file in the way":
        (tmp_path / "file").write_text("")
        folder = tmp_path / "file" / "state"
    elif blocked == "no such disk":
        folder = Path("/proc/avm-mcp-state")
    else:
        folder = tmp_path
        (folder / FILE_NAME).mkdir()
    store = await open_store(folder, now=NOW)
    assert not store.durable
    assert store.warning is not None
    assert "memory" in store.warning
    assert "daily cap" in store.warning
    assert store.born == NOW
    assert not (await reserve(store, draft())).duplicate
    assert (await reserve(store, draft())).duplicate
    store.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
async def test_a_read_only_folder(tmp_path: Path) -> None:  # pragma: no cover - root in containers
    tmp_path.chmod(0o500)
    try:
        store = await open_store(tmp_path / "state", now=NOW)
        assert not store.durable
        store.close()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
async def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = await open_store(tmp_path / "deep" / "state", now=NOW)
        await reserve(store, draft())
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "deep" / "state").iterdir()}
        store.close()
    finally:
        os.umask(old)
    assert FILE_NAME in modes
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700


async def test_it_is_safe_against_a_power_cut(store: Store) -> None:
    assert store.mode == "wal"
    assert store._driver._connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # type: ignore[attr-defined]


# Migrations


def _schema(path: Path) -> list[tuple[str, str, str]]:
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    columns = [
        ("column", f"{name}.{column[1]}", str(column[2:]))
        for kind, name, _ in rows
        if kind == "table"
        for column in raw.execute(f"PRAGMA table_info({name})")
    ]
    raw.close()
    return sorted([(kind, name, sql if kind == "index" else "") for kind, name, sql in rows] + columns)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize("version", [number for number, _ in migrations()])
async def test_every_earlier_state_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    old = SqliteDriver(tmp_path / FILE_NAME)
    await old.start()
    for number, sql in migrations()[:version]:
        await old.script(number, sql, NOW)
    columns = {
        "id": "sub_old", "account": "a1", "caller": "local", "identity": "i1", "live": 1, "mine": 1,
        "idempotency_key": "idem-old", "input": "{}", "model": "t2v", "seconds": 5, "prompt": "old", "take": 1,
        "status": SUBMITTING, "day": "2026-11-22", "created_at": NOW, "film" if version < 7 else "download": "none",
    }  # fmt: skip
    async with old.writing() as tx:
        marks = ", ".join("?" * len(columns))
        await tx.run(f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})", *columns.values())
    assert await old.version() == version
    old.close()
    store = await open_store(tmp_path, now=NOW + 60)
    assert await store._driver.version() == migrations()[-1][0]
    kept = await store.find("a1", "sub_old")
    assert kept is not None
    assert kept.prompt == "old"
    assert (await reserve(store, draft("i1"))).duplicate
    assert not (await reserve(store, draft("i2"))).duplicate
    store.close()
    fresh = await open_store(tmp_path / "fresh", now=NOW)
    fresh.close()
    assert _schema(tmp_path / FILE_NAME) == _schema(tmp_path / "fresh" / FILE_NAME)


async def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    opened: list[Store] = []

    async def start(number: int) -> None:
        opened.append(await open_store(tmp_path, now=NOW + number))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(start, number)
    assert len({store.born for store in opened}) == 1
    assert not any(store.warning for store in opened)
    for store in opened:
        store.close()


async def test_a_migration_that_breaks_changes_nothing(tmp_path: Path) -> None:
    driver = SqliteDriver(tmp_path / FILE_NAME)
    await driver.start()
    with pytest.raises(StateUnavailable):
        await driver.script(1, "CREATE TABLE good (a TEXT);\nCREATE TABLE bad (;\n", NOW)
    assert await driver.version() == 0
    assert await driver.rows("SELECT name FROM sqlite_master") == []
    driver.close()


# What processes share besides


async def test_a_lease_is_one_holders_until_it_runs_out(store: Store, second: Store) -> None:
    assert await store.holder("watch", NOW) is None
    assert await store.lease("watch", "p1", NOW, 30)
    assert not await second.lease("watch", "p2", NOW + 29, 30)
    assert await second.holder("watch", NOW + 29) == "p1"
    assert await store.lease("watch", "p1", NOW + 29, 30)  # renewed
    assert not await second.lease("watch", "p2", NOW + 58, 30)
    assert await second.lease("watch", "p2", NOW + 59.5, 30)
    assert not await store.lease("watch", "p1", NOW + 60, 30)
    assert await store.lease("other", "p1", NOW + 60, 30)
    await store.release("watch", "p1")  # not p1's any more
    assert await store.holder("watch", NOW + 60) == "p2"
    await second.release("watch", "p2")
    assert await store.holder("watch", NOW + 60) is None
    assert await store.lease("watch", "p1", NOW + 60, 30)


async def test_a_lease_from_before_the_clock_jumped_back_is_void(store: Store, second: Store) -> None:
    assert await store.lease("watch", "p1", NOW, 30)
    assert not await second.lease("watch", "p2", NOW - 200, 30)  # a small jump is waited out
    assert await second.lease("watch", "p2", NOW - 3600, 30)


async def test_one_holder_at_a_time_among_many(tmp_path: Path) -> None:
    opened = [await open_store(tmp_path, now=NOW) for _ in range(5)]
    rng = random.Random(2)
    holder, until = "", 0.0
    for step in range(400):
        now, who = NOW + step, rng.randrange(5)
        if await opened[who].lease("watch", f"p{who}", now, 10):
            assert holder in ("", f"p{who}") or until < now
            holder, until = f"p{who}", now + 10
    for store in opened:
        store.close()


async def test_the_allowance_is_one_for_all_processes(tmp_path: Path) -> None:
    opened = [await open_store(tmp_path, now=NOW) for _ in range(4)]
    granted: list[float] = []

    async def ask(store: Store) -> None:
        while anyio.current_time() < 300:
            wait = await store.take_token("home", NOW + anyio.current_time())
            if wait == 0:
                granted.append(anyio.current_time())
            await anyio.sleep(wait)

    async with anyio.create_task_group() as group:
        for store in opened:
            group.start_soon(ask, store)
    assert max(sum(start <= at < start + 60 for at in granted) for start in granted) <= 55
    assert len(granted) == pytest.approx(10 + 300 * 0.75, abs=4)
    assert await opened[0].take_token("another address", NOW) == 0
    for store in opened:
        store.close()


async def test_a_429_closes_the_allowance_for_all(store: Store, second: Store) -> None:
    assert await store.take_token("home", NOW) == 0
    await store.close_bucket("home", NOW + 60)
    assert await second.take_token("home", NOW + 1) == pytest.approx(59)
    await second.close_bucket("home", NOW + 5)  # a shorter one that was told later opens nothing
    assert await store.take_token("home", NOW + 6) == pytest.approx(54)
    assert await store.take_token("home", NOW + 61) == 0
    await store.close_bucket("new", NOW + 30)
    assert await second.take_token("new", NOW) == pytest.approx(30)


async def test_the_clock_of_a_state_is_one_for_all_processes_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """P6, P1: whatever the wall clocks say; after a restart it goes on from the wall clock, but never goes back."""
    true = VirtualWall()
    machine = VirtualMachine(true)
    first = await open_store(tmp_path, now=true() + 500, machine=machine.process())
    second = await open_store(tmp_path, now=true() - 7200, machine=machine.process())
    await anyio.sleep(100)
    assert first.clock() == second.clock() == pytest.approx(true() + 500)
    await first.take_token("home", first.clock())
    before = first.clock()
    for wall, expected in ((true() - 86400, before), (true() + 7200, true() + 7200), (true(), true() + 7200)):
        machine.restart()
        later = await open_store(tmp_path, now=wall, machine=machine.process())
        assert later.clock() == pytest.approx(expected)
        await later.take_token("home", later.clock())
        later.close()
    first.close()
    second.close()


async def test_machines_whose_clocks_differ_keep_to_one_allowance_and_none_starves(tmp_path: Path) -> None:
    """P6: a state that two machines use in turn; the one that is behind puts its clock on, once."""
    true = VirtualWall()
    behind = await open_store(tmp_path, now=true(), machine=VirtualMachine(true, "one").process())
    ahead = await open_store(tmp_path, now=true() + 86400, machine=VirtualMachine(true, "two").process())
    granted: dict[int, list[float]] = {0: [], 1: []}

    async def ask(number: int, store: Store) -> None:
        began = 0.0
        while anyio.current_time() < 240:
            query = rate_limit.PendingQuery(f"a{number}", waited=anyio.current_time() - began, name=f"{number}")
            wait = await store.take_token("home", store.clock(), query)
            if wait == 0:
                began = anyio.current_time()
                granted[number].append(began)
            await anyio.sleep(max(wait, 0.05))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, 0, behind)
        group.start_soon(ask, 1, ahead)
    every = sorted(at for at in granted[0] + granted[1] if at > 5)  # who joins brings a full bucket, once
    assert max(sum(start <= at < start + 60 for at in every) for start in every) <= 55
    assert min(len(granted[0]), len(granted[1])) > 20
    assert behind.clock() == pytest.approx(ahead.clock(), abs=1)
    behind.close()
    ahead.close()


async def test_durations_are_by_kind_and_newest_first(store: Store) -> None:
    for number, took in enumerate((100, 200, 300, 400)):
        job = draft(f"i{number}", seconds=5 if number < 3 else 8)
        await reserve(store, job)
        await store.record_accepted(job.id, answer(f"ck{number}"))
        times = {"createdAt": iso(NOW), "completedAt": iso(NOW + took)}
        await store.record_snapshot("a1", seen(f"ck{number}", COMPLETED, **times), NOW + 1000 + number)
    assert await store.durations("a1", "t2v", 5, 10) == [300.0, 200.0, 100.0]
    assert await store.durations("a1", "t2v", 5, 2) == [300.0, 200.0]
    assert await store.durations("a1", "t2v", 8, 10) == [400.0]
    assert await store.durations("a1", "i2v", 5, 10) == []
    assert await store.durations("a2", "t2v", 5, 10) == []


@pytest.mark.parametrize("times", [{}, {"createdAt": iso(NOW)}, {"createdAt": iso(NOW), "completedAt": iso(NOW - 5)}])
async def test_without_true_times_nothing_is_learned(store: Store, times: dict[str, str]) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1"))
    await store.record_snapshot("a1", seen("ck1", COMPLETED, **times), NOW + 100)
    assert await store.durations("a1", "t2v", 5, 10) == []


async def test_failures_teach_no_durations(store: Store) -> None:
    job = draft()
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1"))
    times = {"createdAt": iso(NOW), "completedAt": iso(NOW + 5)}
    await store.record_snapshot("a1", seen("ck1", FAILED, **times), NOW + 100)
    assert await store.durations("a1", "t2v", 5, 10) == []


async def test_whose_answers_are_lost(store: Store) -> None:
    waiting, gone, lost = draft("i1"), draft("i2"), draft("i3")
    for job in (waiting, gone, lost):
        await reserve(store, job)
    await store.expect_answer(waiting.id, NOW + 500)
    await store.expect_answer(gone.id, NOW + 50)
    await store.record_unknown(lost.id, "x", NOW)
    assert [job.id for job in await store.unanswered("a1", NOW + 60)] == [gone.id, lost.id]
    assert await store.unfinished("a1", NOW - 1)
    assert not await store.unfinished("a2", NOW - 1)
    assert not await store.unfinished("a1", NOW + 1)


async def test_a_question_at_a_price_is_remembered(store: Store, second: Store) -> None:
    job = draft(credits_=300)
    since, until = NOW - 100, NOW + 499
    assert not await store.knows_price(job, since, until)
    await store.record_refused_price(job)
    later = replace(draft(credits_=300), created_at=NOW + 500, started=NOW + 500)
    assert await second.knows_price(later, since, until)
    assert await second.knows_price(replace(later, credits_quoted=200), since, until)
    assert not await second.knows_price(replace(later, credits_quoted=301), since, until)
    assert not await second.knows_price(replace(later, identity="i2"), since, until)
    assert not await second.knows_price(later, NOW, until), "too long ago"
    assert not await second.knows_price(later, since, NOW - 1), "only just now"


def test_the_bounds_are_the_ones_that_are_documented() -> None:
    assert (STANDARD.bucket_capacity + 60 * STANDARD.bucket_refill, FILE_LIFE) == (55, 86_400)


async def test_a_told_price_is_of_its_model_length_and_account_and_of_no_other(store: Store) -> None:
    """P8: what `quote_video` told counts for every request of that price, and the last one told counts."""
    job = replace(draft("i1"), model="t2v_v3", seconds=20, credits_quoted=80)
    since, until = NOW - 900, NOW + 60
    await store.record_quote("a1", job.caller, "t2v_v3", 20, 80, NOW)
    assert await store.knows_price(job, since, until)
    assert not await store.knows_price(job, NOW, until), "told before"
    assert not await store.knows_price(job, since, NOW - 1), "told after"
    assert not await store.knows_price(replace(job, credits_quoted=81), since, until)
    for other in ({"model": "i2v_v3"}, {"seconds": 15}, {"account": "a2"}, {"caller": "somebody"}):
        assert not await store.knows_price(replace(job, **other), since, until)
    await store.record_quote("a1", job.caller, "t2v_v3", 20, 60, NOW + 1)
    assert not await store.knows_price(job, since, until), "a later quote was lower"
    await store.record_refused_price(job)
    assert await store.knows_price(job, since, until), "a refusal of the request itself told it"
