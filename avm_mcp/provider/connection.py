"""One request to the API's origin, and its answer: the key goes out in a header and never comes back in (P5)."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx2

from avm_mcp.domain.rate_limit import ServiceClock
from avm_mcp.provider import long_lists
from avm_mcp.provider.answers import PAGE_READ, Answer
from avm_mcp.provider.exchange import Check, exchange
from avm_mcp.provider.redaction import Redaction

MAX_ANSWER_BYTES = 64_000_000
"""A longer answer is not read: the longest known one is the list of all tasks."""

SANDBOX_HEADER = "X-AVM-Sandbox-Speed"
"""Our sandbox says in this header how many times faster than the real API it runs; the real API has no such header."""

REAL_HOST = "aivideomaker.ai"
"""What this host answers costs money, whatever its headers are."""


class Connection:
    """Sends requests with one key to one origin.

    Args:
        base_url: Origin (and path prefix) of the API.
        api_key: Sent as header `key`, to that origin only.
        http: The connection pool; redirects must be off.
        now: Wall clock, seconds since 1970.
        user_agent: Sent with each request; one generation of the API lists it as required.

    Attributes:
        clock: The service's clock, by the `Date` of its answers.
        sandbox_speed: What a sandbox says of itself; None of the real API.
    """

    def __init__(
        self, base_url: str, api_key: str, http: httpx2.AsyncClient, *, now: Callable[[], float], user_agent: str
    ) -> None:
        self._base = base_url.rstrip("/") + "/api/v1"
        self._real = urlsplit(base_url).hostname == REAL_HOST
        self._http = http
        self._redaction = Redaction(api_key)
        self._headers = {"key": api_key, "User-Agent": user_agent, "Accept": "application/json"}
        self.clock = ServiceClock(now)
        self.sandbox_speed: float | None = None

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: httpx2.Timeout,
        check: Check | None = None,
    ) -> Answer:
        """Send one request and read its answer.

        Args:
            method: Of HTTP.
            path: Below `/api/v1`.
            body: What is sent; None is nothing.
            headers: Those of this request alone.
            timeout: Seconds for each phase; `exchange` bounds the whole.
            check: Awaited before each piece of the body leaves.

        Raises:
            httpx2.HTTPError: It failed, took too long, or is too long.
        """
        response, body_read = await exchange(
            self._http,
            method,
            self._base + path,
            body=body,
            headers={**self._headers, **headers},
            timeout=timeout,
            most=MAX_ANSWER_BYTES,
            check=check,
        )
        body_read = await self._redaction.redact_body(body_read)
        speed = response.headers.get(SANDBOX_HEADER)
        if speed is not None and not self._real:
            self.sandbox_speed = _read_speed(speed)
        data = await long_lists.parse_json(body_read)
        if data is not None:  # an answer that is not JSON may be by something on the way
            self.clock.hear(response.headers.get("Date"))
        text = body_read[:PAGE_READ].decode("utf-8", "replace") if data is None else ""
        headers_read = self._redaction.redact_headers(response.headers)
        return Answer(response.status_code, headers_read, data, len(body_read), text)


def _read_speed(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e9 else None
