"""Polls are claimed in the store before they are sent, so that processes do not send the same at once (P6)."""

from pathlib import Path

import anyio
import pytest

from avm_mcp.store import open_store
from avm_mcp.store.shared import IN_FLIGHT, JUST_NOW, POLLS_KEPT

NOW = 1_795_000_000.0
LIST = ""


@pytest.fixture
async def stores(tmp_path: Path):
    opened = [await open_store(tmp_path, now=NOW) for _ in range(5)]
    yield opened
    for store in opened:
        store.close()


async def test_of_many_processes_that_want_to_poll_at_once_one_does(stores):
    claimed = []

    async def claim(store):
        claimed.append(await store.claim_poll("a1", "ck1", NOW))

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(claim, store)
    assert sorted(claimed) == [False] * 4 + [True]
    assert await stores[0].claim_poll("a1", "ck2", NOW)
    assert await stores[0].claim_poll("a2", "ck1", NOW)


async def test_a_list_answers_for_every_task_and_a_task_not_for_the_list(stores):
    one, other, *_ = stores
    assert await one.claim_poll("a1", LIST, NOW)
    assert not await other.claim_poll("a1", "ck1", NOW + 1)
    await one.record_poll("a1", LIST, NOW + 1, answered=True)
    assert await other.claim_poll("a1", "ck1", NOW + JUST_NOW + 0.1)
    assert await one.claim_poll("a1", LIST, NOW + JUST_NOW + 0.2)


async def test_a_query_holds_others_back_until_it_is_answered(stores):
    one, other, *_ = stores
    assert await one.claim_poll("a1", "ck1", NOW)
    assert not await other.claim_poll("a1", "ck1", NOW + 5)
    await one.record_poll("a1", "ck1", NOW + 6, answered=True)
    assert await other.claim_poll("a1", "ck1", NOW + 6.1)


async def test_a_query_that_failed_or_whose_process_died_holds_nobody_back_for_long(stores):
    one, other, *_ = stores
    assert await one.claim_poll("a1", "ck1", NOW)
    await one.record_poll("a1", "ck1", NOW + 0.5, answered=False)
    assert await other.claim_poll("a1", "ck1", NOW + 0.6)
    assert not await one.claim_poll("a1", "ck1", NOW + IN_FLIGHT)
    assert await one.claim_poll("a1", "ck1", NOW + 0.7 + IN_FLIGHT), "the other is dead"


async def test_what_was_seen_is_known_to_all_for_a_while(stores):
    one, other, *_ = stores
    for task_id in ("ck1", LIST, "ck2"):
        await one.claim_poll("a1", task_id, NOW)
        await one.record_poll("a1", task_id, NOW + 2, answered=task_id != "ck2")
    assert await other.polls("a1", NOW + 12) == {"ck1": 10.0, LIST: 10.0}
    assert await other.polls("a1", NOW + POLLS_KEPT + 3) == {}
    assert await other.polls("a2", NOW + 12) == {}


@pytest.mark.parametrize("jump", [-1e6, -60.0, 60.0, 1e6])
async def test_a_jump_of_the_wall_clock_holds_nobody_back(stores, jump):
    one, other, *_ = stores
    assert await one.claim_poll("a1", "ck1", NOW)
    assert await other.claim_poll("a1", "ck1", NOW + jump)
    assert await one.polls("a1", NOW + jump) == {}
