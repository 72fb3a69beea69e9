"""What can go wrong on the way, queued by tests and spent one request at a time.

A fault is data. Most have a side: before the sandbox acts (nothing was charged) or, with `after=True`, after it
(the work is done, the answer is spoiled). `seconds` delays any fault on its side.

    sandbox.faults.next("generate", faults.drop(after=True))
    sandbox.faults.next("status", faults.http_error(503), count=3)
    sandbox.faults.next("file", faults.truncated(), skip=1)
    sandbox.faults.next("file", faults.html(200), lasts=3 * 3600)
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Endpoint = Literal["generate", "quote", "account", "list", "task", "status", "cancel", "file"]
Kind = Literal[
    "answer",  # another answer: `status`, `body`, `content_type`, `retry_after`, `location`
    "hang",  # nothing for `seconds`; then the request goes on, even when the caller has gone
    "drop",  # the connection dies without a byte
    "cut",  # head and half of the body, then the connection dies
    "cut_json",  # half of the body as a complete answer
    "truncated",  # alias of `cut` that reads well on a video; the length in the head is the whole video's
    "half",  # half of the body, and the head says so: only the content tells
    "trickle",  # the head, then `size` bytes of the body each `seconds`
    "date",  # the `Date` of this answer is `seconds` ahead
    "stall",  # half of the body, `seconds` of silence, then the connection dies
    "status",  # `text` in place of the status, in this answer only
    "no_url",  # COMPLETED, without an address, in this answer only
    "stale",  # the list as it was `seconds` ago, in this answer only
    "fail_task",  # the task made by this request will end FAILED with `text`
]

ENDPOINTS: tuple[str, ...] = get_args(Endpoint)
KINDS: tuple[str, ...] = get_args(Kind)
QUERIES = ("account", "list", "task", "status")  # documented: these four share the query limit


class DroppedConnection(Exception):
    """The sandbox wants the connection to die here; a transport turns it into a network error.

    Raised out of the ASGI app, before the first message or in the middle of a body. Under a real server
    `sandbox.server` puts the function `avm.drop` into `scope["extensions"]`, and that is called instead.

    Attributes:
        reset: Whether the caller meets a TCP reset instead of an end.
    """

    def __init__(self, path: str = "", *, reset: bool = False) -> None:
        super().__init__(path)
        self.reset = reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; the functions of this module build them."""

    kind: Kind
    after: bool = False
    seconds: float = 0
    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    retry_after: str | None = None
    location: str | None = None
    text: str = ""
    reset: bool = False
    size: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")


@dataclass(slots=True)
class _Queued:
    match: str
    fault: Fault
    count: int
    skip: int
    until: float | None = None


