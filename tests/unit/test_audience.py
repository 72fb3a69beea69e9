"""Who is spoken to: a model is told what to tell the user; at a terminal the reader is the user."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.domain import errors
from avm_mcp.domain.errors import AvmError, NotConfigured
from avm_mcp.domain.next_steps import Action, Cheaper
from avm_mcp.images.formats import FORMATS
from avm_mcp.presentation.audience import JSON_AUDIENCE, MODEL_AUDIENCE, SHELL_AUDIENCE
from avm_mcp.presentation.errors import format_error
from avm_mcp.presentation.next_steps import SENTENCES, write_next_step

HELD = json.loads((Path(__file__).parent / "next_steps.json").read_text(encoding="utf-8"))
"""Every action in words, for each audience."""

FITS = Cheaper(50, 5, 15, certain=True)
ARGUMENTS: dict[Action, dict[str, Any]] = {
    Action.USE_TOOL: {"tool": "image_to_video"},
    Action.SEE_HELP: {"program": "avm get"},
    Action.APPROVE_PRICE: {"credits": 80, "cheaper": FITS},
    Action.RECONSIDER_PRICE: {"credits": 80, "cheaper": None},
    Action.PAY_MORE: {"credits": 80, "cheaper": FITS},
    Action.RAISE_CAP: {"setting": "AVM_MAX_CREDITS_PER_CALL"},
    Action.WAIT_FOR_NEW_DAY: {"setting": "AVM_MAX_CREDITS_PER_DAY"},
    Action.ACCEPT_SHAPE: {"shape": "1:1"},
    Action.GIVE_FORMAT: {"formats": FORMATS},
    Action.SAVE_PICTURE: {"folder": "/pictures"},
    Action.SAVE_PICTURE_OR_ALLOW_FOLDER: {"folder": "/pictures"},
}
FOR_A_TERMINAL = {Action.SAVE_ELSEWHERE, Action.SEE_HELP}
"""What only a command can come to."""


@pytest.mark.parametrize("action", Action)
def test_every_step_speaks_to_its_reader(action: Action) -> None:
    step = action(**ARGUMENTS.get(action, {}))
    model, agent, shell = (
        write_next_step(step, audience, "ck1") for audience in (MODEL_AUDIENCE, JSON_AUDIENCE, SHELL_AUDIENCE)
    )
    assert {"model": model, "json": agent, "person": shell} == HELD[action.name]
    assert not re.search(r"\bthe user\b(?! name)|\bcall\b|restart the host|\(task_id", shell), shell
    if action not in FOR_A_TERMINAL:
        assert not re.search(r"\byou\b|\byour\b|\bavm (get|list)\b|--", model), model
    for printed in (shell, model, agent):
        assert not re.search(r"[{}]|  |^ | $", printed), printed
        assert printed.endswith(".")


def test_every_action_is_written_and_used() -> None:
    assert set(SENTENCES) == set(Action)
    source = "".join(path.read_text(encoding="utf-8") for path in Path(errors.__file__).parents[1].rglob("*.py"))
    unused = {
        action.name for action in Action if not re.search(rf"\bAction\.{action.name}\b(?!: (Sentences|_user))", source)
    }
    assert unused == set()


def test_a_cheaper_video_is_offered_with_its_price_as_surely_as_it_is_known() -> None:
    step = Action.PAY_MORE(credits=80, cheaper=Cheaper(50, 10, 40, certain=False, model="t2v_v3"))
    assert write_next_step(step, MODEL_AUDIENCE).endswith(
        "repeat the call with max_credits=80. Within 50 credits: 10 s with t2v_v3 for up to 40."
    )


def test_who_is_addressed_and_how_a_call_is_written_are_two_things() -> None:
    for audience, repeat in (
        (MODEL_AUDIENCE, "ask the user. If they agree, repeat the same call with max_credits=450."),
        (SHELL_AUDIENCE, "if you agree, repeat the same command with --max-credits 450."),
        (JSON_AUDIENCE, "ask the user. If they agree, repeat the same command with --max-credits 450."),
    ):
        assert write_next_step(Action.APPROVE_PRICE(credits=450), audience) == repeat


@pytest.mark.parametrize("leaf", [errors.NotConfigured, errors.BadSetting, errors.AuthFailed])
def test_only_who_has_a_host_is_told_to_restart_it(leaf: type[AvmError]) -> None:
    assert "restart the host" in write_next_step(leaf.default_next_step, MODEL_AUDIENCE)
    assert not re.search("host|Claude", write_next_step(leaf.default_next_step, JSON_AUDIENCE))


def test_a_person_without_a_key_is_told_where_to_get_one() -> None:
    printed = format_error(NotConfigured("Not set up: no API key."), SHELL_AUDIENCE)
    assert "Next: get a key at https://aivideomaker.ai and set AVM_API_KEY" in printed


@given(text=st.text(alphabet="{}:ab model get_task!\n\\"))
def test_arguments_and_ids_are_shown_as_they_are(text: str) -> None:
    for audience in (SHELL_AUDIENCE, MODEL_AUDIENCE):
        assert f"in {text} and" in write_next_step(Action.SAVE_PICTURE(folder=text), audience)
        assert (text or "…") in write_next_step(Action.SEE_TASK(), audience, text)


def test_no_next_step_is_written_outside_of_presentation() -> None:
    """Whoever needs a new next step adds an action, and its words for each reader."""
    package = Path(errors.__file__).parents[1]
    missed = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        # The fast start speaks to models only; what to do in a host after `avm setup` is said to a person only.
        if not {"fast_start", "presentation", "setup"} & set(path.parts)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"""["'](tell|ask) the user|next_step=f?["']""", line)
    ]
    assert missed == []
