"""The service's list of tasks, however long it is: read in pieces, so that nobody else waits for it.

How many tasks the API lists at most is not documented. To make sense of one row takes about 0.1 ms, so of a very long
list only the rows that matter are looked at: those that are asked for by id, or the newest.
"""

import json
import re
from collections.abc import Container, Sequence
from typing import Any, cast

from anyio.lowlevel import checkpoint

from avm_mcp.provider.wire import TaskList, TaskSnapshot

SHORT_BODY = 128_000
"""Bytes of an answer that is parsed at once; a longer one in pieces of about this length."""

MOST_ROWS = 2_000
"""Rows of a list that are looked at when none is asked for by id: the newest. The service keeps files for a day."""

PIECE = 50
"""Rows that are looked at in one go."""

_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"
_BLANK = re.compile(r"[ \t\r\n]*")
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_HALF = re.compile(r"\\u[dD][89a-fA-F]..", re.DOTALL)
_PAIR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..", re.DOTALL)
"""An escaped half of a character, and two that are one."""


async def parse(body: bytes | bytearray) -> Any:
    """Return what a body says; None where it is not JSON.

    Half a character, as where a text was cut within one, is neither kept nor passed on.
    """
    try:
        text = body.decode("utf-8", "surrogatepass") if len(body) > SHORT_BODY else ""
        if text.lstrip()[:1] == "{":
            return await _Reader(text).members()
        data = json.loads(body)
        return _mended(data) if b"\\u" in body or b"\xed" in body else data
    except (ValueError, RecursionError):
        return None


class _Reader:
    """Reads one long JSON object, whose members may be long arrays, and lets others run after each piece."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._paused = 0
        self._escapes = "\\ud" in text or "\\uD" in text
        self._broken = not _is_unicode(text)

    async def members(self) -> dict[str, Any]:
        """Return the object that is the whole text."""
        members: dict[str, Any] = {}
        self._skip("{")
        if not self._skips("}"):
            while True:
                name = self._value()
                if not isinstance(name, str):
                    raise ValueError("a member without a name")  # noqa: TRY004 - as of the library's own reader
                self._skip(":")
                members[name] = await self._items() if self._skips("[") else self._value()
                if self._skips("}"):
                    break
                self._skip(",")
        if _blank(self._text, self._place) != len(self._text):
            raise ValueError("text behind the end")
        return members

    async def _items(self) -> list[Any]:
        items: list[Any] = []
        if self._skips("]"):
            return items
        while True:
            items.append(self._value())
            if self._place - self._paused > SHORT_BODY:
                self._paused = self._place
                await checkpoint()
            if self._skips("]"):
                return items
            self._skip(",")

    def _value(self) -> Any:
        start = _blank(self._text, self._place)
        value, self._place = _DECODER.raw_decode(self._text, start)
        return _mended(value) if self._broken or (self._escapes and self._has_half(start)) else value

    def _has_half(self, start: int) -> bool:
        if _HALF.search(self._text, start, self._place) is None:
            return False
        return _HALF.search(_PAIR.sub("", self._text[start : self._place])) is not None

    def _skips(self, mark: str) -> bool:
        if self._text.startswith(mark, self._place):
            self._place += 1
            return True
        start = _blank(self._text, self._place)
        found = self._text.startswith(mark, start)
        self._place = start + 1 if found else start
        return found

    def _skip(self, mark: str) -> None:
        if not self._skips(mark):
            raise ValueError(f"no {mark}")


def _blank(text: str, place: int) -> int:
    """Return the first place from `place` on where there is no blank."""
    if text[place : place + 1] not in _BLANKS:
        return place
    found = _BLANK.match(text, place)
    return found.end() if found is not None else place


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mended(value: Any) -> Any:
    """Replace halves of characters."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


async def task_list(rows: Sequence[object], now: float, only: Container[str] | None = None) -> TaskList:
    """Return the tasks of the service's list, newest first as it tells them.

    Args:
        rows: The list, as it was parsed.
        now: The time by the service's clock, seconds since 1970.
        only: The ids of the tasks that are wanted; the newest `MOST_ROWS` when left out.
    """
    chosen, odd = await _newest(rows) if only is None else (_those(rows, only), False)
    read: list[TaskSnapshot | None] = []
    for place in range(0, len(chosen), PIECE):
        read += [TaskSnapshot.seen(row, now) for row in chosen[place : place + PIECE]]
        await checkpoint()
    left_out = len(rows) - len(chosen) if only is None else 0
    found = (row for row in read if row is not None)
    return TaskList(found, whole=None not in read and not odd, left_out=left_out)


def _those(rows: Sequence[object], only: Container[str]) -> list[object]:
    return [row for row in rows if (name := _text(row, "id")) is not None and name in only]


async def _newest(rows: Sequence[object]) -> tuple[list[object], bool]:
    """Return the newest rows, in their order, and whether one is left out that may be any task's.

    What has no date, or is no task at all, is taken for new.
    """
    if len(rows) <= MOST_ROWS:
        return list(rows), False
    dated: list[tuple[str, int]] = []
    for start in range(0, len(rows), MOST_ROWS):
        for place in range(start, min(start + MOST_ROWS, len(rows))):
            date = _text(rows[place], "createdAt")
            known = date is not None and _DATED.match(date) is not None
            dated.append((date if date is not None and known else "~", -place))  # "~" is after every digit
        await checkpoint()
    dated.sort(reverse=True)
    places = sorted(-place for _, place in dated[:MOST_ROWS])
    return [rows[place] for place in places], dated[MOST_ROWS][0] == "~"


def _text(row: object, name: str) -> str | None:
    value = cast("dict[str, Any]", row).get(name) if isinstance(row, dict) else None
    return value if isinstance(value, str) else None
