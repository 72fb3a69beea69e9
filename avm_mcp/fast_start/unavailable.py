"""The answers of a server whose libraries cannot be loaded: each call gets the reason. No library is needed."""

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

from avm_mcp.fast_start.answers import Responder, Snapshot, dump
from avm_mcp.fast_start.reading import VERSION

INTERNAL = -32603
"""JSON-RPC's code for an error that is not the caller's."""

NEXT = "tell the user to repair the installation or the environment that is named, then restart the host."


def serve(why: str, snapshot: Snapshot | None) -> None:
    """Answer until stdin ends: from the snapshot where it has the answer, else with the reason.

    Args:
        why: What keeps the server from starting, as one sentence.
        snapshot: The server's description of itself, if there is one.
    """
    responder = Responder(snapshot) if snapshot is not None else None
    for line in sys.stdin.buffer:
        answer = responder.answer_line(line) if responder is not None else b""
        if answer := answer or answer_with_reason(line, why):
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


def answer_with_reason(line: bytes, why: str) -> bytes:
    """Return the answer to a request, as a line; empty if the line is not a request."""
    try:
        message: Any = json.loads(line)
    except ValueError:
        return b""
    if not isinstance(message, dict) or not {"id", "method"} <= message.keys():
        return b""
    request = cast("Mapping[str, Any]", message)
    if request["method"] == "tools/call":
        modern = f'"{VERSION}"' in dump(request.get("params"))
        answer: Mapping[str, Any] = {"result": _result(why, modern=modern)}
    else:
        answer = {"error": {"code": INTERNAL, "message": why}}
    return f"{dump({'jsonrpc': '2.0', 'id': request['id'], **answer})}\n".encode(errors="replace")


def _result(why: str, *, modern: bool) -> Mapping[str, Any]:
    error = {"code": "INTERNAL", "message": why, "retryable": False, "charged": "no", "next_step": NEXT}
    text = f"{why}\nNothing was started or charged.\nNext: {NEXT}"
    result = {
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"error": error},
        "isError": True,
    }
    return result | {"resultType": "complete"} if modern else result