class Faults:
    """The queue; the first entry that matches a request is spent on it.

    Args:
        now: The wall clock, for faults that last a time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._queue: list[_Queued] = []

    def next(
        self,
        match: Endpoint | Literal["*"],
        fault: Fault,
        *,
        count: int = 1,
        skip: int = 0,
        lasts: float | None = None,
    ) -> None:
        """Spoil the next `count` requests to an endpoint, or to any (`*`), after letting `skip` of them pass.

        With `lasts` it is every such request of the next so many seconds instead, whatever `count` says.
        """
        if match != "*" and match not in ENDPOINTS:
            raise ValueError(f"no endpoint is called {match!r}; there are {', '.join(ENDPOINTS)} and *")
        until = None if lasts is None else self._now() + lasts
        self._queue.append(_Queued(match, fault, count, skip, until))

    def extend(self, match: Endpoint | Literal["*"], faults: Iterable[Fault]) -> None:
        """Queue several, one request each."""
        for fault in faults:
            self.next(match, fault)

    def clear(self) -> None:
        """Forget all that is queued."""
        self._queue.clear()

    def __len__(self) -> int:
        return sum(queued.count for queued in self._queue)

    def take(self, endpoint: str) -> Fault | None:
        """The fault for this request, if there is one."""
        at = self._now()
        self._queue = [queued for queued in self._queue if queued.until is None or at < queued.until]
        for queued in self._queue:
            if queued.match not in ("*", endpoint):
                continue
            if queued.skip > 0:
                queued.skip -= 1
                continue
            if queued.until is not None:
                queued.count = 0  # it has been met; it goes on
                return queued.fault
            queued.count -= 1
            if queued.count <= 0:
                self._queue.remove(queued)
            return queued.fault
        return None


_HTML = "<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"


def http_error(status: int = 500, *, after: bool = False, body: str | None = None, seconds: float = 0) -> Fault:
    """A 5xx with the error envelope, or with the body given; after the charge with `after=True`."""
    text = '{"status":"FAILED","message":"Internal server error"}' if body is None else body
    return Fault(kind="answer", status=status, body=text, after=after, seconds=seconds)


def html(status: int = 502, *, after: bool = False) -> Fault:
    """A page where JSON, or a video, is expected."""
    return Fault(kind="answer", status=status, body=_HTML.format(status=status), content_type="text/html", after=after)


def empty(status: int = 200, *, after: bool = False) -> Fault:
    """An answer without a body."""
    return Fault(kind="answer", status=status, after=after)


def envelope(message: str = "Generation failed", code: str | None = None, *, after: bool = False) -> Fault:
    """HTTP 200 with the error envelope and no task id."""
    return refuse(200, code, message, after=after)


def refuse(status: int, code: str | None, message: str = "Refused", *, after: bool = False) -> Fault:
    """The error envelope with any status and any code, known or not: 402, 422, 409, 401, 403 ..."""
    named = {"errorCode": code} if code else {}
    body = json.dumps({"status": "FAILED", **named, "message": message})
    return Fault(kind="answer", status=status, body=body, after=after)


def rate_limited(retry_after: str | int | None = 5) -> Fault:
    """429; `retry_after` in seconds, absurd if you like, as an HTTP date, or None for no header."""
    value = None if retry_after is None else str(retry_after)
    return Fault(
        kind="answer",
        status=429,
        retry_after=value,
        body='{"status":"FAILED","errorCode":"RATE_LIMITED","message":"Too many requests"}',
    )


def redirect(location: str, status: int = 302) -> Fault:
    """A redirect to another address."""
    return Fault(kind="answer", status=status, location=location)


def hang(seconds: float, *, after: bool = False) -> Fault:
    """Silence, then the work and the answer; with `after=True` the work, silence, then the answer.

    A hang before the work is kept even when the caller leaves: the charge falls when the time has come.
    """
    return Fault(kind="hang", seconds=seconds, after=after)


def drop(*, after: bool = False, seconds: float = 0, reset: bool = False) -> Fault:
    """The connection dies without an answer, before or after the work; `reset` says how rudely."""
    return Fault(kind="drop", after=after, seconds=seconds, reset=reset)


def cut() -> Fault:
    """The work is done; the head and half of the body arrive, then the connection dies."""
    return Fault(kind="cut", after=True)


def cut_json() -> Fault:
    """The work is done; the body is half of the JSON, in a complete answer."""
    return Fault(kind="cut_json", after=True)


def truncated() -> Fault:
    """A video whose connection dies half-way; `Content-Length` is the whole video's."""
    return Fault(kind="truncated", after=True)


def half() -> Fault:
    """Half a video in a flawless answer."""
    return Fault(kind="half", after=True)


def stall(seconds: float = 120) -> Fault:
    """Half of the body, then silence, then the end of the connection."""
    return Fault(kind="stall", after=True, seconds=seconds)


def trickle(interval: float = 10, size: int = 1) -> Fault:
    """The head at once, then `size` bytes of the body each `gap` seconds, to its end; the work is done."""
    return Fault(kind="trickle", after=True, seconds=interval, size=size)


def wrong_date(seconds: float) -> Fault:
    """One answer whose `Date` is so many seconds ahead; all else in it is right."""
    return Fault(kind="date", seconds=seconds)


def unknown_status(text: str = "QUEUED_AGAIN") -> Fault:
    """A status nobody knows, in one answer of status, task or list."""
    return Fault(kind="status", after=True, text=text)


def no_url() -> Fault:
    """COMPLETED without an address, in one answer of task or list."""
    return Fault(kind="no_url", after=True)


def stale_list(seconds: float) -> Fault:
    """One list that shows the state of so long ago."""
    return Fault(kind="stale", seconds=seconds)


def fail_task(text: str = "Generation failed") -> Fault:
    """The task this request makes will end FAILED, refunded, with `output.error`."""
    return Fault(kind="fail_task", text=text)
