"""PRIVACY.md says what happens: what leaves the machine, to whom, and what is kept where (P5)."""

import base64
import json
import re
import sqlite3
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from avm_mcp import worker
from avm_mcp.sandbox import SandboxOptions
from avm_mcp.sandbox.ledger import fingerprint
from avm_mcp.store import FILE_NAME
from manifests import build
from tests.hosts.machine import png
from tests.stack import KEY, Stack, fields

PAGE = (Path(__file__).parents[2] / "PRIVACY.md").read_text()

PLUMBING = {"host", "accept", "accept-encoding", "connection", "content-length", "content-type"}
"""Headers of HTTP itself, which say nothing about a person."""

PROMPT = "Grandmother's birthday in the garden"


class Wire:
    """The service, and everything that was sent to it."""

    def __init__(self, app):
        self._app = app
        self.received = []

    async def __call__(self, scope, receive, send):
        body = bytearray()  # a large one comes in pieces

        async def hearing():
            message = await receive()
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                self.received.append(bytes(body))
                body.clear()
            return message

        self.received.append(repr((scope["path"], scope["query_string"], scope["headers"])).encode())
        await self._app(scope, hearing, send)


@pytest.fixture
def stack(tmp_path, wall):
    stack = Stack(tmp_path, wall, SandboxOptions(render=False), {})
    stack.app = Wire(stack.app)
    return stack


@pytest.fixture
async def used(stack):
    """A machine on which a picture from the disk, whose name tells something, became a video."""
    picture = stack.pictures / "grandmother-1938.png"
    picture.write_bytes(png())
    async with stack.client(AVM_MAX_CREDITS_PER_CALL="50") as client:
        result = await client.call_tool(
            "image_to_video", {"image": str(picture), "prompt": PROMPT, "wait_seconds": 1200, "max_credits": 40}
        )
        await client.call_tool("quote_video", {"model": "t2v", "duration": 5})
        await client.call_tool("list_tasks", {})
    assert fields(result)["status"] == "COMPLETED"
    return stack


async def test_no_header_is_sent_that_the_page_does_not_name(used):
    sent = {name.lower() for seen in used.sandbox.requests for name in seen.headers}
    sent |= {"key" for seen in used.sandbox.requests if seen.key}
    named = {name.lower() for name in re.findall(r"`(key|User-Agent|Idempotency-Key|X-Max-Credits)`", PAGE)}
    assert sent - PLUMBING == named


async def test_a_pictures_name_and_path_stay_here_and_a_price_is_asked_without_its_bytes(used):
    received = used.app.received
    for word in ("grandmother-1938", str(used.folder)):
        assert not [seen for seen in received if word.encode() in seen]
    (paid,) = (seen for seen in received if b"data:image/png;base64," in seen)
    assert base64.b64encode(png()) in paid
    with_prompt = [seen for seen in received if json.dumps(PROMPT, ensure_ascii=False).encode() in seen]
    assert len(with_prompt) == 2  # the price of this very request, and the request
    assert with_prompt[1] is paid


async def test_the_video_is_fetched_without_the_key(used):
    fetched = [seen for seen in used.sandbox.requests if seen.path.startswith("/files/")]
    assert fetched
    assert {seen.key for seen in fetched} == {""}
    assert {seen.key for seen in used.sandbox.requests if seen not in fetched} == {fingerprint(KEY)}


async def test_the_journal_is_kept_where_the_page_says_and_holds_no_key_and_no_bytes_of_a_picture(used):
    assert {path.name for path in used.state.iterdir()} <= {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
    assert f"`{FILE_NAME}`" in PAGE
    assert f"`{worker.LOG_NAME}`" in PAGE
    assert KEY.encode() not in b"".join(path.read_bytes() for path in used.state.iterdir())
    with sqlite3.connect(used.state / FILE_NAME) as connection:
        rows = connection.execute("SELECT body, prompt, image, input FROM jobs").fetchall()
    assert [(body, prompt) for body, prompt, _, _ in rows] == [(None, PROMPT)]
    assert "base64" not in rows[0][3]


def test_the_state_folder_of_each_system_is_the_one_on_the_page(home, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for system, place in {"Linux": Unix, "macOS": MacOS}.items():  # that of Windows can be asked for only there
        folder = place("avm-mcp").user_state_dir.replace(str(home), "~")
        assert f"- {system}: `{folder}`" in PAGE


def test_the_bundle_leads_to_the_page():
    (policy,) = json.loads(build.documents()["mcpb/manifest.json"])["privacy_policies"]
    assert policy.endswith("/PRIVACY.md")
