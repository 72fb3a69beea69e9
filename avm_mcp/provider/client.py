"""The API over HTTP: one method for each of its seven endpoints, both generations of its contract.

This module decides which requests are repeated, and what an answer means. URLs are built from the base and the task's
id, never followed from a body.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Container, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote as percent_encode

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
from avm_mcp.provider.answers import Answer, classify_refusal, classify_unexpected, quote_upstream
from avm_mcp.provider.bodies import encode
from avm_mcp.provider.connection import Connection
from avm_mcp.provider.exchange import build_timeout
from avm_mcp.provider.protocol import Endpoint, Permit, Provider
from avm_mcp.provider.wire import Accepted, Account, Quote, TaskList, TaskSnapshot, TaskStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

QUERIES: frozenset[Endpoint] = frozenset({"account", "list", "task", "status"})
"""The endpoints that share the limit of 60 queries a minute and IP address."""

OPTIONAL: frozenset[Endpoint] = frozenset({"account", "quote"})
"""Endpoints that an older generation of the API lacks; the body of their 404 is not documented."""

NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,  # httpcore raises it where CONNECT or SOCKS is refused, before the request itself
    httpx2.UnsupportedProtocol,
)
"""After these no byte of the request can have reached the API, so even a paid one may be sent again."""


class _Resendable(Exception):
    """A paid request of which provably nothing came; `error` is what it failed with."""

    def __init__(self, error: AvmError) -> None:
        super().__init__(error.message)
        self.error = error


class AvmClient(Provider):
    """The API of one account. `Provider` says what each method does.

    Args:
        base_url: Origin (and path prefix) of the API.
        api_key: Sent as header `key`, to that origin only.
        http: The connection pool; redirects must be off.
        allowance: Awaited before each query that counts against the limit, with whether it is urgent; returns when it
            may be sent.
        closed: Called after a 429 with the seconds for which nobody should send one.
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
        self._connection = Connection(base_url, api_key, http, now=now, user_agent=user_agent)
        self._allowance = allowance
        self._closed = closed
        self._now = now
        self._submit_timeout = build_timeout(submit_timeout, connect_timeout)
        self._read_timeout = build_timeout(read_timeout, connect_timeout)
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._answer_bytes: dict[Endpoint, int] = {}

    @property
    def clock(self) -> rate_limit.ServiceClock:
        return self._connection.clock

    @property
    def sandbox_speed(self) -> float | None:
        return self._connection.sandbox_speed

    @property
    def answer_bytes(self) -> Mapping[Endpoint, int]:
        return self._answer_bytes

    @property
    def clock_skew(self) -> float | None:
        return self.clock.skew

    def service_now(self) -> float:
        return self._now() + (self.clock_skew or 0.0)

    # --- the seven endpoints ---

    async def account(self) -> Account | None:
        answer = await self._ask("account", "GET", "/account")
        if answer.status == 404:
            return None
        return self._expect(Account.read(answer.data), "account", answer)

    async def quote(self, model: str, fields: Mapping[str, Any]) -> Quote | None:
        answer = await self._ask("quote", "POST", f"/quote/{_encode_segment(model)}", encode(fields))
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
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        if max_credits is not None:
            headers["X-Max-Credits"] = str(max_credits)
        path = f"/generate/{_encode_segment(model)}"
        for attempt in range(1, rate_limit.RETRIES + 1):
            try:
                return await self._generate_once(path, body, headers, permit)
            except _Resendable as failed:
                pause = self._pause(attempt, failed.error)
                if pause is None:
                    raise failed.error from failed.__cause__
                logger.warning("submit not accepted (%s); sent again in %.1f s", failed.error.code, pause)
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
            answer = await self._connection.send("POST", path, body, headers, self._submit_timeout, check)
        except httpx2.ProxyError as error:
            raise _Resendable(_refuse_by_proxy(error)) from error
        except NEVER_SENT as error:
            unreached = f"The service could not be reached ({pools.describe_failure(error)}); nothing was started."
            raise _Resendable(UpstreamUnavailable(unreached)) from error
        except httpx2.HTTPError as error:
            raise SubmissionUnknown(f"The service's answer was lost ({pools.describe_failure(error)}).") from error
        envelope = answer.envelope
        if answer.status < 300 and envelope is None:
            accepted = Accepted.read(answer.data)
            if accepted is None:
                raise SubmissionUnknown("The service's answer could not be read.")
            return accepted
        refusal = classify_refusal("generate", answer, self._now(), picture=b'"data:' in body)
        if answer.status == 429:
            raise _Resendable(refusal)
        refused_in_200 = answer.status < 300  # an envelope without a task id is a refusal, as in the API's reference
        if refused_in_200 or rate_limit.nothing_happened(answer.status, envelope is not None):
            raise refusal
        raise SubmissionUnknown(f"The service answered HTTP {answer.status} to the paid request.")

    async def tasks(self, *, urgent: bool = True, only: Container[str] | None = None) -> TaskList:
        answer = await self._ask("list", "GET", "/tasks", urgent=urgent)
        rows = answer.fields.get("tasks")
        if not isinstance(rows, list):
            raise classify_unexpected("list", answer)
        return await long_lists.read_tasks(cast("list[object]", rows), self.service_now(), only)

    async def task(self, task_id: str, *, urgent: bool = True) -> TaskSnapshot:
        answer = await self._ask("task", "GET", f"/tasks/{_encode_segment(task_id)}", urgent=urgent)
        return self._expect(TaskSnapshot.read_answer(answer.data, self.service_now()), "task", answer)

    async def status(self, task_id: str, *, urgent: bool = True) -> str:
        answer = await self._ask("status", "GET", f"/tasks/{_encode_segment(task_id)}/status", urgent=urgent)
        return self._expect(TaskStatus.read(answer.data), "status", answer).status

    async def cancel(self, task_id: str) -> None:
        answer = await self._send_until_answered("cancel", "PUT", f"/tasks/{_encode_segment(task_id)}/cancel", None)
        if answer.status < 300 and answer.fields.get("status") == "CANCEL":
            return
        error = self._classify("cancel", answer)
        if isinstance(error, AuthFailed | BlockedOnTheWay | RateLimited | TaskNotFound):
            raise error
        raise NotCancellable(f"The service did not cancel the task (HTTP {answer.status}).", task_id=task_id)

    # --- how a request is sent, repeated and read ---

    async def _ask(
        self, endpoint: Endpoint, method: str, path: str, body: bytes | None = None, *, urgent: bool = True
    ) -> Answer:
        """Send a request that may be repeated; return its 2xx answer, or the 404 of an optional endpoint."""
        answer = await self._send_until_answered(endpoint, method, path, body, urgent=urgent)
        if answer.status == 404 and endpoint in OPTIONAL:
            return answer
        if answer.status >= 300 or answer.envelope is not None:
            raise self._classify(endpoint, answer)
        if answer.data is None:
            raise classify_unexpected(endpoint, answer)
        self._answer_bytes[endpoint] = answer.size
        return answer

    async def _send_until_answered(
        self, endpoint: Endpoint, method: str, path: str, body: bytes | None, *, urgent: bool = True
    ) -> Answer:
        """Send a request until it is answered by something other than a 429, a 5xx, or a 2xx that is not JSON.

        Raises:
            AvmError: The last of the attempts failed, or the service asked for too long a pause.
        """
        headers = {"Content-Type": "application/json"} if body is not None else {}
        error: AvmError
        for attempt in range(1, rate_limit.RETRIES + 1):
            if endpoint in QUERIES:
                await self._allowance(urgent)
            try:
                answer = await self._connection.send(method, path, body, headers, self._read_timeout)
            except httpx2.ProxyError as failure:
                error = _refuse_by_proxy(failure)
            except httpx2.HTTPError as failure:
                error = UpstreamUnavailable(f"The service could not be reached ({pools.describe_failure(failure)}).")
            else:
                if answer.status == 429:
                    error = self._classify(endpoint, answer)
                    if endpoint in QUERIES:
                        await self._closed(min(error.retry_after or 5.0, rate_limit.MAX_RETRY_AFTER))
                elif answer.status >= 500 or (answer.status < 300 and answer.data is None):
                    error = self._classify(endpoint, answer)
                else:
                    return answer
            pause = self._pause(attempt, error)
            if pause is None:
                raise error
            logger.info("%s: %s; sent again in %.1f s", endpoint, error.message, pause)
            await anyio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int, error: AvmError) -> float | None:
        """Return the seconds before the next attempt; None where there is to be none."""
        if attempt >= rate_limit.RETRIES:
            return None
        asked = error.retry_after or 0.0
        return None if asked > rate_limit.MAX_RETRY_AFTER else max(asked, rate_limit.backoff(attempt, self._rng))

    def _classify(self, endpoint: Endpoint, answer: Answer) -> AvmError:
        return classify_refusal(endpoint, answer, self._now())

    def _expect(self, value: T | None, endpoint: Endpoint, answer: Answer) -> T:
        if value is None:
            raise classify_unexpected(endpoint, answer)
        return value


def _encode_segment(text: str) -> str:
    """Return `text` as one segment of a path. URLs give `.` and `..` a meaning, so the dots of these are encoded."""
    return percent_encode(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _refuse_by_proxy(error: httpx2.ProxyError) -> BlockedOnTheWay:
    reason = quote_upstream(str(error))
    return BlockedOnTheWay(
        f"A proxy on the way to the service refused the connection{reason}; the key was not judged.",
        next_step=Action.CHECK_PROXY(),
    )
