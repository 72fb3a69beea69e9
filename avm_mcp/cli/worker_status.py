"""What is said of the background worker: whether videos are saved although nobody waits for them."""

from collections.abc import Mapping

from avm_mcp.app import Runtime
from avm_mcp.jobs import start_worker

SAID: Mapping[str, str] = {
    "at work": "at work: videos are saved although what asked for them ended",
    "none": "none at work; the next video starts one",
    "off": "none here: a video is saved when it is waited for, or fetched with avm get",
}


EMBEDDED = "none here: the embedded sandbox ends with each command, and its tasks with it"
"""What is said in place of "off" where no other command knows what this one started."""


def said(runtime: Runtime, word: str) -> str:
    """Return what a word of `SAID` means here."""
    return EMBEDDED if word == "off" and runtime.place.fleeting else SAID[word]


async def standing(runtime: Runtime) -> str:
    """Return which word of `SAID` is true of this state and account."""
    if await runtime.service.worker_alive():
        return "at work"
    if runtime.client is None or start_worker.possible(runtime.settings, runtime.store):
        return "none"
    return "off"
