"""What every host is asked to do, and what must come of it: one story, told by many clients.

A step is a call; `"$text"` in its arguments stands for the task id that the step of that name returned. A host is a
program that reads a plan from stdin and prints `{"tools": […], "steps": {name: Step}}`, or a client in this process.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.hosts.machine import TOOLS, Machine, is_video, rises, run

SLACK = 2.0
"""Seconds that a busy machine, or a host that starts a process for each call, may add to a submit's three (P4)."""


def call(tool: str, *, progress: bool = False, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments, "progress": progress}


def whole(machine: Machine, transport: str) -> dict[str, Any]:
    """Return all eight tools, and one error of each kind that a user meets first."""
    picture = machine.shown(transport)
    return {
        "account": call("get_account"),
        "quote": call("quote_video", model="t2v", duration=5),
        "text": call("text_to_video", prompt="a red kite over the sea", wait_seconds=1),
        "again": call("text_to_video", prompt="a red kite over the sea", wait_seconds=0),
        "image": call("image_to_video", image=picture, prompt="the sand drifts", wait_seconds=0),
        "long": call("long_video", image=picture, prompts=["wind rises", "dust settles"], wait_seconds=0),
        "text_end": call("get_task", task_id="$text", wait_seconds=30),
        "image_end": call("get_task", task_id="$image", wait_seconds=30),
        "long_end": call("get_task", task_id="$long", wait_seconds=30),
        "list": call("list_tasks"),
        "too_late": call("cancel_task", task_id="$text"),
        "bad_input": call("text_to_video", prompt="a kite", duration=10),
        "no_such_task": call("get_task", task_id="ck0000000000000000000000"),
        "not_a_picture": call("image_to_video", image=str(machine.not_a_picture)),
    }


def check_whole(reply: Mapping[str, Any], machine: Machine, *, errors_as_text: bool = False) -> None:
    """Hold the whole story to its promises; some hosts keep the text of an error only."""
    assert tuple(reply["tools"]) == TOOLS
    steps = reply["steps"]
    assert not {name: step["thrown"] for name, step in steps.items() if step.get("thrown")}
    for name, step in steps.items():
        facts, text = step["structured"], step["text"]
        assert text.splitlines()[-1].startswith("Next: "), (name, text)
        assert step["is_error"] is (name in ERRORS), (name, text)
        if name in ERRORS and not errors_as_text:
            assert list(facts) == ["error"]
            assert facts["error"]["code"] == ERRORS[name], text
    for name in ("text", "image", "long", "again"):
        step = steps[name]
        # A host that starts a process for each call may come back to a video that is ready.
        assert name == "again" or not step["structured"]["done"], "a wait that ran out is a normal result"
        assert step["structured"]["task_id"] in step["text"]
        assert step["structured"]["next_step"] in step["text"]
        assert step["seconds"] <= 3 + (name == "text") + SLACK, (name, step["seconds"])
    assert steps["again"]["structured"]["deduplicated"] is True
    assert steps["again"]["structured"]["task_id"] == steps["text"]["structured"]["task_id"]
    for name in ("text_end", "image_end", "long_end"):
        check_video(steps[name], machine)
    assert steps["account"]["structured"]["sandbox"] is True
    assert steps["quote"]["structured"]["credits"] == 15
    assert len(steps["list"]["structured"]["tasks"]) == 3
    assert {task["status"] for task in steps["list"]["structured"]["tasks"]} == {"COMPLETED"}


ERRORS: Mapping[str, str] = {
    "too_late": "NOT_CANCELLABLE",
    "bad_input": "INVALID_INPUT",
    "no_such_task": "TASK_NOT_FOUND",
    "not_a_picture": "FILE_REFUSED",
    "no_key": "NOT_CONFIGURED",
}


def check_video(step: Mapping[str, Any], machine: Machine) -> None:
    facts = step["structured"]
    assert facts["status"] == "COMPLETED", step["text"]
    assert facts["done"] is True
    assert is_video(facts["file"])
    assert Path(facts["file"]).parent == machine.videos
    assert facts["file"] in step["text"]
    assert facts["video_url"] in step["text"]
    links = [link for link in step.get("links", []) if link]
    assert links in ([], [Path(facts["file"]).as_uri()])


