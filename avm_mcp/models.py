"""The nouns: requests, jobs, and the shapes the upstream speaks in.

A *job* is ours: one paid request, a row of the journal, id `sub_…`. A *task* is the upstream's, with the
upstream's own id. A job has a task once the upstream has accepted it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from avm_mcp import bounds

SUBMITTING = "SUBMITTING"  # sent, no answer yet
UNKNOWN = "UNKNOWN"  # the answer was lost; being looked for
NOT_CREATED = "NOT_CREATED"  # it never came to be; nothing was charged
SUBMITTED = "SUBMITTED"
PROGRESS = "PROGRESS"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCEL = "CANCEL"

API_STATUSES = (SUBMITTED, PROGRESS, COMPLETED, FAILED, CANCEL)
"""The upstream's five words, spelled as it spells them."""

FINAL = frozenset({COMPLETED, FAILED, CANCEL, NOT_CREATED})
"""A job in one of these never changes again (but for a refund that is seen later)."""

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
"""A job moves up in rank only; a status the upstream has newly invented counts as being made."""


def rank(status: str) -> int:
    """Return how far along `status` is."""
    return STATUS_RANK.get(status, STATUS_RANK[PROGRESS])


Film = Literal["none", "wanted", "saved", "lost", "off"]
"""What became of a finished film: not finished, to be fetched, on the disk, past saving, not to be saved."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A picture as it goes to the API.

    Attributes:
        value: The https URL as given, or a data URI.
        digest: sha256 of the picture's bytes; of the text for a URL.
        shown: How to name it to a person.
    """

    value: str
    digest: str
    shown: str


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """One film that somebody wants, checked against the catalogue.

    Attributes:
        model: The API's name: t2v, t2v_v3, i2v, i2v_v3 or lv.
        seconds: Length of the film.
        prompts: None, one, or for lv one for each five seconds.
        aspect_ratio: Sent for text models only; a film from a picture keeps the picture's shape.
        image: The starting picture, for i2v, i2v_v3 and lv.
        take: Which take of the same request this is.
    """

    model: str
    seconds: int
    prompts: tuple[str, ...]
    aspect_ratio: str | None = None
    image: ImageInput | None = None
    take: int = 1

    @property
    def prompt(self) -> str:
        return " / ".join(self.prompts)

    def fields(self) -> dict[str, Any]:
        """Return the JSON fields that `POST /generate/{model}` takes for this request (field tables of the API)."""
        if self.model == "lv":
            assert self.image is not None
            return {"image": self.image.value, "prompt": list(self.prompts)}
        body: dict[str, Any] = {}
        if self.image is not None:
            body["image"] = self.image.value
        if self.prompts:
            body["prompt"] = self.prompts[0]
        if self.aspect_ratio is not None:
            body["aspectRatio"] = self.aspect_ratio
        return {**body, "duration": str(self.seconds)}

    def body(self) -> bytes:
        """Return the exact bytes to send; a resend must repeat them, so they are made once and kept."""
        return json.dumps(self.fields(), ensure_ascii=False, separators=(",", ":")).encode()

    def identity(self) -> str:
        """Return what makes two requests the same: everything but how long to wait and what to pay at most."""
        parts: list[Any] = [
            self.model,
            self.seconds,
            [" ".join(p.split()) for p in self.prompts],
            self.aspect_ratio,
            self.image.digest if self.image else None,
            self.take,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Price:
    """What a request costs: `quote` is the API's word, `estimate` the highest formula known for it."""

    credits: int
    basis: Literal["quote", "estimate"]
    usd_per_credit: float | None = None
    balance: int | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """A day's sums, in credits; `spent` is what counts against a cap: charged or else quoted, less what came back."""

    videos: int
    quoted: int
    charged: int
    refunded: int
    spent: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the journal: everything known about one paid request.

    Dates (`created_at`, `completed_at`, `expires_at`) are seconds since 1970, UTC. What is only compared (`started`,
    when the row was made; `answer_by`; `searched_since`) is by the clock of the state, `Journal.clock`.
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
    film: Film = "none"
    film_path: str | None = None
    film_size: int | None = None
    film_error: str | None = None
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
        """Return the upstream's id, or ours while there is none, or where its own cannot be shown."""
        return self.task_id if self.task_id is not None and bounds.plain_id(self.task_id) else self.id

    @property
    def charged(self) -> Literal["no", "yes", "unknown"]:
        """Return whether money was spent on this job and stayed spent."""
        if self.status == NOT_CREATED:
            return "no"
        if self.status in (UNKNOWN, SUBMITTING):
            return "unknown"
        if self.credits_charged is None:  # the seed API tells no amounts; it refunds all the same
            return "no" if self.status in (FAILED, CANCEL) else "yes"
        return "no" if self.credits_refunded == self.credits_charged else "yes"


# --- what the upstream says. Unknown fields are ignored; known ones are read in every documented spelling. ---


def _status(text: str) -> str:
    """Return the API's word. Ours are about requests without a task; one of a task would be read so."""
    word = bounds.word(text)
    return word.lower() if word in (SUBMITTING, UNKNOWN, NOT_CREATED) else word


Status = Annotated[str, AfterValidator(_status)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    @classmethod
    def read(cls, data: object) -> Self | None:
        """Return the shape, or None where `data` is not of it."""
        try:
            return cls.model_validate(data)
        except ValidationError:
            return None

    @field_validator("*", mode="wrap")
    @classmethod
    def _one_odd_field_hides_nothing(
        cls, value: object, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """A field that may be left out, and is of no documented kind, counts as left out: the id must not be lost."""
        try:
            return read(value)
        except ValidationError:
            field = cls.model_fields[str(info.field_name)]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True)


class Accepted(_Wire):
    """The answer to `generate`: the task exists. Only the live API says what it charged."""

    task_id: bounds.TaskId = Field(alias="taskId")
    status: Status = SUBMITTED
    credits_charged: bounds.Credits | None = Field(default=None, alias="creditsCharged")
    replayed: bool = Field(default=False, alias="idempotentReplay")


class Output(_Wire):
    """The `output` of a task, in any of the shapes that were seen or documented."""

    url: bounds.Link | None = Field(default=None, validation_alias=AliasChoices("url", "videoUrl", "video_url"))
    error: bounds.Text | None = None
    msg: bounds.Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


MOST_PROMPTS = 100
"""Prompts of one task that are read; the API takes six."""


class TaskSnapshot(_Wire):
    """One task as the upstream shows it, in its list or alone."""

    id: bounds.TaskId
    status: Status
    model: bounds.Word = ""
    created_at: bounds.Date | None = Field(default=None, alias="createdAt")
    completed_at: bounds.Date | None = Field(default=None, alias="completedAt")
    input: dict[str, Any] = Field(default_factory=dict[str, Any])
    output: Output | None = None
    credits_charged: bounds.Credits | None = Field(default=None, alias="creditsCharged")
    credits_refunded: bounds.Credits | None = Field(default=None, alias="creditsRefunded")
    idempotency_key: bounds.Text | None = Field(default=None, alias="idempotencyKey")

    _read_at: float | None = PrivateAttr(default=None)

    @classmethod
    def seen(cls, data: object, at: float) -> Self | None:
        """Return the task in an answer that came at this time, by the service's clock; None where there is none."""
        found = cls.read(data)
        if found is not None:
            found._read_at = at  # noqa: SLF001 - ours: it is of this class
        return found

    @property
    def read_at(self) -> float | None:
        """Return when the answer came, by the service's clock; None where that is not known."""
        return self._read_at

    @field_validator("credits_refunded", mode="after")
    @classmethod
    def _at_most_the_charge(cls, value: int | None, info: ValidationInfo) -> int | None:
        return bounds.refund(value, info.data.get("credits_charged"))

    @field_validator("output", mode="before")
    @classmethod
    def _tolerate_odd_output(cls, value: object) -> object:
        """An output of no known shape must not hide the task itself."""
        return value if isinstance(value, str | dict) else None  # pyright: ignore[reportUnknownVariableType]

    @property
    def video_url(self) -> str | None:
        return self.output.url if self.output else None

    @property
    def prompt(self) -> str:
        given: object = self.input.get("prompt") or self.input.get("content") or ""
        parts = cast("list[object]", given)[:MOST_PROMPTS] if isinstance(given, list) else [given]
        return " / ".join(str(part)[: bounds.LONGEST_TEXT] for part in parts)

    @property
    def seconds(self) -> int:
        """Return the length asked for; 0 where the input does not tell."""
        given = self.input.get("duration")
        if given is None and isinstance(self.input.get("prompt"), list):
            return 5 * len(self.input["prompt"][:MOST_PROMPTS])
        try:
            length = int(str(given))
        except ValueError:
            return 0
        return length if 0 < length <= bounds.LONGEST_VIDEO else 0


class TaskList(list[TaskSnapshot]):
    """The service's tasks; `whole` unless there are rows that nobody can read; without `left_out` of the oldest."""

    def __init__(self, rows: Iterable[TaskSnapshot], *, whole: bool, left_out: int = 0) -> None:
        super().__init__(rows)
        self.whole, self.left_out = whole, left_out


class TaskStatus(_Wire):
    """The bare answer of `GET /tasks/{id}/status`."""

    status: Status


class Account(_Wire):
    """The live API's account; its limits were seen both at the top and in a sub-object, so both are read."""

    balance: bounds.Balance = Field(alias="currentBalance")
    supported_models: tuple[str, ...] = Field(default=(), alias="supportedModels")
    daily_credit_limit: int | None = Field(default=None, alias="dailyCreditLimit")
    generation_requests_per_minute: int | None = Field(default=None, alias="generationRequestsPerMinute")

    @model_validator(mode="before")
    @classmethod
    def _flatten_limits(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        data: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        nested = {k: v for sub in data.values() if isinstance(sub, dict) for k, v in sub.items()}  # pyright: ignore[reportUnknownVariableType]
        return nested | data  # pyright: ignore[reportUnknownVariableType]


class Quote(_Wire):
    """The live API's price for a request."""

    credits: bounds.Credits
    usd_per_credit: bounds.Rate = Field(default=None, alias="usdPerCredit")
    balance: bounds.Balance = Field(default=None, alias="currentBalance")
    affordable: bool | None = None


class ErrorEnvelope(_Wire):
    """What the API says when it refuses. `status` is FAILED in it, which is why a poll must not read it as a task."""

    status: Literal["FAILED"]
    error_code: bounds.Text | None = Field(default=None, alias="errorCode")
    message: bounds.Text | None = None
    error: bounds.Text | None = None
