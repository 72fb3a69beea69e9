"""Everything that needs a key, and how long a call waits for what it asks of the service."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from avm_mcp.domain.errors import UpstreamUnavailable
from avm_mcp.downloads.downloader import Downloader
from avm_mcp.jobs.discover import Discoverer
from avm_mcp.jobs.poller import Poller
from avm_mcp.jobs.reconcile import Reconciler
from avm_mcp.jobs.sending import Sender
from avm_mcp.jobs.start_worker import WorkerStarter
from avm_mcp.jobs.submit import Submitter
from avm_mcp.provider.protocol import Provider

ASK_TIMEOUT = 10.0
"""Seconds that a call waits for what it asks the service, its turn to ask included. After a 429 everybody's turn can be
two minutes away, and a host would cut the call before it was answered."""

T = TypeVar("T")


@dataclass(slots=True)
class Upstream:
    """Everything that needs a key."""

    client: Provider
    poller: Poller
    downloader: Downloader
    reconciler: Reconciler
    discoverer: Discoverer
    submitter: Submitter
    sender: Sender
    worker_starter: WorkerStarter | None = None

    @property
    def sandboxed(self) -> bool:
        """Whether videos are placeholders: from the embedded sandbox, or one that says so in its answers."""
        return self.client.sandbox_speed is not None


async def answer_soon(answer: Awaitable[T]) -> T:
    """Return what the service answers.

    Raises:
        UpstreamUnavailable: It did not answer within `ASK_TIMEOUT` seconds.
    """
    with anyio.move_on_after(ASK_TIMEOUT):
        return await answer
    raise UpstreamUnavailable(f"The service did not answer within {ASK_TIMEOUT:g} s, or asked everybody for a pause.")
