"""B8: no statement reads a table from end to end, whatever it lists, sums or finds: SQLite's own plan says so."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest

from avm_mcp.domain.client_timeouts import Cuts
from avm_mcp.domain.job import COMPLETED, Job
from avm_mcp.store import Limits, Store, open_store
from avm_mcp.store.reading import Reading
from avm_mcp.store.sends import Send
from avm_mcp.store.sqlite import SqliteDriver
from tests.unit.test_store import NOW, answer, draft, reserve, seen

GROWS = r"(jobs|o|durations)"
"""The tables that grow with every video, and the name that subqueries give the first. All others stay small."""

BROAD = re.compile(rf"SEARCH {GROWS} USING (?:COVERING )?INDEX (\w+) \(account=\?(?: AND status=\?)?\)")
"""A search for all jobs of an account, or for all of one status."""

FEW = {"jobs_unfinished", "jobs_to_download"}
"""Indexes that hold only what has not ended yet."""

LIMITED = {"jobs_by_time", "jobs_by_start", "jobs_by_status"}
"""Indexes that are in the order of a list, which reads as many rows as it returns."""


class Recorder:
    """A driver that remembers each statement with its values."""

    def __init__(self, driver: SqliteDriver) -> None:
        self.driver = driver
        self.statements: dict[str, tuple[object, ...]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    async def rows(self, sql: str, *values: object) -> Any:
        self.statements.setdefault(sql, values)
        return await self.driver.rows(sql, *values)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[Any]:
        async with self.driver.writing() as tx:
            rows, run = tx.rows, tx.run

            class Recording:  # `self` is the recorder
                async def rows(_, sql: str, *values: object) -> Any:
                    self.statements.setdefault(sql, values)
                    return await rows(sql, *values)

                async def run(_, sql: str, *values: object) -> Any:
                    self.statements.setdefault(sql, values)
                    return await run(sql, *values)

            yield Recording()


def faults(statement: str, plan: list[str]) -> list[str]:
    """Return what a plan does that costs more with more jobs."""
    found: list[str] = []
    for step in plan:
        if re.match(rf"SCAN {GROWS}\b", step):
            found.append(step)
        if broad := BROAD.search(step):
            listed = broad[2] in LIMITED and "LIMIT" in statement
            if broad[2] not in FEW and not listed and "status IN ('SUBMITTING', 'UNKNOWN')" not in statement:
                found.append(step)
        if step == "USE TEMP B-TREE FOR ORDER BY" and "LIMIT" in statement:
            found.append(step)
    return found


async def calls(store: Store) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return one call of every method of the store that reads or writes."""
    job, lost = draft("i1"), draft("i2")
    limits = Limits(per_day=1000, dedupe_seconds=3600)
    await reserve(store, job, limits)
    await reserve(store, lost, limits)
    foreign = draft("x", idempotency_key="x", task_id="ck8", mine=False)
    send = Send(store, lost, store.machine.process)
    done = seen("ck1", COMPLETED, createdAt="2026-11-22T11:00:00Z", completedAt="2026-11-22T11:05:00Z")
    pages = ((status, before) for status in (None, "ACTIVE", COMPLETED) for before in (None, (NOW, "sub_1")))

    async def listed() -> None:
        for status, before in pages:
            await store.page("a1", status=status, limit=20, before=before)

    async def saved() -> Job:
        known = await store.find("a1", "ck1")
        assert known is not None
        return await store.record_download(known, "saved", path="/v.mp4", size=1, error=None)

    return {
        "reserve": lambda: reserve(store, draft("i3"), limits),
        "restore": lambda: store.restore(draft("i4"), "{}"),
        "admit": lambda: store.admit(draft("i5"), limits),
        "begin_send": send.begin,
        "may_leave": send.check,
        "expect_answer": lambda: store.expect_answer(lost.id, NOW + 10),
        "record_lapsed": lambda: store.record_lapsed(lost.id, "x", NOW),
        "record_unknown": lambda: store.record_unknown(lost.id, "x", NOW),
        "begin_resend": lambda: store.begin_resend(lost, 3, NOW),
        "undo_resend": lambda: store.undo_resend(lost.id),
        "end_send": lambda: store.end_send(lost.id, store.machine.process),
        "record_not_found": lambda: store.record_not_found(lost, NOW),
        "record_never_created": lambda: store.record_never_created(lost, "x", NOW),
        "record_refused": lambda: store.record_refused(lost.id, "X", "x", NOW),
        "record_accepted": lambda: store.record_accepted(job.id, answer("ck1")),
        "record_snapshot": lambda: store.record_snapshot("a1", done, NOW),
        "add_discovered": lambda: store.add_discovered(foreign, NOW),
        "record_download": saved,
        "find": lambda: store.find("a1", "ck1"),
        "live": lambda: store.live("a1", "local", "i1", NOW),
        "of_tasks": lambda: store.of_tasks("a1", ["ck1", "ck2"]),
        "page": listed,
        "newest": lambda: store.newest("a1", 20),
        "in_flight": lambda: store.in_flight("a1"),
        "wanted_downloads": lambda: store.wanted_downloads("a1"),
        "unsettled": lambda: store.unsettled("a1"),
        "unfinished": lambda: store.unfinished("a1", NOW),
        "unanswered": lambda: store.unanswered("a1", NOW),
        "presumed_never": lambda: store.presumed_never("a1"),
        "sent_fields": lambda: store.sent_fields(job.id),
        "find_claimed": lambda: store.find_claimed("a1", ["ck1", "ck2"]),
        "last_task": lambda: store.last_task(draft("i9"), NOW - 100),
        "pictures_sent": lambda: store.pictures_sent("a1", ["https://x/1.png"]),
        "spending_today": lambda: store.spending_today("a1", NOW),
        "spent_today": lambda: store.spent_today("a1", NOW),
        "merge_accounts": lambda: store.merge_accounts(["a8", "a9"], "a1"),
        "durations": lambda: store.durations("a1", "t2v", 5, 50),
        "record_refused_price": lambda: store.record_refused_price(job),
        "knows_price": lambda: store.knows_price(job, NOW - 1, NOW),
        "record_quote": lambda: store.record_quote("a1", "", "t2v", 5, 15, NOW),
        "take_token": lambda: store.take_token("home", NOW),
        "claim_poll": lambda: store.claim_poll("a1", "ck1", NOW),
        "record_poll": lambda: store.record_poll("a1", "ck1", NOW, answered=True),
        "polls": lambda: store.polls("a1", NOW),
        "close_bucket": lambda: store.close_bucket("home", NOW),
        "lease": lambda: store.lease("x", "me", NOW, 10),
        "pass_lease": lambda: store.pass_lease("x", "me", "you"),
        "holder": lambda: store.holder("x", NOW),
        "release": lambda: store.release("x", "you"),
        "free": lambda: store.free("x"),
        "cuts": lambda: store.cuts("host"),
        "learn_cuts": lambda: store.learn_cuts("host", lambda _: Cuts(seconds=60)),
        "hosts_that_cut": store.hosts_that_cut,
        "is_rebuilding": lambda: store.is_rebuilding("a1", NOW),
        "record_rebuilt": lambda: store.record_rebuilt("a1", NOW),
    }


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    opened = await open_store(tmp_path, now=NOW)
    yield opened
    opened.close()


