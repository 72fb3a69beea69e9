"""Responses of a firewall, a proxy or a login page: they say nothing about the key or a task, and nothing is lost."""

import pytest

from avm_mcp.cli import doctor
from avm_mcp.sandbox.faults import Fault
from tests.protocol.test_waiting import call, made_in
from tests.stack import error, fields, text

FIREWALL = Fault(kind="answer", status=403, body="error code: 1010", content_type="text/plain")
LOGIN = Fault(kind="answer", status=200, body="<html><title>Hotel Wi-Fi</title></html>", content_type="text/html")
PAGE_404 = Fault(kind="answer", status=404, body="<html><title>Not here</title></html>", content_type="text/html")


@pytest.mark.parametrize("fault", [FIREWALL, LOGIN], ids=["firewall", "login page"])
async def test_get_account_and_doctor_do_not_blame_the_key(stack, fault):
    stack.sandbox.faults.next("*", fault, count=100)
    async with stack.client() as client:
        reply = error(await client.call_tool("get_account", {}))
    assert reply["code"] == "UPSTREAM_UNAVAILABLE"
    assert "on the way" in reply["message"]
    assert "the key was not judged" in reply["message"]
    checks = {check.name: check for check in await doctor.examine(stack.runtime())}
    assert checks["API key"].verdict == "warn"
    assert "could not be tried" in checks["API key"].found
    assert checks["service"].verdict == "FAIL"
    assert "on the way" in checks["service"].found
    assert checks["service"].todo


@pytest.mark.parametrize("fault", [FIREWALL, PAGE_404], ids=["firewall", "a page not found"])
@pytest.mark.parametrize("stack", [made_in(300)], indirect=True)
async def test_a_video_outlives_an_hour_of_a_firewall(stack, fault):
    """P2, P3: they do not end the polling."""
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {"prompt": "kite", "wait_seconds": 10})
        task_id = reply["task_id"]
        for endpoint in ("status", "task", "list"):
            stack.sandbox.faults.next(endpoint, fault, lasts=3600)
        reply, *_ = await call(client, "get_task", {"task_id": task_id, "wait_seconds": 600})
        assert reply["status"] in ("SUBMITTED", "PROGRESS")
        assert fault is PAGE_404 or any("the key was not judged" in note for note in reply["notes"])
        reply, *_ = await call(client, "get_task", {"task_id": task_id, "wait_seconds": 3600})
        assert reply["status"] == "COMPLETED"
        assert reply["download"] == "saved"


async def test_a_paid_call_that_a_firewall_refused_cost_nothing_and_says_what_to_try(stack):
    """P1: a 403 means by definition that the request was not acted on, whoever sent it."""
    await stack.with_history()
    stack.sandbox.faults.next("generate", FIREWALL)
    async with stack.client() as client:
        result = await client.call_tool("text_to_video", {"prompt": "kite"})
        reply = error(result)
        assert (reply["code"], reply["charged"]) == ("UPSTREAM_UNAVAILABLE", "no")
        assert "1010" in reply["message"]
        assert "Nothing was started or charged." in text(result)
        again = fields(await client.call_tool("text_to_video", {"prompt": "kite"}))
    assert again["status"] == "SUBMITTED"
    assert len(stack.sandbox.entries("charge")) == 1


async def test_a_page_in_place_of_a_cancel_response_does_not_change_the_task(stack):
    async with stack.client() as client:
        reply, *_ = await call(client, "text_to_video", {"prompt": "kite"})
        stack.sandbox.faults.next("cancel", FIREWALL)
        reply = error(await client.call_tool("cancel_task", {"task_id": reply["task_id"]}))
        assert reply["code"] == "UPSTREAM_UNAVAILABLE"
        assert reply["task_id"]
        assert reply["charged"] == "yes"
