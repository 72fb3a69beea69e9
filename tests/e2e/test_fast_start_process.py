"""The fast start in real processes: the same conversation with it and without, and the same ends.

`mute` is an SDK that never comes: what is answered then was answered by the fast start, whatever the machine's load.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.snapshot import LISTS, envelope, initialize

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="elsewhere there is no fast start"),
]

ON, OFF = {"AVM_FAST_START": "on"}, {"AVM_FAST_START": "off"}
BOTH = pytest.mark.parametrize("fast", [ON, OFF], ids=["on", "off"])
MODERN = "2026-07-28"
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def environ(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AVM_", "AIVIDEO_"))}
    return kept | {"AVM_STATE_DIR": str(home / "state"), "AVM_OUTPUT_DIR": str(home), "AVM_WORKER": "off"} | dict(more)


class Host:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def send(self, *messages: Any) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
            assert self.process.stdin is not None
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def hear(self, count: int = 1) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Close stdin; return the exit code, the rest of stdout, and stderr."""
        out, err = self.process.communicate(timeout=30)
        assert out == b"" or out.endswith(b"\n")
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


@contextmanager
def host(home: Path, more: Mapping[str, str]) -> Iterator[Host]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "avm_mcp"], env=environ(home, more), **pipes) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


def sdk_of(home: Path, source: str) -> dict[str, str]:
    """Return the environment in which the SDK is this module."""
    (home / "sdk" / "mcp").mkdir(parents=True)
    (home / "sdk" / f"mcp-{version('mcp')}.dist-info").mkdir()
    (home / "sdk" / "mcp" / "__init__.py").write_text(source)
    return ON | {"PYTHONPATH": str(home / "sdk")}


