"""Several processes on one store poll a task once, whichever of them is asked for it (P6). All seconds are virtual."""

from contextlib import asynccontextmanager

import anyio
import pytest

from avm_mcp.domain.rate_limit import PendingQuery
from avm_mcp.sandbox import faults
from avm_mcp.sandbox.faults import QUERIES
from tests.protocol.test_waiting import KITE, call, made_in
from tests.stack import BASE
from tests.transport import Link

pytestmark = pytest.mark.parametrize("stack", [made_in(400)], indirect=True)


@asynccontextmanager
async def two(stack):
    """Two processes that both know of one video being made; the first holds the poll lease."""
    async with stack.client() as first:
        task_id = (await call(first, "text_to_video", {**KITE, "wait_seconds": 0}))[0]["task_id"]
        await anyio.sleep(2)
        async with stack.client() as second:
            yield first, second, task_id


def queries(stack, since=0):
    return [seen.endpoint for seen in stack.sandbox.requests[since:] if seen.endpoint in QUERIES]


async def quiet(stack):
    """Wait for a moment well after the last poll, and return how many requests there were."""
    while stack.sandbox.requests[-1].at > stack.wall() - 8:
        await anyio.sleep(1)
    return len(stack.sandbox.requests)


@pytest.mark.parametrize("order", [1, -1])
async def test_two_hosts_that_ask_at_once_share_one_poll(stack, order):
    """Issue 4: `get_task(wait_seconds)` on several hosts at once shares the same poll."""
    async with two(stack) as (*clients, task_id):
        for _ in range(5):
            before = await quiet(stack)
            async with anyio.create_task_group() as both:
                for client in clients[::order]:
                    both.start_soon(call, client, "get_task", {"task_id": task_id, "wait_seconds": 3})
            assert queries(stack, before) == ["status"]
            await anyio.sleep(60)


async def test_a_process_without_the_lease_polls_what_it_is_asked_for(stack):
    """DESIGN 6: a user's own call is not told what was true half a minute ago."""
    async with two(stack) as (_, second, task_id):
        before = await quiet(stack)
        await call(second, "get_task", {"task_id": task_id, "wait_seconds": 1})
        assert queries(stack, before) == ["status"]


async def test_the_process_with_the_lease_counts_from_the_poll_of_another(stack):
    """Before it queries, it reads whether another process has just done so."""
    async with two(stack) as (_, second, task_id):
        await anyio.sleep(5)
        asked = []
        for _ in range(8):
            await call(second, "get_task", {"task_id": task_id, "wait_seconds": 0})
            await anyio.sleep(6)
            asked.append(len(queries(stack)))
        assert asked[-1] - asked[0] <= 8, "one poll for each call, and none besides"


async def test_a_list_that_a_call_asked_for_polls_all_its_tasks(stack):
    async with two(stack) as (_, second, task_id):
        before = await quiet(stack)
        await call(second, "list_tasks", {})
        await call(second, "get_task", {"task_id": task_id, "wait_seconds": 0})
        await anyio.sleep(1)
        assert queries(stack, before) == ["list"]


async def test_who_takes_over_the_lease_does_not_poll_again_at_once(stack):
    """A host that starts a process for each call must not cost a query for each."""
    async with stack.client() as client:
        task_id = (await call(client, "text_to_video", {**KITE, "wait_seconds": 0}))[0]["task_id"]
        await anyio.sleep(40)
        await call(client, "get_task", {"task_id": task_id, "wait_seconds": 0})
        await anyio.sleep(1)
    before = len(stack.sandbox.requests)
    async with stack.client() as client:
        await call(client, "get_task", {"task_id": task_id, "wait_seconds": 0})
        await anyio.sleep(1)
    assert queries(stack, before) == []


