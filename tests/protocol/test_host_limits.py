"""A host's own limit is learned when it cuts calls over stdio at the same age twice (P4). All seconds are virtual."""

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest

from avm_mcp.cli.doctor import examine
from avm_mcp.mcp_server.client_timeouts import ClientTimeoutObserver
from avm_mcp.mcp_server.server import build_server
from tests.protocol.test_waiting import KITE, SLACK, Received, call, made_in
from tests.stack import LEGACY, MODERN, piped

HOST = "a-new-host"
LIMIT = 60.0

pytestmark = pytest.mark.parametrize("stack", [made_in(3000)], indirect=True)
eras = pytest.mark.parametrize("mode", [LEGACY, MODERN])


async def begun(client):
    return (await call(client, "text_to_video", {**KITE, "wait_seconds": 0}))[0]["task_id"]


async def cut(client, task_id, limit=LIMIT):
    """Be a host whose time-out ends a long wait, and that says so."""
    with pytest.raises(MCPError):
        await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 600}, read_timeout_seconds=limit)
    await anyio.sleep(1)


async def stopped(client, task_id, after):
    """Be a person who presses stop."""
    with anyio.move_on_after(after):
        await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 600})
    await anyio.sleep(1)


async def waits(client, task_id, seconds=600, progress=None):
    """Return how long a call that asks for so many seconds waits, and its notes."""
    reply, took, _ = await call(client, "get_task", {"task_id": task_id, "wait_seconds": seconds}, progress)
    return took, [note for note in reply.get("notes", []) if "asked for" in note]


@eras
async def test_after_two_cuts_at_one_age_a_host_has_its_answers_before_it(stack, mode):
    """P4: with a margin, whatever was asked for; and the result says so."""
    async with stack.client(mode=mode, name=HOST) as client:
        task_id = await begun(client)
        for _ in range(2):
            await cut(client, task_id)
        took, notes = await waits(client, task_id)
        assert LIMIT * 0.8 < took < LIMIT * 0.95
        assert notes == ["Waited 52 s of the 600 s asked for: this host cuts calls that take longer."]
        took, notes = await waits(client, task_id, 40)
        assert took == pytest.approx(40, abs=SLACK)
        assert notes == []


@eras
async def test_a_paid_call_keeps_to_a_learned_limit_too(stack, mode):
    """P4: the submit itself takes some of the host's patience."""
    async with stack.client(mode=mode, name=HOST) as client:
        task_id = await begun(client)
        for _ in range(2):
            await cut(client, task_id, 30)
        reply, took, _ = await call(client, "text_to_video", {"prompt": "a blue kite", "wait_seconds": 600})
        assert 10 < took < 25
        assert any("asked for" in note for note in reply["notes"])
        _, took, _ = await call(client, "text_to_video", {"prompt": "a green kite"}, Received())
        assert 10 < took < 25, "and so does the usual wait of 45 s"


async def test_what_was_learned_holds_in_other_processes_and_after_a_restart_for_that_host_only(stack):
    """P4: a host that starts a process for each call teaches it as well."""
    for _ in range(2):
        async with stack.client(name=HOST) as client:
            await cut(client, await begun(client))
    async with stack.client(name=HOST) as client:
        assert (await waits(client, await begun(client)))[0] < LIMIT
    async with stack.client(name="another-host") as client:
        assert (await waits(client, await begun(client), 120))[0] == pytest.approx(120, abs=SLACK)


@eras
async def test_one_cut_teaches_nothing(stack, mode):
    async with stack.client(mode=mode, name=HOST) as client:
        task_id = await begun(client)
        await cut(client, task_id)
        assert (await waits(client, task_id, 120))[0] == pytest.approx(120, abs=SLACK)


@eras
async def test_a_person_who_stops_calls_teaches_nothing(stack, mode):
    """Neither at one age and another, nor two calls with one stop."""
    async with stack.client(mode=mode, name=HOST) as client:
        task_id = await begun(client)
        for after in (20, 35, 20, 8, 50, 20):
            await stopped(client, task_id, after)
        with anyio.move_on_after(25):
            async with anyio.create_task_group() as both:
                for _ in range(2):
                    both.start_soon(waits, client, task_id)
        await anyio.sleep(1)
        assert (await waits(client, task_id, 120))[0] == pytest.approx(120, abs=SLACK)


async def test_a_call_that_ends_with_its_process_teaches_nothing(stack):
    """Stdin that ends is no cut: hosts end servers at any age."""
    async with stack.client(name=HOST) as client:
        task_id = await begun(client)
    who = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": HOST, "version": "1"}}
    wait = {"name": "get_task", "arguments": {"task_id": task_id, "wait_seconds": 600}}
    for _ in range(3):
        async with piped(build_server(stack.runtime())) as (_, to_server):
            for number, (method, params) in enumerate({"initialize": who, "tools/call": wait}.items()):
                request = JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
                await to_server.send(SessionMessage(request))
                await anyio.sleep(30 * number)
    async with stack.client(name=HOST) as client:
        assert (await waits(client, task_id, 120))[0] == pytest.approx(120, abs=SLACK)


async def test_doctor_shows_the_limits_that_were_learned(stack):
    """Issue 4: kept in the state, shown by `doctor`."""
    assert found(await examine(stack.runtime(), knock)) == "no host has cut calls short"
    async with stack.client(name=HOST) as client:
        task_id = await begun(client)
        for _ in range(2):
            await cut(client, task_id, 20)
    assert found(await examine(stack.runtime(), knock)).startswith(f'cuts calls: "{HOST}" after 20 s.')


async def knock(_url):
    return None


def found(checks):
    return next(check.found for check in checks if check.name == "host limits")


async def test_a_host_that_waits_longer_than_it_did_is_believed_again(stack):
    """A limit is unlearned by an answer that came later than it, which a slow list can be, and after a month."""
    async with stack.client(name=HOST) as client:
        task_id = await begun(client)
        for _ in range(2):
            await cut(client, task_id, 20)
        assert (await waits(client, task_id, 120))[0] < 20
        stack.wall.skew += 31 * 24 * 3600
        task_id = (await call(client, "text_to_video", {"prompt": "a blue kite", "wait_seconds": 0}))[0]["task_id"]
        assert (await waits(client, task_id, 120))[0] == pytest.approx(120, abs=SLACK)


async def test_a_call_that_fails_is_not_kept_in_mind(stack):
    """A server that lives for months must not grow by what went wrong."""
    cuts = ClientTimeoutObserver(stack)

    class Context:
        request, request_id, method, params = None, 1, "tools/call", None
        session = type("Session", (), {"client_params": None})

    async def fails(_ctx):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await cuts(Context, fails)
    assert cuts._calls == {}