async def test_every_statement_finds_its_rows_by_an_index(store: Store) -> None:
    recorder = Recorder(store._driver)  # type: ignore[arg-type]
    store._driver = recorder  # type: ignore[assignment]
    every = await calls(store)
    methods = {name for name in dir(Store) if not name.startswith("_") and iscoroutinefunction(getattr(Store, name))}
    assert set(every) == methods - {"check"}, "the check is the one that reads everything"
    for call in every.values():
        await call()
    read = [(sql, values) for sql, values in recorder.statements.items() if re.search(rf"\b{GROWS}\b", sql)]
    assert len(read) > 30
    bad: dict[str, list[str]] = {}
    for sql, values in read:
        plan = [str(row["detail"]) for row in await recorder.driver.rows(f"EXPLAIN QUERY PLAN {sql}", *values)]
        if found := faults(sql, plan):
            bad[sql] = found
    assert bad == {}


@pytest.mark.parametrize(
    "index", ["jobs_unfinished", "jobs_by_status", "jobs_failed", "jobs_by_picture", "jobs_by_day"]
)
async def test_a_statement_without_its_index_is_found_out(store: Store, index: str) -> None:
    """The guard of the test above."""
    await store._driver.rows(f"DROP INDEX {index}")
    with pytest.raises(AssertionError):
        await test_every_statement_finds_its_rows_by_an_index(store)


@pytest.mark.parametrize("status", [None, "ACTIVE", COMPLETED])
async def test_pages_are_the_whole_list_in_order_whatever_the_ties(store: Store, status: str | None) -> None:
    for number in range(45):
        job = draft(f"i{number}", at=NOW + number // 9)
        await reserve(store, job)
        if number % 2:
            await store.record_accepted(job.id, answer(f"ck{number}"))
            await store.record_snapshot("a1", seen(f"ck{number}", COMPLETED), NOW + 100)
        if number % 5 == 0:
            await store.record_refused(job.id, "X", "never came to be", NOW)
    listed: list[Job] = []
    while page := await store.page("a1", status=status, limit=4, before=_place(listed)):
        listed += page
    every = [job for job in await store.newest("a1", 100) if _is_in(job, status)]
    assert [job.id for job in listed] == [job.id for job in sorted(every, key=_key, reverse=True)]
    assert len(listed) > 10


def _key(job: Job) -> tuple[float, str]:
    return (job.created_at, job.id)


def _place(listed: list[Job]) -> tuple[float, str] | None:
    return _key(listed[-1]) if listed else None


def _is_in(job: Job, status: str | None) -> bool:
    if status == "ACTIVE":
        return not job.final
    return job.status == status if status else job.status != "NOT_CREATED"


async def test_more_ids_than_one_statement_may_have_are_found_all_the_same(store: Store) -> None:
    assert isinstance(store, Reading)
    job = draft("i1")
    await reserve(store, job)
    await store.record_accepted(job.id, answer("ck1199"))
    many = [f"ck{number}" for number in range(1200)]
    assert await store.find_claimed("a1", many) == {"ck1199"}
    assert [found.id for found in await store.of_tasks("a1", many)] == [job.id]
