"""Frameworks for agents, without a model: the tool is called as an agent would call it."""

from pathlib import Path

import pytest

from tests.hosts import story
from tests.hosts.install import python_of
from tests.hosts.machine import SERVER

HERE = Path(__file__).parent

pytestmark = [pytest.mark.frameworks, pytest.mark.process]


def play(framework, machine, transport, steps):
    command = [str(python_of(framework)), str(HERE / f"{framework}_client.py")]
    if transport == "stdio":
        place = {"command": SERVER, "args": [], "env": machine.env}
        return story.ask(command, machine, place, steps)
    with machine.serving() as url:
        return story.ask(command, machine, {"url": url}, steps)


def test_langchain(machine, transport):
    """Its model sees the text alone, and over stdio each call is a new server process (P2)."""
    reply = play("langchain", machine, transport, story.whole(machine, transport))
    story.check_whole(reply, machine, errors_as_text=True)
    assert any(Path(line.removeprefix("File: ")).is_file() for line in reply["steps"]["text_end"]["text"].splitlines())


def test_openai_agents(machine, transport):
    """P4: it gives up on every request after five seconds, whatever is being waited for."""
    story.check_unwatched(play("openai", machine, transport, story.unwatched()), machine)


def test_openai_agents_without_a_key(machine, transport):
    """P7, Must show 4."""
    story.check_keyless(play("openai", machine.without_key(), transport, story.keyless()))