def request(method: str, at: int | str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": at, "method": method, "params": params}


LEGACY_TALK = (
    initialize("2025-06-18"),
    INITIALIZED,
    *(request(name, name) for name in LISTS),
    request("ping", 1),
    request("prompts/get", 2, name="storyboard", arguments={"idea": "a kite"}),
    request("tools/call", 3, name="text_to_video", arguments={"prompt": "a kite"}),
    b'{"jsonrpc":"2.0","id":4,"method":"ping"\n',
    request("tools/list", 5),
    request("no/such", 6),
    request("server/discover", 7, **envelope(MODERN)),
    request("ping", "eight"),
)
MODERN_TALK = (
    request("server/discover", "d", **envelope(MODERN)),
    *(request(name, name, **envelope(MODERN)) for name in LISTS),
    request("tools/call", 3, name="text_to_video", arguments={"prompt": "a kite"}, **envelope(MODERN)),
    request("initialize", 4, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"}),
    request("server/discover", 5, **envelope("2030-01-01")),
    request("tools/list", 6, **envelope(MODERN)),
)


def talk(home: Path, more: Mapping[str, str], messages: tuple[Any, ...], cuts: int | None) -> list[str]:
    """Return the answers, sorted, when everything is sent at once, or in pieces of so many bytes."""
    stream = b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\n" for m in messages)
    wanted = sum(1 for m in messages if not isinstance(m, dict) or "id" in m)
    with host(home, more) as client:
        for at in range(0, len(stream), cuts or len(stream)):
            client.send(stream[at : at + (cuts or len(stream))])
        reply = client.hear(wanted)
        code, rest, err = client.end()
    broken = sum(1 for m in messages if not isinstance(m, dict))
    assert (code, rest, err.count("\n")) == (0, [], broken)
    return sorted(json.dumps(answer) for answer in reply)


@pytest.mark.parametrize("messages", [LEGACY_TALK, MODERN_TALK], ids=["handshake", "envelope"])
def test_a_conversation_is_the_same_with_and_without(tmp_path, messages):
    plain = talk(tmp_path, OFF, messages, None)
    for cuts in (None, 7):
        assert talk(tmp_path, ON, messages, cuts) == plain


def test_without_videos_on_this_disk_the_words_are_others(tmp_path):
    printed = [talk(tmp_path, fast | {"AVM_SAVE": "off"}, (initialize("2025-11-25"),), None) for fast in (ON, OFF)]
    assert printed[0] == printed[1]
    assert "link lives 24 hours" in printed[0][0]


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-11-25", MODERN, "someday"])
def test_the_first_answers_come_before_the_sdk(tmp_path, revision):
    """Also to a client that sends a byte at a time; what is not known waits for the SDK."""
    mute = sdk_of(tmp_path, "import time\ntime.sleep(60)\n")
    with host(tmp_path, mute) as client:
        for byte in json.dumps(initialize(revision)).encode() + b"\n":
            client.send(bytes([byte]))
        (hello,) = client.hear()
        assert hello["result"]["serverInfo"]["name"] == "avm-mcp"
        client.send(INITIALIZED, request("resources/read", 1, uri="x"), request("tools/list", 2))
        (tools,) = client.hear()
        assert (tools["id"], len(tools["result"]["tools"])) == (2, 8)


def test_a_modern_client_is_answered_before_the_sdk_too(tmp_path):
    with host(tmp_path, sdk_of(tmp_path, "import time\ntime.sleep(60)\n")) as client:
        client.send(MODERN_TALK[0], MODERN_TALK[1])
        assert [answer["id"] for answer in client.hear(2)] == ["d", "tools/list"]


def test_waiting_costs_nothing(tmp_path):
    def used(pid: int) -> int:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    with host(tmp_path, sdk_of(tmp_path, "import time\ntime.sleep(60)\n")) as client:
        client.send(initialize("2025-11-25"), b'{"half')
        client.hear()
        # Once it has started, there is a second in which it does nothing; one that spins never has such a second.
        seconds = []
        while not seconds or (seconds[-1] > 5 * os.sysconf("SC_CLK_TCK") // 100 and len(seconds) < 30):
            before = used(client.process.pid)
            time.sleep(1)
            seconds.append(used(client.process.pid) - before)
        assert seconds[-1] <= 5 * os.sysconf("SC_CLK_TCK") // 100, seconds


def test_stray_words_go_to_stderr_and_an_sdk_that_fails_ends_the_process(tmp_path):
    """P7."""
    broken = sdk_of(
        tmp_path, "print('stray', flush=True)\nimport os\nos.system('echo child')\nraise ImportError('no')\n"
    )
    with host(tmp_path, broken) as client:
        client.send(initialize("2025-11-25"))
        client.hear()
        code, rest, err = client.end()
    assert (code, rest) == (1, [])
    assert err.startswith("stray\nchild\n")
    assert "ImportError: no" in err


@BOTH
def test_large_messages_pass(tmp_path, fast):
    """10 MB each way of one line, sent before the SDK reads, and no word behind them is lost."""
    with host(tmp_path, fast) as client:
        client.send(initialize("2025-11-25"), INITIALIZED)
        client.hear()
        client.send(request("prompts/get", 1, name="storyboard", arguments={"idea": "ü" * 5_000_000}))
        client.send(request("ping", 2))
        reply = {answer["id"]: answer["result"] for answer in client.hear(2)}
        assert "ü" * 5_000_000 in reply[1]["messages"][0]["content"]["text"]
        assert reply[2] == {}
        assert client.end() == (0, [], "")


@BOTH
@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        ([], 0),
        ([initialize("2025-11-25")], 1),
        ([initialize("2025-11-25"), INITIALIZED, b'{"half'], 2),  # refused: whoever reads may still wait for it
        ([json.dumps(initialize("2025-11-25")).encode()], 1),  # a last line without an end is a line
    ],
    ids=["nothing", "initialize", "half a line", "no line end"],
)
def test_the_end_of_stdin_is_the_end(tmp_path, fast, sent, reply):
    with host(tmp_path, fast) as client:
        client.send(*sent)
        code, printed, err = client.end()
    assert (code, len(printed), err.count("\n")) == (0, reply, int(reply == 2))


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_serves(tmp_path, fast, number):
    with host(tmp_path, fast) as client:
        client.send(initialize("2025-11-25"), request("tools/call", 1, name="get_account", arguments={}))
        client.hear(2)
        client.process.send_signal(number)
        assert client.process.wait(20) == 0
        assert client.end() == (0, [], "")


@BOTH
def test_sigterm_ends_it_at_once_while_it_starts(tmp_path, fast):
    slow = sdk_of(tmp_path, "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    with host(tmp_path, slow | fast) as client:
        client.send(initialize("2025-11-25"))
        assert client.process.stderr is not None
        assert client.process.stderr.readline() == b"importing\n"
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize("after", [0, 0.05, 0.2, 0.4])
def test_an_interrupt_while_it_starts_is_no_traceback(tmp_path, after):
    """The event loop takes it once the import is through; before there is one, it ends the process."""
    with host(tmp_path, ON) as client:
        client.send(initialize("2025-11-25"))
        client.hear()
        time.sleep(after)
        client.process.send_signal(signal.SIGINT)
        # CPython itself dies of SIGINT at exit when it struck inside an exec() of a string, with or without us.
        assert client.process.wait(20) in (0, 130, -signal.SIGINT)
        _, rest, err = client.end()
    assert (rest, err) == ([], "")


@BOTH
def test_a_host_that_stops_reading_is_no_traceback(tmp_path, fast):
    with host(tmp_path, fast) as client:
        assert client.process.stdin is not None
        assert client.process.stdout is not None
        assert client.process.stderr is not None
        client.process.stdout.close()
        client.send(initialize("2025-11-25"), request("no/such", 1))
        client.process.stdin.close()
        assert client.process.wait(30) == 0
        assert client.process.stderr.read() == b""


@BOTH
def test_a_bad_setting_is_one_line_and_the_server_stays_up(tmp_path, fast):
    """Each call says what is wrong (tests/e2e/test_environments.py); the log says it once."""
    with host(tmp_path, fast | {"AVM_SUBMIT_TIMEOUT": "soon"}) as client:
        client.send(initialize("2025-11-25"))
        code, _, err = client.end()
    assert code == 0
    assert err.count("\n") == 1
    assert "AVM_SUBMIT_TIMEOUT" in err


@BOTH
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_is_as_without(tmp_path, fast, closed):
    """A descriptor that is not there is not taken for the wire."""
    argv = ["sh", "-c", f'exec "$0" -m avm_mcp {closed}>&-', sys.executable]
    reply = subprocess.run(
        argv, env=environ(tmp_path, fast), input=json.dumps(initialize("2025-11-25")).encode(), capture_output=True
    )
    if closed == 2:
        assert reply.returncode == 0
        assert json.loads(reply.stdout)["id"] == 0
    else:
        assert reply.stdout == b""


@BOTH
def test_a_file_can_be_the_host(tmp_path, fast):
    (tmp_path / "in").write_bytes(json.dumps(initialize("2025-11-25")).encode() + b"\n")
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        argv = [sys.executable, "-m", "avm_mcp"]
        assert subprocess.run(argv, env=environ(tmp_path, fast), stdin=stdin, stdout=stdout).returncode == 0
    assert json.loads((tmp_path / "out").read_text())["id"] == 0
