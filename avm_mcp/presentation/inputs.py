"""What each tool takes, checked and typed: what the handlers of the server and of the terminal work with.

`parameters` describes the same fields for schemas, help texts and checks; a test holds that the two agree. They are
dataclasses rather than pydantic models: `arguments` has checked every value before, in our own words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidInput:
    """What every tool that makes a video takes.

    Attributes:
        wait_seconds: Longest wait; None: as long as the host allows.
        max_credits: Highest price to pay without asking; None: the threshold of the settings.
        take: Which version.
    """

    wait_seconds: int | None
    max_credits: int | None
    take: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToVideo(PaidInput):
    """One video from text."""

    prompt: str
    duration: int
    aspect_ratio: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToVideo(PaidInput):
    """One video from a picture; `prompt` may be missing."""

    image: str
    prompt: str | None
    duration: int
    aspect_ratio: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LongVideo(PaidInput):
    """One video from a picture and a prompt for each five seconds."""

    image: str
    prompts: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTask:
    """A task to wait for."""

    task_id: str
    wait_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTasks:
    """A page of tasks; without a status, those of every status."""

    status: str | None
    limit: int
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask:
    """A task to cancel."""

    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteVideo:
    """A video to price; of a model whose length is its prompts, `segments` counts."""

    model: str
    duration: int
    segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAccount:
    """Nothing: there is one account."""


INPUTS: Mapping[str, type[Any]] = {
    "text_to_video": TextToVideo,
    "image_to_video": ImageToVideo,
    "long_video": LongVideo,
    "get_task": GetTask,
    "list_tasks": ListTasks,
    "cancel_task": CancelTask,
    "quote_video": QuoteVideo,
    "get_account": GetAccount,
}
"""The input of each tool."""

InputT = TypeVar("InputT", covariant=True)


@dataclass(frozen=True, slots=True)
class Arguments(Generic[InputT]):
    """The checked input of one call.

    Attributes:
        tool: Whose.
        input: Every parameter with its value.
        normalized: What was understood from another form.
    """

    tool: str
    input: InputT
    normalized: Mapping[str, Any]
