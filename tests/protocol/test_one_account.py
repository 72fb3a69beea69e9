"""One account and one allowance, however the service's address is spelled (P1, P8, issue 10 Q)."""

import hashlib
import hmac

import pytest

from avm_mcp.domain.accounts import account_of, canonical, earlier_accounts, service
from tests.stack import KEY, fields
from tests.transport import StreamingASGITransport

CALL = {"prompt": "a red kite", "wait_seconds": 0}
HERE = ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "http://127.0.0.1:9/.", "http://LOCALHOST:9/./"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((HERE[0], other) for other in HERE),
        ("https://aivideomaker.ai", "https://AIVideoMaker.ai:443"),
        ("https://aivideomaker.ai", "https://aivideomaker.ai./"),
        ("https://aivideomaker.ai", "https://aivideomaker.ai/a/.."),
        ("https://a.example/x", "https://a.example//%78/"),
        ("https://[2001:db8::1]", "https://[2001:DB8:0::1]:443"),
    ],
)
def test_spellings_of_one_address_are_one_account_and_one_allowance(one, other):
    assert account_of(KEY, one) == account_of(KEY, other)
    assert service(one) == service(other)


@pytest.mark.parametrize(
    "other", ["https://aivideomaker.ai:8443", "https://aivideomaker.ai/v2", "https://b.example", "http://localhost"]
)
def test_other_addresses_are_other_accounts(other):
    assert account_of(KEY, other) != account_of(KEY, "https://aivideomaker.ai")


def test_the_usual_address_keeps_the_name_that_it_had():
    """States of before need no change."""
    for url in ("https://aivideomaker.ai", "http://127.0.0.1:9"):
        assert canonical(url) == url
        assert account_of(KEY, url) == hmac.new(KEY.encode(), url.encode(), hashlib.sha256).hexdigest()[:16]


def spelled(stack, url, monkeypatch):
    settings = stack.settings
    monkeypatch.setattr(stack, "settings", lambda **more: settings(AVM_BASE_URL=url, **more))
    return stack


async def test_one_request_at_one_service_is_paid_once(stack, monkeypatch):
    """P1: before, each spelling paid, four times under a cap of 20."""
    monkeypatch.setattr(StreamingASGITransport, "_connect", anyhost(StreamingASGITransport._connect))
    await stack.with_history()
    reply = []
    for url in HERE:
        with monkeypatch.context() as patch:
            async with spelled(stack, url, patch).client() as client:
                reply.append(fields(await client.call_tool("text_to_video", CALL))["task_id"])
    assert len(set(reply)) == 1
    assert len(stack.sandbox.entries("charge")) == 1


def anyhost(connect):
    async def connected(self, request, fault, seconds):
        self.mounts["*"] = next(iter(self.mounts.values()))
        return await connect(self, request, fault, seconds)

    return connected


async def test_a_state_of_before_is_found_under_its_old_names(stack):
    """P1: rows of every spelling are one account's; of two live rows the newer guards, and nothing is paid again."""
    await stack.with_history()
    async with stack.client() as client:
        first = fields(await client.call_tool("text_to_video", CALL))
    old = earlier_accounts(KEY, HERE[0])
    assert len(old) > 3
    async with stack.runtime() as runtime:
        account = runtime.service.account
        async with runtime.store._driver.writing() as tx:
            await tx.run("UPDATE jobs SET account = ? WHERE account = ?", old[0], account)
    async with stack.client() as client:
        again = fields(await client.call_tool("text_to_video", CALL))
    assert again["deduplicated"]
    assert again["task_id"] == first["task_id"]
    assert len(stack.sandbox.entries("charge")) == 1
