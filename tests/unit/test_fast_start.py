"""The fast start answers as the SDK would, and gives it everything else: for any split, and any line."""

import io
import json
import logging
import os
import sys
import threading
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from avm_mcp import fast_start
from avm_mcp.fast_start import answers, reading, wire
from avm_mcp.fast_start.answers import Responder, Snapshot
from avm_mcp.fast_start.wire import Wire
from avm_mcp.settings import Settings
from tests import snapshot
from tests.snapshot import LISTS, UNKNOWN, answered, envelope, initialize

CONTENT = json.loads(snapshot.FILE.read_text(encoding="utf-8"))
OFFERED = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS, UNKNOWN)
IDS = (0, -1, 7, 2**40, "a", "", '"\\\n\x01é\U0001f3a5\x7f')
MODERN = MODERN_PROTOCOL_VERSIONS[0]


def fresh(save: str = "saved", above: str = "") -> Responder:
    return Responder(Snapshot(CONTENT, save, above))


def line(message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def request(method: str, at: int | str | None = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": at, "method": method} | ({"params": params} if params else {})


INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def served(data: bytes, save: str = "mine", above: str = "") -> list[bytes]:
    """Return the lines that the real server writes when it reads these bytes and then nothing for a while."""
    lines = list(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="replace"))
    clock = trio.testing.MockClock(autojump_threshold=0)
    return [reply.encode() for reply in trio.run(answered, lines, 1 << 30, save, above, clock=clock)]


def both(data: bytes) -> tuple[Responder, list[bytes]]:
    """Return the front after these bytes, and what the client gets: its answers, and the SDK's to what it kept."""
    mine = fresh()
    reply = mine.feed(data).splitlines(keepends=True)
    mine.stop()
    sdk = served(bytes(mine.lead + mine.rest))
    if mine.opening is not None:
        assert reply[0] == mine.opening
        assert sdk[0] == mine.opening
        sdk.pop(0)
    return mine, reply + sdk


# --- the snapshot, and each answer ---


def test_the_packaged_snapshot_is_what_the_server_says():
    """`make snapshot` writes it."""
    assert snapshot.FILE.read_text(encoding="utf-8") == snapshot.text()


@pytest.mark.parametrize("save", ["mine", "all", "off"])
@pytest.mark.parametrize("offered", OFFERED)
def test_every_answer_at_a_handshake_revision_is_the_sdks_to_the_byte(offered, save):
    reply = [initialize(offered), INITIALIZED, request("ping", 1), *(request(name, name) for name in LISTS)]
    data = b"".join(map(line, reply))
    mine = fresh(fast_start._VARIANTS[save])
    assert sorted(mine.feed(data).splitlines(keepends=True)) == sorted(served(data, save))
    assert bytes(mine.lead + mine.rest) == line(reply[0]) + line(INITIALIZED)


@pytest.mark.parametrize("save", ["mine", "all", "off"])
@pytest.mark.parametrize("opening", ["server/discover", *LISTS])
def test_every_answer_with_an_envelope_is_the_sdks_to_the_byte(opening, save):
    methods = (opening, "server/discover", *LISTS)
    asked = [request(name, at, **envelope(MODERN)) for at, name in enumerate(methods)]
    data = b"".join(map(line, asked))
    mine = fresh(fast_start._VARIANTS[save])
    assert sorted(mine.feed(data).splitlines(keepends=True)) == sorted(served(data, save))
    assert bytes(mine.lead + mine.rest) == line(asked[0])


@pytest.mark.parametrize("above", ["0", "7", "50", "1000000"])
def test_the_threshold_is_the_settings_in_every_answer_to_the_byte(above):
    """DESIGN 6: in the instructions, and as the published default of max_credits."""
    reply = [initialize("2025-11-25"), INITIALIZED, *(request(name, name) for name in LISTS)]
    modern = [request(name, at, **envelope(MODERN)) for at, name in enumerate(("server/discover", *LISTS))]
    for asked in (reply, modern):
        data = b"".join(map(line, asked))
        answers = fresh("saved", above).feed(data)
        assert sorted(answers.splitlines(keepends=True)) == sorted(served(data, "mine", above))
        assert f"Up to {above} credits".encode() in answers
        assert answers.count(f'"default":{above},'.encode()) >= 3
        assert snapshot.ABOVE.encode() not in answers


@pytest.mark.parametrize("at", IDS)
def test_an_id_comes_back_as_it_is(at):
    for asked in ([initialize("2025-06-18") | {"id": at}], [request("server/discover", at, **envelope(MODERN))]):
        (reply,) = fresh().feed(line(asked[0])).splitlines(keepends=True)
        assert json.loads(reply)["id"] == at
        assert [reply] == served(line(asked[0]))


CLIENTS: dict[str, dict[str, Any]] = {
    "full": {
        "capabilities": {
            "roots": {"listChanged": True},
            "sampling": {"tools": {}, "context": {}},
            "elicitation": {"form": {"applyDefaults": True}, "url": {}},
            "tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}},
            "experimental": {"x": {"a": [1, "b", None]}},
            "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}},
            "of its own": 1,
        },
        "clientInfo": {
            "name": "c",
            "title": "C",
            "version": "1",
            "description": "d",
            "websiteUrl": "https://x",
            "icons": [{"src": "https://x/i.png", "mimeType": "image/png", "sizes": ["48x48"]}],
        },
    },
    "nulls": {
        "capabilities": {"roots": None, "sampling": None, "experimental": None, "elicitation": {"form": None}},
        "clientInfo": {"name": "c", "version": "1", "title": None, "icons": None, "websiteUrl": None},
    },
    "token": {"_meta": {"progressToken": 3, "traceparent": "00-0-0-01"}, "unknown": {"a": 1}},
}


@pytest.mark.parametrize("client", CLIENTS)
def test_real_clients_are_answered(client):
    data = line(initialize("2025-11-25", **CLIENTS[client]))
    mine, reply = both(data)
    assert mine.opening is not None
    assert reply == served(data)


WRONG: dict[str, bytes] = {
    "no params": line(request("initialize")),
    "no version": line(initialize("x", protocolVersion=None)),
    "a number for a version": line(initialize("x", protocolVersion=5)),
    "no client": line(initialize("2025-11-25", clientInfo={"name": "c"})),
    "capabilities are a list": line(initialize("2025-11-25", capabilities=[])),
    "roots are a number": line(initialize("2025-11-25", capabilities={"roots": 5})),
    "experimental holds a number": line(initialize("2025-11-25", capabilities={"experimental": {"x": 1}})),
    "a token is a list": line(initialize("2025-11-25", _meta={"progressToken": []})),
    "an envelope on initialize": line(initialize("2025-11-25", **envelope(MODERN))),
    "a list before initialize": line(request("tools/list")) + line(initialize("2025-11-25")),
    "a ping before initialize": line(request("ping")) + line(initialize("2025-11-25")),
    "an unknown envelope": line(request("server/discover", **envelope("2030-01-01"))),
    "a bare discover": line(request("server/discover")),
    "half an envelope": line(request("server/discover", _meta={reading.VERSION: MODERN})),
    "a call first": line(request("tools/call", name="get_account", **envelope(MODERN))),
    "a batch": b"[" + line(initialize("2025-11-25")).strip() + b"]\n",
    "no JSON": b"hello\n",
    "an empty line": b"\n" + line(initialize("2025-11-25")),
    "a fraction for an id": line(initialize("2025-11-25") | {"id": 1.5}),
    "true for an id": line(initialize("2025-11-25") | {"id": True}),
    "null for an id": line(initialize("2025-11-25") | {"id": None}),
    "a member twice": line(initialize("2025-11-25")).replace(b'"id": 0', b'"id": 0, "id": 1'),
    "another member": line(initialize("2025-11-25") | {"result": {}}),
    "JSON-RPC 1": line(initialize("2025-11-25") | {"jsonrpc": "1.0"}),
    "half a pair": line(initialize("2025-11-25")).replace(b'"c"', b'"\\ud83c"'),
    "bytes that are no text": line(initialize("2025-11-25")).replace(b'"c"', b'"\xff"'),
    "UTF-16": line(initialize("2025-11-25")).decode().encode("utf-16"),
    "a carriage return within": line(initialize("2025-11-25")).replace(b'"id"', b'\r"id"'),
    "NaN": line(initialize("2025-11-25", capabilities={"x": float("nan")})),
    "very deep": line(initialize("2025-11-25")).replace(b'"capabilities": {}', b'"x": ' + b"[" * 300 + b"]" * 300),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_plain_is_the_sdks_unchanged(case):
    """And so is everything behind it."""
    data = WRONG[case] + line(request("ping", 9))
    mine = fresh()
    assert mine.feed(data) == b""
    assert mine.stopped
    assert bytes(mine.lead) == data


LATER: dict[str, tuple[bytes, bool]] = {
    "a call": (line(request("tools/call", 5, name="x")), False),
    "a cursor": (line(request("tools/list", 5, cursor="x")), False),
    "an envelope at a handshake revision": (line(request("tools/list", 5, **envelope(MODERN))), False),
    "a notification": (line({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}), False),
    "a cancellation": (
        line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}}),
        False,
    ),
    "initialize again": (line(initialize("2024-11-05") | {"id": 5}), True),
    "an answer": (line({"jsonrpc": "2.0", "id": 5, "result": {}}), True),
    "no JSON": (b"{\n", True),
}


