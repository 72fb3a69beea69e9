"""Every fault of the sandbox, seen from a client; and the control plane that queues them from elsewhere."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from avm_mcp.sandbox import DroppedConnection, SandboxApp, SandboxOptions, build_sandbox, faults
from avm_mcp.sandbox.answers import http_date
from tests.clock import VirtualWall
from tests.transport import StreamingASGITransport

T2V = {"prompt": "a cat", "aspectRatio": "16:9", "duration": "5"}
GENERATE = "/api/v1/generate/t2v"
Box = Callable[..., AbstractAsyncContextManager[tuple[httpx2.AsyncClient, SandboxApp]]]


@pytest.fixture
def box(wall: VirtualWall) -> Box:
    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, SandboxApp]]:
        settings = {"render": False, "durations": {"t2v": 100.0}, **options}
        app = build_sandbox(SandboxOptions(**settings), now=wall)
        async with httpx2.AsyncClient(
            transport=StreamingASGITransport(app),
            base_url="http://sandbox.test",
            headers={"key": "ak_1"},
            timeout=30,
        ) as client:
            yield client, app

    return opened


async def finished(client: httpx2.AsyncClient, app: SandboxApp) -> str:
    """The address of a video."""
    task_id = (await client.post(GENERATE, json=T2V)).json()["taskId"]
    app.sandbox.finish(task_id)
    return (await client.get(f"/api/v1/tasks/{task_id}")).json()["output"]["url"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_server_error_comes_before_or_after_the_charge(box: Box, after: bool) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.http_error(503, after=after))
        answer = await client.post(GENERATE, json=T2V)
        assert answer.status_code == 503
        assert len(app.sandbox.entries("charge")) == (1 if after else 0)
        assert (await client.post(GENERATE, json=T2V)).status_code == 200


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_dies_before_or_after_the_charge(box: Box, after: bool, reset: bool) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.drop(after=after, reset=reset))
        with pytest.raises(httpx2.ReadError if reset else httpx2.RemoteProtocolError):
            await client.post(GENERATE, json=T2V)
        assert len(app.sandbox.tasks()) == (1 if after else 0)
        assert app.sandbox.requests[-1].status == 0


async def test_without_a_transport_that_knows_a_dropped_connection_is_an_exception(wall: VirtualWall) -> None:
    app = build_sandbox(SandboxOptions(render=False), now=wall)
    app.sandbox.faults.next("account", faults.drop())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://box") as client:
        with pytest.raises(DroppedConnection):
            await client.get("/api/v1/account")


async def test_an_answer_is_cut_in_its_body_after_the_charge(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.cut())
        async with client.stream("POST", GENERATE, json=T2V) as answer:
            assert answer.status_code == 200
            with pytest.raises(httpx2.RemoteProtocolError):
                await answer.aread()
        assert len(app.sandbox.tasks()) == 1


async def test_a_hang_before_the_charge_charges_when_its_time_has_come_though_the_caller_left(box: Box) -> None:
    for detached in (True, False):
        async with box() as (_, app):
            transport = StreamingASGITransport(app, detached=detached)
            async with httpx2.AsyncClient(transport=transport, base_url="http://box", headers={"key": "k"}) as client:
                app.sandbox.faults.next("generate", faults.hang(60))
                with pytest.raises(httpx2.ReadTimeout):
                    await client.post(GENERATE, json=T2V, timeout=30)
                assert app.sandbox.tasks() == []
                await anyio.sleep(31)
                (task,) = app.sandbox.tasks()
                assert [entry.at for entry in app.sandbox.entries("charge")] == [task.created_at]
                assert app.sandbox.tick() - task.created_at == pytest.approx(1)


async def test_a_hang_shorter_than_the_patience_of_the_caller_is_only_late(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("*", faults.hang(20), count=2)
        before = anyio.current_time()
        assert (await client.post(GENERATE, json=T2V)).status_code == 200
        assert (await client.get("/api/v1/tasks")).status_code == 200
        assert anyio.current_time() - before == pytest.approx(40)
        assert len(app.sandbox.tasks()) == 1


async def test_a_hang_after_the_charge_has_charged_at_once(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.hang(60, after=True))
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(GENERATE, json=T2V)
        (task,) = app.sandbox.tasks()
        assert app.sandbox.tick() - task.created_at == pytest.approx(30)


@pytest.mark.parametrize(
    ("fault", "status", "check"),
    [
        (faults.envelope("Busy"), 200, lambda answer: answer.json() == {"status": "FAILED", "message": "Busy"}),
        (faults.html(200), 200, lambda answer: answer.text.startswith("<!DOCTYPE")),
        (faults.html(502), 502, lambda answer: answer.headers["content-type"] == "text/html"),
        (faults.empty(), 200, lambda answer: answer.content == b""),
        (
            faults.refuse(422, "CONTENT_POLICY", 'No "cats"'),
            422,
            lambda answer: answer.json()["message"] == 'No "cats"',
        ),
        (faults.refuse(402, None, "Insufficient credits"), 402, lambda answer: "errorCode" not in answer.json()),
        (faults.refuse(418, "TEAPOT"), 418, lambda answer: answer.json()["errorCode"] == "TEAPOT"),
        (faults.rate_limited(7), 429, lambda answer: answer.headers["retry-after"] == "7"),
        (faults.rate_limited(10**9), 429, lambda answer: answer.headers["retry-after"] == "1000000000"),
        (faults.rate_limited(None), 429, lambda answer: "retry-after" not in answer.headers),
        (
            faults.rate_limited("Wed, 21 Oct 2026 07:28:00 GMT"),
            429,
            lambda answer: answer.headers["retry-after"].endswith("GMT"),
        ),
    ],
)
async def test_another_answer_comes_and_nothing_is_charged(
    box: Box, fault: faults.Fault, status: int, check: Callable[[httpx2.Response], bool]
) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", fault)
        answer = await client.post(GENERATE, json=T2V)
        assert answer.status_code == status
        assert check(answer)
        assert app.sandbox.tasks() == []
        assert app.sandbox.requests[0].status == status


async def test_json_is_cut_in_a_complete_answer(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.cut_json())
        answer = await client.post(GENERATE, json=T2V)
        with pytest.raises(ValueError):
            answer.json()
        assert len(app.sandbox.tasks()) == 1


async def test_a_status_nobody_knows_shows_in_one_answer(box: Box) -> None:
    async with box() as (client, app):
        task_id = (await client.post(GENERATE, json=T2V)).json()["taskId"]
        paths = (f"/api/v1/tasks/{task_id}/status", f"/api/v1/tasks/{task_id}", "/api/v1/tasks")
        app.sandbox.faults.next("*", faults.unknown_status(), count=3)
        bodies = [(await client.get(path)).json() for path in paths]
        assert [bodies[0]["status"], bodies[1]["status"], bodies[2]["tasks"][0]["status"]] == ["QUEUED_AGAIN"] * 3
        assert (await client.get(paths[0])).json() == {"status": "SUBMITTED"}


async def test_completed_can_come_without_an_address(box: Box) -> None:
    async with box() as (client, app):
        await finished(client, app)
        (task,) = app.sandbox.tasks()
        app.sandbox.faults.next("task", faults.no_url())
        body = (await client.get(f"/api/v1/tasks/{task.id}")).json()
        assert body["status"] == "COMPLETED"
        assert "url" not in body["output"]
        assert "url" in (await client.get(f"/api/v1/tasks/{task.id}")).json()["output"]


async def test_one_list_can_be_stale(box: Box) -> None:
    async with box() as (client, app):
        await anyio.sleep(100)
        await client.post(GENERATE, json=T2V)
        await anyio.sleep(5)
        app.sandbox.faults.next("list", faults.stale_list(10))
        assert (await client.get("/api/v1/tasks")).json() == {"tasks": []}
        assert len((await client.get("/api/v1/tasks")).json()["tasks"]) == 1


async def test_a_task_can_be_doomed(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("generate", faults.fail_task("The model gave up"))
        task_id = (await client.post(GENERATE, json=T2V)).json()["taskId"]
        await anyio.sleep(100)
        body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        assert (body["status"], body["output"]) == ("FAILED", {"error": "The model gave up"})
        assert app.sandbox.balance("ak_1") == 1000


async def test_a_video_can_break_off_stall_be_half_or_be_a_page(box: Box) -> None:
    async with box() as (client, app):
        url = await finished(client, app)
        whole = await client.get(url)
        for fault in (faults.truncated(), faults.stall(5)):
            app.sandbox.faults.next("file", fault)
            async with client.stream("GET", url) as answer:
                assert answer.headers["content-length"] == str(len(whole.content))
                with pytest.raises(httpx2.RemoteProtocolError):
                    await answer.aread()
        app.sandbox.faults.next("file", faults.half())
        half = await client.get(url)
        assert whole.content.startswith(half.content)
        assert 0 < int(half.headers["content-length"]) < len(whole.content)
        app.sandbox.faults.extend(
            "file", [faults.html(200), faults.redirect("http://169.254.169.254/x"), faults.hang(9)]
        )
        assert (await client.get(url)).text.startswith("<!DOCTYPE")
        moved = await client.get(url, follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (302, "http://169.254.169.254/x")
        assert (await client.get(url)).content == whole.content


async def test_a_video_that_stalls_longer_than_the_caller_waits_is_a_time_out(box: Box) -> None:
    async with box() as (client, app):
        url = await finished(client, app)
        app.sandbox.faults.next("file", faults.stall(120))
        async with client.stream("GET", url) as answer:
            with pytest.raises(httpx2.ReadTimeout):
                await answer.aread()


async def test_faults_wait_for_their_endpoint_let_some_pass_and_are_counted(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("account", faults.http_error(500), count=2, skip=1)
        assert len(app.sandbox.faults) == 2
        assert (await client.get("/api/v1/tasks")).status_code == 200
        codes = [(await client.get("/api/v1/account")).status_code for _ in range(4)]
        assert codes == [200, 500, 500, 200]
        assert len(app.sandbox.faults) == 0
        app.sandbox.faults.next("*", faults.empty())
        app.sandbox.faults.clear()
        assert (await client.get("/api/v1/account")).json()["ok"] is True


async def test_a_fault_can_last_a_time_however_many_requests_meet_it(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("account", faults.html(403), lasts=100)
        assert len(app.sandbox.faults) == 1
        for _ in range(3):
            assert (await client.get("/api/v1/account")).status_code == 403
        assert len(app.sandbox.faults) == 0
        await anyio.sleep(100)
        assert (await client.get("/api/v1/account")).status_code == 200


async def test_an_answer_can_trickle_to_its_end(box: Box) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("account", faults.trickle(10, 4))
        began = anyio.current_time()
        answer = await client.get("/api/v1/account")
        assert answer.json()["ok"]
        assert anyio.current_time() - began == pytest.approx(10 * len(answer.content) / 4)


async def test_one_answer_can_carry_a_wrong_date(box: Box, wall: VirtualWall) -> None:
    async with box() as (client, app):
        app.sandbox.faults.next("account", faults.wrong_date(2 * 86400))
        dates = [(await client.get("/api/v1/account")).headers["date"] for _ in range(2)]
    assert dates == [http_date(wall() + 2 * 86400), http_date(wall())]


async def test_links_can_be_signed_for_a_time_and_are_signed_anew_at_each_question(box: Box) -> None:
    async with box(link_seconds=60, file_base="http://videos.test") as (client, app):
        first = await finished(client, app)
        assert first.startswith("http://videos.test/files/")
        assert (await client.get(first)).status_code == 200
        assert (await client.get(first.replace("signature=", "signature=0"))).status_code == 403
        await anyio.sleep(61)
        assert (await client.get(first)).status_code == 403
        (task,) = app.sandbox.tasks()
        again = (await client.get(f"/api/v1/tasks/{task.id}")).json()["output"]["url"]
        assert (await client.get(again)).status_code == 200


async def test_a_file_host_can_be_plain_and_slow(box: Box) -> None:
    async with box(file_validators=False, file_rate=1000, file_first_byte_seconds=6) as (client, app):
        url = await finished(client, app)
        began = anyio.current_time()
        whole = await client.get(url)
        assert anyio.current_time() - began == pytest.approx(6 + len(whole.content) / 1000)
        assert {"etag", "last-modified"}.isdisjoint(whole.headers)
        part = await client.get(url, headers={"Range": "bytes=10000-"})
        assert (part.status_code, part.content) == (206, whole.content[10000:])
        app.sandbox.change(file_ranges=False)
        part = await client.get(url, headers={"Range": "bytes=10000-"})
        assert (part.status_code, part.content) == (200, whole.content)


def test_a_fault_or_endpoint_that_does_not_exist_is_refused() -> None:
    app = build_sandbox()
    with pytest.raises(ValueError, match="no endpoint is called 'generrate'"):
        app.sandbox.faults.next("generrate", faults.drop())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no fault is called 'explode'"):
        faults.Fault(kind="explode")  # type: ignore[arg-type]


# The control plane


async def test_the_control_plane_queues_faults_and_shows_the_ledger(box: Box) -> None:
    async with box(control=True) as (client, app):
        fault = {"match": "generate", "kind": "drop", "after": True, "count": 2}
        assert (await client.post("/_control/faults", json=fault)).json() == {"queued": 2}
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post(GENERATE, json=T2V)
        assert (await client.delete("/_control/faults")).json() == {"queued": 0}
        ledger = (await client.get("/_control/ledger")).json()
        assert ledger["opening"] == 1000
        assert list(ledger["balances"].values()) == [985]
        assert [entry["kind"] for entry in ledger["entries"]] == ["charge"]
        requests = (await client.get("/_control/requests")).json()
        assert (requests["posts"], requests["requests"][0]["fault"]) == (1, "drop")
        assert "ak_1" not in str(requests)
        (row,) = (await client.get("/_control/tasks")).json()["tasks"]
        assert row["status"] == "SUBMITTED"
        assert row["id"] == app.sandbox.tasks()[0].id


async def test_the_control_plane_changes_options_tasks_and_keys(box: Box) -> None:
    async with box(control=True) as (client, app):
        ids = [(await client.post(GENERATE, json=T2V)).json()["taskId"] for _ in range(3)]
        for task_id, action in zip(ids, ("finish", "fail", "forget"), strict=True):
            answer = await client.post("/_control/tasks", json={"id": task_id, "action": action})
            assert answer.json() == {"id": task_id, "action": action}
        rows = (await client.get("/api/v1/tasks")).json()["tasks"]
        assert [row["status"] for row in rows] == ["FAILED", "COMPLETED"]
        assert (await client.post("/_control/options", json={"speed": 60, "keys": ["ak_1"]})).status_code == 200
        assert app.sandbox.options.speed == 60
        key = await client.post("/_control/keys", json={"key": "ak_1", "top_up": -970, "revoked": True})
        assert key.json()["balance"] == 0
        assert (await client.get("/api/v1/account")).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", {"kind": "drop"}),
        ("faults", {"match": "generate", "kind": "explode"}),
        ("faults", {"match": "nothing", "kind": "drop"}),
        ("faults", {"match": "generate", "kind": "drop", "colour": 1}),
        ("options", {"colour": 1}),
        ("tasks", {"id": "nothing", "action": "finish"}),
        ("tasks", {"id": "nothing", "action": "dance"}),
        ("faults", [1]),
    ],
)
async def test_the_control_plane_refuses_what_it_does_not_know(box: Box, path: str, body: Any) -> None:
    async with box(control=True) as (client, _):
        answer = await client.post(f"/_control/{path}", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert (await client.get("/_control/nothing")).status_code == 404
