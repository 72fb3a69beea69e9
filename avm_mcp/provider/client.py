"""HTTP to the API: one method for each of its seven endpoints, both generations of its contract.

What is decided here: what goes over the wire, which requests are repeated, and what an answer means. URLs are
built from the base and the task's id, never followed from a body; the key goes to that origin only.

Time-outs: each phase of a request has its own, and `exchange` bounds the whole of it, in time and size.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Container, Mapping
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote as percent_encode
from urllib.parse import urlsplit

import anyio
import httpx2

from avm_mcp.domain import rate_limit
from avm_mcp.domain.errors import (
    AuthFailed,
    AvmError,
    BlockedOnTheWay,
    NotCancellable,
    RateLimited,
    SubmissionUnknown,
    TaskNotFound,
    UpstreamUnavailable,
)
from avm_mcp.domain.next_steps import Action
from avm_mcp.provider import long_lists, pools
from avm_mcp.provider.answers import PAGE_READ, Answer, Endpoint, error_of, saying, unexpected
from avm_mcp.provider.bodies import encode
from avm_mcp.provider.exchange import Check, exchange, phases
from avm_mcp.provider.redaction import Redaction
from avm_mcp.provider.wire import Accepted, Account, Quote, TaskList, TaskSnapshot, TaskStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

QUESTIONS: frozenset[Endpoint] = frozenset({"account", "list", "task", "status"})
"""The endpoints that share the allowance of 60 a minute and IP address."""

YOUNG: frozenset[Endpoint] = frozenset({"account", "quote"})
"""Endpoints that an older generation of the API lacks; what its 404 looks like is not documented."""

NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,  # httpcore raises it where CONNECT or SOCKS is refused, before the request itself
    httpx2.UnsupportedProtocol,
)
"""After these no byte of the request can have reached the API, so even a paid one may be sent again."""

MAX_ANSWER_BYTES = 64_000_000
"""A longer answer is not read: the longest known one is the list of all tasks."""

SANDBOX_HEADER = "X-AVM-Sandbox-Speed"
"""Our sandbox says in this header how many times faster than the real API it runs; the real API has no such header."""

REAL_HOST = "aivideomaker.ai"
"""What it says costs money, whatever its headers are."""


class Permit(Protocol):
    """Says of each send of a paid request whether it may leave, by raising where it may not."""

    async def begin(self) -> None: ...
    async def check(self) -> None: ...


class _Again(Exception):
    """A paid request of which provably nothing came, so that it may be sent again; `error` if it is not."""

    def __init__(self, error: AvmError) -> None:
        super().__init__(error.message)
        self.error = error


class AvmClient:
    """The API of one account.

    Args:
        base_url: Origin (and path prefix) of the API.
        api_key: Sent as header `key`, to that origin only.
        http: The connection pool; redirects must be off.
        allowance: Awaited before each question that counts against the allowance, with whether it is urgent; returns
            when it may be asked.
        closed: Told after a 429 for how many seconds nobody should ask.
        now: Wall clock, seconds since 1970.
        user_agent: Sent with each request; one generation of the API lists it as required.
        submit_timeout, read_timeout, connect_timeout: Seconds for each phase; see `exchange` for the whole.
        rng: Source of the jitter.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        http: httpx2.AsyncClient,
        *,
        allowance: Callable[[bool], Awaitable[None]],
        closed: Callable[[float], Awaitable[None]],
        now: Callable[[], float],
        user_agent: str,
        submit_timeout: float = 90.0,
        read_timeout: float = 30.0,
        connect_timeout: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        self._base = base_url.rstrip("/") + "/api/v1"
        self._real = urlsplit(base_url).hostname == REAL_HOST
        self._http = http
        self._redaction = Redaction(api_key)
        self._headers = {"key": api_key, "User-Agent": user_agent, "Accept": "application/json"}
        self._allowance = allowance
        self._closed = closed
        self._now = now
        self._submit_timeout = phases(submit_timeout, connect_timeout)
        self._read_timeout = phases(read_timeout, connect_timeout)
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self.sandbox_speed: float | None = None
        self.clock = rate_limit.ServiceClock(now)
        self.answer_bytes: dict[Endpoint, int] = {}
        """How long the last good answer of an endpoint was: what is cheaper to ask is measured."""

    @property
    def clock_skew(self) -> float | None:
        """Seconds that the service's clock is ahead of ours, by the `Date` of its last answer; None before one."""
        return self.clock.skew

    def service_now(self) -> float:
        """Return the time by the service's clock, as its dates are, or by ours before its first answer."""
        return self._now() + (self.clock_skew or 0.0)

    # --- the seven endpoints ---

    async def account(self) -> Account | None:
        """Return balance and supported models; None where this generation of the API has no such endpoint."""
        answer = await self._ask("account", "GET", "/account")
        if answer.status == 404:
            return None
        return self._expect(Account.read(answer.data), "account", answer)

    async def quote(self, model: str, fields: Mapping[str, Any]) -> Quote | None:
        """Return the price of a request; None where this generation of the API has no such endpoint. Starts nothing."""
        answer = await self._ask("quote", "POST", f"/quote/{_segment(model)}", encode(fields))
        if answer.status == 404:
            return None
        return self._expect(Quote.read(answer.data), "quote", answer)

    async def generate(
        self,
        model: str,
        body: bytes,
        *,
        idempotency_key: str,
        max_credits: int | None = None,
        permit: Permit | None = None,
    ) -> Accepted:
        """Start a video. Sent again only where provably nothing came of it.

        Args:
            model: Its name.
            body: The request, in bytes.
            idempotency_key: The same for the same request.
            max_credits: The service's own cap.
            permit: Asked before each send, and again before each piece of it leaves. What it raises passes through;
                then nothing was sent that the service could act on.

        Raises:
            SubmissionUnknown: The answer was lost: there may be a task, and it may have been charged.
            AvmError: Any other leaf: refused, and nothing was charged.
        """
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        if max_credits is not None:
            headers["X-Max-Credits"] = str(max_credits)
        path = f"/generate/{_segment(model)}"
        for attempt in range(1, rate_limit.RETRIES + 1):
            try:
                return await self._generate_once(path, body, headers, permit)
            except _Again as again:
                pause = self._pause(attempt, again.error)
                if pause is None:
                    raise again.error from again.__cause__
                logger.warning("submit not accepted (%s); asking again in %.1f s", again.error.code, pause)
                await anyio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _generate_once(
        self, path: str, body: bytes, headers: Mapping[str, str], permit: Permit | None
    ) -> Accepted:
        check = None
        if permit is not None:
            await permit.begin()
            check = permit.check
        try:
            answer = await self._send("POST", path, body, headers, self._submit_timeout, check)
        except httpx2.ProxyError as error:
            raise _Again(_refused_by_proxy(error)) from error
        except NEVER_SENT as error:
            unreached = f"The service could not be reached ({pools.told(error)}); nothing was started."
            raise _Again(UpstreamUnavailable(unreached)) from error
        except httpx2.HTTPError as error:
            raise SubmissionUnknown(f"The service's answer was lost ({pools.told(error)}).") from error
        envelope = answer.envelope
        if answer.status < 300 and envelope is None:
            accepted = Accepted.read(answer.data)
            if accepted is None:
                raise SubmissionUnknown("The service's answer could not be read.")
            return accepted
        refusal = error_of("generate", answer, self._now(), picture=b'"data:' in body)
        if answer.status == 429:
            raise _Again(refusal)
        refused_in_200 = answer.status < 300  # an envelope without a task id: a refusal, as on the seed page
        if refused_in_200 or rate_limit.nothing_happened(answer.status, envelope is not None):
            raise refusal
        raise SubmissionUnknown(f"The service answered HTTP {answer.status} to the paid request.")

    async def tasks(self, *, urgent: bool = True, only: Container[str] | None = None) -> TaskList:
        """Return the tasks of this key, newest first; how many the API lists at most is not documented.

        Args:
            urgent: Somebody waits for the answer; without, it lets those questions go first.
            only: The ids of the tasks that are wanted; the newest of all when left out.
        """
        answer = await self._ask("list", "GET", "/tasks", urgent=urgent)
        rows = answer.fields.get("tasks")
        if not isinstance(rows, list):
            raise unexpected("list", answer)
        return await long_lists.task_list(cast("list[object]", rows), self.service_now(), only)

    async def task(self, task_id: str, *, urgent: bool = True) -> TaskSnapshot:
        """Return one task whole.

        Raises:
            TaskNotFound: The API does not show it to this key.
        """
        answer = await self._ask("task", "GET", f"/tasks/{_segment(task_id)}", urgent=urgent)
        return self._expect(TaskSnapshot.seen(answer.data, self.service_now()), "task", answer)

    async def status(self, task_id: str, *, urgent: bool = True) -> str:
        """Return the status of one task, without its output."""
        answer = await self._ask("status", "GET", f"/tasks/{_segment(task_id)}/status", urgent=urgent)
        return self._expect(TaskStatus.read(answer.data), "status", answer).status

    async def cancel(self, task_id: str) -> None:
        """Ask for a task to be cancelled; a refusal's form is not documented, so any answer but CANCEL is one.

        Raises:
            NotCancellable: Refused; the caller should read the task to learn why.
            TaskNotFound: The API does not show it to this key.
        """
        answer = await self._retried("cancel", "PUT", f"/tasks/{_segment(task_id)}/cancel", None)
        if answer.status < 300 and answer.fields.get("status") == "CANCEL":
            return
        error = self._error("cancel", answer)
        if isinstance(error, AuthFailed | BlockedOnTheWay | RateLimited | TaskNotFound):
            raise error
        raise NotCancellable(f"The service did not cancel the task (HTTP {answer.status}).", task_id=task_id)

    # --- how a request is sent, repeated and read ---

    async def _ask(
        self, endpoint: Endpoint, method: str, path: str, body: bytes | None = None, *, urgent: bool = True
    ) -> Answer:
        """Ask something that may be asked again, and return its 2xx answer, or a 404 to what not every API has."""
        answer = await self._retried(endpoint, method, path, body, urgent=urgent)
        if answer.status == 404 and endpoint in YOUNG:
            return answer
        if answer.status >= 300 or answer.envelope is not None:
            raise self._error(endpoint, answer)
        if answer.data is None:
            raise unexpected(endpoint, answer)
        self.answer_bytes[endpoint] = answer.size
        return answer

    async def _retried(
        self, endpoint: Endpoint, method: str, path: str, body: bytes | None, *, urgent: bool = True
    ) -> Answer:
        """Send a request that may be repeated until it is answered by something other than trouble."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        error: AvmError
        for attempt in range(1, rate_limit.RETRIES + 1):
            if endpoint in QUESTIONS:
                await self._allowance(urgent)
            try:
                answer = await self._send(method, path, body, headers, self._read_timeout)
            except httpx2.ProxyError as failure:
                error = _refused_by_proxy(failure)
            except httpx2.HTTPError as failure:
                error = UpstreamUnavailable(f"The service could not be reached ({pools.told(failure)}).")
            else:
                if answer.status == 429:
                    error = self._error(endpoint, answer)
                    if endpoint in QUESTIONS:
                        await self._closed(min(error.retry_after or 5.0, rate_limit.MAX_RETRY_AFTER))
                elif answer.status >= 500 or (answer.status < 300 and answer.data is None):
                    error = self._error(endpoint, answer)
                else:
                    return answer
            pause = self._pause(attempt, error)
            if pause is None:
                raise error
            logger.info("%s: %s; asking again in %.1f s", endpoint, error.message, pause)
            await anyio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int, error: AvmError) -> float | None:
        """Return how long to wait before asking again, or None where the caller should be told instead."""
        if attempt >= rate_limit.RETRIES:
            return None
        asked = error.retry_after or 0.0
        return None if asked > rate_limit.MAX_RETRY_AFTER else max(asked, rate_limit.backoff(attempt, self._rng))

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: httpx2.Timeout,
        check: Check | None = None,
    ) -> Answer:
        """Send one request and read its answer."""
        response, parts = await exchange(
            self._http,
            method,
            self._base + path,
            body=body,
            headers={**self._headers, **headers},
            timeout=timeout,
            most=MAX_ANSWER_BYTES,
            check=check,
        )
        parts = await self._redaction.body(parts)  # should the key ever be sent back, it ends here (P5)
        speed = response.headers.get(SANDBOX_HEADER)
        if speed is not None and not self._real:
            self.sandbox_speed = _positive(speed)
        data = await long_lists.parse(parts)
        if data is not None:  # of what is no JSON, something on the way may be the author
            self.clock.hear(response.headers.get("Date"))
        text = parts[:PAGE_READ].decode("utf-8", "replace") if data is None else ""
        headers_shown = self._redaction.headers(response.headers)
        return Answer(response.status_code, headers_shown, data, len(parts), text)

    def _error(self, endpoint: Endpoint, answer: Answer) -> AvmError:
        return error_of(endpoint, answer, self._now())

    def _expect(self, value: T | None, endpoint: Endpoint, answer: Answer) -> T:
        if value is None:
            raise unexpected(endpoint, answer)
        return value


def _segment(text: str) -> str:
    """Return `text` as one segment of a path; a URL's reader would resolve `.` and `..`, so dots alone are encoded."""
    return percent_encode(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e9 else None


def _refused_by_proxy(error: httpx2.ProxyError) -> BlockedOnTheWay:
    said = f"A proxy on the way to the service refused the connection{saying(str(error))}; the key was not judged."
    return BlockedOnTheWay(said, next_step=Action.CHECK_PROXY())
