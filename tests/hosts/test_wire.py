"""The wire itself: JSON-RPC over stdio at the old revisions, and what HTTP refuses."""

import http.client
import json
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.hosts.machine import SERVER, TOOLS, Machine, run

pytestmark = [pytest.mark.hosts, pytest.mark.process]

OLD = ("2024-11-05", "2025-03-26", "2025-06-18")


def conversation(version: str, tool: str, **arguments: Any) -> list[dict[str, Any]]:
    who = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    return [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": who},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": tool, "arguments": arguments}},
    ]


def talk(messages: list[dict[str, Any]], env: dict[str, str], cwd: Path | str) -> tuple[dict[int, Any], str]:
    """Send messages, one a line, wait for the answers, hang up; every line on stdout must be JSON-RPC."""
    wanted = {message["id"] for message in messages if "id" in message}
    process = subprocess.Popen(
        [SERVER], env=env, cwd=cwd, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers: dict[int, Any] = {}

    def received(line: str) -> None:
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        assert "result" in message or "error" in message or "method" in message
        if "id" in message and "method" not in message:
            answers[message["id"]] = message

    try:
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            while message.get("id") not in {None, *answers}:
                line = process.stdout.readline()
                assert line, "it ended before it answered"
                received(line)
        assert wanted == set(answers)
        rest, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    for line in rest.splitlines():
        received(line)
    assert process.returncode == 0, errors
    return answers, errors


@pytest.mark.parametrize("version", OLD)
def test_old_revisions_over_stdio(machine, version):
    """P7: initialize, tools/list, one call; nothing but JSON-RPC on stdout; a host that hangs up ends it cleanly."""
    answers, _ = talk(
        conversation(version, "text_to_video", prompt="a red kite", wait_seconds=0), machine.env, machine.folder
    )
    assert answers[1]["result"]["protocolVersion"] == version
    assert answers[1]["result"]["serverInfo"]["name"] == "avm-mcp"
    assert tuple(tool["name"] for tool in answers[2]["result"]["tools"]) == TOOLS
    called = answers[3]["result"]
    assert called["isError"] is False
    assert ("structuredContent" in called) is (version >= "2025-06-18")
    assert version < "2025-06-18" or called["structuredContent"]["task_id"] in called["content"][0]["text"]


@pytest.mark.parametrize("state", ["/dev/null/state", "/proc/state"])
def test_no_key_no_home_no_disk(machine, state):
    """P7, Must show 4: listed all the same; a paid call says what to set; an unset `${…}` of a host counts as unset."""
    env = {name: value for name, value in machine.shell.items() if name != "HOME"}
    env |= {"AVM_STATE_DIR": state, "AVM_API_KEY": "${user_config.api_key}", "AVM_OUTPUT_DIR": "/tmp"}
    answers, errors = talk(conversation("2025-06-18", "text_to_video", prompt="a kite"), env, "/")
    assert tuple(tool["name"] for tool in answers[2]["result"]["tools"]) == TOOLS
    error = answers[3]["result"]["structuredContent"]["error"]
    assert error["code"] == "NOT_CONFIGURED"
    assert "AVM_API_KEY" in answers[3]["result"]["content"][0]["text"]
    assert "Traceback" not in errors


def test_a_bad_setting_is_one_line_and_the_server_stays_up(machine):
    """Issue 2: a clear line naming the variable."""
    done = run([SERVER], {**machine.env, "AVM_BASE_URL": "http://example.com"})
    assert done.code == 0
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert "AVM_BASE_URL" in done.err


def answer(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        sent = None if body is None else json.dumps(body)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if sent is not None:
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent.encode() if sent is not None else None)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


ACCEPT = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_http_answers_this_machine_only(serving, headers, status):
    """P5: a web page cannot reach it, by its own name or another one."""
    first = conversation("2025-11-25", "get_account")[0]
    got, body = answer(serving, "POST", "/mcp", first, **ACCEPT, **headers)
    assert got == status, body
    assert ("serverInfo" in body) is (status == 200)


def test_health(serving):
    assert answer(serving, "GET", "/healthz") == (200, '{"ok":true}')
    status, body = answer(serving, "GET", "/readyz")
    assert status == 200
    assert json.loads(body) == {"ok": True, "durable": True, "configured": True}


def test_it_does_not_leave_this_machine(machine):
    """DESIGN 9: beyond loopback it refuses to start without auth."""
    done = run([SERVER, "serve", "--host", "0.0.0.0", "--port", "0"], machine.env, timeout=20)
    assert done.code == 2
    assert "--host" in done.err


def test_the_url_answers_at_once_and_an_early_end_is_obeyed(machine):
    """Whoever starts it reads the URL and connects, or thinks better of it."""
    command = [SERVER, "serve", "--port", "0", "--json"]
    process = subprocess.Popen(command, env=machine.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), timeout=5).close()
        process.terminate()
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0


@pytest.fixture
def serving(machine: Machine):
    with machine.serving() as url:
        yield url
