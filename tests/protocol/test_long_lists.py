"""A list of tens of thousands of tasks from the service: the page comes, and nobody else waits for it (P4)."""

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avm_mcp.provider import long_lists
from avm_mcp.provider.long_lists import MOST_ROWS, SHORT_BODY, parse_json, read_tasks
from tests.clock import EPOCH
from tests.meter import metered
from tests.stack import fields, text

ROWS = 50_000 if os.environ.get("AVM_FULL") else 8_000
NOW = EPOCH.timestamp()

STEPS = not os.environ.get("AVM_SECONDS")
"""AVM_SECONDS=1 measures time instead, for people: the count of steps makes everything ten times slower."""


def row(number: int, **more):
    """Return a task of the service's list, the newest first, one a minute."""
    made = EPOCH - timedelta(minutes=number + 1)

    def date(at: datetime) -> str:
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    return {
        "id": f"ck{number:020}",
        "createdAt": date(made),
        "completedAt": date(made + timedelta(seconds=200)),
        "model": "t2v",
        "input": {"prompt": f"kite {number} over a sea of 🌊 at dawn", "duration": "5", "aspectRatio": "16:9"},
        "output": {"url": f"https://static.img2video.ai/{number}-abc.mp4", "msg": "kept for 24 hours " * 3},
        "status": "COMPLETED" if number % 3 else "FAILED",
        "creditsCharged": 15,
        "creditsRefunded": 0,
        "listValueCents": 15,
        "idempotencyKey": None,
        **more,
    }


class Crowded:
    """The sandbox, whose list is a very long one."""

    def __init__(self, app, rows):
        self.app = app
        self.sandbox = app.sandbox
        self.body = json.dumps({"tasks": rows}).encode()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/api/v1/tasks":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for at in range(0, len(self.body), 65536):
                more = at + 65536 < len(self.body)
                await send({"type": "http.response.body", "body": self.body[at : at + 65536], "more_body": more})
        else:
            await self.app(scope, receive, send)


@pytest.fixture
def crowd(stack):
    stack.app = Crowded(stack.app, [row(number) for number in range(ROWS)])
    return stack


async def test_a_page_of_a_long_list_is_told_while_others_are_served(crowd):
    """P4: whoever waits for progress meanwhile is not kept waiting for the list."""
    async with crowd.runtime() as runtime:
        began = time.perf_counter()
        async with metered(steps=STEPS) as meter:
            listing = await runtime.service.list(status=None, limit=20, cursor=None)
        print(f"{time.perf_counter() - began:.1f} s, {meter}")
    assert [found.job.task_id for found in listing.found] == [f"ck{number:020}" for number in range(20)]
    if STEPS:
        assert meter.steps < 100 * ROWS + 1_000_000
        assert meter.longest < 60_000


async def test_all_pages_of_what_is_looked_at_are_told_once_and_the_rest_is_counted(crowd, monkeypatch):
    """P2: nothing is left out in silence."""
    monkeypatch.setattr(long_lists, "MOST_ROWS", 400)
    reply, cursor = [], ""
    async with crowd.client() as client:
        for _ in range(4):
            result = await client.call_tool("list_tasks", {"limit": 100, **({"cursor": cursor} if cursor else {})})
            reply += [task["task_id"] for task in fields(result)["tasks"]]
            cursor = fields(result).get("next_cursor")
            assert f"{ROWS:,} tasks" in text(result)
    assert not cursor
    assert reply == [f"ck{number:020}" for number in range(400)]


async def test_progress_keeps_coming_while_a_long_list_is_read(crowd):
    """P4: at least every five seconds, whatever another call asks for."""
    beats = []

    async def reply(*_):
        beats.append(anyio.current_time())

    async with crowd.client() as client, anyio.create_task_group() as group:
        started = await client.call_tool("text_to_video", {"prompt": "a kite", "wait_seconds": 0})
        call = {"task_id": fields(started)["task_id"], "wait_seconds": 60}
        group.start_soon(partial(client.call_tool, "get_task", call, progress_callback=reply))
        for _ in range(5):
            await anyio.sleep(10)
            assert len(fields(await client.call_tool("list_tasks", {"limit": 1}))["tasks"]) == 1
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 5


