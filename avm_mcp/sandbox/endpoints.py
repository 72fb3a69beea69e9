"""The seven endpoints, each a plain function of a call and a time.

The order of checks: path and method, auth, (generate: requests per minute), model, payload, idempotency, price,
X-Max-Credits, balance. The first three are measured in that order, the rest is a guess.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from avm_mcp.sandbox.answers import AUTH_MESSAGE, Answer, answer, refusal
from avm_mcp.sandbox.faults import QUERIES, Fault
from avm_mcp.sandbox.ledger import Account, Task, other_input, task_body
from avm_mcp.sandbox.payloads import BadPayload, Payload, parse, stored_address, strings_of
from avm_mcp.sandbox.prices import USD_PER_CREDIT, price_of
from avm_mcp.sandbox.state import Sandbox
from avm_mcp.sandbox.tables import KEPT_MESSAGE

NEVER = -1  # documented: no limit


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an endpoint; `name` is the model or the task id of the path."""

    endpoint: str
    name: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    client: str
    fault: Fault | None = None

    @property
    def key(self) -> str:
        """The API key that was sent."""
        return self.headers.get("key", "").strip()


class Refused(Exception):
    """An answer that ends the checks."""

    def __init__(self, refused: Answer) -> None:
        super().__init__(refused.status)
        self.answer = refused


