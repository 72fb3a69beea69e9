"""The service's list of tasks, read in pieces, so that other tasks of this process run in between.

How many tasks the API lists at most is not documented. One row takes about 0.1 ms to validate, so of a very long list
only some rows are validated: those that are asked for by id, or the newest.
"""

import json
import re
from collections.abc import Container, Sequence
from typing import Any, cast

from anyio.lowlevel import checkpoint

from avm_mcp.provider.wire import TaskList, TaskSnapshot

SHORT_BODY = 128_000
"""Bytes of an answer that is parsed at once; a longer one is parsed in pieces of about this length."""

MOST_ROWS = 2_000
"""The newest rows, which are validated when none is asked for by id. The service keeps files for a day."""

PIECE = 50
"""Rows that are validated at a time."""

_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"
_BLANK = re.compile(r"[ \t\r\n]*")
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_HALF = re.compile(r"\\u[dD][89a-fA-F]..", re.DOTALL)
_PAIR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..", re.DOTALL)
"""An escaped half of a character, and two halves that are one."""


async def parse_json(body: bytes | bytearray) -> Any:
    """Return the value of a body; None where it is not JSON.

    Half a character, as where a text was cut within one, is replaced: it cannot be stored or sent.
    """
    try:
        text = body.decode("utf-8", "surrogatepass") if len(body) > SHORT_BODY else ""
        if text.lstrip()[:1] == "{":
            return await _Reader(text).read_object()
        data = json.loads(body)
        return _replace_halves(data) if b"\\u" in body or b"\xed" in body else data
    except (ValueError, RecursionError):
        return None


class _Reader:
    """Reads one long JSON object, whose members may be long arrays, and lets other tasks run after each piece."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._paused = 0
        self._escapes = "\\ud" in text or "\\uD" in text
        self._broken = not _is_unicode(text)

    async def read_object(self) -> dict[str, Any]:
        """Return the object that is the whole text."""
        members: dict[str, Any] = {}
        self._skip("{")
        if not self._skip_if("}"):
            while True:
                name = self._read_value()
                if not isinstance(name, str):
                    raise ValueError("a member without a name")  # noqa: TRY004 - as of the library's own reader
                self._skip(":")
                members[name] = await self._read_array() if self._skip_if("[") else self._read_value()
                if self._skip_if("}"):
                    break
                self._skip(",")
        if _skip_blanks(self._text, self._place) != len(self._text):
            raise ValueError("text behind the end")
        return members

    async def _read_array(self) -> list[Any]:
        items: list[Any] = []
        if self._skip_if("]"):
            return items
        while True:
            items.append(self._read_value())
            if self._place - self._paused > SHORT_BODY:
                self._paused = self._place
                await checkpoint()
            if self._skip_if("]"):
                return items
            self._skip(",")

    def _read_value(self) -> Any:
        start = _skip_blanks(self._text, self._place)
        value, self._place = _DECODER.raw_decode(self._text, start)
        return _replace_halves(value) if self._broken or (self._escapes and self._has_half(start)) else value

    def _has_half(self, start: int) -> bool:
        if _HALF.search(self._text, start, self._place) is None:
            return False
        return _HALF.search(_PAIR.sub("", self._text[start : self._place])) is not None

    def _skip_if(self, mark: str) -> bool:
        if self._text.startswith(mark, self._place):
            self._place += 1
            return True
        start = _skip_blanks(self._text, self._place)
        found = self._text.startswith(mark, start)
        self._place = start + 1 if found else start
        return found

    def _skip(self, mark: str) -> None:
        if not self._skip_if(mark):
            raise ValueError(f"no {mark}")


def _skip_blanks(text: str, place: int) -> int:
    """Return the first place, from `place` on, that is not blank."""
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


def _replace_halves(value: Any) -> Any:
    """Replace halves of characters."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


async def read_tasks(rows: Sequence[object], now: float, only: Container[str] | None = None) -> TaskList:
    """Return the tasks of the service's list, in its order: newest first.

    Args:
        rows: The list, as parsed JSON.
        now: The time by the service's clock, seconds since 1970.
        only: The ids of the tasks that are wanted; the newest `MOST_ROWS` when left out.
    """
    chosen, odd = await _select_newest(rows) if only is None else (_select_by_id(rows, only), False)
    read: list[TaskSnapshot | None] = []
    for place in range(0, len(chosen), PIECE):
        read += [TaskSnapshot.read_answer(row, now) for row in chosen[place : place + PIECE]]
        await checkpoint()
    left_out = len(rows) - len(chosen) if only is None else 0
    found = (row for row in read if row is not None)
    return TaskList(found, whole=None not in read and not odd, left_out=left_out)


def _select_by_id(rows: Sequence[object], only: Container[str]) -> list[object]:
    return [row for row in rows if (name := _read_text(row, "id")) is not None and name in only]


async def _select_newest(rows: Sequence[object]) -> tuple[list[object], bool]:
    """Return the newest rows, in their order, and whether a row without a date is left out.

    A row without a date, or that is no task at all, counts as new.
    """
    if len(rows) <= MOST_ROWS:
        return list(rows), False
    dated: list[tuple[str, int]] = []
    for start in range(0, len(rows), MOST_ROWS):
        for place in range(start, min(start + MOST_ROWS, len(rows))):
            date = _read_text(rows[place], "createdAt")
            known = date is not None and _DATED.match(date) is not None
            dated.append((date if date is not None and known else "~", -place))  # "~" is after every digit
        await checkpoint()
    dated.sort(reverse=True)
    places = sorted(-place for _, place in dated[:MOST_ROWS])
    return [rows[place] for place in places], dated[MOST_ROWS][0] == "~"


def _read_text(row: object, name: str) -> str | None:
    value = cast("dict[str, Any]", row).get(name) if isinstance(row, dict) else None
    return value if isinstance(value, str) else None
