"""P5: a key that the upstream sends back, however it writes it, passes into no result, log or file."""

import base64
import html
import json
import time
from urllib.parse import quote

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.provider.redaction import Redaction
from avm_mcp.sandbox.faults import Fault
from tests.protocol.test_waiting import made_in
from tests.stack import KEY


def b64(text, before=0):
    return base64.b64encode(b"x" * before + text.encode()).decode()


FORMS = {
    "plain": KEY,
    "upper case": KEY.upper(),
    "title case": KEY.title(),
    "JSON escapes": "".join(f"\\u{ord(ch):04x}" for ch in KEY),
    "JSON escapes, upper case": "".join(f"\\u{ord(ch):04X}" for ch in KEY),
    "some JSON escapes": "".join(f"\\u{ord(ch):04x}" if place % 3 else ch for place, ch in enumerate(KEY)),
    "escapes of a shell": "".join(f"\\x{ord(ch):02x}" for ch in KEY),
    "percent": "".join(f"%{ord(ch):02x}" for ch in KEY),
    "some percent": quote(KEY).replace("a", "%61"),
    "percent twice": "".join(f"%25{ord(ch):02X}" for ch in KEY),
    "HTML numbers": "".join(f"&#{ord(ch)};" for ch in KEY),
    "HTML hex numbers": "".join(f"&#x{ord(ch):X};" for ch in KEY),
    "HTML numbers with noughts": "".join(f"&#{ord(ch):05d};" for ch in KEY),
    "an HTML name": html.escape(KEY).replace("_", "&lowbar;"),
    "HTML in percent": quote("".join(f"&#{ord(ch)};" for ch in KEY)),
    "base64": b64(KEY),
    "base64, one in": b64(f"{KEY}:", 1),
    "base64, two in": b64(f"{KEY} is bad", 2),
    "base64 for addresses": base64.urlsafe_b64encode(f"??>{KEY}".encode()).decode(),
    "base64 in lines": "\n".join(b64(KEY, 3)[at : at + 16] for at in range(0, 64, 16)),
    "base64 of UTF-16": base64.b64encode(KEY.encode("utf-16-le")).decode(),
    "hex": KEY.encode().hex(),
    "UTF-16 read as bytes": "\x00".join(KEY),
    "between invisible characters": "\u200b".join(KEY),
    "over two lines": f"{KEY[:9]}\n{KEY[9:]}",
}
TAIL = KEY[3:]


def echo(form):
    return f"Invalid key {FORMS[form]} for you"


def redacted(body, key=KEY):
    """What is left of a body, as the client reads it."""
    done = []

    async def run():
        redaction = Redaction(key)
        done.append(await redaction.redact_body(body))

    anyio.run(run, backend="trio")
    return done[0]


def traces(form):
    """What must not be found: the form itself, and what JSON makes of it."""
    return {FORMS[form], json.dumps(FORMS[form])[1:-1], FORMS[form].replace("\n", " "), KEY, TAIL}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stack", [made_in(60)], indirect=True)
