"""Who is spoken to: a model is told what to tell the user; at a terminal the reader is the user."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.domain import errors
from avm_mcp.domain.errors import AvmError, NotConfigured
from avm_mcp.presentation.audience import JSON_AUDIENCE, MODEL_AUDIENCE, SHELL_AUDIENCE
from avm_mcp.presentation.errors import error_text


def leaves(kind: type[AvmError] = AvmError) -> list[type[AvmError]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] or [kind]


@pytest.mark.parametrize("leaf", leaves())
def test_every_step_speaks_to_its_reader(leaf):
    shell, model, agent = (
        audience.say(leaf.default_next_step) for audience in (SHELL_AUDIENCE, MODEL_AUDIENCE, JSON_AUDIENCE)
    )
    assert not re.search(r"\bthe user\b|\bcall\b|restart the host|\(task_id", shell), shell
    assert not re.search(r"\byou\b|\byour\b|\bavm (get|list)\b|--", model), model
    for printed in (shell, model, agent):
        assert not re.search(r"[{}]|  |^ | $|model:|person:|host:", printed), printed
        assert printed.endswith(".")


def test_an_agent_that_reads_json_is_told_shell_commands_and_to_ask_the_user():
    step = "{model:ask the user. If they agree,}{person:if you agree,} repeat the {call} with {max_credits:450}."
    assert MODEL_AUDIENCE.say(step) == "ask the user. If they agree, repeat the call with max_credits=450."
    assert SHELL_AUDIENCE.say(step) == "if you agree, repeat the command with --max-credits 450."
    assert JSON_AUDIENCE.say(step) == "ask the user. If they agree, repeat the command with --max-credits 450."
    assert JSON_AUDIENCE.say("{do} {get_task}", id="ck1") == "run avm get ck1"
    assert MODEL_AUDIENCE.say("{model:{do} {get_task}}.", id="ck1") == 'call get_task(task_id="ck1").'


def test_a_tool_is_named_as_its_reader_calls_it():
    step = "{do} {tool:image_to_video}."
    assert MODEL_AUDIENCE.say(step) == "call image_to_video."
    assert SHELL_AUDIENCE.say(step) == JSON_AUDIENCE.say(step) == "run avm image-to-video."


@pytest.mark.parametrize("leaf", [errors.NotConfigured, errors.BadSetting, errors.AuthFailed])
def test_only_who_has_a_host_is_told_to_restart_it(leaf):
    assert "restart the host" in MODEL_AUDIENCE.say(leaf.default_next_step)
    assert not re.search("host|Claude", JSON_AUDIENCE.say(leaf.default_next_step))


def test_a_person_without_a_key_is_told_where_to_get_one():
    printed = error_text(NotConfigured("Not set up: no API key."), SHELL_AUDIENCE)
    assert "Next: get a key at https://aivideomaker.ai and set AVM_API_KEY" in printed


@given(template=st.text(alphabet="{}:ab model get_task!\n\\"))
def test_no_template_fails_to_be_shown(template):
    for audience in (SHELL_AUDIENCE, MODEL_AUDIENCE):
        assert isinstance(audience.say(template), str)


def test_what_is_no_word_of_ours_stays_and_doubled_braces_are_one():
    assert MODEL_AUDIENCE.say("{nobody} {knows:this} {{id}}", id="ck1") == "{nobody} {knows:this} {id}"


def test_every_next_step_in_the_source_can_be_said_to_both():
    """Whoever writes a step for a model writes it for a person too."""
    package = Path(errors.__file__).parent
    missed = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        if path.parent.name != "front"  # it speaks to models only, before anything of ours is imported
        for line in path.read_text().splitlines()
        if re.search(r"""["'](tell|ask) the user""", line)
    ]
    assert missed == []