async def test_a_poll_that_fails_holds_nobody_back(stack):
    """One process without a network must not keep the others from polling."""
    cut_off = stack.runtime(link=Link(up=False))
    async with two(stack) as (first, _, task_id), stack.client(runtime=cut_off) as alone:
        for _ in range(4):
            before = await quiet(stack)
            await call(alone, "get_task", {"task_id": task_id, "wait_seconds": 2})
            await call(first, "get_task", {"task_id": task_id, "wait_seconds": 3})
            assert queries(stack, before) == ["status"]


async def test_what_a_call_asks_for_does_not_wait_for_polls_in_the_background(stack):
    """DESIGN 6: scheduled polls leave a few queries of the limit to calls."""
    runtime = stack.runtime()
    async with stack.client(runtime=runtime) as client:
        task_id = (await call(client, "text_to_video", {**KITE, "wait_seconds": 0}))[0]["task_id"]
        await anyio.sleep(100)
        before = await quiet(stack)
        egress = f"{runtime.settings.AVM_EGRESS_ID} {BASE.removeprefix('http://')}"
        polls = PendingQuery("another account", urgent=False)
        while not await runtime.store.take_token(egress, stack.wall(), polls):
            pass
        await call(client, "get_task", {"task_id": task_id, "wait_seconds": 1})
        assert queries(stack, before) == ["status"]


async def test_a_crowd_that_asks_at_one_instant_is_served_as_fast_as_the_allowance_is(stack):
    """P6: who waits sees the same order as all others; when each let the other go first, nobody was served any more."""
    crowd, refill, capacity = 40, 0.75, 10
    async with stack.runtime() as first, stack.runtime() as second:
        began, served = anyio.current_time(), list[float]()

        async def ask(runtime):
            await runtime.client.tasks()
            served.append(anyio.current_time() - began)

        async with anyio.create_task_group() as group:
            for number in range(crowd):
                group.start_soon(ask, (first, second)[number % 2])
    assert max(served) <= (crowd - capacity) / refill + 3


async def test_a_crowd_that_waits_for_the_allowance_leaves_the_process_free(stack):
    """P4: in one process they stand in line; if each asked the store by itself, nothing else would be done."""
    asked = 0
    async with stack.client(runtime=(runtime := stack.runtime())) as client:
        await call(client, "get_account", {})
        take = runtime.store.take_token

        async def counted(*given):
            nonlocal asked
            asked += 1
            return await take(*given)

        runtime.store.take_token = counted

        async def ask_again_and_again():
            while True:
                await client.call_tool("list_tasks", {})

        with anyio.move_on_after(30):
            async with anyio.create_task_group() as crowd:
                for _ in range(200):
                    crowd.start_soon(ask_again_and_again)
    assert len(queries(stack)) > 25
    assert asked < 150


async def test_a_pause_that_one_service_asks_for_holds_up_no_other(stack):
    """P6: the limit is one service's for one address; a free try on a sandbox is not the real one's."""
    async with stack.client() as one, stack.client(AVM_BASE_URL="http://127.0.0.1:8") as other:
        stack.sandbox.faults.next("account", faults.rate_limited(120))
        assert (await one.call_tool("get_account", {})).is_error
        _, took, _ = await call(other, "get_account", {})
        assert took < 1
        assert (await one.call_tool("get_account", {})).is_error, "nor does the other end the pause"


async def test_one_service_has_one_allowance_however_its_address_is_spelled(stack):
    """P6: the limit is the service's for one address, and a capital or a port that goes without saying is no other."""
    async with stack.client(AVM_BASE_URL="https://videos.example.com") as one:
        stack.sandbox.faults.next("account", faults.rate_limited(120))
        assert (await one.call_tool("get_account", {})).is_error
        before = len(stack.sandbox.requests)
        for same in ("https://Videos.example.com:443", "https://videos.example.com/"):
            async with stack.client(AVM_BASE_URL=same) as other:
                assert (await other.call_tool("get_account", {})).is_error
        assert len(stack.sandbox.requests) == before
