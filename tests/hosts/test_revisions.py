"""Real clients of every protocol revision, each completing a video over stdio and over HTTP.

The TypeScript SDK 1.10 is the one that spoke 2024-11-05 over Streamable HTTP; older ones have HTTP+SSE only, which
this server does not serve.
"""

from typing import Any, NamedTuple

import pytest

from tests.hosts import story
from tests.hosts.install import python_of
from tests.hosts.machine import HERE, Machine
from tests.hosts.test_python import connected, play
from tests.hosts.test_typescript import where

pytestmark = [pytest.mark.hosts, pytest.mark.process]


class Client(NamedTuple):
    package: str
    revision: str
    transports: tuple[str, ...] = ("stdio", "http")


TYPESCRIPT = (
    Client("sdk-1.4.1", "2024-11-05", ("stdio",)),
    Client("sdk-1.10.2", "2024-11-05"),
    Client("sdk-1.12.3", "2025-03-26"),
    Client("sdk-1.13.3", "2025-06-18"),
    Client("@modelcontextprotocol/sdk", "2025-11-25"),
)
PYTHON = (
    Client("mcp-1.6.0", "2024-11-05", ("stdio",)),
    Client("mcp-1.9.4", "2025-03-26"),
    Client("mcp-1.12.4", "2025-06-18"),
)
NEWEST = ("2025-11-25", "2026-07-28")


def each(clients: tuple[Client, ...]) -> Any:
    cases = [(client, transport) for client in clients for transport in client.transports]
    names = [f"{client.package}-{client.revision}-{transport}" for client, transport in cases]
    return pytest.mark.parametrize(("client", "transport"), cases, ids=names)


@each(TYPESCRIPT)
def test_a_typescript_client_completes_a_video(nodejs: str, machine: Machine, client: Client, transport: str):
    """P3. 1.12 and older refuse a whole result for one kind of content that they do not know."""
    with where(machine, transport) as place:
        at = {**place, "client": client.package}
        reply = story.ask([nodejs, str(HERE / "older.mjs")], machine, at, story.aged())
    # Over HTTP it names no revision after the greeting, and so counts as one of 2025-03-26.
    wordy = transport == "http" or client.revision > "2024-11-05"
    story.check_aged(reply, machine, client.revision, wordy=wordy)
    assert len(reply["steps"]["video"]["beats"]) >= 2


@each(PYTHON)
def test_a_python_client_completes_a_video(machine: Machine, client: Client, transport: str):
    """P3."""
    with where(machine, transport) as place:
        command = [str(python_of(client.package)), str(HERE / "older.py")]
        reply = story.ask(command, machine, place, story.aged())
    story.check_aged(reply, machine, client.revision)


@pytest.mark.parametrize("revision", NEWEST)
async def test_the_newest_python_client_completes_a_video(machine: Machine, transport: str, revision: str):
    """P3."""
    async with connected(machine, transport, "legacy" if revision == NEWEST[0] else revision) as client:
        reply = {"spoken": client.protocol_version, **await play(client, story.aged())}
    story.check_aged(reply, machine, revision)


def test_the_newest_typescript_client_completes_a_video(nodejs: str, machine: Machine, transport: str):
    """P3. `client2.mjs` ends with an error unless it speaks 2026-07-28."""
    with where(machine, transport) as place:
        reply = story.ask([nodejs, str(HERE / "client2.mjs")], machine, place, story.aged())
    story.check_aged(reply | {"spoken": NEWEST[1]}, machine, NEWEST[1])
