"""What the rest of the program asks of a video service. `client.AvmClient` is the one that there is."""

from collections.abc import Container, Mapping
from typing import Any, Literal, Protocol

from avm_mcp.domain.rate_limit import ServiceClock
from avm_mcp.provider.wire import Accepted, Account, Quote, TaskList, TaskSnapshot

Endpoint = Literal["account", "quote", "generate", "list", "task", "status", "cancel"]


class Permit(Protocol):
    """Says of each send of a paid request whether it may leave, by raising where it may not."""

    async def begin(self) -> None: ...
    async def check(self) -> None: ...


class Provider(Protocol):
    """One account of a video service. Every method raises leaves of `AvmError`, and nothing else."""

    @property
    def clock(self) -> ServiceClock:
        """Return the service's clock, by the dates of its answers."""
        ...

    @property
    def sandbox_speed(self) -> float | None:
        """Return how many times faster than the real service it runs; None where it is the real one."""
        ...

    @property
    def answer_bytes(self) -> Mapping[Endpoint, int]:
        """Return how long the last good answer of each endpoint was. What is cheaper to ask is measured."""
        ...

    @property
    def clock_skew(self) -> float | None:
        """Return the seconds that the service's clock is ahead of ours, by its last answer; None before one."""
        ...

    def service_now(self) -> float:
        """Return the time by the service's clock, or by ours before its first answer. Seconds since 1970."""
        ...

    async def account(self) -> Account | None:
        """Return balance and supported models; None where this generation of the API has no such endpoint."""
        ...

    async def quote(self, model: str, fields: Mapping[str, Any]) -> Quote | None:
        """Return the price of a request; None where this generation of the API has no such endpoint. Starts nothing.

        Args:
            model: Its name.
            fields: The request, as `bodies.quote_fields` writes it.
        """
        ...

    async def generate(
        self,
        model: str,
        body: bytes,
        *,
        idempotency_key: str,
        max_credits: int | None = None,
        permit: Permit | None = None,
    ) -> Accepted:
        """Start a video. The request is sent again only where provably nothing came of it.

        Args:
            model: Its name.
            body: The request, as `bodies.paid_body` writes it.
            idempotency_key: The same for the same request.
            max_credits: The service's own cap.
            permit: Asked before each send, and again before each piece of it leaves. What it raises passes through;
                then nothing was sent that the service could act on.

        Raises:
            SubmissionUnknown: The answer was lost: there may be a task, and it may have been charged.
            AvmError: Any other leaf: refused, and nothing was charged.
        """
        ...

    async def tasks(self, *, urgent: bool = True, only: Container[str] | None = None) -> TaskList:
        """Return the tasks of this key, newest first. How many the API lists at most is not documented.

        Args:
            urgent: Somebody waits for the answer; without, it lets those questions go first.
            only: The ids of the tasks that are wanted; the newest of all when left out.
        """
        ...

    async def task(self, task_id: str, *, urgent: bool = True) -> TaskSnapshot:
        """Return one task whole.

        Raises:
            TaskNotFound: The API does not show it to this key.
        """
        ...

    async def status(self, task_id: str, *, urgent: bool = True) -> str:
        """Return the status of one task, without its output."""
        ...

    async def cancel(self, task_id: str) -> None:
        """Ask for a task to be cancelled. A refusal's form is not documented, so any answer but CANCEL is one.

        Raises:
            NotCancellable: Refused; the caller should read the task to learn why.
            TaskNotFound: The API does not show it to this key.
        """
        ...