async def test_a_watched_task_is_found_at_the_end_of_a_long_list(crowd):
    """P2: a task that is asked for by id is read wherever it stands."""
    rows = [row(number) for number in range(3 * MOST_ROWS)]
    found = await read_tasks(rows, NOW, only={rows[-1]["id"], rows[5]["id"], "ck-none"})
    assert [task.id for task in found] == [rows[5]["id"], rows[-1]["id"]]
    assert found.left_out == 0


@pytest.mark.parametrize("order", ["newest first", "oldest first", "shuffled"])
async def test_the_newest_rows_are_looked_at_in_whichever_order_they_come(order):
    """P1: that the newest come first is documented, and not relied upon where a request may be paid twice."""
    rows = [row(number) for number in range(3 * MOST_ROWS)]
    newest = {task["id"] for task in rows[:MOST_ROWS]}
    if order == "oldest first":
        rows.reverse()
    elif order == "shuffled":
        random.Random(3).shuffle(rows)
    found = await read_tasks(rows, NOW)
    assert {task.id for task in found} == newest
    assert [task.id for task in found] == [task["id"] for task in rows if task["id"] in newest]
    assert (found.whole, found.left_out) == (True, 2 * MOST_ROWS)


@pytest.mark.parametrize("odd", [{"createdAt": None}, {"createdAt": "yesterday"}, {"createdAt": 17}])
async def test_rows_without_a_date_are_looked_at_and_if_there_are_too_many_the_list_proves_nothing(odd):
    """P1: a row without a date that is left out may be the wanted task."""
    rows = [row(number, **(odd if number == MOST_ROWS + 7 else {})) for number in range(2 * MOST_ROWS)]
    found = await read_tasks(rows, NOW)
    assert rows[MOST_ROWS + 7]["id"] in {task.id for task in found}
    assert found.whole
    found = await read_tasks([row(number, **odd) for number in range(2 * MOST_ROWS)], NOW)
    assert not found.whole


async def test_a_row_that_is_no_task_keeps_a_long_list_from_proving_anything():
    """P1."""
    rows = [row(number) for number in range(2 * MOST_ROWS)]
    for junk in (None, 5, [], {}, {"id": 7}):
        assert not (await read_tasks([*rows, junk], NOW)).whole


# JSON in pieces

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=8), VALUES | st.lists(VALUES, max_size=8), max_size=4),
    st.booleans(),
    st.sampled_from([None, 0, 2]),
)
async def test_a_long_body_is_read_as_the_library_reads_it(data, escaped, indent):
    body = json.dumps(data, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    padded = b" " * (SHORT_BODY + 1) + body + b"\n "
    assert await parse_json(padded) == await parse_json(body) == data


@given(st.text(alphabet='{}[]",:0 a\\n\\', max_size=30))
async def test_a_long_body_that_is_no_json_is_none(text):
    whole = await parse_json(text.encode())
    padded = await parse_json(b"\n" * (SHORT_BODY + 1) + text.encode())
    assert padded == whole


HALVES = ["\\ud83d", "\\udca9", "\\ud83d\\ud83d\\udca9", "\\udca9\\ud83d", "\ud83d", "a\udca9"]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("padding", [0, SHORT_BODY])
async def test_half_a_character_is_neither_kept_nor_passed_on(half, padding):
    """P4: half a character can be written neither into the store nor into an answer."""
    body = f'{{"tasks": [{{"id": "ck1", "prompt": "x{half}y"}}, {{"id": "\\ud83c\\udf0a"}}]}}{" " * padding}'
    data = await parse_json(body.encode("utf-8", "surrogatepass"))
    assert data["tasks"][0]["id"] == "ck1"
    assert "?" in data["tasks"][0]["prompt"]
    assert data["tasks"][1]["id"] == "🌊"
    json.dumps(data, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "body", [b"", b" " * 200_000, b"{" * 200_000, b"[" * 200_000, b'{"a":' * 50_000, b"\xff" * 200_000]
)
async def test_what_no_reader_takes_is_none(body):
    assert await parse_json(body) is None
