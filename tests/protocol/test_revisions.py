"""What is sent keeps to the protocol revision that was negotiated: nothing newer, over stdio and HTTP.

`KNOWN` is a transcription of the published schemas, by what each revision has; the product's own table says what is
taken away, so that a slip in one does not hide in the other.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from avm_mcp.mcp_server.http import build_app
from avm_mcp.mcp_server.server import build_server
from tests.snapshot import LISTS, initialize
from tests.stack import Stack, alive, piped
from tests.transport import StreamingASGITransport

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
FIRST, SECOND, THIRD, FOURTH = REVISIONS

KNOWN: Mapping[str, Mapping[str, str]] = {
    "initialize": {
        FIRST: "protocolVersion capabilities serverInfo instructions _meta",
    },
    "capabilities": {
        FIRST: "experimental logging prompts resources tools",
        SECOND: "completions",
        FOURTH: "tasks",
    },
    "serverInfo": {FIRST: "name version", THIRD: "title", FOURTH: "description icons websiteUrl"},
    "tool": {
        FIRST: "name description inputSchema",
        SECOND: "annotations",
        THIRD: "title outputSchema _meta",
        FOURTH: "icons execution",
    },
    "prompt": {FIRST: "name description arguments", THIRD: "title _meta", FOURTH: "icons"},
    "argument": {FIRST: "name description required", THIRD: "title"},
    "template": {FIRST: "uriTemplate name description mimeType annotations", THIRD: "title _meta", FOURTH: "icons"},
    "contents": {FIRST: "uri mimeType text blob", THIRD: "_meta"},
    "result": {FIRST: "content isError _meta", THIRD: "structuredContent"},
    "text": {FIRST: "type text annotations", THIRD: "_meta"},
    "resource_link": {THIRD: "type uri name description mimeType size annotations title _meta", FOURTH: "icons"},
    "progress": {FIRST: "progressToken progress total", SECOND: "message", FOURTH: "_meta"},
}

Ask = Callable[..., Awaitable[dict[str, Any]]]


def known(place: str, revision: str) -> set[str]:
    """Return the members that this place has at a revision; none where the place itself is newer."""
    return {name for since, names in KNOWN[place].items() if since <= revision for name in names.split()}


def strangers(message: Any, place: str, revision: str) -> set[str]:
    return {f"{place}.{name}" for name in set(message) - known(place, revision)}


def newer(reply: Mapping[str, Any], progress: list[dict[str, Any]], revision: str) -> set[str]:
    """Return everything in a conversation that the revision does not know."""
    hello = reply["initialize"]
    rows: list[tuple[Any, str]] = [
        (hello, "initialize"),
        (hello["capabilities"], "capabilities"),
        (hello["serverInfo"], "serverInfo"),
        *((tool, "tool") for tool in reply["tools/list"]["tools"]),
        *((prompt, "prompt") for prompt in reply["prompts/list"]["prompts"]),
        *((arg, "argument") for prompt in reply["prompts/list"]["prompts"] for arg in prompt["arguments"]),
        *((template, "template") for template in reply["resources/templates/list"]["resourceTemplates"]),
        *((contents, "contents") for contents in reply["resources/read"]["contents"]),
        *((result, "result") for result in (reply["finished"], reply["refused"])),
        *((block, block["type"]) for result in (reply["finished"], reply["refused"]) for block in result["content"]),
        *((beat, "progress") for beat in progress),
    ]
    return set().union(*(strangers(row, place, revision) for row, place in rows))


@asynccontextmanager
async def over_stdio(stack: Stack, revision: str, received: list[dict[str, Any]]) -> AsyncGenerator[Ask]:
    """Speak JSON-RPC over one connection."""
    async with piped(build_server(stack.runtime())) as (reading, writing):

        async def send(message: dict[str, Any]) -> None:
            await writing.send(SessionMessage(jsonrpc_message_adapter.validate_python(message)))

        async def ask(method: str, **params: Any) -> dict[str, Any]:
            await send({"jsonrpc": "2.0", "id": method, "method": method, "params": params})
            while True:
                message = (await reading.receive()).message.model_dump(by_alias=True, exclude_unset=True)
                if message.get("id") == method:
                    return message["result"]
                received.append(message["params"])

        yield ask


@asynccontextmanager
async def over_http(stack: Stack, revision: str, received: list[dict[str, Any]]) -> AsyncGenerator[Ask]:
    """Speak JSON-RPC in POSTs, with the header that names the revision from the second one on."""
    app = build_app(stack.runtime())
    headers = {"Accept": "application/json, text/event-stream"}
    async with (
        alive(app),
        httpx2.AsyncClient(transport=StreamingASGITransport(app), headers=headers, timeout=None) as client,
    ):

        async def ask(method: str, **params: Any) -> dict[str, Any]:
            body = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
            answer = await client.post("http://127.0.0.1/mcp", json=body)
            answer.raise_for_status()
            client.headers["MCP-Protocol-Version"] = revision
            for line in answer.text.splitlines():
                if line.startswith("data: "):
                    message = json.loads(line.removeprefix("data: "))
                    if "result" in message:
                        return message["result"]
                    received.append(message["params"])
            raise AssertionError(answer.text)

        yield ask


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("connected", [over_stdio, over_http], ids=["stdio", "http"])
async def test_nothing_newer_than_the_revision_is_sent(stack: Stack, connected, revision):
    """P3, P4. A finished video with its progress, a refusal, every list, a resource; older words stay."""
    received: list[dict[str, Any]] = []
    async with connected(stack, revision, received) as ask:
        reply = {"initialize": await ask("initialize", **initialize(revision)["params"])}
        assert reply["initialize"]["protocolVersion"] == revision
        for name in LISTS:
            reply[name] = await ask(name)
        given = {"prompt": "a red kite over the sea", "wait_seconds": 1200}
        meta = {"progressToken": "p"}
        reply["finished"] = await ask("tools/call", name="text_to_video", arguments=given, _meta=meta)
        reply["refused"] = await ask("tools/call", name="text_to_video", arguments={"prompt": "x", "duration": 7})
        task = stack.sandbox.tasks()[0].id
        reply["resources/read"] = await ask("resources/read", uri=f"avm://tasks/{task}")
    assert newer(reply, received, revision) == set()
    printed = reply["finished"]["content"][0]["text"]
    assert "COMPLETED" in printed or "ready" in printed
    assert str(next(stack.videos.glob("*.mp4"))) in printed, "the path stands in the text, whatever else is left out"
    assert len(received) > 3
    if revision >= THIRD:
        assert reply["finished"]["structuredContent"]["status"] == "COMPLETED"
        assert [block["type"] for block in reply["finished"]["content"]] == ["text", "resource_link"]
        assert all("outputSchema" in tool and tool["title"] for tool in reply["tools/list"]["tools"])
    if revision >= SECOND:
        assert all(tool["annotations"] for tool in reply["tools/list"]["tools"])
        assert all(task in beat["message"] for beat in received)
