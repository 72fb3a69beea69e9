"""Whether a background worker saves videos although nobody waits for them, in words."""

from collections.abc import Mapping

from avm_mcp.app import Runtime
from avm_mcp.jobs import start_worker

DESCRIPTIONS: Mapping[str, str] = {
    "at work": "at work: videos are saved after the command that asked for them has ended",
    "none": "none at work; the next video starts one",
    "off": "none here: a video is saved when it is waited for, or fetched with avm get",
}


EMBEDDED = "none here: the embedded sandbox ends with each command, and its tasks with it"
"""The description of "off" where no other command knows what this one started."""


def describe(runtime: Runtime, status: str) -> str:
    """Return what a status means here."""
    return EMBEDDED if status == "off" and runtime.place.fleeting else DESCRIPTIONS[status]


async def read_status(runtime: Runtime) -> str:
    """Return the status of this account's worker: a key of `DESCRIPTIONS`."""
    if await runtime.service.worker_alive():
        return "at work"
    if runtime.client is None or start_worker.possible(runtime.settings, runtime.store):
        return "none"
    return "off"
