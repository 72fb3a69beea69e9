"""A job: one paid request, a row of the state, id `sub_…`.

A *task* is the service's, with the service's own id. A job has a task once the service has accepted it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from avm_mcp.domain import bounds

SUBMITTING = "SUBMITTING"  # sent, no answer yet
UNKNOWN = "UNKNOWN"  # the answer was lost; it is searched for
NOT_CREATED = "NOT_CREATED"  # it never came to be; nothing was charged
SUBMITTED = "SUBMITTED"
PROGRESS = "PROGRESS"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCEL = "CANCEL"

API_STATUSES = (SUBMITTED, PROGRESS, COMPLETED, FAILED, CANCEL)
"""The five statuses of the API, as it spells them."""

FINAL = frozenset({COMPLETED, FAILED, CANCEL, NOT_CREATED})
"""A job in one of these never changes again, except for a refund that is seen later."""

STATUS_RANK: Mapping[str, int] = {
    SUBMITTING: 0,
    UNKNOWN: 1,
    SUBMITTED: 2,
    PROGRESS: 3,
    NOT_CREATED: 4,
    FAILED: 4,
    CANCEL: 4,
    COMPLETED: 4,
}
"""A job moves up in rank only. A status that is not known counts as PROGRESS."""


def rank(status: str) -> int:
    """Return how far a job in `status` is."""
    return STATUS_RANK.get(status, STATUS_RANK[PROGRESS])


Download = Literal["none", "wanted", "saved", "lost", "off"]
"""Of a video: not finished, to be downloaded, on the disk, beyond saving, not to be saved."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a request costs: `quote` is the API's own price, `estimate` the highest formula known for it."""

    credits: int
    basis: Literal["quote", "estimate"]
    usd_per_credit: float | None = None
    balance: int | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """A day's sums, in credits. `spent` counts against a cap: what was charged, or else quoted, less refunds."""

    videos: int
    quoted: int
    charged: int
    refunded: int
    spent: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the store: everything known about one paid request.

    Dates (`created_at`, `completed_at`, `expires_at`) are seconds since 1970, UTC. Times that are only compared
    (`started`, when the row was made; `answer_by`; `searched_since`) are by the clock of the store, `Store.clock`.
    """

    id: str
    account: str
    caller: str
    identity: str
    idempotency_key: str
    model: str
    seconds: int
    prompt: str
    status: str
    created_at: float
    started: float
    take: int = 1
    mine: bool = True
    aspect_ratio: str | None = None
    image: str | None = None
    task_id: str | None = None
    answer_by: float | None = None
    completed_at: float | None = None
    credits_quoted: int | None = None
    credits_basis: str | None = None
    credits_charged: int | None = None
    credits_refunded: int | None = None
    error_code: str | None = None
    error_text: str | None = None
    video_url: str | None = None
    expires_at: float | None = None
    download: Download = "none"
    file_path: str | None = None
    file_size: int | None = None
    download_error: str | None = None
    max_credits: int | None = None
    resends: int = 0
    searches: int = 0
    searched_since: float | None = None
    attempt: int = 0
    sender: str | None = None

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def public_id(self) -> str:
        """Return the task's id, or ours while there is none, or where it cannot be shown."""
        return self.task_id if self.task_id is not None and bounds.is_plain_id(self.task_id) else self.id

    @property
    def charged(self) -> Literal["no", "yes", "unknown"]:
        """Return whether money was spent on this job and stayed spent."""
        if self.status == NOT_CREATED:
            return "no"
        if self.status in (UNKNOWN, SUBMITTING):
            return "unknown"
        if self.credits_charged is None:  # the older API names no amounts, and refunds all the same
            return "no" if self.status in (FAILED, CANCEL) else "yes"
        return "no" if self.credits_refunded == self.credits_charged else "yes"
