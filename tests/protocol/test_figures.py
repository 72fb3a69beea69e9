"""P8: cap, confirmation and refunds from parallel calls of two processes, in virtual time; `-s` prints the figures."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client

from tests.figures import (
    AT_ONCE,
    DEAR,
    PROCESSES,
    SETTINGS,
    UNCAPPED,
    Asked,
    cap_and_refunds,
    confirmation,
    dear,
    many,
    outcomes,
    shown,
)
from tests.stack import Stack, fields
from tests.unit.test_cli import avm

LONG = {"options": {"durations": {"t2v": 4000.0, "lv": 4000.0}, "queue_seconds": 2000}}
"""Videos that still wait when they are cancelled."""


class Virtual:
    """Two processes of one house."""

    def __init__(self, stack: Stack, clients: Sequence[Client], settings: Mapping[str, str]) -> None:
        self.stack = stack
        self._clients = clients
        self._settings = settings

    async def crowd(self, calls: Sequence[Asked]) -> list[dict[str, Any]]:
        reply: list[dict[str, Any]] = [{}] * len(calls)

        async def one(place: int, process: int, tool: str, given: dict[str, Any]) -> None:
            reply[place] = fields(await self._clients[process].call_tool(tool, given))

        async with anyio.create_task_group() as group:
            for place, asked in enumerate(calls):
                group.start_soon(one, place, *asked)
        await anyio.sleep(5)  # whoever reads the answers thinks before the next call
        return reply

    async def account_command(self) -> dict[str, Any]:
        return (await avm(self.stack, "account", "--json", **self._settings)).fields

    def fail(self, task_id: str) -> None:
        self.stack.sandbox.fail(task_id)

    def sums(self) -> tuple[int, int, int]:
        sandbox = self.stack.sandbox
        charged, refunded = (
            sum(abs(entry.credits) for entry in sandbox.entries(kind)) for kind in ("charge", "refund")
        )
        return len(sandbox.tasks()), charged, refunded


@asynccontextmanager
async def two_processes(stack: Stack, settings: Mapping[str, str]) -> AsyncGenerator[Virtual]:
    async with AsyncExitStack() as exits:
        clients = [await exits.enter_async_context(stack.client(**settings)) for _ in range(PROCESSES)]
        yield Virtual(stack, clients, settings)


@pytest.mark.parametrize("stack", [LONG], indirect=True)
async def test_a_days_cap_and_what_comes_back_of_it(stack):
    async with two_processes(stack, SETTINGS) as stage:
        await cap_and_refunds(stage)


@pytest.mark.parametrize("stack", [LONG], indirect=True)
async def test_a_price_that_needs_a_yes(stack):
    """And the yes lives for a quarter of an hour."""
    async with two_processes(stack, UNCAPPED) as stage:
        await confirmation(stage)
        before = stage.sums()
        assert outcomes(await stage.crowd(many(2, "long_video", dear("a wood")))) == {"APPROVAL_REQUIRED": 2}
        stack.wall.skew += 901
        reply = await stage.crowd(many(AT_ONCE, "long_video", dear("a wood", max_credits=DEAR)))
        assert shown("a third request, with its price after 15 minutes", reply, stage) == {"APPROVAL_REQUIRED": AT_ONCE}
        assert stage.sums() == before