@pytest.mark.parametrize("case", LATER)
def test_later_lines_are_kept_in_order_and_only_doubt_ends_the_answers(case):
    mine = fresh()
    mine.feed(line(initialize("2025-11-25")))
    data, ends = LATER[case]
    answer = mine.feed(data + line(request("ping", 6)) + data)
    assert mine.stopped is ends
    assert bool(answer) is not ends
    assert bytes(mine.rest) == (data + line(request("ping", 6)) + data if ends else data + data)


# --- any lines: the client gets what the SDK alone would have sent ---

WORDS = st.sampled_from(
    ["initialize", "ping", "tools/list", "server/discover", "2025-11-25", MODERN, "", "x", reading.VERSION]
)
SOUP = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS | st.just("name"), inner, max_size=2),
    max_leaves=4,
)
PLAIN = st.one_of(
    st.sampled_from(OFFERED).map(initialize),
    st.sampled_from(sorted(CLIENTS)).map(lambda name: initialize("2025-06-18", **CLIENTS[name])),
    st.just(INITIALIZED),
    st.sampled_from(("ping", *LISTS, "prompts/get")).map(request),
    st.sampled_from(("server/discover", "ping", *LISTS)).map(lambda name: request(name, **envelope(MODERN))),
)


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A message in which one thing, at any depth, may be something else."""
    message = json.loads(json.dumps(draw(PLAIN)))
    if not draw(st.booleans()):
        return message
    at: Any = message
    while True:
        key = draw(st.sampled_from(sorted(at)) if isinstance(at, dict) and at else st.just("new"))
        inner = at.get(key)
        if isinstance(inner, dict) and draw(st.booleans()):
            at = inner
            continue
        if draw(st.booleans()):
            at[key] = draw(SOUP)
        else:
            at.pop(key, None)
        return message


def numbered(messages: list[Any]) -> bytes:
    return b"".join(line({**m, "id": at} if m.get("id") == 1 else m) for at, m in enumerate(messages, 1))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(changed(), min_size=1, max_size=6))
def test_for_any_lines_the_client_is_told_what_the_sdk_alone_would_tell(messages):
    data = numbered(messages)
    _, reply = both(data)
    assert sorted(reply) == sorted(served(data))


@settings(max_examples=200, deadline=None)
@given(st.lists(changed() | st.just(None), max_size=8), st.data())
def test_for_any_split_the_answers_and_what_is_kept_are_the_same(messages, data):
    stream = line(initialize("2025-11-25")) + b"".join(b"?\n" if m is None else line(m) for m in messages) + b'{"half'
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    whole, parts = fresh(), fresh()
    reply = whole.feed(stream)
    received = b"".join(parts.feed(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))
    whole.stop()
    parts.stop()
    assert (received, parts.lead, parts.rest) == (reply, whole.lead, whole.rest)


def test_too_much_to_keep_ends_the_answers():
    mine = fresh()
    mine.feed(line(initialize("2025-11-25")))
    note = line(INITIALIZED)
    while not mine.stopped:
        mine.feed(note * 100)
    assert answers.MAX_KEPT <= len(mine.lead) + len(mine.rest) <= answers.MAX_KEPT + 100 * len(note)
    long = fresh()
    long.feed(b" " * (reading.MAX_LINE + 1))
    assert long.stopped


def test_whatever_goes_wrong_here_the_line_is_the_sdks(monkeypatch):
    def broken(_line: bytes) -> None:
        raise RuntimeError

    monkeypatch.setattr(answers, "read", broken)
    mine = fresh()
    data = line(initialize("2025-11-25")) + line(request("ping"))
    assert mine.feed(data) == b""
    assert bytes(mine.lead) == data


# --- the wire ---


class Ends:
    """A client's two pipes, the wire between them and a stand-in for the SDK, which answers requests by number."""

    def __init__(self) -> None:
        source, self.theirs_out = os.pipe()
        self.theirs_in, sink = os.pipe()
        self.wire = Wire(fresh(), source, sink)
        self.seen: list[bytes] = []
        self.reply = bytearray()
        self.ours = (source, sink)
        self.threads = [threading.Thread(target=run) for run in (self.wire.answer, self._listen)]
        for thread in self.threads:
            thread.start()

    def _listen(self) -> None:
        while data := os.read(self.theirs_in, 1 << 16):
            self.reply += data

    def sdk(self, opening: bytes | None = None, before: bytes = b"") -> None:
        """Read to the end, answering each request; `opening` in place of the right answer to the first."""
        wire = self.wire
        for text in io.TextIOWrapper(wire.stdin, encoding="utf-8", errors="replace"):
            self.seen.append(text.encode())
            try:
                message = json.loads(text)
            except ValueError:
                continue
            if not isinstance(message, dict) or "id" not in message:
                continue
            if message["method"] == "initialize":
                right = wire._responder.opening or b'{"jsonrpc":"2.0","id":0,"result":{"by":"sdk"}}\n'
                answer = before + (opening or right)
            else:
                answer = line({"jsonrpc": "2.0", "id": message["id"], "result": {"by": "sdk"}})
            half = len(answer) // 2
            wire.stdout.write(answer[:half])
            wire.stdout.write(answer[half:])
            wire.stdout.flush()

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.theirs_out, data) :]

    def close(self) -> list[bytes]:
        """Close as the client and as the server; return the lines that the client has read."""
        os.close(self.ours[1])
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        for number in (self.ours[0], self.theirs_in):
            os.close(number)
        return bytes(self.reply).splitlines(keepends=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_is_lost_or_reordered_wherever_the_sdk_begins_to_read(data):
    """Each request is answered once, each line that is not answered is seen once and in order, stdout is lines."""
    sent = [line(initialize("2025-11-25"))]
    for at in range(1, data.draw(st.integers(0, 12)) + 1):
        pick = data.draw(st.sampled_from(["ping", "tools/call", "note", "junk", "long"]))
        note = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"at": at}}
        sent.append(
            line(request(pick, at))
            if "/" in pick or pick == "ping"
            else {"note": line(note), "junk": b"?%d\n" % at, "long": line(note | {"pad": "x" * 200_000})}[pick]
        )
    stream = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    begins = data.draw(st.integers(0, len(cuts) + 1))
    ends = Ends()
    now = threading.Event()

    def send() -> None:
        for at, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(stream)], strict=True)):
            if at == begins:
                now.set()
            ends.send(stream[a:b])
        os.close(ends.theirs_out)
        now.set()

    sender = threading.Thread(target=send)
    sender.start()
    now.wait(0.05)  # a long line is taken by the SDK only, and the sender waits for it
    ends.sdk()
    sender.join(20)
    reply = [json.loads(text) for text in ends.close()]
    asked = [json.loads(text)["id"] for text in sent if b'"id"' in text]
    refused = [answer["id"] for answer in reply if "error" in answer]
    assert refused == [None] * sum(text.startswith(b"?") for text in sent)
    reply = [answer for answer in reply if "result" in answer]
    assert sorted(answer["id"] for answer in reply) == asked
    by_sdk = {answer["id"] for answer in reply if answer["result"].get("by") == "sdk"}
    ours = {answer["id"] for answer in reply} - by_sdk
    shown = [
        text
        for text in sent
        if b"initialize" in text or (not text.startswith(b"?") and json.loads(text).get("id", -1) not in ours)
    ]
    assert ends.seen == shown


