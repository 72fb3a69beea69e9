"""The sandbox on a real socket: answers, connections that truly die, and a clean end."""

import asyncio
import socket

import anyio
import httpx2
import pytest

from avm_mcp.sandbox import SandboxApp, SandboxOptions, build_sandbox, faults
from avm_mcp.sandbox.server import _DroppableProtocol, running, serve

T2V = {"prompt": "a cat", "aspectRatio": "16:9", "duration": "5"}


@pytest.fixture
def app() -> SandboxApp:
    return build_sandbox(SandboxOptions(render=False, durations={"t2v": 0.0}))


@pytest.mark.process
async def test_it_serves_and_its_connections_die_where_they_should(
    app: SandboxApp, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app=app) as base_url, httpx2.AsyncClient(base_url=base_url, headers={"key": "k"}) as client:
        made = (await client.post("/api/v1/generate/t2v", json=T2V)).json()
        assert made["responseUrl"].startswith(base_url)
        url = (await client.get(made["responseUrl"])).json()["output"]["url"]
        video = await client.get(url)
        assert int(video.headers["content-length"]) == len(video.content)
        assert len(video.headers.get_list("date")) == 1

        for fault, error in (
            (faults.drop(), httpx2.RemoteProtocolError),
            (faults.drop(after=True), httpx2.RemoteProtocolError),
            (faults.drop(reset=True), httpx2.ReadError),
            (faults.cut(), httpx2.RemoteProtocolError),
        ):
            app.sandbox.faults.next("generate", fault)
            with pytest.raises(error):
                await client.post("/api/v1/generate/t2v", json=T2V)
        assert len(app.sandbox.tasks()) == 3

        app.sandbox.faults.next("file", faults.truncated())
        async with client.stream("GET", url) as answer:
            assert answer.headers["content-length"] == str(len(video.content))
            with pytest.raises(httpx2.RemoteProtocolError):
                await answer.aread()
    with pytest.raises(httpx2.ConnectError):
        async with httpx2.AsyncClient() as client:
            await client.get(base_url)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.process
async def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_headers(
    app: SandboxApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and body are two writes: without TCP_NODELAY the second waits up to 40 ms for a delayed ACK."""
    seen: list[int] = []
    made = _DroppableProtocol.connection_made

    def connection_made(self: _DroppableProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(_DroppableProtocol, "connection_made", connection_made)
    async with running(app=app) as base_url, httpx2.AsyncClient(base_url=base_url, headers={"key": "k"}) as client:
        await client.get("/api/v1/account")
    assert seen
    assert all(seen)


@pytest.mark.process
async def test_it_runs_until_it_is_cancelled_and_says_where() -> None:
    where: list[str] = []
    async with anyio.create_task_group() as group:

        def ready(base_url: str) -> None:
            where.append(base_url)
            group.cancel_scope.cancel()

        await serve(SandboxOptions(), host="::1", ready=ready)
    assert where[0].startswith("http://[::1]:")


@pytest.mark.process
async def test_it_ends_quietly_though_a_request_hangs_and_errors_in_the_block_come_out_as_they_are(
    app: SandboxApp, capfd: pytest.CaptureFixture[str]
) -> None:
    app.sandbox.faults.next("account", faults.hang(60))
    lost: list[httpx2.HTTPError] = []

    async def ask(base_url: str) -> None:
        async with httpx2.AsyncClient() as client:
            try:
                await client.get(f"{base_url}/api/v1/account", timeout=60)
            except httpx2.HTTPError as error:
                lost.append(error)

    async def serve_a_while() -> None:
        async with running(app=app) as base_url:
            group.start_soon(ask, base_url)
            while not app.sandbox.requests:
                await anyio.sleep(0.01)
            raise LookupError

    async with anyio.create_task_group() as group:
        with anyio.fail_after(2), pytest.raises(LookupError):
            await serve_a_while()
    assert [type(error) for error in lost] == [httpx2.RemoteProtocolError]
    assert capfd.readouterr() == ("", "")


@pytest.mark.process
async def test_a_port_that_is_taken_is_an_error(app: SandboxApp) -> None:
    async with running(app=app) as base_url:
        with pytest.raises(OSError):
            async with running(port=int(base_url.rpartition(":")[2])):
                pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.com"])
@pytest.mark.asyncio_backend
async def test_it_listens_beyond_this_machine_only_when_told(host: str) -> None:
    with pytest.raises(ValueError, match=r"loopback|not an IP address"):
        async with running(host=host):
            pass
