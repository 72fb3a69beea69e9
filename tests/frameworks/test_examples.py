"""Every example, run as a user runs it: real frameworks, a real server, and a service that counts what it is paid.

Only the model is a script (`scripted/`). What each model saw is printed; `make frameworks` shows it.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from avm_mcp.sandbox import faults
from tests.e2e.test_background_worker import background_workers
from tests.e2e.workspace import Workspace, open_workspace, until
from tests.frameworks import stage
from tests.frameworks.examples import EXAMPLES, URL, Example
from tests.frameworks.stage import Reply
from tests.hosts.install import HOSTS
from tests.hosts.machine import node, run

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="looks at processes through /proc"),
]

VIDEO = 8.0
"""Seconds: longer than the shortest default, so that an example's own time-out is what lets a call wait for it."""

SLOW_ANSWER = 8.0
"""Seconds that the paid request waits for its answer, after it was accepted and charged."""

STARTS = 4.0
"""Seconds that a busy machine may take to start a server, and to find out that time is up."""

WORKER = {"AVM_WORKER": "on"}
"""Written down: machines of CI are containers, where there is no background worker unless it is asked for."""

LETS_GO = {"MODEL_LETS_GO": "1", "MODEL_WAIT": "0"}

OVER_STDIO = [name for name, example in EXAMPLES.items() if example.http]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


# --- as the example says it ---


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_makes_a_video_and_its_model_is_told_the_file(name: str, tmp_path: Path):
    """P1, P3. Its own time-out lets one call wait for the video, so nothing is asked for twice."""
    async with open_workspace(tmp_path, stage.service(VIDEO)) as workspace:
        async with stage.server_of(EXAMPLES[name], workspace) as argv:
            reply = await stage.run(EXAMPLES[name], workspace, argv, MODEL_WAIT="30")
        stage.is_whole(reply, workspace)
        stage.one_video_for_one_charge(workspace)
    assert len(reply.tools("text_to_video")) == 1, "a call was cut"
    assert ("Next: " in reply.saw[-1]["saw"]) is (EXAMPLES[name].sees != "structured")
    assert ("next_step" in reply.saw[-1]["saw"]) is ("structured" in EXAMPLES[name].sees)


@pytest.mark.parametrize("name", OVER_STDIO)
async def test_the_example_works_over_http_as_the_document_says(name: str, tmp_path: Path):
    """P1, P3."""
    async with open_workspace(tmp_path, stage.service(VIDEO)) as workspace:
        async with stage.serving(workspace) as url:
            changes = [(old, new.replace(URL, url)) for old, new in EXAMPLES[name].http]
            reply = await stage.run(EXAMPLES[name], workspace, changes=changes, MODEL_WAIT="30")
        stage.is_whole(reply, workspace)
        stage.one_video_for_one_charge(workspace)
    assert len(reply.tools("text_to_video")) == 1, "a call was cut"


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.one_server])
async def test_with_the_embedded_sandbox_it_needs_no_key_and_no_service(name: str, tmp_path: Path):
    """P3."""
    async with open_workspace(tmp_path, stage.service(VIDEO)) as workspace:
        env = {"AVM_API_KEY": "sandbox", "AVM_BASE_URL": "", "AVM_SANDBOX_SPEED": "60"}
        async with stage.server_of(EXAMPLES[name], workspace, **env) as argv:
            reply = await stage.run(EXAMPLES[name], workspace, argv, **env)
        assert reply.video.parent == workspace.videos
        assert reply.video.read_bytes()[4:8] == b"ftyp"
        assert workspace.posts == 0


def test_the_typescript_example_is_right_in_the_eyes_of_its_compiler(tmp_path: Path):
    wanted = ["--strict", "--noEmit", "--target", "es2024", "--module", "nodenext", "--allowImportingTsExtensions"]
    copy = HOSTS / "compiled" / "typescript_agent.ts"
    (copy.parent / "scripted").mkdir(parents=True, exist_ok=True)
    for name in ("typescript_agent.ts", "scripted/typescript.ts"):
        (copy.parent / name).write_text((EXAMPLES["typescript"].path.parent / name).read_text())
    compiler = str(HOSTS / "node_modules" / "typescript" / "bin" / "tsc")
    types = ["--types", "node", "--typeRoots", str(HOSTS / "node_modules" / "@types")]
    done = run([node(), compiler, *wanted, *types, str(copy)], os.environ)
    assert done.code == 0, done.out


# --- by default, at a service that takes longer: stories that are mostly waiting, so several are told at once ---


async def slower_than_it_waits(example: Example, workspace: Workspace) -> Reply:
    """The paid request is answered late, and the video takes longer than the framework waits for a call."""
    video = video_of(example)
    workspace.sandbox.faults.next("generate", faults.hang(SLOW_ANSWER, after=True))
    wait = {"MODEL_WAIT": str(round(video + 30))}
    async with stage.server_of(example, workspace) as argv:
        how = {"changes": example.timeout, "seconds": 4 * video + 90}
        reply = await stage.run(example, workspace, argv, **how, **wait, **WORKER)
    stage.is_whole(reply, workspace)
    return reply


