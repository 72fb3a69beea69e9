"""A firewall, a proxy or a login page answers in the service's place: the key is not blamed, and nothing is lost."""

import pytest

from avm_mcp.cli import doctor
from avm_mcp.sandbox.faults import Fault
from tests.house import error, fields, text
from tests.protocol.test_waiting import call, made_in

FIREWALL = Fault(kind="answer", status=403, body="error code: 1010", content_type="text/plain")
LOGIN = Fault(kind="answer", status=200, body="<html><title>Hotel Wi-Fi</title></html>", content_type="text/html")
PAGE_404 = Fault(kind="answer", status=404, body="<html><title>Not here</title></html>", content_type="text/html")


@pytest.mark.parametrize("fault", [FIREWALL, LOGIN], ids=["firewall", "login page"])
async def test_get_account_and_doctor_do_not_blame_the_key(house, fault):
    house.sandbox.faults.next("*", fault, count=100)
    async with house.client() as client:
        told = error(await client.call_tool("get_account", {}))
    assert told["code"] == "UPSTREAM_UNAVAILABLE"
    assert "on the way" in told["message"]
    assert "the key was not judged" in told["message"]
    checks = {check.name: check for check in await doctor.examine(house.runtime())}
    assert checks["API key"].verdict == "warn"
    assert "could not be tried" in checks["API key"].found
    assert checks["service"].verdict == "FAIL"
    assert "on the way" in checks["service"].found
    assert checks["service"].todo


@pytest.mark.parametrize("fault", [FIREWALL, PAGE_404], ids=["firewall", "a page not found"])
@pytest.mark.parametrize("house", [made_in(300)], indirect=True)
async def test_a_video_outlives_an_hour_of_a_firewall(house, fault):
    """P2, P3: what answers in the service's place ends no watch."""
    async with house.client() as client:
        told, *_ = await call(client, "text_to_video", {"prompt": "kite", "wait_seconds": 10})
        task_id = told["task_id"]
        for endpoint in ("status", "task", "list"):
            house.sandbox.faults.next(endpoint, fault, lasts=3600)
        told, *_ = await call(client, "get_task", {"task_id": task_id, "wait_seconds": 600})
        assert told["status"] in ("SUBMITTED", "PROGRESS")
        assert fault is PAGE_404 or any("the key was not judged" in note for note in told["notes"])
        told, *_ = await call(client, "get_task", {"task_id": task_id, "wait_seconds": 3600})
        assert told["status"] == "COMPLETED"
        assert told["download"] == "saved"


async def test_a_paid_call_that_a_firewall_refused_cost_nothing_and_says_what_to_try(house):
    """P1: a 403 means by definition that the request was not acted on, whoever gave it."""
    await house.grown_up()
    house.sandbox.faults.next("generate", FIREWALL)
    async with house.client() as client:
        result = await client.call_tool("text_to_video", {"prompt": "kite"})
        told = error(result)
        assert (told["code"], told["charged"]) == ("UPSTREAM_UNAVAILABLE", "no")
        assert "1010" in told["message"]
        assert "Nothing was started or charged." in text(result)
        again = fields(await client.call_tool("text_to_video", {"prompt": "kite"}))
    assert again["status"] == "SUBMITTED"
    assert len(house.sandbox.entries("charge")) == 1


async def test_a_page_in_place_of_a_cancelled_task_is_no_word_on_it(house):
    async with house.client() as client:
        told, *_ = await call(client, "text_to_video", {"prompt": "kite"})
        house.sandbox.faults.next("cancel", FIREWALL)
        told = error(await client.call_tool("cancel_task", {"task_id": told["task_id"]}))
        assert told["code"] == "UPSTREAM_UNAVAILABLE"
        assert told["task_id"]
        assert told["charged"] == "yes"
