"""A limit on what libraries log about connections: once a second for each place in their code."""

import logging
import time

LIBRARIES = frozenset({"asyncio", "mcp", "sse_starlette", "starlette", "uvicorn"})
"""Libraries that log once for each bad connection, as often as clients cause it."""

INTERVAL = 1.0
"""Seconds between two records from one place in the code."""


class OncePerSecond(logging.Filter):
    """Drops a record that repeats within a second; the next one says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[
            tuple[str, int], tuple[float, int]
        ] = {}  # by place: time of the last record, number dropped since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in LIBRARIES:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        last, dropped = self._seen.get(place, (-INTERVAL, 0))
        if now - last < INTERVAL:
            self._seen[place] = (last, dropped + 1)
            return False
        self._seen[place] = (now, 0)
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (and {dropped} more like it)", None
        return True


def limit_logs() -> None:
    """Add the filter to every handler of the process."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(OncePerSecond())