async def lets_go(example: Example, workspace: Workspace) -> Reply:
    """The program ends as soon as it is told that its video was started."""
    async with stage.server_of(example, workspace) as argv:
        reply = await stage.run(example, workspace, argv, changes=example.timeout, **LETS_GO, **WORKER)
        await until(workspace.saved, "the video on the disk", 60)
    return reply


async def lets_go_before_the_answer(example: Example, workspace: Workspace) -> Reply:
    """The program ends while the paid request waits for its answer, and nobody comes back."""
    workspace.sandbox.faults.next("generate", faults.hang(2 * SLOW_ANSWER, after=True))
    reply = await stage.run(example, workspace, changes=example.timeout, **LETS_GO, **WORKER)
    assert reply.answer.startswith("It is being made: sub_"), reply
    await until(workspace.saved, "the video on the disk", 120)
    return reply


def video_of(example: Example) -> float:
    """Return how many seconds a video takes that is too slow for a framework's default."""
    return (example.limit or SLOW_ANSWER) + 12


Story = Callable[[Example, Workspace], Awaitable[Reply]]
KINDS: Mapping[str, tuple[Story, list[str]]] = {
    "slow": (slower_than_it_waits, list(EXAMPLES)),
    "lets-go": (lets_go, list(EXAMPLES)),
    "lets-go-early": (lets_go_before_the_answer, ["langchain", "llama_index", "openai"]),
}


def stories(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("story", [f"{kind} {name}" for name in KINDS[kind][1]])


@dataclass
class RunningStory:
    """One story on its way."""

    kind: str
    example: Example
    over: anyio.Event = field(default_factory=anyio.Event)
    end: Reply | None = None
    failure: BaseException | None = None

    @property
    def seconds(self) -> float:
        return video_of(self.example) if self.kind == "slow" else 0

    async def tell(self, folder: Path) -> None:
        try:
            async with open_workspace(folder, stage.service(self.seconds or VIDEO)) as workspace:
                try:
                    self.end = await KINDS[self.kind][0](self.example, workspace)
                    await until(lambda: not background_workers(workspace), "the background worker's end", 60)
                    stage.one_video_for_one_charge(workspace)
                finally:
                    for pid in background_workers(workspace):
                        os.kill(pid, signal.SIGKILL)
        except Exception as failure:
            self.failure = failure
        finally:
            self.over.set()


@pytest.fixture(scope="module")
async def reply(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Callable[[str], Awaitable[Reply]]]:
    """The stories whose tests will run, three at a time, the longest first; `await told(story)` is the end of one."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["story"] for item in items if "reply" in item.fixturenames]
    running = {name: RunningStory(name.split()[0], EXAMPLES[name.split()[1]]) for name in names}
    places = anyio.CapacityLimiter(3)

    async def tell(run_stories: RunningStory) -> None:
        async with places:
            await run_stories.tell(tmp_path_factory.mktemp(run_stories.example.name))

    async def end_of(name: str) -> Reply:
        await running[name].over.wait()
        if (failure := running[name].failure) is not None:
            raise failure
        end = running[name].end
        assert end is not None
        print(*(f"{one['seconds']:6.2f} s: {one['saw']}" for one in end.saw), sep="\n")
        return end

    async with anyio.create_task_group() as group:
        for run_stories in sorted(running.values(), key=lambda run_stories: -run_stories.seconds):
            group.start_soon(tell, run_stories)
        yield end_of
        group.cancel_scope.cancel()


@stories("slow")
async def test_by_default_a_slow_service_costs_no_video_and_no_second_charge(story: str, reply):
    """P1, P2, P3. A call that is cut, and made again with the same arguments, returns the task that was started."""
    end, example = await reply(story), EXAMPLES[story.split()[1]]
    asked = end.tools("text_to_video")
    assert all(one == asked[0] for one in asked)
    cuts = [one for one in end.saw if not one["answered"]]
    if example.limit is None:
        assert not cuts, "there was no limit"
        return
    assert all(example.limit - 0.5 <= cut["seconds"] <= example.limit + STARTS for cut in cuts), cuts
    if not example.cut:
        # The first call may also wait for a busy machine to start the server.
        assert cuts in ([], end.saw[:1]), "the server answers before it is cut"
        return
    assert cuts, "it was to be cut"
    after = end.saw[len(cuts)]["saw"]
    assert "This call sent nothing" in after or "No new video was started" in after, after


@stories("lets-go")
async def test_a_program_that_ends_after_the_paid_call_leaves_a_video(story: str, reply):
    """P2, P3. Over stdio its server goes with it, and a background worker saves it; over HTTP the server stays."""
    end = await reply(story)
    assert end.answer.startswith("It is being made: ")
    assert len(end.calls) == 1


@stories("lets-go-early")
async def test_a_program_that_ends_before_the_service_answers_leaves_a_video_too(story: str, reply):
    """P2, P3. It was told that the request goes on without it."""
    end = await reply(story)
    assert end.answer.startswith("It is being made: sub_")
