"""Every message is answered: for any bytes, on stdin and in a POST, and what follows is answered too."""

import io
import json
import re
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.stdio import stdio_server
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter

from avm_mcp.fast_start.lines import Lines
from avm_mcp.fast_start.messages import INVALID_REQUEST, MAX_DEPTH, PARSE_ERROR, examine
from avm_mcp.mcp_server.http import build_app
from avm_mcp.mcp_server.server import build_server
from tests.e2e.test_odd_lines import REFUSED, UNDERSTOOD
from tests.snapshot import initialize
from tests.stack import Stack, alive
from tests.transport import StreamingASGITransport

PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2025-11-25",
}

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("\ud83d a"))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3))
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.one_of(st.just("2.0"), values),
        "id": values,
        "method": st.one_of(st.sampled_from(["ping", "tools/list", "notifications/x"]), values),
        "params": st.one_of(st.just({}), values),
        "result": st.one_of(st.just({}), values),
        "error": st.one_of(st.just({"code": 1, "message": "m"}), values),
    },
)
texts = st.one_of(objects, st.lists(objects, max_size=3), values).map(json.dumps)
bent = st.tuples(texts, st.integers(0, 400), st.binary(max_size=3)).map(
    lambda it: it[0].encode()[: it[1]] + it[2] + it[0].encode()[it[1] :]
)
lines = st.one_of(st.binary(max_size=60), texts.map(str.encode), bent, bent.map(lambda line: b"\xef\xbb\xbf" + line))


@given(lines)
def test_any_bytes_are_messages_that_the_sdk_takes_or_refusals(data):
    """Nothing is dropped without a word, and no request is taken for a notification."""
    found = examine(data)
    assert bool(found.refusals or found.messages or found.why) is bool(
        data.decode(errors="replace").lstrip("\ufeff").strip()
    )
    assert len(found.why) >= len(found.refusals)
    for text in found.messages:
        assert not re.search(r"[\r\n]", text)
        message = jsonrpc_message_adapter.validate_json(text, by_name=False)
        if "method" in json.loads(text):
            kind = JSONRPCRequest if "id" in json.loads(text) else JSONRPCNotification
        else:
            kind = JSONRPCResponse | JSONRPCError
        assert isinstance(message, kind)
    for text in found.refusals:
        refusal = jsonrpc_message_adapter.validate_python(
            {**json.loads(text), "id": 0 if isinstance(json.loads(text)["id"], float) else json.loads(text)["id"]}
        )
        assert isinstance(refusal, JSONRPCError)
        assert refusal.error.code in (PARSE_ERROR, INVALID_REQUEST)


@given(objects.filter(lambda it: "method" in it or not ({"result", "error"} & it.keys())))
def test_a_request_or_a_notification_has_one_outcome(message):
    found = examine(json.dumps(message).encode())
    assert len(found.messages) + len(found.refusals) == 1


@given(st.lists(lines, max_size=6), st.integers(1, 50))
def test_lines_are_the_same_however_they_are_cut(sent, size):
    """The file that the SDK reads, over pieces of any size."""

    def reply(cut: int) -> tuple[bytes, list[bytes]]:
        source, refusals = io.BytesIO(b"\n".join(sent)), []
        return io.BufferedReader(Lines(lambda _: source.read(cut), refusals.append)).read(), refusals

    assert reply(size) == reply(1 << 20)


def test_a_response_that_is_broken_is_never_answered():
    """Or two peers would refuse each other's refusals for ever."""
    for broken in ({"jsonrpc": "2.0", "id": 1, "result": 5}, {"jsonrpc": "2.0", "error": 5}):
        found = examine(json.dumps(broken).encode())
        assert (found.messages, found.refusals) == ((), ())
        assert len(found.why) == 1


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH])
def test_brackets_in_a_string_are_no_depth(depth):
    params = {"x": json.loads("[" * depth + "]" * depth), "y": "[" * 500}
    found = examine(json.dumps(PING | {"params": params}).encode())
    assert len(found.messages) == (depth < MAX_DEPTH - 1)
    assert len(found.refusals) == (depth >= MAX_DEPTH - 1)


async def served(stack: Stack, data: bytes, until: str) -> list[dict[str, Any]]:
    """Return what the real server says to these bytes over its stdio transport."""
    low = build_server(stack.runtime())._lowlevel_server
    reply: list[dict[str, Any]] = []
    done = anyio.Event()
    source = io.BytesIO(data)
    reader = io.TextIOWrapper(
        io.BufferedReader(Lines(source.read, lambda refusal: reply.append(json.loads(refusal)))), encoding="utf-8"
    )

    class Stdin:
        def __aiter__(self) -> "Stdin":
            return self

        async def __anext__(self) -> str:
            if line := reader.readline():
                return line
            await done.wait()
            raise StopAsyncIteration

    class Stdout:
        async def write(self, text: str) -> None:
            reply.append(json.loads(text))
            if reply[-1].get("id") == until:
                done.set()

        async def flush(self) -> None:
            pass

    stdin: Any = Stdin()
    stdout: Any = Stdout()
    async with stdio_server(stdin, stdout) as streams:
        await low.run(*streams, low.create_initialization_options())
    return reply


@pytest.mark.parametrize("seed", range(3))
async def test_a_well_formed_request_behind_any_line_is_answered(stack: Stack, seed):
    """P7. The whole server, in one connection, behind hundreds of odd lines."""
    odd: list[bytes] = []

    @given(lines)
    def collect(line: bytes) -> None:
        odd.append(line.replace(b"\n", b" "))

    collect()
    hello = json.dumps(initialize("2025-11-25")).encode()
    stream = [hello, *odd[seed::3], json.dumps(PING | {"id": "last"}).encode()]
    with anyio.fail_after(60):
        reply = await served(stack, b"\n".join(stream), "last")
    assert [answer["id"] for answer in reply].count("last") == 1
    refused = sum(len(examine(line).refusals) for line in odd[seed::3])
    asked = [json.loads(m)["id"] for line in odd[seed::3] for m in examine(line).messages if is_request(m)]
    assert sum("error" in answer or "result" in answer for answer in reply) == refused + len(asked) + 2


def is_request(text: str) -> bool:
    return {"id", "method"} <= json.loads(text).keys()


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_every_post_is_answered(stack: Stack, revision):
    """P7. Status 400 with a JSON-RPC error, with its id; never 500, nor 202 for a request."""
    app = build_app(stack.runtime())
    headers = HEADERS | {"MCP-Protocol-Version": revision}
    async with (
        alive(app),
        httpx2.AsyncClient(transport=StreamingASGITransport(app), headers=headers, timeout=20) as client,
    ):
        for name, (body, code, at) in REFUSED.items():
            answer = await client.post("http://127.0.0.1/mcp", content=body)
            assert answer.status_code == 400, (name, answer.text)
            assert (answer.json()["error"]["code"], answer.json()["id"]) == (code, at), name
        for name, body in UNDERSTOOD.items():
            answer = await client.post("http://127.0.0.1/mcp", content=body)
            if name == "a batch":
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, INVALID_REQUEST)
            elif revision == "2025-11-25":
                assert answer.status_code == 200, (name, answer.text)
                assert f'"id":"{name}"' in answer.text
            else:  # without the envelope it is refused, but it was read
                assert answer.json()["id"] == name, answer.text
        for body in (b"", b"  \n"):
            answer = await client.post("http://127.0.0.1/mcp", content=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, PARSE_ERROR)
