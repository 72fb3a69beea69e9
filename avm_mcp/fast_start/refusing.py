"""Answers for good, where the libraries of the server cannot be loaded: each call is told why. It needs no library."""

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

from avm_mcp.fast_start.answers import Front, Snapshot, dumped
from avm_mcp.fast_start.reading import VERSION

INTERNAL = -32603
"""JSON-RPC's code for what is not the caller's fault."""

NEXT = "tell the user to repair the installation or the environment that is named, then restart the host."


def serve(why: str, snapshot: Snapshot | None) -> None:
    """Answer until stdin ends: what the snapshot knows from there, and everything else with the reason.

    Args:
        why: What keeps the server from starting, as one sentence.
        snapshot: What the server says of itself, where there is one.
    """
    front = Front(snapshot) if snapshot is not None else None
    for line in sys.stdin.buffer:
        answer = front.known(line) if front is not None else b""
        if answer := answer or refusal(line, why):
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


def refusal(line: bytes, why: str) -> bytes:
    """Return the answer to a request, as a line; empty where the line is none."""
    try:
        message: Any = json.loads(line)
    except ValueError:
        return b""
    if not isinstance(message, dict) or not {"id", "method"} <= message.keys():
        return b""
    request = cast("Mapping[str, Any]", message)
    if request["method"] == "tools/call":
        modern = f'"{VERSION}"' in dumped(request.get("params"))
        told: Mapping[str, Any] = {"result": _result(why, modern=modern)}
    else:
        told = {"error": {"code": INTERNAL, "message": why}}
    return f"{dumped({'jsonrpc': '2.0', 'id': request['id'], **told})}\n".encode(errors="replace")


def _result(why: str, *, modern: bool) -> Mapping[str, Any]:
    error = {"code": "INTERNAL", "message": why, "retryable": False, "charged": "no", "next_step": NEXT}
    text = f"{why}\nNothing was started or charged.\nNext: {NEXT}"
    result = {
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"error": error},
        "isError": True,
    }
    return result | {"resultType": "complete"} if modern else result
