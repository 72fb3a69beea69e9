"""P2, P3, P5: the background worker as a real process, with the time spans that it has in production.

Most of that time is waiting for a dead process's lease, so the stories run side by side, each with a key, a state and
folders of its own; every test waits for its own story.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from avm_mcp.sandbox import SandboxOptions, faults
from tests.e2e.background_workers import ON, TAKEN_OVER, background_workers, environ_of, log
from tests.e2e.stories import Reply, run_stories
from tests.e2e.workspace import Workspace, alive, avm, host, names, open_workspace, output, side_by_side, until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes through /proc"),
]

OPTIONS = SandboxOptions(
    speed=60, render=False, query_limit=None, balance=100_000, durations={"t2v": 300.0, "t2v_v3": 900.0}
)
"""A video of t2v takes 5 seconds, one of t2v_v3 15."""


async def all_saved(workspace: Workspace, count: int) -> None:
    """Wait for the videos, then for the end of the background worker, and look at what there is."""
    await until(lambda: len(workspace.saved()) == count, f"{count} videos; {log(workspace)}", TAKEN_OVER)
    await until(lambda: not background_workers(workspace), f"no background worker left; {log(workspace)}", 20)
    workspace.only_whole_videos(count)
    assert workspace.posts == len(workspace.tasks) == len(workspace.charges) == count


# --- the stories ---


async def a_call_that_lets_go(workspace: Workspace) -> dict[str, Any]:
    """One process for each call, which ends at once."""
    reply = await avm(workspace, "text-to-video", "a red kite", "--wait", "0", **ON)
    (pid,) = await until(partial(background_workers, workspace), "a background worker")
    seen = {
        "told": reply,
        "argv": Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"),
        "environ": environ_of(pid),
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "streams": {os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)},
        "leads its session": os.getsid(pid) == pid,
        "doctor": await avm(workspace, "doctor", **ON),
    }
    await all_saved(workspace, 1)
    return seen


async def an_asker_that_is_killed(workspace: Workspace, how: Callable[[int], Awaitable[None]]) -> dict[str, Any]:
    """A host that ends its server the moment it has the answer."""
    async with host(workspace, err=workspace.folder / "err", **ON) as server:
        reply = await server.call("text_to_video", prompt="a red kite", wait_seconds=0)
        await how(server.process.pid)
        await until(lambda: not alive(server.process.pid), "the end of the asker")
    await all_saved(workspace, 1)
    return {"told": reply}


async def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def kill_the_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


async def end_impatiently(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)
    await anyio.sleep(0.1)
    with suppress(ProcessLookupError):  # it obeyed the first
        os.killpg(pid, signal.SIGTERM)


async def five_at_once(workspace: Workspace) -> dict[str, Any]:
    most = 0
    await avm(workspace, "account", **ON)  # the state is there

    async def count(scope: anyio.CancelScope) -> None:
        nonlocal most
        with scope:
            while True:
                most = max(most, log(workspace).count("working for account") - log(workspace).count(" done\n"))
                await anyio.sleep(0.1)

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        group.start_soon(count, scope)
        asks = [partial(avm, workspace, "text-to-video", f"kite {n}", "--wait", "0", **ON) for n in range(5)]
        await side_by_side(asks, 5)
        await until(
            lambda: len(background_workers(workspace)) == 1,
            f"one background worker and no more; {background_workers(workspace)}",
        )
        settled = background_workers(workspace)
        await all_saved(workspace, 5)
        scope.cancel()
    return {"most": most, "settled": settled, "log": log(workspace)}


async def a_firewall_on_the_way(workspace: Workspace) -> dict[str, Any]:
    workspace.sandbox.faults.next("status", faults.http_error(403, body="error code: 1010"))
    await avm(workspace, "text-to-video", "a red kite", "--model", "t2v_v3", "--wait", "0", **ON)
    await until(partial(background_workers, workspace), "a background worker")
    await until(lambda: not background_workers(workspace), f"the background worker's end; {log(workspace)}", TAKEN_OVER)
    return {"videos": names(workspace.videos), "log": log(workspace)}


async def a_worker_that_is_killed(workspace: Workspace, then: str) -> dict[str, Any]:
    reply = await avm(workspace, "text-to-video", "a red kite", "--model", "t2v_v3", "--wait", "0", **ON)
    (first,) = await until(partial(background_workers, workspace), "a background worker")
    await until(lambda: "working for account" in log(workspace), "a background worker at work")
    os.kill(first, signal.SIGKILL)
    await until(lambda: not background_workers(workspace), "its end")
    if then == "submit":
        await avm(workspace, "text-to-video", "a second one", "--wait", "0", **ON)
    else:
        await avm(workspace, "get", reply["task_id"], "--wait", "0", **ON)
    # One that finds the place taken while it starts ends at once: for a moment there may be two processes.
    await until(
        lambda: log(workspace).count("working for account") == 2, f"another background worker; {log(workspace)}"
    )
    (second,) = await until(lambda: len(found := background_workers(workspace)) == 1 and found, "one of them")
    await all_saved(workspace, 2 if then == "submit" else 1)
    return {"pids": [first, second]}


async def one_that_may_not(workspace: Workspace) -> dict[str, Any]:
    await avm(workspace, "text-to-video", "a red kite", "--wait", "0", AVM_WORKER="off")
    await anyio.sleep(3)
    return {"background workers": background_workers(workspace), "log": log(workspace)}


STORIES: Mapping[str, Callable[[Workspace], Awaitable[dict[str, Any]]]] = {
    "lets go": a_call_that_lets_go,
    "SIGKILL": partial(an_asker_that_is_killed, how=kill),
    "SIGKILL to its group": partial(an_asker_that_is_killed, how=kill_the_group),
    "SIGINT, then SIGTERM after 100 ms": partial(an_asker_that_is_killed, how=end_impatiently),
    "five": five_at_once,
    "firewall": a_firewall_on_the_way,
    "killed, then submit": partial(a_worker_that_is_killed, then="submit"),
    "killed, then restart": partial(a_worker_that_is_killed, then="restart"),
    "off": one_that_may_not,
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def reply(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Reply]:
    """All stories, begun at once; `await told(name)` is the end of one."""
    async with open_workspace(tmp_path_factory.mktemp("worker"), OPTIONS) as service:
        numbers = {name: number for number, name in enumerate(STORIES)}
        async with run_stories(STORIES, lambda name: service.mine(f"story{numbers[name]}"), seconds=150) as reply:
            yield reply


# --- the tests ---


async def test_a_host_that_starts_one_process_for_each_call_and_lets_go_gets_its_video(reply):
    """P3. The background worker has a session of its own, stands in the root, is quiet, and doctor shows it."""
    seen = await reply("lets go")
    assert not seen["told"]["done"]
    assert seen["leads its session"]
    assert seen["cwd"] == "/"
    assert seen["streams"] == {os.devnull}
    worker_starter = next(check for check in seen["doctor"]["checks"] if check["name"] == "worker")
    assert "at work" in worker_starter["found"]


async def test_the_key_is_not_on_the_background_workers_command_line(reply):
    """P5. It is in its environment, which only the user can read."""
    seen = await reply("lets go")
    assert [seen["environ"]["AVM_API_KEY"] in word for word in seen["argv"]] == [False] * len(seen["argv"])
    assert seen["argv"][1:] == ["-m", "avm_mcp", "work", ""]
    assert seen["environ"]["AVM_WORKER"] == "off", "a background worker needs none"


@pytest.mark.parametrize("how", ["SIGKILL", "SIGKILL to its group", "SIGINT, then SIGTERM after 100 ms"])
async def test_the_video_is_saved_although_the_host_ends_the_asking_process_at_once(reply, how):
    """P2, P3."""
    assert (await reply(how))["told"]["status"] in ("SUBMITTED", "PROGRESS")


async def test_five_submitters_at_once_leave_one_background_worker(reply):
    """P3. Those that were started beside it find the place taken and end."""
    seen = await reply("five")
    assert len(seen["settled"]) == 1
    assert seen["most"] == 1, seen["log"]


async def test_one_403_of_a_firewall_ends_no_background_worker(reply):
    """P3: with nothing of the API's in it."""
    seen = await reply("firewall")
    assert len(seen["videos"]) == 1
    assert "done" in seen["log"]


@pytest.mark.parametrize("then", ["submit", "restart"])
async def test_after_a_kill_of_the_background_worker_the_next_submit_or_start_starts_another_at_once(reply, then):
    """P3."""
    first, second = (await reply(f"killed, then {then}"))["pids"]
    assert first != second


async def test_switched_off_there_is_none(reply):
    """P3."""
    assert await reply("off") == {"background workers": [], "log": ""}


async def test_neither_background_worker_nor_runtime_imports_the_sdk(tmp_path):
    """P3. It stays for a day, so it is small; and a background worker without a job ends at once."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AVM_")}
    check = "import sys, avm_mcp.worker, avm_mcp.app; print([m for m in sys.modules if m.split('.')[0] == 'mcp'])"
    assert (await output([sys.executable, "-c", check], env))[1].strip() == "[]"
    env |= {"AVM_STATE_DIR": str(tmp_path), "AVM_API_KEY": "k", "AVM_BASE_URL": "http://127.0.0.1:9"}
    code, _, err = await output([sys.executable, "-X", "importtime", "-m", "avm_mcp", "work"], env)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in err.splitlines()}
    assert code == 0
    assert {"avm_mcp", "httpx2"} <= imported
    assert "mcp" not in imported
