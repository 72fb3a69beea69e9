"""P1, P2, P3: accidents of real hosts: `avm-mcp` as they start it, and `avm sandbox` beside it, each a process.

Judged by the sandbox's ledger, the files on disk and what callers were told. Time spans are production's, so most of a
story is waiting for a dead process's lease; the stories run side by side.
"""

import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import anyio
import pytest
from mcp import Client

from avm_mcp.sandbox import faults
from tests.e2e.background_workers import ON, TAKEN_OVER, background_workers, log
from tests.e2e.served import Served, served
from tests.e2e.stories import Reply, run_stories
from tests.e2e.workspace import Host, Workspace, alive, avm, host, names, program, until
from tests.stack import fields

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes through /proc"),
]

KITE = {"prompt": "a red kite over the sea"}
TIMEOUT = 120.0
"""Seconds that a call may take on a machine that does much else."""

BIG = 40_000_000
"""Bytes of a video whose first half is more than what is synced at once, so that it can be continued after a kill."""

Call = Callable[..., Awaitable[dict[str, Any]]]


def figures(workspace: Served) -> dict[str, int]:
    return {
        "POSTs": workspace.posts,
        "tasks": len(workspace.tasks),
        "charges": len(workspace.charges),
        "videos": len(workspace.saved()),
    }


ONE = {"POSTs": 1, "tasks": 1, "charges": 1, "videos": 1}


# --- an answer that is lost after the charge ---


@asynccontextmanager
async def over_stdio(workspace: Workspace) -> AsyncGenerator[Call]:
    async with host(workspace) as server:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            return await server.call(tool, TIMEOUT, **arguments)

        yield call


@asynccontextmanager
async def over_http(workspace: Workspace) -> AsyncGenerator[Call]:
    argv = [sys.executable, "-m", "avm_mcp", "serve", "--port", "0"]
    async with program(argv, workspace.environ()) as process:
        assert process.stdout is not None
        with anyio.fail_after(TIMEOUT):
            address = (await process.stdout.receive()).decode().split()[-1]

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            async with Client(address) as client:  # as frameworks do: a session for each call
                return fields(await client.call_tool(tool, arguments))

        yield call


async def a_lost_answer(
    workspace: Workspace, profile: str, transport: Callable[[Workspace], Any] = over_stdio
) -> dict[str, Any]:
    """The service makes and charges the video, and its answer never arrives."""
    async with served(workspace.folder, profile=profile) as workspace:
        workspace.spoil("generate", faults.drop(after=True))
        async with transport(workspace) as call:
            reply = await call("text_to_video", **KITE, wait_seconds=60)
            again = await call("text_to_video", **KITE, wait_seconds=0)
        video = workspace.one_of_everything()
        assert reply["task_id"] == again["task_id"] == workspace.tasks[0].id
        assert reply["status"] == "COMPLETED"
        assert (again["deduplicated"], again["file"]) == (True, str(video))
        return figures(workspace)


# --- an agent that repeats a call whose host has timed out ---


async def a_host_that_gives_up(
    workspace: Workspace, wait: int, spoiled: faults.Fault | None, tell: bool
) -> dict[str, Any]:
    """After two seconds; then the model calls again, three times at once, and once more from a fresh process."""
    async with served(workspace.folder, durations={"t2v": 2000.0}) as workspace:  # ten seconds
        if spoiled is not None:
            workspace.spoil("generate", spoiled)
        async with host(workspace) as server:
            await server.call("get_account", TIMEOUT)  # it is up, however busy the machine
            first = await server.send("text_to_video", **KITE, wait_seconds=wait)
            with pytest.raises(TimeoutError):
                await server.take(first, 2)
            await until(lambda: workspace.posts, "the first is sending", 60)
            if tell:
                await server.give_up(first)
            again = [await server.send("text_to_video", **KITE, wait_seconds=wait) for _ in range(3)]
            async with host(workspace) as fresh:
                reply = [await fresh.call("text_to_video", TIMEOUT, **KITE, wait_seconds=0)]
                reply += [await server.take(number, TIMEOUT) for number in again]
                assert [one.get("deduplicated") for one in reply] == [True] * 4, reply
                ends = [await one.call("get_task", TIMEOUT, task_id=reply[0]["task_id"], wait_seconds=90)
                        for one in (fresh, server)]  # fmt: skip
        video = workspace.one_of_everything()
        assert {(end["status"], end["task_id"], end["file"]) for end in ends} == {
            ("COMPLETED", workspace.tasks[0].id, str(video))
        }
        return figures(workspace)


# --- two servers on one state ---


