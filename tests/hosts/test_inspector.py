"""The MCP Inspector's command line: one server process for each call, no progress, an exit code that says `isError`.

What it printed is left in `.hosts/inspector.txt`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import story
from tests.hosts.install import HOSTS
from tests.hosts.machine import QUEUED, SERVER, TOOLS, Machine, Outcome, machine_at, run

pytestmark = [pytest.mark.hosts, pytest.mark.process]

INSPECTOR = (
    HOSTS / "node_modules" / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
)
RECORD = HOSTS / "inspector.txt"
IS_ERROR = 5
"""Its exit code for a result with `isError: true`."""


class Inspector:
    """Runs it, and writes down what it said."""

    def __init__(self, nodejs: str, machine: Machine, url: str | None = None) -> None:
        self._nodejs, self._machine, self._url = nodejs, machine, url

    def __call__(self, method: str, *options: str) -> Outcome:
        where = ["--server-url", self._url, "--transport", "http"] if self._url else ["--", SERVER]
        settings = {} if self._url else self._machine.settings
        pairs = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
        return run(
            [self._nodejs, str(INSPECTOR), "--cli", *pairs, "--method", method, *options, *where], self._machine.shell
        )

    @property
    def remote(self) -> bool:
        return self._url is not None

    def call(self, tool: str, **arguments: Any) -> tuple[Outcome, dict[str, Any]]:
        done = self("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        result = done.json
        assert done.code == (IS_ERROR if result["isError"] else 0), done
        self.record(tool, arguments, done, result["content"][0]["text"])
        return done, result

    def record(self, what: str, arguments: dict[str, Any], done: Outcome, text: str) -> None:
        transport = "http" if self._url else "stdio"
        shown = json.dumps(arguments).replace(str(self._machine.folder), "…")
        lines = text.replace(str(self._machine.folder), "…").splitlines()
        with RECORD.open("a") as record:
            print(f"{transport} | {what} {shown} | exit {done.code} | {done.seconds:.1f} s", file=record)
            print(*(f"    {line}" for line in lines), "", sep="\n", file=record)


@pytest.fixture(scope="module", autouse=True)
def _new_record() -> None:
    RECORD.unlink(missing_ok=True)


@pytest.fixture
def inspector(nodejs: str, machine: Machine, transport: str) -> Iterator[Inspector]:
    if transport == "stdio":
        yield Inspector(nodejs, machine)
        return
    with machine.serving() as url:
        yield Inspector(nodejs, machine, url)


def test_all_eight_tools(inspector: Inspector, machine: Machine):
    """Must show 3."""
    listed = inspector("tools/list", "--strict")
    assert listed.code == 0, listed.err
    assert tuple(tool["name"] for tool in listed.json["tools"]) == TOOLS
    inspector.record("tools/list --strict", {}, listed, " ".join(tool["name"] for tool in listed.json["tools"]))

    # A link over HTTP, where no paths are read: as data it would be too long for a command line.
    picture = "https://example.com/dunes.png" if inspector.remote else machine.shown("stdio")
    _, account = inspector.call("get_account")
    _, quote = inspector.call("quote_video", model="lv", segments=2)
    _, text = inspector.call("text_to_video", prompt="a red kite over the sea")
    _, image = inspector.call("image_to_video", image=picture, prompt="the sand drifts", aspect_ratio="16:9")
    _, long = inspector.call("long_video", image=picture, prompts=["wind rises", "dust settles"])
    ends = [
        inspector.call("get_task", task_id=task["structuredContent"]["task_id"], wait_seconds=30)[1]
        for task in (text, image, long)
    ]
    _, tasks = inspector.call("list_tasks", status="COMPLETED")
    _, bad = inspector.call("text_to_video", prompt="a kite", duration=10)
    _, late = inspector.call("cancel_task", task_id=text["structuredContent"]["task_id"])

    assert account["structuredContent"]["balance"] == 1000
    assert quote["structuredContent"]["credits"] == 150
    for end in ends:
        story.check_video({"structured": end["structuredContent"], "text": end["content"][0]["text"]}, machine)
    assert len(tasks["structuredContent"]["tasks"]) == 3
    assert bad["structuredContent"]["error"]["code"] == "INVALID_INPUT"
    assert late["structuredContent"]["error"]["code"] == "NOT_CANCELLABLE"


def test_cancel(nodejs: str, tmp_path: Path):
    with machine_at(QUEUED, tmp_path) as machine:
        inspector = Inspector(nodejs, machine)
        _, text = inspector.call("text_to_video", prompt="a red kite over the sea")
        _, gone = inspector.call("cancel_task", task_id=text["structuredContent"]["task_id"])
    assert gone["structuredContent"]["status"] == "CANCEL"


def test_without_a_key(nodejs: str, machine: Machine):
    """P7, Must show 4."""
    inspector = Inspector(nodejs, machine.without_key())
    assert len(inspector("tools/list").json["tools"]) == 8
    _, refused = inspector.call("text_to_video", prompt="a red kite over the sea")
    assert refused["structuredContent"]["error"]["code"] == "NOT_CONFIGURED"


def test_resources_and_prompts(inspector: Inspector):
    """What some hosts ask for on connecting must be answered."""
    templates = inspector("resources/templates/list")
    assert templates.code == 0
    assert len(templates.json["resourceTemplates"]) == 2
    prompts = inspector("prompts/list")
    assert prompts.code == 0
    assert len(prompts.json["prompts"]) == 3
    assert inspector("resources/list").code == 0
