"""What clients make libraries complain of fills no disk (issue 10 S: 315 MB of stderr in seven minutes)."""

import io
import logging

import pytest

from avm_mcp.mcp_server.http import logs
from avm_mcp.mcp_server.http.logs import OncePerSecond


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


@pytest.fixture
def written():
    stream, logger = io.StringIO(), logging.getLogger("uvicorn.error")
    handler = logging.StreamHandler(stream)
    handler.addFilter(OncePerSecond())
    root, before = logging.getLogger(), logger.level
    root.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    logger.setLevel(before)


def complain(number):
    try:
        raise OSError(24, "Too many open files")
    except OSError:
        logging.getLogger("uvicorn.error").exception("connection %d", number)


def test_a_complaint_from_one_place_is_written_once_a_second_and_counted(clock, written):
    for number in range(10_000):
        complain(number)
    assert written.getvalue().count("\n") < 10
    clock.now += 1
    complain(-1)
    reply = written.getvalue()
    assert "connection 0\nTraceback" in reply
    assert "connection -1 (and 9999 more like it)\n" in reply
    assert reply.count("Traceback") == 2


def test_what_is_ours_and_what_is_no_complaint_is_not_dropped(clock, written):
    """Two tasks whose links fail within a second are two lines."""
    for number in range(3):
        logging.getLogger("avm_mcp.downloads.downloader").warning("task %d", number)
        logging.getLogger("uvicorn.error").debug("detail %d", number)
    logging.getLogger("uvicorn.error").warning("another place")
    assert written.getvalue().split("\n") == [
        *(f"{what} {n}" for n in range(3) for what in ("task", "detail")), "another place", "",
    ]  # fmt: skip