async def test_an_echo_of_the_key_goes_nowhere(stack, form, caplog):
    caplog.set_level("DEBUG", logger="avm_mcp")
    await stack.with_history()
    printed = []
    text = echo(form)
    envelope = json.dumps({"status": "FAILED", "errorCode": text, "message": text, "error": text})
    task = {
        "id": "ck1",
        "status": "FAILED",
        "model": text,
        "input": {"prompt": text, text: 1},
        "output": {"error": text},
    }
    task |= {"idempotencyKey": text, "createdAt": stack.wall.date().isoformat()}
    faults = stack.sandbox.faults
    async with stack.client() as client:

        async def ask(tool, given_):
            result = await client.call_tool(tool, given_)
            printed.append("\n".join(block.text for block in result.content if block.type == "text"))
            printed.append(json.dumps(result.structured_content, ensure_ascii=False))

        for number, status in enumerate((400, 401, 422, 500)):
            faults.next("generate", Fault(kind="answer", status=status, body=envelope))
            await ask("text_to_video", {"prompt": f"kite {number}", "wait_seconds": 3})
        faults.next("account", Fault(kind="answer", status=401, body=envelope))
        await ask("get_account", {})
        faults.next("account", Fault(kind="answer", status=403, body=text, content_type=quote(text)))
        await ask("get_account", {})
        faults.next(
            "account", Fault(kind="answer", status=200, body=f"<title>{text}</title>", content_type="text/html")
        )
        await ask("get_account", {})
        faults.next("account", Fault(kind="answer", status=302, location=f"http://{quote(text)}.example/"))
        await ask("get_account", {})
        faults.next("list", Fault(kind="answer", status=200, body=json.dumps({"tasks": [task]})), count=9)
        await ask("list_tasks", {})
        faults.next("task", Fault(kind="answer", status=200, body=json.dumps(task)))
        await ask("get_task", {"task_id": "ck1"})
    files = b"".join(path.read_bytes() for path in stack.folder.rglob("*") if path.is_file())
    assert len(printed) == 20
    for trace in traces(form):
        assert not [line for line in printed if trace in line]
        assert trace not in caplog.text
        assert trace.encode() not in files


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("form", ["plain", "JSON escapes", "percent", "base64"])
def test_an_answer_in_another_encoding_is_read_without_the_key(encoding, form):
    body = json.dumps({"status": "FAILED", "message": echo(form)}).encode(encoding)
    left = redacted(body)
    for trace in traces(form):
        assert trace.encode() not in left
        assert trace.encode("utf-16-le") not in left
        assert trace.encode("utf-16-be") not in left


def test_what_is_no_echo_passes_byte_for_byte():
    for body in (
        b"{}",
        b"",
        b"\xff\xfe\x00",
        b'{"a": "100% \\u0061 &#97; ak_"}',
        json.dumps({"p": "ÿ" * 999}).encode(),
    ):
        assert redacted(body) == body


def test_what_stands_beside_an_echo_is_kept():
    body = json.dumps(
        {"id": "ck1", "tasks": [{"message": f"bad {KEY}", "n": 1.5}, {"m": FORMS["percent"]}, None]}
    ).encode()
    assert json.loads(redacted(body)) == {
        "id": "ck1",
        "tasks": [{"message": "bad [key]", "n": 1.5}, {"m": "[key]"}, None],
    }


def test_a_short_key_is_a_word_that_may_stand_anywhere():
    assert redacted(b'{"m": "a sandbox"}', key="sandbox") == b'{"m": "a sandbox"}'


ENCODERS = [
    lambda ch: ch, str.upper, lambda ch: f"%{ord(ch):02x}", lambda ch: f"%{ord(ch):02X}", lambda ch: f"&#{ord(ch)};",
    lambda ch: f"&#x{ord(ch):x};", lambda ch: f"\\u{ord(ch):04x}", lambda ch: f"%25{ord(ch):02x}",
    lambda ch: f"{ch}\u200b",
]  # fmt: skip


@given(st.lists(st.sampled_from(range(len(ENCODERS))), min_size=len(KEY), max_size=len(KEY)), st.text(max_size=20))
def test_each_character_may_be_written_in_its_own_way(how, around):
    echoed = "".join(ENCODERS[number](ch) for number, ch in zip(how, KEY, strict=True))
    body = json.dumps({"message": f"{around}{echoed}{around}"}).encode()
    assert json.loads(redacted(body))["message"] in ("[key]", f"{around}[key]{around}")


@pytest.mark.parametrize(
    "piece",
    [b"a", b"%61", b"&#97;", b"\\u0061", b'"a",', KEY[:-1].encode(), b"%25", b"\x00"],
    ids=str,
)
def test_the_longest_answer_is_looked_through_in_pieces(piece):
    """64 MB of whatever costs most: others run in between, and it ends in a time that is bounded."""
    body = piece * (8_000_000 // len(piece))
    longest = []

    async def run():
        last = time.monotonic()

        async def others():
            nonlocal last
            while True:
                await anyio.sleep(0)
                longest.append(time.monotonic() - last)
                last = time.monotonic()

        async with anyio.create_task_group() as group:
            group.start_soon(others)
            await Redaction(KEY).redact_body(body)
            group.cancel_scope.cancel()

    began = time.monotonic()
    anyio.run(run, backend="trio")
    assert time.monotonic() - began < 20  # eight megabytes; seconds on a busy machine, not minutes
    assert max(longest) < 3