async def two_servers(workspace: Workspace) -> dict[str, Any]:
    """As two chat windows start them; the same request in both, at one instant."""
    prompts = [f"kite number {number}" for number in range(8)]
    async with served(workspace.folder) as workspace, host(workspace) as one, host(workspace) as other:
        reply: dict[str, list[dict[str, Any]]] = {}
        for prompt in prompts:
            calls: list[tuple[Host, int]] = []

            async def send(server: Host, calls: list[tuple[Host, int]] = calls, prompt: str = prompt) -> None:
                calls.append((server, await server.send("text_to_video", prompt=prompt, wait_seconds=0)))

            async with anyio.create_task_group() as group:
                group.start_soon(send, one)
                group.start_soon(send, other)
            reply[prompt] = [await server.take(number, TIMEOUT) for server, number in calls]
        for pair in reply.values():
            assert sorted(printed.get("deduplicated", False) for printed in pair) == [False, True]
        # The one that comes second may be told before the service has given an id; both ids are good in both servers.
        ends: list[list[Any]] = []
        for server in (one, other):
            ids = [printed["task_id"] for pair in reply.values() for printed in pair]
            polls = [await server.call("get_task", TIMEOUT, task_id=task_id, wait_seconds=60) for task_id in ids]
            ends.append([(look["task_id"], look["status"], look["file"]) for look in polls])
        assert ends[0] == ends[1]
        assert ends[0][::2] == ends[0][1::2], "of each request"
        assert len({task_id for task_id, _, _ in ends[0]}) == 8
        assert {Path(file) for _, _, file in ends[0]} == set(workspace.saved())
        workspace.only_whole_videos(8)
        return figures(workspace)


# --- a kill during a download ---


async def killed_during_a_download(workspace: Workspace, then: str) -> dict[str, Any]:
    """The video is large, and its host has gone silent half-way."""
    more = ON if then == "worker" else {}
    async with served(workspace.folder, video_bytes=BIG) as workspace:
        workspace.spoil("file", faults.stall(90))
        async with host(workspace, **more) as server:
            reply = await server.call("text_to_video", TIMEOUT, **KITE, wait_seconds=0)
            part = await until(
                lambda: [name for name in names(workspace.videos) if name.endswith(".part")], "a part", 90
            )
            await until(lambda: (workspace.videos / part[0]).stat().st_size == BIG // 2, "half of it", 90)
            server.process.kill()
            await until(lambda: not alive(server.process.pid), "its end")
        if then == "next process":
            async with host(workspace) as server:
                end = await server.call("get_task", TIMEOUT, task_id=reply["task_id"], wait_seconds=90)
                assert (end["status"], end["file"]) == ("COMPLETED", str(workspace.saved()[0]))
        else:
            await until(
                lambda: workspace.saved() and len(names(workspace.videos)) == 1,
                f"the video; {log(workspace)}",
                2 * TAKEN_OVER,
            )
        (video,) = (workspace.videos / name for name in names(workspace.videos))
        ranges = [seen.headers.get("range", "") for seen in workspace.requests("file")]
        end = await avm(workspace, "get", reply["task_id"], "--wait", "0")
        with urlopen(end["video_url"], timeout=60) as answer:
            assert video.read_bytes() == answer.read()
        assert len(workspace.requests("generate")) == len(workspace.charges) == 1
        return figures(workspace) | {"ranges": ranges}


# --- a host that starts one process for each call ---


async def close_its_stdin(server: Host) -> None:
    assert server.process.stdin is not None
    await server.process.stdin.aclose()


async def interrupt_and_terminate(server: Host) -> None:
    """SIGTERM follows SIGINT after 100 ms, whatever has been done by then."""
    os.killpg(server.process.pid, signal.SIGINT)
    await anyio.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGTERM)


async def one_process_for_each_call(workspace: Workspace, let_go: Callable[[Host], Awaitable[None]]) -> dict[str, Any]:
    """It asks, lets go, looks once with another process, lets go of that too; nobody is there when the video is."""

    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        async with host(workspace, **ON) as server:
            reply = await server.call(tool, TIMEOUT, **arguments)
            await let_go(server)
            with anyio.fail_after(60):
                await server.process.wait()
            return reply

    async with served(workspace.folder, durations={"t2v": 2000.0}) as workspace:
        reply = await call("text_to_video", **KITE, wait_seconds=0)
        polled = await call("get_task", task_id=reply["task_id"], wait_seconds=0)
        assert not reply["done"]
        assert polled["task_id"] == reply["task_id"] == workspace.tasks[0].id
        await until(
            lambda: workspace.saved() and not background_workers(workspace),
            f"the video and the background worker's end; {log(workspace)}",
            150,
        )
        video = workspace.one_of_everything()
        (listed,) = (await avm(workspace, "list"))["tasks"]
        assert (listed["download"], listed["file"]) == ("saved", str(video))
        return figures(workspace)


