"""The TypeScript SDK, both majors: what Claude Desktop, VS Code, the Inspector and most other hosts are made of."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import story
from tests.hosts.machine import HERE, QUEUED, SERVER, WATCHABLE, Machine, machine_at

pytestmark = [pytest.mark.hosts, pytest.mark.process]

CLIENTS = ("sdk1", "client2")


@contextmanager
def where(machine: Machine, transport: str) -> Iterator[Mapping[str, Any]]:
    if transport == "stdio":
        yield {"command": SERVER, "args": [], "env": machine.env}
    else:
        with machine.serving() as url:
            yield {"url": url}


def tell(nodejs: str, client: str, machine: Machine, transport: str, steps: Mapping[str, Any]) -> dict[str, Any]:
    with where(machine, transport) as place:
        return story.ask([nodejs, str(HERE / f"{client}.mjs")], machine, place, steps)


@pytest.mark.parametrize("client", CLIENTS)
def test_eight_tools_and_errors_pass_the_clients_schema_check(nodejs, client, machine, transport):
    """DESIGN 3: every output schema admits an error; the client validates each and throws at none."""
    reply = tell(nodejs, client, machine, transport, story.whole(machine, transport))
    story.check_whole(reply, machine)


@pytest.mark.parametrize("client", CLIENTS)
def test_progress_arrives_while_the_video_is_made(nodejs, client, transport, tmp_path: Path):
    """P4, Must show 2: at least every five seconds, strictly increasing, the task's id in the first."""
    with machine_at(WATCHABLE, tmp_path) as machine:
        story.check_watched(tell(nodejs, client, machine, transport, story.watched()), machine)


def test_a_waiting_task_can_be_cancelled(nodejs, tmp_path: Path):
    with machine_at(QUEUED, tmp_path) as machine:
        story.check_cancelled(tell(nodejs, "sdk1", machine, "stdio", story.cancelled()))


@pytest.mark.parametrize("client", CLIENTS)
def test_without_a_key_it_says_what_to_set(nodejs, client, machine, transport):
    """P7, Must show 4."""
    story.check_keyless(tell(nodejs, client, machine.without_key(), transport, story.keyless()))
