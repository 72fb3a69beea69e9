"""A process that was stopped between any two steps of a paid request sends nothing that was decided meanwhile (P1)."""

import random

import anyio
import pytest

from avm_mcp.domain.job import NOT_CREATED, SUBMITTING, UNKNOWN
from avm_mcp.sandbox import faults
from avm_mcp.store import Superseded, open_store
from avm_mcp.store.sends import Send
from tests.clock import VirtualMachine
from tests.stack import fields
from tests.unit.test_store import NOW, answer, draft, reserve

CALL = {"prompt": "a red kite", "wait_seconds": 0}


async def only_row(store):
    (row,) = await store._driver.rows("SELECT id, account FROM jobs")
    return await store.find(row["account"], row["id"])


@pytest.mark.parametrize("decided", ["never", "adopted", "never, and repeated elsewhere"])
async def test_what_was_decided_during_a_429_is_not_sent_after_it(stack, decided):
    """Issue 10 M: before, the request that was said NOT_CREATED meanwhile was paid, and its repeat too."""
    await stack.with_history()
    stack.sandbox.faults.next("generate", faults.rate_limited(60))
    async with stack.client() as stopped, stack.runtime() as other:
        reply = fields(await stopped.call_tool("text_to_video", CALL))
        assert reply["status"] == SUBMITTING
        job = await only_row(other.store)
        if decided == "adopted":
            await other.store.record_accepted(job.id, answer("ck1"))
        else:  # as if its process had been stopped for ten minutes
            await other.store.end_send(job.id, job.sender)
            job = await other.store.record_lapsed(job.id, "gone", other.store.clock() + 600)
            assert (await other.store.record_never_created(job, "never", other.store.clock())).status == NOT_CREATED
        if "repeated" in decided:
            async with stack.client() as elsewhere:
                await elsewhere.call_tool("text_to_video", CALL | {"wait_seconds": 3600})
        await anyio.sleep(200)
        later = fields(await stopped.call_tool("get_task", {"task_id": job.id, "wait_seconds": 0}))
    if decided == "adopted":
        assert later["task_id"] == "ck1"
    else:
        assert later["error"]["charged"] == "no"
    assert len(stack.sandbox.entries("charge")) == ("repeated" in decided)


async def test_a_request_that_lapsed_while_it_connected_does_not_leave(stack):
    """The row is read again before each piece of the body; till then nobody may say that it never came to be."""
    await stack.with_history()
    stack.link.connect_delay = 8.0
    async with stack.client() as stopped, stack.runtime() as other:
        reply = fields(await stopped.call_tool("text_to_video", CALL))
        job = await only_row(other.store)
        assert job.sender is not None
        job = await other.store.record_lapsed(job.id, "gone", other.store.clock() + 600)
        assert (await other.store.record_never_created(job, "never", other.store.clock())).status == UNKNOWN
        await anyio.sleep(30)
        later = fields(await stopped.call_tool("get_task", {"task_id": reply["task_id"], "wait_seconds": 0}))
    assert later["error"]["charged"] == "no"
    assert not stack.sandbox.tasks(), "a body that was cut makes none"


@pytest.mark.parametrize("seed", range(40))
async def test_in_any_order_of_steps_nothing_leaves_that_was_said_never_to_be(tmp_path, wall, seed):
    """Two processes send, lapse, resend, are stopped and go on, and lists are read, in any order.

    While a send has passed its last check and its process lives on, the row does not become NOT_CREATED.
    """
    rng = random.Random(seed)
    machine = VirtualMachine(wall)
    stores = [await open_store(tmp_path, now=NOW, machine=machine.process()) for _ in range(3)]
    job = draft(at=stores[0].clock())
    await reserve(stores[0], job)
    senders = [Send(stores[0], job, stores[0].machine.process), None, None]
    step = ["begin", "", ""]
    printed = False
    for _ in range(60):
        who = rng.randrange(3)
        store, row = stores[who], await stores[2].find("a1", job.id)
        assert row is not None
        if row.status == NOT_CREATED:
            printed = True
        send = senders[who]
        if send is not None and rng.random() < 0.5:
            try:
                if step[who] == "begin":
                    await send.begin()
                    step[who] = "check"
                elif step[who] == "check":
                    await send.check()
                    step[who] = "leave"
                else:
                    assert not printed, "it leaves after it was said never to have come to be"
                    step[who] = "begin"
                    if rng.random() < 0.5:  # lost: over, for this sender
                        await store.record_unknown(job.id, "lost", store.clock())
                        senders[who] = None
            except Superseded:
                await store.end_send(job.id, store.machine.process)
                senders[who] = None
        elif row.status == SUBMITTING:
            await store.record_lapsed(job.id, "gone", store.clock() + 1000)
        elif row.status == UNKNOWN and row.sender is None and rng.random() < 0.3 and senders[who] is None:
            if await store.begin_resend(row, 3, store.clock()) is not None:
                senders[who], step[who] = Send(store, row, store.machine.process), "begin"
        elif row.status == UNKNOWN:
            row = await store.record_not_found(row, store.clock())
            await store.record_never_created(row, "never", store.clock())
    for store in stores:
        store.close()