class Endpoints:
    """The endpoints of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._table: dict[str, Callable[[Call, Account, float], Answer]] = {
            "account": self._account,
            "quote": self._quote,
            "generate": self._generate,
            "list": self._list,
            "task": self._task,
            "status": self._status,
            "cancel": self._cancel,
        }

    def serve(self, call: Call, at: float) -> Answer:
        """Check the key and answer."""
        try:
            if not self._sandbox.knows(call.key):
                raise self._refused(401, "AUTH_FAILED", AUTH_MESSAGE)
            return self._table[call.endpoint](call, self._sandbox.ledger.account(call.key), at)
        except Refused as refused:
            return refused.answer

    def limited(self, call: Call, at: float) -> Answer | None:
        """429 when the query allowance of this address is spent; asked before auth (guess)."""
        if call.endpoint not in QUERIES:
            return None
        wait = self._sandbox.wait_for(self._sandbox.options.query_limit, at, "ip", call.client)
        return self._too_many(wait) if wait else None

    # Free endpoints

    def _account(self, call: Call, account: Account, at: float) -> Answer:  # noqa: ARG002
        options = self._sandbox.options
        per_minute = options.generate_per_minute
        limits = {
            "dailyCreditLimit": NEVER,
            "generationRequestsPerMinute": NEVER if per_minute is None else per_minute,
            "creditWarningAt": NEVER,
        }
        return answer(
            {
                "ok": True,
                "apiVersion": "v1",
                "skillVersion": "1.0.15",
                "currentBalance": account.balance,
                "supportedModels": list(self._sandbox.models()),
                **(limits if options.account_limits == "top" else {"limits": limits}),
            }
        )

    def _quote(self, call: Call, account: Account, at: float) -> Answer:  # noqa: ARG002
        credits_ = price_of(self._sandbox.options.profile, call.name, self._payload(call).filled)
        return answer(
            {
                "model": call.name,
                "credits": credits_,
                "listPriceUsd": round(credits_ * USD_PER_CREDIT, 2),
                "usdPerCredit": USD_PER_CREDIT,
                "currentBalance": account.balance,
                "affordable": credits_ <= account.balance,
                "billable": False,
            }
        )

    def _list(self, call: Call, account: Account, at: float) -> Answer:
        options = self._sandbox.options
        stale = call.fault.seconds if call.fault and call.fault.kind == "stale" else 0
        then = at - max(options.list_delay_seconds, stale)
        rows = [task for task in reversed(account.tasks) if task.created_at <= then]
        return answer({"tasks": [self._body(call, task, then) for task in rows[: options.list_cap]]})

    def _task(self, call: Call, account: Account, at: float) -> Answer:
        return answer(self._body(call, self._owned(call, account), at))

    def _status(self, call: Call, account: Account, at: float) -> Answer:
        return answer({"status": self._owned(call, account).status(at)})

    # Money

    def _generate(self, call: Call, account: Account, at: float) -> Answer:
        options = self._sandbox.options
        wait = self._sandbox.wait_for(options.generate_per_minute, at, "key", call.key)
        if wait:
            raise Refused(self._too_many(wait))
        payload = self._payload(call)
        idempotency_key = self._idempotency_key(call)
        cap = self._cap(call)
        if idempotency_key is not None and idempotency_key in account.used:
            return self._replay(call, account.used[idempotency_key], payload, at)
        credits_ = price_of(options.profile, call.name, payload.filled)
        if cap is not None and credits_ > cap:
            raise self._refused(422, "BUDGET_EXCEEDED", f"Quote {credits_} exceeds X-Max-Credits {cap}")
        if credits_ > account.balance:
            raise self._refused(402, "INSUFFICIENT_CREDITS", "Insufficient credits")
        task = Task(
            id="",
            number=0,
            key=call.key,
            model=call.name,
            input=self._echo(payload),
            filled=payload.filled,
            pictures=payload.pictures,
            credits=credits_,
            created_at=at,
            starts_at=at,
            ends_at=at,
            idempotency_key=idempotency_key,
            fingerprint=payload.fingerprint,
            webhook_url=call.headers.get("webhookurl"),
            max_credits=cap,
            problem=call.fault.text if call.fault and call.fault.kind == "fail_task" else None,
        )
        self._sandbox.create(task)
        return self._submitted(call, task, at, replay=False)

    def _replay(self, call: Call, task: Task, payload: Payload, at: float) -> Answer:
        if task.fingerprint != payload.fingerprint:
            raise self._refused(409, "IDEMPOTENCY_CONFLICT", "Idempotency-Key was already used with different data")
        return self._submitted(call, task, at, replay=True)

    def _submitted(self, call: Call, task: Task, at: float, *, replay: bool) -> Answer:
        address = f"{call.base_url}/api/v1/tasks/{task.id}"
        extra = {"creditsCharged": task.credits, "idempotentReplay": replay} if self._sandbox.live else {}
        return answer(
            {
                "status": task.status(at),
                "taskId": task.id,
                **extra,
                "responseUrl": address,
                "statusUrl": f"{address}/status",
                "cancelUrl": f"{address}/cancel",
            }
        )

    def _cancel(self, call: Call, account: Account, at: float) -> Answer:
        task = self._owned(call, account)
        if task.status(at) != "SUBMITTED":
            how = int(self._sandbox.options.cancel_refusal)
            raise self._refused(how, None, "Only tasks in SUBMITTED status can be cancelled")
        self._sandbox.ledger.cancel(task, at)
        return answer({"status": "CANCEL", **({"taskId": task.id} if self._sandbox.live else {})})

    # Parts

    def _payload(self, call: Call) -> Payload:
        if call.name not in self._sandbox.models():
            raise self._refused(400, "INVALID_MODEL", f"Unsupported model: {call.name}")
        try:
            payload = parse(call.name, call.body, reject_unknown=self._sandbox.options.unknown_fields == "reject")
        except BadPayload as bad:
            raise self._refused(400, "INVALID_PAYLOAD", str(bad)) from None
        if payload.pictures and self._sandbox.options.data_uris != "accept":
            status = int(self._sandbox.options.data_uris)
            raise self._refused(status, "INVALID_PAYLOAD", "Image must use http, https, s3 or r2")
        return payload

    def _idempotency_key(self, call: Call) -> str | None:
        options = self._sandbox.options
        value = call.headers.get("idempotency-key")
        if value is None or not options.honours_idempotency or not self._sandbox.live:
            return None
        if not 8 <= len(value) <= 128:
            raise self._refused(400, "INVALID_PAYLOAD", "Idempotency-Key must be 8-128 characters")
        return value

    def _cap(self, call: Call) -> int | None:
        value = call.headers.get("x-max-credits")
        if value is None or self._sandbox.options.ignores_max_credits or not self._sandbox.live:
            return None
        if not (value.isascii() and value.isdigit()):
            raise self._refused(400, "INVALID_PAYLOAD", "X-Max-Credits must be an integer of at least 0")
        return int(value)

    def _echo(self, payload: Payload) -> dict[str, object]:
        options = self._sandbox.options
        fields = payload.filled if options.fills_defaults else payload.fields

        def stored(value: object) -> object:
            if isinstance(value, str):
                return stored_address(value) if value in payload.pictures else value
            if isinstance(value, list):
                return [stored(item) for item in strings_of(value)]  # pyright: ignore[reportUnknownArgumentType]
            return value

        echo = {name: stored(value) for name, value in fields.items()}
        return other_input(echo) if options.stores_other_bytes else echo

    def _owned(self, call: Call, account: Account) -> Task:
        task = self._sandbox.ledger.tasks.get(call.name)
        if task is None or task.key != account.key:
            raise self._refused(404, None, "Task not found")
        return task

    def _body(self, call: Call, task: Task, at: float) -> dict[str, object]:
        options = self._sandbox.options
        output = self._output(call, task, at)
        return task_body(task, at, output, skew=options.clock_skew_seconds, live=self._sandbox.live)

    def _output(self, call: Call, task: Task, at: float) -> object:
        status = task.status(at)
        if status == "FAILED":
            return {"error": task.problem}
        if status != "COMPLETED":
            return None
        if task.without_url or (call.fault and call.fault.kind == "no_url"):
            return {"msg": KEPT_MESSAGE}
        url = self._sandbox.link_of(task, call.base_url, at)
        shapes: dict[str, object] = {
            "url": {"url": url, "msg": KEPT_MESSAGE},  # measured
            "error_null": {"url": url, "msg": KEPT_MESSAGE, "error": None},  # claimed
            "videoUrl": {"videoUrl": url},  # an example, never measured
            "bare": url,  # a fixture, never measured
        }
        return shapes[self._sandbox.options.output_shape]

    def _refused(self, status: int, code: str | None, message: str) -> Refused:
        return Refused(refusal(status, code, message, live=self._sandbox.live))

    def _too_many(self, wait: int) -> Answer:
        return refusal(429, "RATE_LIMITED", "Too many requests", live=self._sandbox.live, retry_after=str(wait))


def spoiled(given: Answer, fault: Fault | None) -> Answer:
    """The answer after a fault that changes its content."""
    if fault is None or given.status != 200:
        return given
    if fault.kind == "status":
        return given.with_status_word(fault.text)
    if fault.kind == "cut_json":
        return replace(given, body=given.body[: len(given.body) // 2])
    return given


ROUTES = (
    ("GET", "api/v1/account", "account"),
    ("POST", "api/v1/quote/*", "quote"),
    ("POST", "api/v1/generate/*", "generate"),
    ("GET", "api/v1/tasks", "list"),
    ("GET", "api/v1/tasks/*", "task"),
    ("GET", "api/v1/tasks/*/status", "status"),
    ("PUT", "api/v1/tasks/*/cancel", "cancel"),
)
SEED_LACKS = ("account", "quote")


def route(path: str, *, live: bool) -> tuple[str, str, str] | None:
    """Endpoint, name in the path and the one method allowed; None for a path nobody knows."""
    parts = path.split("/")[1:]
    for method, pattern, endpoint in ROUTES:
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(
            part if want == "*" else part == want for want, part in zip(wanted, parts, strict=True)
        ):
            name = parts[wanted.index("*")] if "*" in wanted else ""
            return None if endpoint in SEED_LACKS and not live else (endpoint, name, method)
    return None
