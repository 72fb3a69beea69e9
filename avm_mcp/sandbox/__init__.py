"""A local copy of the aivideomaker.ai API: real validation, a real ledger, real MP4 files, no money.

    app = build_sandbox(SandboxOptions(speed=60))        # an ASGI app; app.sandbox is its state
    app.sandbox.faults.next("generate", faults.drop(after=True))
    async with server.running(SandboxOptions()) as base_url: ...

It is written from what is known of the API and from nothing of this package, so that an error in the client's
tables cannot hide in a copy of itself. Profile `live` is the API as measured in September 2026, profile `seed`
the page of March 2026. Whatever is unknown upstream is a default with a switch, in `options.py`.

What it does not imitate:

- the videos: they show the prompt, or the given picture, and say SANDBOX; nothing is generated;
- content safety: nothing is refused for what it says; `faults.refuse(422, ...)` plays that part;
- the reach of pictures: an https address is never fetched, so a dead one is not noticed;
- webhooks: the header is recorded, nothing is sent, since nobody knows what would be;
- the headers: every answer says the sandbox's speed in one that the API does not have (`says_speed`);
- the daily credit limit of a key, whose refusal nobody has recorded;
- the website's own cookie protocol, TLS, HTTP/2, the CDN's edge, the shared load of a real service.

State lives in memory and dies with the process.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avm_mcp.sandbox.app import SandboxApp, build_sandbox
    from avm_mcp.sandbox.faults import DroppedConnection
    from avm_mcp.sandbox.options import SandboxOptions
    from avm_mcp.sandbox.state import Sandbox

__all__ = ["DroppedConnection", "Sandbox", "SandboxApp", "SandboxOptions", "build_sandbox"]

_HOMES = {
    "DroppedConnection": "faults",
    "Sandbox": "state",
    "SandboxApp": "app",
    "SandboxOptions": "options",
    "build_sandbox": "app",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
