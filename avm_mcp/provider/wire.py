"""Answers of the API as pydantic models. Unknown fields are ignored; known ones are read in every documented form."""

from collections.abc import Iterable
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

from avm_mcp.domain import bounds
from avm_mcp.domain.job import NOT_CREATED, SUBMITTED, SUBMITTING, UNKNOWN


def _read_status(text: str) -> str:
    """Return a status as one word. Upstream statuses that collide with ours are lowercased."""
    word = bounds.clean_word(text)
    return word.lower() if word in (SUBMITTING, UNKNOWN, NOT_CREATED) else word


Status = Annotated[str, AfterValidator(_read_status)]


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
    def _default_odd_fields(cls, value: object, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        """An optional field that is not of a documented kind counts as left out, so that the id is not lost."""
        try:
            return read(value)
        except ValidationError:
            field = cls.model_fields[str(info.field_name)]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True)


class Accepted(_Wire):
    """The answer to `generate`: the task exists. Only the newer generation of the API has the charge."""

    task_id: bounds.TaskId = Field(alias="taskId")
    status: Status = SUBMITTED
    credits_charged: bounds.Credits | None = Field(default=None, alias="creditsCharged")
    replayed: bool = Field(default=False, alias="idempotentReplay")


class Output(_Wire):
    """The `output` of a task, in any shape that was seen or documented."""

    url: bounds.Link | None = Field(default=None, validation_alias=AliasChoices("url", "videoUrl", "video_url"))
    error: bounds.Text | None = None
    msg: bounds.Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_bare_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


MOST_PROMPTS = 100
"""The most prompts of one task that are read; the API takes six."""


class TaskSnapshot(_Wire):
    """One task, in the list or alone."""

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
    def read_answer(cls, data: object, at: float) -> Self | None:
        """Return the task in an answer that came at `at`, by the service's clock; None where it holds none."""
        found = cls.read(data)
        if found is not None:
            found._read_at = at  # noqa: SLF001 - of this class
        return found

    @property
    def read_at(self) -> float | None:
        """Return when the answer came, by the service's clock; None where that is not known."""
        return self._read_at

    @field_validator("credits_refunded", mode="after")
    @classmethod
    def _limit_refund(cls, value: int | None, info: ValidationInfo) -> int | None:
        return bounds.limit_refund(value, info.data.get("credits_charged"))

    @field_validator("output", mode="before")
    @classmethod
    def _tolerate_odd_output(cls, value: object) -> object:
        """An output of no known shape counts as none, so that the task itself is read."""
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
        """Return the length asked for; 0 where the input has none."""
        given = self.input.get("duration")
        if given is None and isinstance(self.input.get("prompt"), list):
            return 5 * len(self.input["prompt"][:MOST_PROMPTS])
        try:
            length = int(str(given))
        except ValueError:
            return 0
        return length if 0 < length <= bounds.LONGEST_VIDEO else 0


class TaskList(list[TaskSnapshot]):
    """The service's tasks.

    Attributes:
        whole: Whether every row could be read.
        left_out: How many of the oldest rows were not read.
    """

    def __init__(self, rows: Iterable[TaskSnapshot], *, whole: bool, left_out: int = 0) -> None:
        super().__init__(rows)
        self.whole, self.left_out = whole, left_out


class TaskStatus(_Wire):
    """The bare answer of `GET /tasks/{id}/status`."""

    status: Status


class Account(_Wire):
    """The account. Where its limits stand is not documented, so the top and sub-objects are read."""

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
    """The API's price for a request."""

    credits: bounds.Credits
    usd_per_credit: bounds.Rate = Field(default=None, alias="usdPerCredit")
    balance: bounds.Balance = Field(default=None, alias="currentBalance")
    affordable: bool | None = None


class ErrorEnvelope(_Wire):
    """A refusal. Its `status` is FAILED, as of a task that failed, so a poll must tell the two apart."""

    status: Literal["FAILED"]
    error_code: bounds.Text | None = Field(default=None, alias="errorCode")
    message: bounds.Text | None = None
    error: bounds.Text | None = None
