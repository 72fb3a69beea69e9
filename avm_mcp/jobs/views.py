"""What the use cases return: a task and where it stands, a page of tasks, an account's credits."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from avm_mcp.domain.job import Job, Spending


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, by the clock and by the durations of earlier ones.

    Attributes:
        percent: Estimated share of the whole time, 0 to 100.
        elapsed: Seconds since the submit, until the job's end.
        typical: Seconds that such a video usually takes.
        overdue: Whether nine of ten such videos would have ended by now.
        age: Seconds since the submit, also after the job's end.
    """

    percent: float
    elapsed: float
    typical: float
    overdue: bool
    age: float


Beat = Callable[[Job, Progress], Awaitable[None]]
"""Called with the state of a job while somebody waits for it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one job.

    Attributes:
        job: Its newest state.
        progress: Where it stands.
        deduplicated: The request had been made before; nothing was started.
        notes: Plain sentences that the caller should know besides.
    """

    job: Job
    progress: Progress
    deduplicated: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of tasks, newest first."""

    found: tuple[Found, ...]
    next_cursor: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account has and may spend; `keyless` where there is no key, and so no account.

    Attributes:
        balance: Credits; None where the API does not tell them.
        today: What was spent this UTC day.
        models: The names of the models that the account offers.
        notes: Plain sentences that the caller should know besides.
        keyless: Whether there is no key.
    """

    balance: int | None
    today: Spending
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()
    keyless: bool = False
