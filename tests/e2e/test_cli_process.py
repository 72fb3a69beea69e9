"""The programs as they are started: real processes, real sockets, real signals, real time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.process

SPEED = 100
posix = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


def environ(home: Path, url: str | None = None, **more: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AVM_", "AIVIDEO_"))}
    env |= {
        "AVM_STATE_DIR": str(home / "state"),
        "AVM_OUTPUT_DIR": str(home / "videos"),
        "AVM_INPUT_DIRS": str(home / "pictures"),
        "AVM_WORKER": "off",
        "NO_PROXY": "127.0.0.1",
    }
    env |= {"AVM_BASE_URL": url, "AVM_API_KEY": "k"} if url else {}
    return env | more


def command(*argv: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from avm_mcp.cli import main; sys.exit(main())", *argv]


def avm(env: dict[str, str], *argv: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*argv), env=env, capture_output=True, text=True, timeout=seconds)


@contextmanager
def started(argv: list[str], env: dict[str, str], **how: object) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=env, text=True, **(pipes | how)) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    env = environ(tmp_path_factory.mktemp("sandbox"))
    argv = command("sandbox", "--speed", str(SPEED), "--no-render", "--balance", "100000")
    with started(argv, env) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_a_video_is_made_and_stdout_is_one_json_object(url, tmp_path):
    """P3."""
    reply = avm(environ(tmp_path, url), "text-to-video", "a red kite", "--json")
    assert reply.returncode == 0, reply.stderr
    fields = json.loads(reply.stdout)
    assert reply.stdout.count("\n") == 1
    assert Path(fields["file"]).read_bytes()[4:8] == b"ftyp"
    listed = avm(environ(tmp_path, url), "list")
    assert fields["file"] in listed.stdout
    assert listed.stderr == ""


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_waiting_prints_the_task_and_a_later_get_finishes_it(url, tmp_path, number):
    """P2. Exit 75, one JSON object, and the id in it is good."""
    env = environ(tmp_path, url)
    # A prompt of its own: with a new state, the service's list is asked for the same request first.
    with started(command("text-to-video", f"a kite, {number}", "--json"), env) as process:
        assert "Task ck" in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    reply = json.loads(out)
    assert reply["done"] is False
    done = avm(env, "get", reply["task_id"], "--json")
    assert done.returncode == 0
    assert Path(json.loads(done.stdout)["file"]).is_file()


def test_a_bad_setting_is_one_line_and_exit_2(tmp_path):
    """Of a command; the stdio server stays up, and says it at each call (tests/e2e/test_environments.py)."""
    env = environ(tmp_path, AVM_SUBMIT_TIMEOUT="soon")
    reply = subprocess.run(
        command("list"), env=env, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert reply.returncode == 2
    assert reply.stdout == ""
    assert reply.stderr.count("\n") == 1
    assert 'AVM_SUBMIT_TIMEOUT is "soon", which cannot be used: allowed is a' in reply.stderr


def test_doctor_with_a_key_and_without(url, tmp_path):
    """P5. The key itself is never printed."""
    key = "ak_very_secret_0123"
    well = avm(environ(tmp_path, url, AVM_API_KEY=key), "doctor", "--json")
    assert well.returncode == 0, well.stdout + well.stderr
    assert key not in well.stdout + well.stderr
    assert json.loads(well.stdout)["ok"] is True
    none = avm(environ(tmp_path, url, AVM_API_KEY=""), "doctor")
    assert none.returncode == 3
    assert "FAIL  API key" in none.stdout
    assert "What to do:\n1. API key: get a key" in none.stdout


def test_without_a_key_a_paid_verb_says_what_to_set_and_exits_3(tmp_path):
    reply = avm(environ(tmp_path), "text-to-video", "a")
    assert reply.returncode == 3
    assert "AVM_API_KEY" in reply.stderr


def test_a_reader_that_goes_away_is_no_error(url, tmp_path):
    env = environ(tmp_path, url)
    with started(command("list"), env) as process:
        process.stdout.close()
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()


def bare_environ(tmp_path: Path) -> dict[str, str]:
    """No HOME, no key, and a state folder that cannot be made."""
    env = environ(tmp_path, AVM_STATE_DIR=str(Path(os.devnull) / "state"))
    return {name: value for name, value in env.items() if name not in ("HOME", "USERPROFILE", "AVM_INPUT_DIRS")}


REQUESTS = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "raw", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "tools/call",
        "params": {"name": "text_to_video", "arguments": {"prompt": "PROMPT"}},
    },
)


def spoken_to(process: subprocess.Popen[str], prompt: str = "a") -> dict[int, dict]:
    answers: dict[int, dict] = {}
    for request in REQUESTS:
        process.stdin.write(json.dumps(request).replace("PROMPT", prompt) + "\n")
        process.stdin.flush()
        while "id" in request and request["id"] not in answers:
            message = json.loads(process.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            answers[message.get("id", 0)] = message
    return answers


def test_the_stdio_server_answers_on_bare_ground_and_stdout_is_protocol(tmp_path):
    """P7. cwd /, no HOME, no key, no state folder: tools are listed, and a paid tool says what to set."""
    with started([sys.executable, "-m", "avm_mcp"], bare_environ(tmp_path), cwd=Path(sys.executable).anchor) as process:
        answers = spoken_to(process)
        process.stdin.close()
        assert process.wait(15) == 0
        assert process.stdout.read() == ""
        err = process.stderr.read()
    assert len(answers[2]["result"]["tools"]) == 8
    assert answers[3]["result"]["structuredContent"]["error"]["code"] == "NOT_CONFIGURED"
    assert "Traceback" not in err
    assert "cannot be written" in err


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_stdio_server_cleanly(url, tmp_path, number):
    """P7. Although a thread still reads stdin, which stays open."""
    with started([sys.executable, "-m", "avm_mcp"], environ(tmp_path, url)) as process:
        spoken_to(process, f"a bird, {number}")
        process.send_signal(number)
        assert process.wait(15) == 0
        assert process.stderr.read() == ""
        assert process.stdout.read() == ""


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_http_server_tells_its_address_and_ends_cleanly(tmp_path, number):
    with started(command("serve", "--port", "0"), environ(tmp_path)) as process:
        address = process.stdout.readline().split()[-1]
        assert address.endswith("/mcp")
        deadline = time.monotonic() + 20
        while True:
            try:
                with urlopen(address.removesuffix("/mcp") + "/healthz", timeout=5) as answer:
                    assert json.load(answer) == {"ok": True}
                with urlopen(address.removesuffix("/mcp") + "/readyz", timeout=5) as answer:
                    assert json.load(answer) == {"ok": True, "durable": True, "configured": False}
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("argv", [["account"], ["account", "--json"], ["--version", "--json"]], ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_line_and_no_success(tmp_path, argv):
    with Path("/dev/full").open("w") as full:
        reply = subprocess.run(
            command(*argv), env=environ(tmp_path), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert reply.returncode == 1
    assert "No space left" in reply.stderr
    assert "Traceback" not in reply.stderr
    assert "Exception ignored" not in reply.stderr


def test_a_port_that_is_taken_and_a_host_of_others_are_one_line(url, tmp_path):
    port = url.rsplit(":", 1)[-1]
    for argv in (["serve", "--port", port], ["sandbox", "--port", port], ["serve", "--host", "0.0.0.0"]):
        reply = avm(environ(tmp_path), *argv)
        assert reply.returncode == 2, reply
        assert reply.stdout == ""
        assert reply.stderr.count("\n") == 1


def test_the_demo_makes_three_videos_within_a_minute(tmp_path):
    """P3. The main job with no key; the videos are looked at by a decoder that did not write them."""
    begun = time.monotonic()
    reply = avm(environ(tmp_path), "demo", "--out", str(tmp_path / "out"), "--json", seconds=120)
    assert reply.returncode == 0, reply.stderr
    assert time.monotonic() - begun < 60
    tasks = json.loads(reply.stdout)["tasks"]
    assert [(t["tool"], t["status"]) for t in tasks] == [
        ("text_to_video", "COMPLETED"),
        ("image_to_video", "COMPLETED"),
        ("long_video", "COMPLETED"),
    ]
    assert sorted(map(str, (tmp_path / "out").iterdir())) == sorted(t["file"] for t in tasks)
    av = pytest.importorskip("av")
    for task, seconds in zip(tasks, (5, 5, 10), strict=True):
        with av.open(task["file"]) as video:
            assert seconds <= video.duration / 1e6 < seconds + 1
            assert video.streams.video[0].width > video.streams.video[0].height


def test_a_demo_that_cannot_write_is_one_line(tmp_path):
    reply = avm(environ(tmp_path), "demo", "--out", str(Path(os.devnull) / "x"))
    assert reply.returncode != 0
    assert reply.stderr.count("\n") == 1
    assert "--out" in reply.stderr
