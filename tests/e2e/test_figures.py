"""P8: the same figures with two `avm-mcp` and an `avm sandbox`, each a process; `-s` prints them."""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.served import Served, served
from tests.e2e.workspace import Host, avm, host
from tests.figures import PROCESSES, SETTINGS, UNCAPPED, Asked, cap_and_refunds, confirmation

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them"),
]

LONG = {"durations": {"t2v": 1e6, "lv": 1e6}, "queue_seconds": 4e5}
"""Videos that still wait when they are cancelled."""


class Real:
    """Two servers of one state, and their calls in flight side by side."""

    def __init__(self, workspace: Served, hosts: Sequence[Host], settings: Mapping[str, str]) -> None:
        self.workspace = workspace
        self._hosts = hosts
        self._settings = settings

    async def crowd(self, calls: Sequence[Asked]) -> list[dict[str, Any]]:
        sent = [(process, await self._hosts[process].send(tool, **given)) for process, tool, given in calls]
        reply = [await self._hosts[process].take(number, 120) for process, number in sent]
        await anyio.sleep(1.1)  # whoever reads the answers thinks before the next call
        return reply

    async def account_command(self) -> dict[str, Any]:
        return await avm(self.workspace, "account", **self._settings)

    def fail(self, task_id: str) -> None:
        self.workspace.control("POST", "tasks", id=task_id, action="fail")

    def sums(self) -> tuple[int, int, int]:
        charged, refunded = [
            sum(abs(e.credits) for e in some) for some in (self.workspace.charges, self.workspace.refunds)
        ]
        return len(self.workspace.tasks), charged, refunded


@asynccontextmanager
async def two_processes(folder: Path, settings: Mapping[str, str]) -> AsyncGenerator[Real]:
    async with served(folder, **LONG) as workspace, AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(host(workspace, **settings)) for _ in range(PROCESSES)]
        for server in hosts:
            await server.call("get_account", 120)  # it is up, however busy the machine
        yield Real(workspace, hosts, settings)


async def test_a_days_cap_and_what_comes_back_of_it(tmp_path):
    async with two_processes(tmp_path, SETTINGS) as stage:
        await cap_and_refunds(stage)


async def test_a_price_that_needs_a_yes(tmp_path):
    async with two_processes(tmp_path, UNCAPPED) as stage:
        await confirmation(stage)
