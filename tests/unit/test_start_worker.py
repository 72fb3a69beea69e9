"""At most one background worker is started, however many ask for it at once (issue 10 N)."""

import os
import subprocess
import sys

import anyio
import pytest

from avm_mcp.jobs.start_worker import STARTING, WorkerStarter, lease_name, starting_name
from avm_mcp.settings import Settings
from avm_mcp.store import open_store
from avm_mcp.store.machine import is_gone, this_machine
from tests.clock import VirtualMachine

PROCESSES = 40 if os.environ.get("AVM_FULL") == "1" else 6


async def background_workers(folder, wall, count, spawn):
    machine = VirtualMachine(wall)
    stores = [await open_store(folder, now=wall(), machine=machine.process()) for _ in range(count)]
    return stores, [WorkerStarter(Settings(), store, account="a1", spawn=spawn) for store in stores]


async def test_forty_that_ask_at_once_start_one(tmp_path, wall):
    """In one process and in many; before, each started one: 40 to 80 of them, 2.1 GB."""
    started = []
    stores, asking = await background_workers(tmp_path, wall, 8, started.append)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            for worker_starter in asking:
                group.start_soon(worker_starter.ensure)
    assert len(started) == 1
    for store in stores:
        store.close()


async def test_one_whose_starter_died_is_started_by_another(tmp_path, wall):
    """P2: a crash between the lock and the start blocks for the length of the lock, and no longer."""
    started = []

    def spawn(environment):
        if not died:
            died.append(True)
            raise SystemExit  # as `kill -9` would end it: nothing is given back
        started.append(environment)

    died = []
    stores, (dies, lives) = await background_workers(tmp_path, wall, 2, spawn)
    with pytest.raises(SystemExit):
        await dies.ensure()
    async with anyio.create_task_group() as group:
        group.start_soon(lives.run)
        await lives.ensure()
        assert not started
        await anyio.sleep(STARTING + 2)
        group.cancel_scope.cancel()
    assert len(started) == 1
    for store in stores:
        store.close()


async def test_one_that_could_not_be_started_is_tried_again_at_once(tmp_path, wall):
    tried = []

    def spawn(environment):
        tried.append(environment)
        raise OSError("no more processes")

    (store,), (worker_starter,) = await background_workers(tmp_path, wall, 1, spawn)
    await worker_starter.ensure()
    await worker_starter.ensure()
    assert len(tried) == 2
    assert await store.holder(lease_name("a1"), store.clock()) is None
    store.close()


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot be asked whether it runs")
@pytest.mark.parametrize("placed", [False, True])
async def test_one_that_is_killed_while_it_starts_is_replaced_by_the_next_call(tmp_path, wall, placed):
    """P3: `kill -9` at any moment of its start. Before, nothing was started for 30 seconds, or ever after `avm get`.

    `placed`: it was killed after it had taken its place, and before it had ended the lease of its start.
    """
    children = []

    def spawn(environment):
        children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return children[-1].pid

    store = await open_store(tmp_path, now=wall(), machine=this_machine())
    worker_starter = WorkerStarter(Settings(), store, account="a1", spawn=spawn)
    try:
        await worker_starter.ensure()
        await worker_starter.ensure()
        assert len(children) == 1, "one that starts is waited for"
        holder = await store.holder(starting_name("a1"), store.clock())
        assert holder is not None
        assert not is_gone(holder)
        if placed:
            assert await store.lease(lease_name("a1"), holder, store.clock(), 30)
        children[0].kill()
        children[0].wait()
        await worker_starter.ensure()
        assert len(children) == 2
    finally:
        for child in children:
            child.kill()
            child.wait()
        store.close()


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot be asked whether it runs")
async def test_one_whose_starter_was_killed_between_lease_and_start_is_started_by_the_next_call(tmp_path, wall):
    """P3. The starter is a real process, which ends without giving the lease back."""
    ends = STARTER.replace("spawn = lambda environment: ", "spawn = lambda environment: __import__('os')._exit(9) or ")
    starter = subprocess.Popen([sys.executable, "-c", ends, str(tmp_path)], stdin=subprocess.PIPE)
    starter.communicate(b"\n", timeout=60)
    assert starter.returncode == 9
    started = []
    store = await open_store(tmp_path, now=wall(), machine=this_machine())
    await WorkerStarter(Settings(), store, account="a1", spawn=started.append).ensure()
    assert len(started) == 1
    store.close()


STARTER = """
import sys, time
from pathlib import Path
import anyio
from avm_mcp.settings import Settings
from avm_mcp.store import open_store
from avm_mcp.jobs.start_worker import WorkerStarter

async def main(folder):
    journal = await open_store(folder, now=time.time())
    spawn = lambda environment: (folder / "started").open("a").write("one\\n")
    sys.stdin.readline()
    await WorkerStarter(Settings(), journal, account="a1", spawn=spawn).ensure()

anyio.run(main, Path(sys.argv[1]))
"""


@pytest.mark.process
def test_processes_that_ask_at_once_start_one(tmp_path):
    """Forty with AVM_FULL=1."""
    asking = [
        subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdin=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    for process in asking:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in asking] == [0] * PROCESSES
    assert (tmp_path / "started").read_text() == "one\n"
