"""The parameters of the tools as data: the published schemas, the command line and the checks come from this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from avm_mcp.domain import catalog
from avm_mcp.domain.catalog import either
from avm_mcp.domain.job import API_STATUSES

ACTIVE = "ACTIVE"
KEEP_SHAPE = "picture"
ALL = "ALL"
ANY_WAIT = -1
"""As `wait_seconds`: as long as the host allows."""

MAX_WAIT = 3600
MAX_TAKE = 1000
MAX_LIMIT = 100
DEFAULT_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool.

    Attributes:
        name: As published.
        kind: JSON type.
        about: The sentence that models read.
        default: What holds when it is left out, published and legal when it is sent. None where it is required, or
            where a setting holds it.
        neutral: Whether the default stands for leaving it out: it is read as None.
        setting: The setting that holds the default; then `read` gives None where it is left out.
        required: Whether the call is refused without it.
        words: The values allowed, for strings.
        numbers: The values allowed, for integers that are not a range. The schema names their bounds.
        low, high: Bounds of an integer, or of the number of items.
    """

    name: str
    kind: Literal["string", "integer", "array"]
    about: str
    default: Any = None
    neutral: bool = False
    setting: str | None = None
    required: bool = False
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    low: int | None = None
    high: int | None = None

    @property
    def shown_default(self) -> str:
        """The default, for help texts; empty where there is none or where it would tell a person nothing."""
        return "" if self.default in (None, "", ANY_WAIT) else str(self.default)

    def schema(self, settings: Mapping[str, int]) -> dict[str, Any]:
        """Return the JSON schema, in the narrowest dialect that converters take: see `input_schema`.

        Args:
            settings: The values of the settings that hold a default, by name.
        """
        values: dict[str, Any] = {"type": self.kind, "description": self.about}
        if not self.required:
            values["default"] = self.default if self.setting is None else settings[self.setting]
        if self.words:
            values["enum"] = [*self.words]
        if self.kind == "array":
            values |= {"items": {"type": "string"}, "minItems": self.low, "maxItems": self.high}
        elif self.kind == "integer":
            low, high = (min(self.numbers), max(self.numbers)) if self.numbers else (self.low, self.high)
            values |= {k: v for k, v in (("minimum", low), ("maximum", high)) if v is not None}
        return values


def _lengths(tool: str) -> str:
    """Return which model makes which lengths, for the description of `duration`."""
    lengths = [f"{name}: {either(catalog.MODELS[name].durations)}." for name in catalog.models_of(tool)]
    return f"Seconds. {' '.join(lengths)}"


def _model(tool: str) -> Parameter:
    names = catalog.models_of(tool)
    dearer = names[-1]
    return Parameter("model", "string", f"{dearer} is sharper, longer and dearer.", default=names[0], words=names)


def _duration(tool: str) -> Parameter:
    lengths = sorted({s for name in catalog.models_of(tool) for s in catalog.MODELS[name].durations})
    return Parameter(
        "duration", "integer", _lengths(tool), default=catalog.default_of(tool, "duration"), numbers=tuple(lengths)
    )


def _wait(about: str) -> Parameter:
    return Parameter("wait_seconds", "integer", about, default=ANY_WAIT, neutral=True, low=ANY_WAIT, high=MAX_WAIT)


COMMON = (
    _wait("Longest wait in seconds; -1: as long as this host allows."),
    Parameter(
        "max_credits",
        "integer",
        "Highest price to pay without asking. Above it, ask the user, then give the price they agreed to.",
        setting="AVM_APPROVE_ABOVE",
        low=0,
    ),
    Parameter(
        "take",
        "integer",
        "Which version, not how many: 2 makes a second one.",
        default=1,
        low=1,
        high=MAX_TAKE,
    ),
)
SEGMENTED = ", ".join(name for name, model in catalog.MODELS.items() if model.segmented)
IMAGE = Parameter("image", "string", "File path or public https link. Never write base64 yourself.", required=True)
TASK_ID = Parameter("task_id", "string", "As returned by a paid call or list_tasks.", required=True)

PARAMETERS: Mapping[str, tuple[Parameter, ...]] = {
    "text_to_video": (
        Parameter("prompt", "string", "What to show: subject, action, setting, camera, style.", required=True),
        _duration("text_to_video"),
        Parameter(
            "aspect_ratio",
            "string",
            "16:9 wide, 9:16 vertical, 1:1 square.",
            default=catalog.default_of("text_to_video", "aspect_ratio"),
            words=tuple(map(str, catalog.values_of("text_to_video", "aspect_ratio"))),
        ),
        _model("text_to_video"),
        *COMMON,
    ),
    "image_to_video": (
        IMAGE,
        Parameter("prompt", "string", "How it should move.", default="", neutral=True),
        _duration("image_to_video"),
        Parameter(
            "aspect_ratio",
            "string",
            "Shape the user asked for; refused, unpaid, if the picture differs.",
            default=KEEP_SHAPE,
            words=(KEEP_SHAPE, *catalog.SHAPES),
        ),
        _model("image_to_video"),
        *COMMON,
    ),
    "long_video": (
        IMAGE,
        Parameter(
            "prompts",
            "array",
            "One per 5 seconds, in order; six make 30 seconds.",
            required=True,
            low=1,
            high=catalog.MAX_SEGMENTS,
        ),
        *COMMON,
    ),
    "get_task": (
        TASK_ID,
        _wait("Longest wait in seconds; -1: as long as this host allows."),
    ),
    "list_tasks": (
        Parameter(
            "status",
            "string",
            "Only these; ACTIVE is everything unfinished.",
            default=ALL,
            neutral=True,
            words=(ALL, *API_STATUSES, ACTIVE),
        ),
        Parameter("limit", "integer", "How many.", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT),
        Parameter("cursor", "string", "next_cursor of the previous page.", default="", neutral=True),
    ),
    "cancel_task": (TASK_ID,),
    "quote_video": (
        Parameter("model", "string", f"{SEGMENTED} is long_video.", required=True, words=tuple(catalog.MODELS)),
        Parameter(
            "duration",
            "integer",
            f"Seconds; not for {SEGMENTED}.",
            default=catalog.default_of("text_to_video", "duration"),
            numbers=tuple(sorted({s for m in catalog.MODELS.values() if not m.segmented for s in m.durations})),
        ),
        Parameter(
            "segments", "integer", f"Number of prompts, for {SEGMENTED}.", default=1, low=1, high=catalog.MAX_SEGMENTS
        ),
    ),
    "get_account": (),
}
"""Every tool and what it takes, in the order that is published."""


def input_schema(tool: str, settings: Mapping[str, int]) -> dict[str, Any]:
    """Return the published input schema of a tool, in the narrowest dialect that every known converter takes.

    Plain `type`, enums of strings only, every optional parameter with a default that is legal when it is sent; no
    `additionalProperties` (google-genai ends on it), no `nullable` (no JSON Schema; AJV's strict mode refuses it beside
    an enum), no `anyOf`, no `title`. What it does not say, such as that other parameters are refused, `read` checks.

    Args:
        tool: Its name.
        settings: The values of the settings that hold a default, by name.
    """
    parameters = PARAMETERS[tool]
    schema: dict[str, Any] = {"type": "object", "properties": {p.name: p.schema(settings) for p in parameters}}
    required = [p.name for p in parameters if p.required]
    return schema | ({"required": required} if required else {})
