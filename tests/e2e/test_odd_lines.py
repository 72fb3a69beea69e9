"""Every line on stdin gets its answer: real processes, in the fast start, at the hand-over and afterwards."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.test_fast_start_process import BOTH, INITIALIZED, ON, environ, host, request
from tests.snapshot import initialize

pytestmark = pytest.mark.process

PARSE_ERROR, INVALID = -32700, -32600
PING = b'"jsonrpc":"2.0","method":"ping"'

UNDERSTOOD: dict[str, bytes] = {
    "half an emoji": b'{"id":"half an emoji",%s,"params":{"x":"a \\ud83d"}}' % PING,
    "the other half": b'{"id":"the other half",%s,"params":{"x":"\\udc00 a \\\\ud83d"}}' % PING,
    "a raw tab": b'{"id":"a raw tab",%s,"params":{"x":"a\tb\x01"}}' % PING,
    "a byte-order mark": b'\xef\xbb\xbf{"id":"a byte-order mark",%s}' % PING,
    "no UTF-8": b'{"id":"no UTF-8",%s,"params":{"x":"\xff\xc3"}}' % PING,
    "CRLF": b'{"id":"CRLF",%s}\r' % PING,
    "a carriage return inside": b'{"id":"a carriage return inside",\r%s}' % PING,
    "NaN": b'{"id":"NaN",%s,"params":{"x":[NaN,-Infinity,1e999]}}' % PING,
    "a member twice": b'{"id":1,"id":"a member twice",%s}' % PING,
    "a batch": b'[{"id":"a batch",%s}]' % PING,
}
REFUSED: dict[str, tuple[bytes, int, Any]] = {
    "no JSON": (b"this is no JSON", PARSE_ERROR, None),
    "cut off": (b'{"id":71,%s,"params":{"x":"a' % PING, PARSE_ERROR, 71),
    "an id behind the fault": (b'{%s,"params":{"x":"a"b"},"id":72}' % PING, PARSE_ERROR, 72),
    "deep": (b'{"id":73,%s,"params":{"x":%s}}' % (PING, b"[" * 5000 + b"]" * 5000), INVALID, 73),
    "a long number": (b'{"id":74,%s,"params":{"x":%s}}' % (PING, b"9" * 5000), PARSE_ERROR, 74),
    "no id": (b'{"id":null,%s}' % PING, INVALID, None),
    "a fractional id": (b'{"id":7.5,%s}' % PING, INVALID, 7.5),
    "a boolean id": (b'{"id":true,%s}' % PING, INVALID, None),
    "params that are a list": (b'{"id":75,%s,"params":[]}' % PING, INVALID, 75),
    "another JSON-RPC": (b'{"id":76,"jsonrpc":"1.0","method":"ping"}', INVALID, 76),
    "no method": (b'{"id":77,"jsonrpc":"2.0"}', INVALID, 77),
    "an empty batch": (b"[]", INVALID, None),
    "a number": (b"5", INVALID, None),
    "UTF-16": ('{"id":78}'.encode("utf-16-le"), PARSE_ERROR, None),
}


def answers(home, fast, *, greeted: bool) -> list[dict[str, Any]]:
    """Return the answers to all of them, each sent before a valid ping."""
    lines = [*UNDERSTOOD.values(), *(line for line, _, _ in REFUSED.values()), b"", b"  \r"]
    with host(home, fast) as client:
        client.send(initialize("2025-11-25"), INITIALIZED)
        reply = client.hear() if greeted else []
        for at, line in enumerate(lines):
            client.send(line + b"\n", request("ping", f"ping {at}"))
        while not reply or reply[-1].get("id") != f"ping {len(lines) - 1}":
            reply += client.hear()
        code, rest, err = client.end()
    assert code == 0
    assert "Traceback" not in err
    assert err.count("\n") >= len(REFUSED), "each of them is a line in the log"
    return reply + rest


@BOTH
@pytest.mark.parametrize("greeted", [True, False], ids=["after the greeting", "with it"])
def test_every_line_is_understood_or_refused(tmp_path, fast, greeted):
    """P7. Also what comes behind it is answered."""
    reply = answers(tmp_path, fast, greeted=greeted)
    ids = [answer["id"] for answer in reply if "result" in answer]
    assert [name for name in UNDERSTOOD if ids.count(name) != 1] == []
    assert sum(str(name).startswith("ping ") for name in ids) == len(UNDERSTOOD) + len(REFUSED) + 2
    errors = sorted((a["error"]["code"], str(a["id"])) for a in reply if "error" in a)
    assert errors == sorted((code, str(at)) for _, code, at in REFUSED.values())


@BOTH
@pytest.mark.parametrize("lead", [b"\xef\xbb\xbf", b"\r\n\n", b"no JSON\n", b"\xef\xbb\xbf\n"])
def test_whatever_comes_before_the_greeting_it_is_answered(tmp_path, fast, lead):
    with host(tmp_path, fast) as client:
        client.send(lead, initialize("2025-11-25"))
        reply = client.hear(2 if b"JSON" in lead else 1)
        assert {answer["id"] for answer in reply} >= {0}
        client.send(INITIALIZED, request("tools/list", 5))
        assert client.hear()[0]["id"] == 5
        code, rest, _ = client.end()
    assert (code, rest) == (0, [])


def test_a_line_that_never_ends_is_refused_and_what_follows_is_read(tmp_path):
    """A line of 40 MB is not kept; the id is read from its end, where the TypeScript SDK writes it."""
    with host(tmp_path, ON) as client:
        client.send(initialize("2025-11-25"), INITIALIZED)
        client.hear()
        client.send(b'{"method":"ping","params":{"x":"')
        for _ in range(40):
            client.send(b"x" * 1_000_000)
        client.send(b'"},"jsonrpc":"2.0","id":9}\n', request("ping", 10))
        refused, pong = client.hear(2)
        assert (refused["error"]["code"], refused["id"]) == (INVALID, 9)
        assert pong["id"] == 10
        assert client.end()[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="descriptors that do not block")
@BOTH
def test_pipes_that_do_not_block_are_waited_for(tmp_path, fast):
    """Some hosts share theirs with a process that set O_NONBLOCK on it."""
    with host(tmp_path, fast) as client:
        assert client.process.stdin is not None
        os.set_blocking(client.process.stdin.fileno(), False)
        client.send(initialize("2025-11-25"), INITIALIZED)
        client.hear()
        client.send(request("tools/list", 1))
        assert client.hear()[0]["id"] == 1
        assert json.dumps(client.end()[:2]) == "[0, []]"


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_at_a_terminal_too(tmp_path):
    """Who tries it by hand sees what was wrong; Ctrl-D ends it."""
    import pty

    ours, theirs = pty.openpty()
    pipes = {"stdin": theirs, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "avm_mcp"], env=environ(tmp_path, ON), **pipes) as process:
        os.close(theirs)
        os.write(ours, json.dumps(initialize("2025-11-25")).encode() + b"\nhello\n")
        assert process.stdout is not None
        reply = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert sorted(str(answer["id"]) for answer in reply) == ["0", "None"]
        os.write(ours, b"\x04")
        assert process.wait(20) == 0
    os.close(ours)
