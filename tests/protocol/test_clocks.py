"""Processes of one machine whose wall clocks differ or are put: one allowance, one charge (P1, P6)."""

import anyio
import pytest

from tests.clock import Skewed
from tests.stack import fields

CALL = {"prompt": "a red kite", "wait_seconds": 0}


async def hammered(stack, *walls, seconds=90.0, steps=()):
    """Return the most questions in any minute while a process of each clock asks as often as it may."""
    granted = []

    async def ask(client):
        while True:
            await client._allowance(True)
            granted.append(anyio.current_time())
            await anyio.sleep(0.2)

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for wall in walls:
                await group.start(running, stack, wall, ask)
            for at, wall, step in steps:
                group.start_soon(put, at, wall, step)
    return max(sum(start <= at < start + 60 for at in granted) for start in granted)


async def running(stack, wall, ask, *, task_status):
    async with stack.runtime(now=wall) as runtime:
        task_status.started()
        await ask(runtime.client)


async def put(at, wall, step):
    await anyio.sleep(at)
    wall.skew += step


@pytest.mark.parametrize("skew", [12.0, -12.0, 3600.0, 86400.0])
async def test_processes_whose_wall_clocks_differ_keep_to_one_allowance(stack, skew):
    """P6: the allowance is counted by a clock that both share. Before, 12 s gave 127 a minute, and an hour 2,331."""
    assert await hammered(stack, Skewed(stack.wall), Skewed(stack.wall, skew)) <= 55


@pytest.mark.parametrize("step", [20.0, -20.0, 7200.0, -7200.0])
async def test_a_wall_clock_that_is_put_fills_no_allowance(stack, step):
    """P6: before, +20 s gave 62 questions in a minute."""
    wall = Skewed(stack.wall)
    assert await hammered(stack, wall, steps=[(30.0, wall, step)]) <= 55


@pytest.mark.parametrize("ahead", [7200.0, -7200.0, 40 * 86400.0])
async def test_the_repeat_guard_holds_between_processes_whose_clocks_differ(stack, ahead):
    """P1: a process two hours ahead finds the same request made minutes ago, and pays for no other."""
    await stack.with_history()
    async with stack.client() as one:
        reply = fields(await one.call_tool("text_to_video", CALL | {"wait_seconds": 3600}))
        assert reply["status"] == "COMPLETED"
    async with stack.client(now=Skewed(stack.wall, ahead)) as other:
        again = fields(await other.call_tool("text_to_video", CALL))
    assert again["deduplicated"]
    assert len(stack.sandbox.entries("charge")) == 1