def test_the_answer_that_the_client_has_had_is_dropped_even_if_it_differs(caplog):
    ends = Ends()
    ends.send(line(initialize("2025-11-25")) + line(request("tools/call", 1)))
    os.close(ends.theirs_out)
    note = line({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    with caplog.at_level(logging.WARNING):
        ends.threads[0].join(20)
        ends.sdk(opening=b'{"jsonrpc":"2.0","id":0,"result":{"other":1}}\n', before=note)
    reply = ends.close()
    assert [json.loads(text).get("id") for text in reply] == [0, None, 1]
    assert reply[1] == note
    assert "AVM_FAST_START=off" in caplog.text


def test_an_sdk_that_never_answers_the_opening_is_shown_the_rest(monkeypatch):
    monkeypatch.setattr(wire, "TIMEOUT", 0.05)
    ends = Ends()
    ends.send(line(initialize("2025-11-25")) + line(INITIALIZED))
    os.close(ends.theirs_out)
    ends.threads[0].join(20)
    text = io.TextIOWrapper(ends.wire.stdin, encoding="utf-8")
    assert [got.encode() for got in text] == [line(initialize("2025-11-25")), line(INITIALIZED)]
    ends.close()


def test_a_client_that_sends_much_waits_until_the_sdk_reads():
    """Back-pressure: no more than a megabyte, a read and a pipe are taken before."""
    ends = Ends()
    note = line(INITIALIZED)
    stream = line(initialize("2025-11-25")) + note * 60_000
    sender = threading.Thread(target=ends.send, args=(stream,))
    sender.start()
    ends.threads[0].join(20)
    assert not ends.threads[0].is_alive()
    assert sender.is_alive()
    assert len(ends.wire._responder.lead) + len(ends.wire._responder.rest) <= answers.MAX_KEPT + 2 * wire.CHUNK
    sdk = threading.Thread(target=ends.sdk)
    sdk.start()
    sender.join(20)
    os.close(ends.theirs_out)
    sdk.join(20)
    assert b"".join(ends.seen) == stream
    assert len(ends.close()) == 1


def test_a_reader_that_went_away_is_the_sdks_to_find_and_no_line_is_lost():
    source, theirs = os.pipe()
    nobody, sink = os.pipe()
    os.close(nobody)
    broken = Wire(fresh(), source, sink)
    os.write(theirs, line(initialize("2025-11-25")) + line(INITIALIZED))
    os.close(theirs)
    broken.answer()
    assert broken._responder.opening is not None
    assert broken.stdin.readline() == line(initialize("2025-11-25"))
    broken.stdout.write(broken._responder.opening)
    assert broken.stdin.read() == line(INITIALIZED)
    with pytest.raises(BrokenPipeError):
        broken.stdout.write(b"{}\n")
    os.close(source)
    os.close(sink)


def test_the_interpreter_switches_threads_as_before_once_the_sdk_reads():
    before = sys.getswitchinterval()
    ends = Ends()
    os.close(ends.theirs_out)
    ends.sdk()
    assert sys.getswitchinterval() == before
    ends.close()


# --- whether it starts ---


@pytest.mark.parametrize("name", ["AVM_SAVE", "AVM_FAST_START"])
@pytest.mark.parametrize(
    "value",
    ["", " off ", "OFF", "False", "'no'", '"on"', "on", "1", "mine", "all", "${user_config.save}", "maybe", "$X"],
)
def test_the_environment_is_read_as_the_settings_read_it(monkeypatch, name, value):
    """P7: with a value that is refused the server goes on by the default, and so does the fast start."""
    monkeypatch.setenv(name, value)
    meant = getattr(Settings.read({name: value})[0], name)
    assert (fast_start._read_switch(name) == "off") == (meant == "off")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        " 75 ",
        "1000000",
        "1000001",
        "-1",
        "050",
        "50.0",
        "5e1",
        "+50",
        "5_0",
        "\u0665",
        "fifty",
        "${user_config.x}",
    ],
)
def test_a_threshold_is_published_as_the_settings_read_it_or_by_the_sdk(monkeypatch, value):
    monkeypatch.setenv("AVM_APPROVE_ABOVE", value)
    if not fast_start.why_off():
        read = Settings.from_env({"AVM_APPROVE_ABOVE": value}).AVM_APPROVE_ABOVE
        assert fresh("saved", fast_start._threshold())._snapshot._threshold == (snapshot.ABOVE, str(read))
    assert bool(fast_start.why_off()) is (value.strip() not in ("", "0", "75", "1000000", "${user_config.x}"))


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (["mcp/__init__.py", "mcp-2.3.0.dist-info/METADATA"], True),
        (["mcp/__init__.py", "mcp-2.3.9.dist-info/METADATA"], True),
        (["mcp/__init__.py", "mcp-2.30.0.dist-info/METADATA"], False),
        (["mcp/__init__.py", "mcp-2.4.0.dist-info/METADATA"], False),
        (["mcp/__init__.py", "mcp-2.3.0.dist-info/METADATA", "mcp-2.4.0.dist-info/METADATA"], False),
        (["mcp/__init__.py"], False),
        (["mcp-2.3.0.dist-info/METADATA"], False),
    ],
)
def test_another_sdk_than_the_snapshots_answers_for_itself(tmp_path, monkeypatch, names, good):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mcp").touch()  # the SDK's own program, beside ours
    for name in names:
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none.zip"), str(tmp_path / "bin"), str(tmp_path / "lib")])
    assert fast_start._is_installed("2.3.0") is good
    assert bool(fast_start.why_off()) is not good


