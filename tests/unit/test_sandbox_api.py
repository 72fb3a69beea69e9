"""The sandbox against what is known of the API: golden bodies, refusals, limits, time, both generations."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx2
import pytest

from avm_mcp.sandbox import SandboxApp, SandboxOptions, build_sandbox
from tests.clock import VirtualWall

BASE = "https://sandbox.test"
T2V = {"prompt": "a cat", "aspectRatio": "16:9", "duration": "5"}
DATA_URI = "data:image/png;base64," + base64.b64encode(b"\x89PNG pretend").decode()
Box = Callable[..., AbstractAsyncContextManager[tuple[httpx2.AsyncClient, SandboxApp]]]


@pytest.fixture
def box(wall: VirtualWall) -> Box:
    """A client and the app it talks to."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, SandboxApp]]:
        app = build_sandbox(SandboxOptions(**{"render": False, **options}), now=wall)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers={"key": "ak_1"}) as client:
            yield client, app

    return opened


async def submit(client: httpx2.AsyncClient, model: str = "t2v", body: Any = T2V, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/api/v1/generate/{model}", json=body, headers=named)


# Golden bodies


async def test_generate_answers_in_the_shape_of_september_2026(box: Box) -> None:
    async with box() as (client, _):
        answer = await submit(client, "minimax", {"content": "x"})
        body = answer.json()
        address = f"{BASE}/api/v1/tasks/{body['taskId']}"
        assert answer.status_code == 200
        assert body == {
            "status": "SUBMITTED",
            "taskId": body["taskId"],
            "creditsCharged": 15,
            "idempotentReplay": False,
            "responseUrl": address,
            "statusUrl": f"{address}/status",
            "cancelUrl": f"{address}/cancel",
        }
        assert body["taskId"].startswith("ck")
        assert answer.headers["x-avm-sandbox-speed"] == "1"


async def test_generate_answers_in_the_shape_of_the_seed_page(box: Box) -> None:
    async with box(profile="seed") as (client, _):
        body = (await submit(client)).json()
        assert list(body) == ["status", "taskId", "responseUrl", "statusUrl", "cancelUrl"]
        assert body["status"] == "SUBMITTED"


async def test_a_quote_prices_without_charging(box: Box) -> None:
    async with box(balance=50) as (client, app):
        answer = await client.post("/api/v1/quote/minimax", json={"content": "x"})
        assert answer.json() == {
            "model": "minimax",
            "credits": 15,
            "listPriceUsd": 0.15,
            "usdPerCredit": 0.01,
            "currentBalance": 50,
            "affordable": True,
            "billable": False,
        }
        dear = await client.post("/api/v1/quote/t2v_v3", json={**T2V, "duration": "20"})
        assert dear.status_code == 200
        assert dear.json()["affordable"] is False
        assert app.sandbox.balance("ak_1") == 50
        assert app.sandbox.tasks() == []


async def test_the_account_names_balance_models_and_limits(box: Box) -> None:
    models = ["t2v", "i2v", "minimax", "t2v_v3", "i2v_v3", "seedance20", "wan27", "happyhorse"]
    golden = {"ok": True, "apiVersion": "v1", "skillVersion": "1.0.15", "currentBalance": 50, "supportedModels": models}
    limits = {"dailyCreditLimit": -1, "generationRequestsPerMinute": -1, "creditWarningAt": -1}
    async with box(balance=50, lv=False) as (client, app):
        assert (await client.get("/api/v1/account")).json() == {**golden, **limits}
        app.sandbox.change(account_limits="nested", lv=True)
        body = (await client.get("/api/v1/account")).json()
        assert body["limits"] == limits
        assert body["supportedModels"] == [*models, "lv"]


async def test_a_task_goes_from_submitted_to_completed_and_its_video_is_an_mp4(box: Box, epoch: datetime) -> None:
    async with box(durations={"minimax": 222.0}) as (client, _):
        fields = {"content": "x", "duration": 5, "resolution": "720p"}
        task_id = (await submit(client, "minimax", fields)).json()["taskId"]
        seen = [(await client.get(f"/api/v1/tasks/{task_id}/status")).json()]
        await anyio.sleep(5)
        seen.append((await client.get(f"/api/v1/tasks/{task_id}/status")).json())
        await anyio.sleep(217)
        seen.append((await client.get(f"/api/v1/tasks/{task_id}/status")).json())
        assert seen == [{"status": "SUBMITTED"}, {"status": "PROGRESS"}, {"status": "COMPLETED"}]
        body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        url = body["output"]["url"]
        assert body == {
            "id": task_id,
            "createdAt": f"{epoch:%Y-%m-%dT%H:%M:%S}.000Z",
            "model": "minimax",
            "input": fields,
            "output": {
                "url": url,
                "msg": "The file will only be saved for 24 hours, please download it promptly.",
            },
            "status": "COMPLETED",
            "completedAt": "2026-11-22T12:03:42.000Z",
            "creditsCharged": 15,
            "creditsRefunded": 0,
            "listValueCents": 15,
            "idempotencyKey": None,
        }
        video = await client.get(url)
        assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
        assert video.content[4:8] == b"ftyp"
        assert int(video.headers["content-length"]) == len(video.content)


async def test_a_task_of_the_seed_page_has_seven_fields(box: Box) -> None:
    async with box(profile="seed") as (client, _):
        task_id = (await submit(client)).json()["taskId"]
        body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        assert list(body) == ["id", "createdAt", "model", "input", "output", "status", "completedAt"]
        assert (body["output"], body["completedAt"], body["input"]) == (None, None, T2V)


async def test_the_list_is_newest_first_and_holds_only_the_key_s_own(box: Box) -> None:
    async with box() as (client, _):
        ids = []
        for _ in range(3):
            ids.append((await submit(client)).json()["taskId"])
        await client.post("/api/v1/generate/t2v", json=T2V, headers={"key": "ak_2"})
        rows = (await client.get("/api/v1/tasks?limit=1")).json()["tasks"]
        assert [row["id"] for row in rows] == ids[::-1]
        assert rows[0] == (await client.get(f"/api/v1/tasks/{ids[2]}")).json()


@pytest.mark.parametrize(
    ("shape", "check"),
    [
        ("error_null", lambda output: output["error"] is None and output["url"]),
        ("videoUrl", lambda output: list(output) == ["videoUrl"]),
        ("bare", lambda output: output.startswith(BASE)),
    ],
)
async def test_output_has_the_shape_that_is_asked_for(box: Box, shape: str, check: Callable[[Any], bool]) -> None:
    async with box(output_shape=shape, durations={"t2v": 1}) as (client, _):
        task_id = (await submit(client)).json()["taskId"]
        await anyio.sleep(1)
        assert check((await client.get(f"/api/v1/tasks/{task_id}")).json()["output"])


# Refusals and their order


async def test_a_wrong_method_is_405_before_the_key_is_looked_at(box: Box) -> None:
    async with box(keys=frozenset()) as (client, _):
        for method, path, allowed in (
            ("GET", "/api/v1/generate/minimax", "POST"),
            ("POST", "/api/v1/tasks/ck1/cancel", "PUT"),
            ("DELETE", "/api/v1/tasks/ck1/cancel", "PUT"),
            ("POST", "/api/v1/tasks", "GET"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
            assert answer.headers["content-type"].startswith("text/plain")


async def test_a_bad_key_is_401_whatever_the_model(box: Box) -> None:
    golden = {
        "status": "FAILED",
        "errorCode": "AUTH_FAILED",
        "message": "Invalid API key. Please check your API key.",
    }
    async with box(keys=frozenset({"ak_good"})) as (client, app):
        for path in ("/api/v1/generate/t2v", "/api/v1/generate/nothing", "/api/v1/quote/t2v"):
            answer = await client.post(path, json={})
            assert (answer.status_code, answer.json()) == (401, golden)
        good = await client.get("/api/v1/account", headers={"key": "ak_good"})
        assert good.status_code == 200
        app.sandbox.revoke("ak_good")
        assert (await client.get("/api/v1/account", headers={"key": "ak_good"})).status_code == 401
        assert (await client.get("/api/v1/account", headers={"key": ""})).status_code == 401


async def test_an_unknown_model_is_named(box: Box) -> None:
    async with box(lv=False) as (client, _):
        answer = await submit(client, "foo", {})
        assert answer.status_code == 400
        assert answer.json() == {"status": "FAILED", "errorCode": "INVALID_MODEL", "message": "Unsupported model: foo"}
        assert (await submit(client, "lv")).json()["errorCode"] == "INVALID_MODEL"


async def test_bad_fields_are_refused_before_any_charge(box: Box) -> None:
    async with box() as (client, app):
        answer = await submit(client, "t2v", {"prompt": "x", "duration": 5})
        assert answer.status_code == 400
        assert answer.json() == {
            "status": "FAILED",
            "errorCode": "INVALID_PAYLOAD",
            "message": "Invalid payload: aspectRatio: Required; duration: Expected '5' | '8', received number",
        }
        assert app.sandbox.balance("ak_1") == 1000


async def test_too_few_credits_are_402_in_both_generations(box: Box) -> None:
    async with box(balance=14) as (client, app):
        answer = await submit(client)
        assert answer.status_code == 402
        assert answer.json() == {
            "status": "FAILED",
            "errorCode": "INSUFFICIENT_CREDITS",
            "message": "Insufficient credits",
        }
        app.sandbox.top_up("ak_1", 1)
        assert (await submit(client)).status_code == 200
        assert app.sandbox.balance("ak_1") == 0
    async with box(balance=4, profile="seed") as (client, _):
        assert (await submit(client)).json() == {"status": "FAILED", "message": "Insufficient credits"}


async def test_a_budget_below_the_quote_is_422_and_an_equal_one_passes(box: Box) -> None:
    async with box() as (client, app):
        answer = await submit(client, X_Max_Credits="14")
        assert (answer.status_code, answer.json()["errorCode"]) == (422, "BUDGET_EXCEEDED")
        assert (await submit(client, X_Max_Credits="0")).status_code == 422
        assert (await submit(client, X_Max_Credits="many")).status_code == 400
        assert app.sandbox.tasks() == []
        assert (await submit(client, X_Max_Credits="15")).status_code == 200
        app.sandbox.change(ignores_max_credits=True)
        assert (await submit(client, X_Max_Credits="1")).status_code == 200


async def test_unknown_fields_are_dropped_or_refused(box: Box) -> None:
    async with box() as (client, app):
        task_id = (await submit(client, "t2v", {**T2V, "filterMode": "strict"})).json()["taskId"]
        assert app.sandbox.task(task_id).input == T2V
        app.sandbox.change(unknown_fields="reject")
        answer = await submit(client, "t2v", {**T2V, "seed": 1})
        assert answer.status_code == 400
        assert "Unrecognized key(s) in object: 'seed'" in answer.json()["message"]


async def test_paths_nobody_knows_get_a_page_not_json(box: Box) -> None:
    async with box(profile="seed") as (client, _):
        for path in (
            "/",
            "/api/v1/account",
            "/api/v1/tasks/",
            "/api/v1/tasks/a/b/c",
            "/api/v1/generate/",
            "/_control/x",
        ):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.headers["content-type"].startswith("text/html")


async def test_a_task_of_another_key_is_404(box: Box) -> None:
    async with box() as (client, _):
        task_id = (await submit(client)).json()["taskId"]
        for path in (f"/api/v1/tasks/{task_id}", f"/api/v1/tasks/{task_id}/status"):
            answer = await client.get(path, headers={"key": "ak_2"})
            assert answer.status_code == 404
            assert answer.json() == {"status": "FAILED", "message": "Task not found"}
        assert (await client.put(f"/api/v1/tasks/{task_id}/cancel", headers={"key": "ak_2"})).status_code == 404


async def test_a_browser_s_user_agent_can_be_demanded(box: Box) -> None:
    async with box(user_agent_required=True) as (client, _):
        assert (await client.get("/api/v1/account")).status_code == 403
        assert (await client.get("/api/v1/account", headers={"user-agent": "Mozilla/5.0 (x)"})).status_code == 200


# Cancel


async def test_a_cancel_in_time_refunds_everything(box: Box) -> None:
    async with box() as (client, app):
        task_id = (await submit(client)).json()["taskId"]
        answer = await client.put(f"/api/v1/tasks/{task_id}/cancel")
        assert (answer.status_code, answer.json()) == (200, {"status": "CANCEL", "taskId": task_id})
        body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        assert (body["status"], body["creditsRefunded"], body["listValueCents"]) == ("CANCEL", 15, 0)
        assert body["output"] is None
        assert app.sandbox.balance("ak_1") == 1000
        assert (await client.put(f"/api/v1/tasks/{task_id}/cancel")).status_code == 400


@pytest.mark.parametrize("how", ["400", "409", "200"])
async def test_a_cancel_too_late_is_refused_and_refunds_nothing(box: Box, how: str) -> None:
    async with box(cancel_refusal=how) as (client, app):
        task_id = (await submit(client)).json()["taskId"]
        await anyio.sleep(6)
        answer = await client.put(f"/api/v1/tasks/{task_id}/cancel")
        assert answer.status_code == int(how)
        assert answer.json()["status"] == "FAILED"
        assert app.sandbox.balance("ak_1") == 985
        assert app.sandbox.entries("refund") == []


# Idempotency


async def test_the_same_key_and_data_replay_the_task_with_its_present_status(box: Box) -> None:
    async with box() as (client, app):
        first = (await submit(client, Idempotency_Key="key-00001")).json()
        await anyio.sleep(6)
        again = await client.post(
            "/api/v1/generate/t2v",
            content=b'{ "duration":"5", "aspectRatio":"16:9","prompt":"a cat"}',
            headers={"Idempotency-Key": "key-00001"},
        )
        assert again.status_code == 200
        assert again.json() == {**first, "idempotentReplay": True, "status": "PROGRESS"}
        assert app.sandbox.balance("ak_1") == 985
        assert (await client.get(f"/api/v1/tasks/{first['taskId']}")).json()["idempotencyKey"] == "key-00001"


async def test_the_same_key_with_other_data_is_a_conflict_and_another_account_is_not(box: Box) -> None:
    async with box() as (client, app):
        await submit(client, Idempotency_Key="key-00001")
        for model, body in (("t2v", {**T2V, "duration": "8"}), ("t2v_v3", T2V)):
            answer = await submit(client, model, body, Idempotency_Key="key-00001")
            assert (answer.status_code, answer.json()["errorCode"]) == (409, "IDEMPOTENCY_CONFLICT")
        other = await submit(client, "t2v", {**T2V, "duration": "8"}, Idempotency_Key="key-00001", key="ak_2")
        assert other.status_code == 200
        assert len(app.sandbox.tasks()) == 2


async def test_an_idempotency_key_is_8_to_128_letters_and_a_refusal_does_not_use_it_up(box: Box) -> None:
    async with box(balance=0) as (client, app):
        for bad in ("1234567", "x" * 129):
            assert (await submit(client, Idempotency_Key=bad)).json()["errorCode"] == "INVALID_PAYLOAD"
        assert (await submit(client, Idempotency_Key="12345678")).status_code == 402
        app.sandbox.top_up("ak_1", 100)
        assert (await submit(client, Idempotency_Key="12345678")).json()["idempotentReplay"] is False
        assert (await submit(client, Idempotency_Key="x" * 128)).status_code == 200


async def test_an_api_that_does_not_honour_the_key_charges_twice(box: Box) -> None:
    for options in ({"honours_idempotency": False}, {"profile": "seed"}):
        async with box(**options) as (client, app):
            ids = {(await submit(client, Idempotency_Key="key-00001")).json()["taskId"] for _ in range(2)}
            assert len(ids) == len(app.sandbox.entries("charge")) == 2
            row = (await client.get("/api/v1/tasks")).json()["tasks"][0]
            assert row.get("idempotencyKey") is None


# Limits


async def test_sixty_reads_a_minute_share_one_allowance_and_then_retry_after_is_true(box: Box) -> None:
    async with box() as (client, app):
        paths = ("/api/v1/account", "/api/v1/tasks", "/api/v1/tasks/x", "/api/v1/tasks/x/status")
        for number in range(60):
            assert (await client.get(paths[number % 4])).status_code in (200, 404)
            await anyio.sleep(0.5)
        answer = await client.get("/api/v1/tasks")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
        assert answer.json()["errorCode"] == "RATE_LIMITED"
        # quote, generate and cancel are not counted
        assert (await submit(client)).status_code == 200
        assert (await client.post("/api/v1/quote/t2v", json=T2V)).status_code == 200
        await anyio.sleep(29.9)
        assert (await client.get("/api/v1/tasks")).headers["retry-after"] == "1"
        await anyio.sleep(0.1)
        assert (await client.get("/api/v1/tasks")).status_code == 200
        assert (await client.get("/api/v1/tasks")).status_code == 429
        assert app.sandbox.counts["429"] == 3
        assert app.sandbox.busiest_minute() > 60


async def test_generations_can_be_limited_by_key(box: Box) -> None:
    async with box(generate_per_minute=2) as (client, app):
        answers = [await submit(client) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "60"
        assert (await submit(client, key="ak_2")).status_code == 200
        assert len(app.sandbox.tasks("ak_1")) == 2
        assert app.sandbox.posts == 4
        assert (await client.get("/api/v1/account")).json()["generationRequestsPerMinute"] == 2


# Time, echo and the list


async def test_a_video_dies_24_hours_after_its_task_was_completed(box: Box) -> None:
    async with box(durations={"t2v": 390}, speed=10) as (client, app):
        task_id = (await submit(client)).json()["taskId"]
        task = app.sandbox.task(task_id)
        assert (await client.get(f"/files/{task.file}")).status_code == 404
        await anyio.sleep(39)
        assert (await client.get(f"/files/{task.file}")).status_code == 200
        assert (await client.head(f"/files/{task.file}")).status_code == 200
        assert (await client.post(f"/files/{task.file}")).status_code == 405
        await anyio.sleep(24 * 3600 - 0.1)
        assert (await client.get(f"/files/{task.file}")).status_code == 200
        await anyio.sleep(0.1)
        assert (await client.get(f"/files/{task.file}")).status_code == 404
        assert (await client.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "COMPLETED"


async def test_the_expiry_is_scaled_only_when_that_is_asked_for(box: Box) -> None:
    async with box(durations={"t2v": 100}, speed=100, scale_expiry=True) as (client, app):
        task = app.sandbox.task((await submit(client)).json()["taskId"])
        await anyio.sleep(1 + 863)
        assert (await client.get(f"/files/{task.file}")).status_code == 200
        await anyio.sleep(1)
        assert (await client.get(f"/files/{task.file}")).status_code == 404


async def test_a_video_can_be_fetched_in_parts(box: Box) -> None:
    async with box(durations={"t2v": 1}) as (client, app):
        task = app.sandbox.task((await submit(client)).json()["taskId"])
        await anyio.sleep(1)
        whole = (await client.get(f"/files/{task.file}")).content
        size = len(whole)
        for asked, given, content in (
            ("bytes=0-99", f"bytes 0-99/{size}", whole[:100]),
            ("bytes=100-", f"bytes 100-{size - 1}/{size}", whole[100:]),
            ("bytes=-7", f"bytes {size - 7}-{size - 1}/{size}", whole[-7:]),
        ):
            part = await client.get(f"/files/{task.file}", headers={"range": asked})
            assert (part.status_code, part.headers["content-range"]) == (206, given)
            assert part.content == content
        assert (await client.get(f"/files/{task.file}", headers={"range": f"bytes={size}-"})).status_code == 416


async def test_generation_takes_about_as_long_as_was_measured(box: Box) -> None:
    async with box(balance=10**6, query_limit=None) as (client, app):
        for _ in range(200):
            await submit(client)
        took = sorted(task.ends_at - task.created_at for task in app.sandbox.tasks())
        assert 360 < took[100] < 420
        assert 180 < took[0] < took[-1] < 900


async def test_one_seed_makes_twins_and_another_does_not(box: Box) -> None:
    async def fate(seed: int) -> list[tuple[str, float, str | None]]:
        async with box(seed=seed, fail_rate=0.5) as (client, app):
            for _ in range(4):
                await submit(client)
            return [(task.id, task.ends_at - task.created_at, task.problem) for task in app.sandbox.tasks()]

    first, again, other = await fate(1), await fate(1), await fate(2)
    assert first == again
    assert first != other


async def test_a_failing_task_is_refunded_when_it_fails_and_says_why(box: Box) -> None:
    async with box(fail_rate=1.0, durations={"t2v": 60}) as (client, app):
        task_id = (await submit(client)).json()["taskId"]
        await anyio.sleep(59)
        assert app.sandbox.balance("ak_1") == 985
        await anyio.sleep(1)
        body = (await client.get(f"/api/v1/tasks/{task_id}")).json()
        assert (body["status"], body["creditsRefunded"], body["output"]) == (
            "FAILED",
            15,
            {"error": "Generation failed"},
        )
        assert body["completedAt"] is not None
        assert app.sandbox.balance("ak_1") == 1000


async def test_a_data_uri_comes_back_as_another_https_address(box: Box) -> None:
    async with box() as (client, app):
        task_id = (await submit(client, "i2v", {"image": DATA_URI, "duration": "5"})).json()["taskId"]
        echoed = (await client.get(f"/api/v1/tasks/{task_id}")).json()["input"]["image"]
        assert echoed.startswith("https://")
        assert app.sandbox.task(task_id).pictures == {DATA_URI: b"\x89PNG pretend"}
        app.sandbox.change(data_uris="500")
        assert (await submit(client, "i2v", {"image": DATA_URI, "duration": "5"})).status_code == 500


async def test_the_echo_can_differ_from_what_was_sent(box: Box) -> None:
    async with box(stores_other_bytes=True, fills_defaults=True) as (client, app):
        task_id = (await submit(client, "minimax", {"content": " a  cat\n"})).json()["taskId"]
        assert app.sandbox.task(task_id).input == {
            "content": "a cat",
            "duration": 5,
            "resolution": "720p",
            "tier": "turbo",
            "aspectRatio": "16:9",
            "filterMode": "strict",
        }


async def test_the_list_can_be_cut_and_can_lag(box: Box) -> None:
    async with box(list_cap=2, list_delay_seconds=3) as (client, _):
        ids = [(await submit(client)).json()["taskId"] for _ in range(3)]
        assert (await client.get("/api/v1/tasks")).json() == {"tasks": []}
        await anyio.sleep(6)
        rows = (await client.get("/api/v1/tasks")).json()["tasks"]
        assert [(row["id"], row["status"]) for row in rows] == [(ids[2], "SUBMITTED"), (ids[1], "SUBMITTED")]
        assert (await client.get(f"/api/v1/tasks/{ids[0]}/status")).json() == {"status": "PROGRESS"}


async def test_a_skewed_clock_shows_in_the_date_header_and_in_dates(box: Box, epoch: datetime) -> None:
    async with box(clock_skew_seconds=-3600) as (client, _):
        answer = await submit(client)
        assert (epoch - parsedate_to_datetime(answer.headers["date"])).total_seconds() == 3600
        task = (await client.get("/api/v1/tasks")).json()["tasks"][0]
        assert task["createdAt"] == "2026-11-22T11:00:00.000Z"


async def test_an_answer_can_be_late_though_the_work_is_done(box: Box) -> None:
    async with box(answer_delay_seconds=10) as (client, app):
        with anyio.move_on_after(5):
            await submit(client)
        assert len(app.sandbox.tasks()) == 1
        before = anyio.current_time()
        await submit(client)
        assert anyio.current_time() - before == 10


async def test_requests_are_recorded_without_the_key(box: Box) -> None:
    async with box() as (client, app):
        await submit(client, Idempotency_Key="key-00001", webhookUrl="https://hook.test/x", X_Max_Credits="20")
        seen = app.sandbox.requests[0]
        assert (seen.endpoint, seen.method, seen.status) == ("generate", "POST", 200)
        assert (seen.idempotency_key, seen.max_credits, seen.client) == ("key-00001", "20", "127.0.0.1")
        assert len(seen.key) == 12
        assert "ak_1" not in repr(seen)
        assert app.sandbox.tasks()[0].webhook_url == "https://hook.test/x"


async def test_a_test_can_finish_fail_and_forget_tasks(box: Box) -> None:
    async with box() as (client, app):
        ids = [(await submit(client)).json()["taskId"] for _ in range(3)]
        app.sandbox.finish(ids[0])
        app.sandbox.fail(ids[1], "No GPU")
        app.sandbox.forget(ids[2])
        rows = (await client.get("/api/v1/tasks")).json()["tasks"]
        assert [row["status"] for row in rows] == ["FAILED", "COMPLETED"]
        assert rows[0]["output"] == {"error": "No GPU"}
        assert (await client.get(rows[1]["output"]["url"])).status_code == 200
        assert (await client.get(f"/api/v1/tasks/{ids[2]}")).status_code == 404
        assert app.sandbox.balance("ak_1") == 1000 - 30
        assert app.sandbox.unfinished() == []


async def test_an_enormous_body_is_413(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avm_mcp.sandbox.app.LARGEST_BODY", 100)
    async with box() as (client, app):
        assert (await submit(client, "t2v", {**T2V, "prompt": "x" * 200})).status_code == 413
        assert app.sandbox.tasks() == []


async def test_a_server_may_announce_its_life(box: Box) -> None:
    async with box() as (_, app):
        printed: list[str] = []
        reply = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            return {"type": next(reply)}

        async def send(message: Any) -> None:
            printed.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        assert printed == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_package_has_only_the_names_it_says() -> None:
    from avm_mcp import sandbox

    assert all(getattr(sandbox, name) for name in sandbox.__all__)
    with pytest.raises(AttributeError):
        _ = sandbox.nothing