def watched() -> dict[str, Any]:
    """Return one video, made with progress and no wait named: the host's best."""
    return {"text": call("text_to_video", prompt="a red kite over the sea", progress=True)}


def check_watched(reply: Mapping[str, Any], machine: Machine) -> None:
    step = reply["steps"]["text"]
    assert not step.get("thrown"), step
    rises(step["beats"], step["structured"]["task_id"])
    assert step["beats"][-1]["progress"] == 100
    check_video(step, machine)


STRUCTURED = "2025-06-18"
"""First revision with structured content and links in results; before it everything stands in the text."""


def aged(*, progress: bool = True) -> dict[str, Any]:
    """Return one video and one refusal, for clients of any age."""
    return {
        "video": call("text_to_video", prompt="a red kite over the sea", wait_seconds=30, progress=progress),
        "bad_input": call("text_to_video", prompt="a kite", duration=10),
    }


def check_aged(reply: Mapping[str, Any], machine: Machine, revision: str, *, wordy: bool = True) -> None:
    """Hold a video to be finished, saved and told in words, with what the revision has and nothing newer."""
    assert reply["spoken"] == revision
    assert tuple(reply["tools"]) == TOOLS
    video, refused = reply["steps"]["video"], reply["steps"]["bad_input"]
    for step in (video, refused):
        assert not step.get("thrown"), step
        assert bool(step.get("structured")) is (revision >= STRUCTURED), step
        assert step["text"].splitlines()[-1].startswith("Next: "), step["text"]
    (file,) = machine.videos.glob("*.mp4")
    assert is_video(str(file))
    assert str(file) in video["text"]
    assert video["is_error"] is False
    assert video["links"] == ([file.as_uri()] if revision >= STRUCTURED else [])
    assert refused["is_error"] is True
    assert all(bool(beat.get("message")) is wordy for beat in video["beats"]), video["beats"]


def unwatched() -> dict[str, Any]:
    """Return a video that is asked for with nothing named, and looked at with nothing named: the impatient hosts."""
    return {
        "text": call("text_to_video", prompt="a red kite over the sea"),
        **{f"look{number}": call("get_task", task_id="$text") for number in range(1, 5)},
    }


def check_unwatched(reply: Mapping[str, Any], machine: Machine, limit: float = 5.0) -> None:
    """Hold every call to the shortest limit of any host, and the last look to the finished video."""
    steps = reply["steps"]
    assert not {name: step["thrown"] for name, step in steps.items() if step.get("thrown")}
    assert max(step["seconds"] for step in steps.values()) < limit, {k: v["seconds"] for k, v in steps.items()}
    check_video(steps["look4"], machine)


def cancelled() -> dict[str, Any]:
    """Return a video that is cancelled before it is begun."""
    return {
        "text": call("text_to_video", prompt="a red kite over the sea", wait_seconds=0),
        "cancel": call("cancel_task", task_id="$text"),
        "cancel_again": call("cancel_task", task_id="$text"),
    }


def check_cancelled(reply: Mapping[str, Any]) -> None:
    for name in ("cancel", "cancel_again"):
        step = reply["steps"][name]
        assert not step["is_error"], step
        assert step["structured"]["status"] == "CANCEL", step["text"]
        assert step["structured"]["credits"]["refunded"] == 15


def keyless() -> dict[str, Any]:
    return {"no_key": call("text_to_video", prompt="a red kite over the sea")}


def check_keyless(reply: Mapping[str, Any]) -> None:
    """Hold P7, and Must show 4: the tools are listed, and a paid one says what to set."""
    assert tuple(reply["tools"]) == TOOLS
    step = reply["steps"]["no_key"]
    assert not step.get("thrown"), step
    assert step["is_error"]
    assert step["structured"]["error"]["code"] == "NOT_CONFIGURED"
    assert "AVM_API_KEY" in step["text"]


def ask(command: list[str], machine: Machine, where: Mapping[str, Any], steps: Mapping[str, Any]) -> dict[str, Any]:
    """Let a host play a plan; it gets the shell's environment only, so that the server's is what the plan says."""
    plan = json.dumps({"where": where, "steps": steps, "modules": str(Path(__file__).parents[2] / ".hosts" / "_")})
    done = run(command, machine.shell, given=plan)
    assert done.code == 0, done.err
    return done.json