def test_why_there_is_no_fast_start_is_said(tmp_path, monkeypatch):
    """For `avm doctor`: a first answer that comes a second later has a reason that can be named."""
    assert fast_start.why_off() == ""
    monkeypatch.setenv("AVM_FAST_START", "off")
    assert fast_start.why_off() == "AVM_FAST_START=off"
    monkeypatch.setenv("AVM_FAST_START", "on")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert fast_start.why_off() == "the SDK that is installed is not of the series of mcp 2.3.0"
    monkeypatch.setattr(fast_start, "SNAPSHOT", str(tmp_path / "gone.json"))
    assert fast_start.why_off() == "its snapshot cannot be used"


def test_the_front_imports_nothing_but_the_standard_library():
    import subprocess

    code = (
        "import sys\nbefore = set(sys.modules)\nimport avm_mcp.cli, avm_mcp.fast_start\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= set(sys.stdlib_module_names) | {'avm_mcp'}, new\n"
        "slow = {'pathlib', 'dataclasses', 'logging', 'inspect', 'asyncio', 'importlib.metadata'} & "
        "(set(sys.modules) - before)\n"
        "assert not slow, slow\n"
        "ours = {name for name in sys.modules if name.startswith('avm_mcp.')}\n"
        "assert all(name.startswith(('avm_mcp.cli', 'avm_mcp.fast_start')) for name in ours), ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
