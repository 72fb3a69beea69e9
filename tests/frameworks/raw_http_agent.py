"""Raw HTTP, with httpx2 (httpx is the same) against `avm-mcp serve`."""

import json

import httpx2

HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


def call(http, tool, arguments):
    """Return the result of one tool call. There are no sessions, so it needs no handshake."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    with http.stream("POST", "/mcp", json=body, headers=HEADERS) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():  # server-sent events; the one with our id is the answer
            if line.startswith("data: ") and (message := json.loads(line[6:])).get("id") == 1:
                return message["result"]
    raise httpx2.RemoteProtocolError("it ended without an answer")


def main(model, server="http://127.0.0.1:8765"):
    # Left out, a silence of 5 s ends the call. Nothing is lost then, but no call can wait for a video.
    timeout = httpx2.Timeout(10, read=120)
    with httpx2.Client(base_url=server, timeout=timeout) as http:
        seen = None
        while not isinstance(turn := model.next(seen), str):
            try:
                seen = call(http, turn.tool, turn.arguments)["content"][0]["text"]
            except httpx2.HTTPError as error:
                seen = f"The call failed ({error!r}). Please try again."
    print(turn)


if __name__ == "__main__":
    import sys

    from scripted import Script

    main(Script(), *sys.argv[1:])
