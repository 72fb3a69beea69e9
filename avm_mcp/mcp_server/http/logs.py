"""What libraries log about other people's connections: at most once a second from each place."""

import logging
import time

LIBRARIES = frozenset({"asyncio", "mcp", "sse_starlette", "starlette", "uvicorn"})
"""Whoever connects decides how often these complain."""

INTERVAL = 1.0
"""Seconds between two complaints from one place in the code."""


class OncePerSecond(logging.Filter):
    """Drops what a library says again within a second, and says with the next how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], tuple[float, int]] = {}  # when last, and how many were dropped since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.name.partition(".")[0] not in LIBRARIES:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        last, dropped = self._said.get(place, (-INTERVAL, 0))
        if now - last < INTERVAL:
            self._said[place] = (last, dropped + 1)
            return False
        self._said[place] = (now, 0)
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (and {dropped} more like it)", None
        return True


def limit_logs() -> None:
    """Let every handler of the process drop what comes too often."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(OncePerSecond())