async def ended_before_the_answer(workspace: Workspace) -> dict[str, Any]:
    """It lets go while the service has the request and has not answered, and kills what does not end in two seconds."""
    async with served(workspace.folder) as workspace:
        workspace.spoil("generate", faults.hang(20, after=True))
        async with host(workspace, **ON) as server:
            reply = await server.call("text_to_video", TIMEOUT, **KITE, wait_seconds=0)
            assert reply["status"] == "SUBMITTING"
            await close_its_stdin(server)
            with anyio.move_on_after(2):
                await server.process.wait()
            with suppress(ProcessLookupError):
                os.kill(server.process.pid, signal.SIGKILL)
            await server.process.wait()
        await until(
            lambda: workspace.saved() and not background_workers(workspace),
            f"the video and the background worker's end; {log(workspace)}",
            180,
        )
        workspace.one_of_everything()
        return figures(workspace)


SLOW = faults.hang(8, after=True)
STORIES: Mapping[str, Callable[[Workspace], Awaitable[dict[str, Any]]]] = {
    "lost answer, live, stdio": partial(a_lost_answer, profile="live"),
    "lost answer, seed, stdio": partial(a_lost_answer, profile="seed"),
    "lost answer, live, HTTP": partial(a_lost_answer, profile="live", transport=over_http),
    "lost answer, seed, HTTP": partial(a_lost_answer, profile="seed", transport=over_http),
    "given up, slow POST": partial(a_host_that_gives_up, wait=0, spoiled=SLOW, tell=False),
    "given up, slow POST, cancelled": partial(a_host_that_gives_up, wait=0, spoiled=SLOW, tell=True),
    "given up, long wait": partial(a_host_that_gives_up, wait=60, spoiled=None, tell=False),
    "given up, long wait, cancelled": partial(a_host_that_gives_up, wait=60, spoiled=None, tell=True),
    "two servers": two_servers,
    "killed during a download, next process": partial(killed_during_a_download, then="next process"),
    "killed during a download, background worker": partial(killed_during_a_download, then="worker"),
    "ended before the answer": ended_before_the_answer,
    "one process for each call, stdin": partial(one_process_for_each_call, let_go=close_its_stdin),
    "one process for each call, signals": partial(one_process_for_each_call, let_go=interrupt_and_terminate),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def reply(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Reply]:
    folder = tmp_path_factory.mktemp("accidents")
    numbers = {name: str(number) for number, name in enumerate(STORIES)}
    async with run_stories(
        STORIES, lambda name: Workspace(folder / numbers[name], None, ""), seconds=600, at_once=5
    ) as reply:
        yield reply


async def ended(reply: Reply, name: str) -> dict[str, Any]:
    end = await reply(name)
    print(f"\n{name}: {end}")
    return end


# --- the tests ---


@pytest.mark.parametrize("transport", ["stdio", "HTTP"])
@pytest.mark.parametrize("profile", ["live", "seed"])
async def test_an_answer_that_is_lost_after_the_charge_is_found_again_and_charged_once(reply, profile, transport):
    """P1. Where the service keeps our key, and where it keeps none."""
    assert await ended(reply, f"lost answer, {profile}, {transport}") == ONE


@pytest.mark.parametrize("how", ["slow POST", "slow POST, cancelled", "long wait", "long wait, cancelled"])
async def test_an_agent_that_calls_again_after_its_hosts_time_out_gets_the_same_task(reply, how):
    """P1, P4. At once, three times in parallel, and from a fresh process; `deduplicated` says so each time."""
    assert await ended(reply, f"given up, {how}") == ONE


async def test_two_servers_that_get_the_same_request_at_one_instant_make_one_video_and_both_know_it(reply):
    """P1."""
    assert await ended(reply, "two servers") == {"POSTs": 8, "tasks": 8, "charges": 8, "videos": 8}


async def test_after_a_kill_during_a_download_the_next_process_continues_it(reply):
    """P3. Saved once, byte for byte; what had been synced is not fetched again."""
    end = await ended(reply, "killed during a download, next process")
    assert end | ONE == end
    first, second = end["ranges"]
    assert first == ""
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= 16_000_000


async def test_after_a_kill_during_a_download_the_background_worker_saves_the_video_with_nobody_there(reply):
    """P3."""
    end = await ended(reply, "killed during a download, background worker")
    assert end | ONE == end


@pytest.mark.parametrize("how", ["stdin", "signals"])
async def test_the_video_of_a_host_that_starts_one_process_for_each_call_and_lets_go_is_saved_by_the_background_worker(
    reply, how
):
    """P2, P3."""
    assert await ended(reply, f"one process for each call, {how}") == ONE


async def test_the_video_of_a_host_that_ends_us_before_the_service_answers_is_saved_by_the_background_worker(reply):
    """P2, P3: it was told that the request goes on without it; the background worker is there before the answer is."""
    assert await ended(reply, "ended before the answer") == ONE
