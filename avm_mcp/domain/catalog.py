"""The models as data: what each takes, what it has cost, how long it usually takes. Adding a model is adding an entry.

Sources: the API's own reference of March 2026 (fields, prices of that time), and the published contract and
measurements of September 2026 (prices of that time, generation times). Prices have changed before without notice, so
a formula is never the truth: the API's quote is. Where there is no quote, the highest known formula counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from avm_mcp.domain.errors import InvalidInput, quoted
from avm_mcp.domain.request import ImageInput, Parameter, Value, VideoRequest

SHAPES: Mapping[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
"""The aspect ratios that a user can ask for, and their width over height."""

SEGMENT_SECONDS = 5
MAX_SEGMENTS = 6
MAX_PROMPT_CHARS = 10_000
"""Our own bound: the API documents none, and nobody means to send a book."""

Mode = Literal["text", "image", "segments"]
"""What a video is made from: one prompt, a picture, or one prompt for each segment."""

MODES: Mapping[str, Mode] = {"text_to_video": "text", "image_to_video": "image", "long_video": "segments"}
"""The tools that make videos, and the mode of each."""

TOOLS: tuple[str, ...] = tuple(MODES)

Wire = Literal["string", "number", "upper", "list"]
"""The JSON type of a field: "5", "720p"; 5, 720; "720P"; an array of strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the body that a model takes.

    Attributes:
        parameter: The parameter of a request that it carries.
        name: Its name in the body.
        wire: Its JSON type.
        allowed: The values that the API takes, as a request holds them; empty where it takes any.
        most: The highest number of items of a list.
        default: What is sent where the request has no value.
        required: The modes in which the API refuses a body without it.
    """

    parameter: Parameter
    name: str
    wire: Wire = "string"
    allowed: Sequence[str] | Sequence[int] = ()
    most: int = 1
    default: str | int | None = None
    required: tuple[Mode, ...] = ()


@dataclass(frozen=True, slots=True)
class Formula:
    """A price that was known once.

    Attributes:
        since: Year and month of the source.
        source: Who says so.
        credits: What a request costs by it.
    """

    since: str
    source: str
    credits: Callable[[VideoRequest], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the API.

    Attributes:
        name: The word in `/generate/{model}`.
        modes: What it makes videos from.
        fields: What its body holds, in the order in which it is sent.
        exclusions: Pairs of groups of parameters; a request has parameters of at most one group of a pair.
        prices: Every price known so far, oldest first.
        resolution: About what comes out where a request cannot ask for one; None where nobody has measured it.
        typical_seconds: Median time to make a video.
        spread: Standard deviation of the logarithm of that time. Both are the prior until videos of ours were seen.
    """

    name: str
    modes: tuple[Mode, ...]
    fields: tuple[Field, ...]
    exclusions: tuple[tuple[frozenset[Parameter], frozenset[Parameter]], ...] = ()
    prices: tuple[Formula, ...]
    resolution: str | None = None
    typical_seconds: float
    spread: float = 0.35

    def field(self, parameter: Parameter) -> Field | None:
        """Return the field that carries a parameter; None where the model has none."""
        return next((field for field in self.fields if field.parameter == parameter), None)

    @property
    def segmented(self) -> bool:
        """Return whether its length is the number of its prompts."""
        return "segments" in self.modes

    @property
    def durations(self) -> tuple[int, ...]:
        """Return the lengths that it makes, in seconds."""
        if (prompts := self.field("prompts")) is not None:
            return tuple(SEGMENT_SECONDS * count for count in range(1, prompts.most + 1))
        duration = self.field("duration")
        return () if duration is None else tuple(int(seconds) for seconds in duration.allowed)


def _per_second(amount: int) -> Callable[[VideoRequest], int]:
    return lambda request: amount * request.seconds


def _in_march(amount: int) -> Formula:
    return Formula("2026-03", "the API's reference", _per_second(amount))


def _in_september(amount: int) -> Formula:
    return Formula("2026-09", "a third party's contract, and a charge that was measured at 5 s", _per_second(amount))


_PROMPT = Field(parameter="prompt", name="prompt", required=("text",))
_RATIO = Field(parameter="aspect_ratio", name="aspectRatio", allowed=tuple(SHAPES), default="16:9", required=("text",))
_IMAGE = Field(parameter="image", name="image", required=("image", "segments"))
_PROMPTS = Field(parameter="prompts", name="prompt", wire="list", most=MAX_SEGMENTS, required=("segments",))


def _duration(*seconds: int) -> Field:
    return Field(parameter="duration", name="duration", allowed=seconds, default=5, required=("text", "image"))


# Generation times: t2v 190 to 390 s were measured; i2v_v3 once took 13 minutes; the site says 2 to 6 minutes.
MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="t2v",
            modes=("text",),
            fields=(_PROMPT, _RATIO, _duration(5, 8)),
            prices=(_in_march(1), _in_september(3)),
            resolution="720p",
            typical_seconds=330,
        ),
        Model(
            name="t2v_v3",
            modes=("text",),
            fields=(_PROMPT, _RATIO, _duration(5, 10, 15, 20)),
            prices=(_in_march(10), _in_september(4)),
            resolution="1080p",
            typical_seconds=400,
        ),
        Model(
            name="i2v",
            modes=("image",),
            fields=(_IMAGE, _PROMPT, _duration(5, 8)),
            prices=(_in_march(1), _in_september(3)),
            resolution="720p",
            typical_seconds=330,
        ),
        Model(
            name="i2v_v3",
            modes=("image",),
            fields=(_IMAGE, _PROMPT, _duration(5, 10, 15, 20)),
            prices=(_in_march(10), _in_september(4)),
            resolution="1080p",
            typical_seconds=600,
        ),
        Model(
            name="lv",
            modes=("segments",),
            fields=(_IMAGE, _PROMPTS),
            prices=(_in_march(15),),
            typical_seconds=600,
        ),
    )
}


def models_of(tool: str) -> tuple[str, ...]:
    """Return the names of the models that `tool` offers, the default first; none for a tool that makes no video."""
    return tuple(model.name for model in MODELS.values() if MODES.get(tool) in model.modes)


def tool_of(name: str, *, picture: bool = False) -> str:
    """Return the tool by which a model makes a video; `picture` says whether the video starts from one."""
    modes = MODELS[name].modes
    mode = next((mode for mode in modes if (mode == "image") == picture), modes[0])
    return next(tool for tool in TOOLS if MODES[tool] == mode)


def values_of(tool: str, parameter: Parameter) -> tuple[str | int, ...]:
    """Return the values of a parameter that some model of `tool` takes, in the order of the entries."""
    fields = [MODELS[name].field(parameter) for name in models_of(tool)]
    return tuple(dict.fromkeys(value for field in fields if field is not None for value in field.allowed))


def default_of(tool: str, parameter: Parameter) -> str | int | None:
    """Return the default of a parameter, which is that of the tool's default model."""
    field = MODELS[models_of(tool)[0]].field(parameter)
    return None if field is None else field.default


def length(name: str, duration: int, segments: int) -> int:
    """Return the seconds of a video: of a model whose length is the number of its segments, or else as asked."""
    return SEGMENT_SECONDS * segments if MODELS[name].segmented else duration


OPTIONAL: tuple[Parameter, ...] = ("aspect_ratio", "resolution", "quality", "image")
"""The parameters that some models do not take."""


def check(request: VideoRequest) -> None:
    """Check a request against its model's entry.

    Raises:
        InvalidInput: The model does not take a parameter or its value, needs another one, or two exclude each other.
    """
    model = MODELS[request.model]
    mode = MODES[tool_of(request.model, picture=request.image is not None)]
    if request.seconds not in model.durations:
        raise _not_taken(model, "duration", request.seconds, model.durations)
    for parameter in OPTIONAL:
        if request.value(parameter) is not None and model.field(parameter) is None:
            raise InvalidInput(f"{model.name} takes no {parameter}.", field=parameter)
    for field in model.fields:
        value = request.value(field.parameter)
        if value is None:
            if field.default is None and mode in field.required:
                raise InvalidInput(f"{model.name} needs {field.parameter}.", field=field.parameter)
        elif field.allowed and value not in field.allowed:
            raise _not_taken(model, field.parameter, value, field.allowed)
    for one, other in model.exclusions:
        both = [next((p for p in sorted(group) if request.value(p) is not None), None) for group in (one, other)]
        if None not in both:
            raise InvalidInput(f"{model.name} takes either {both[0]} or {both[1]}, not both.", field=both[1])


def either(values: Sequence[object]) -> str:
    """Return what may be chosen from, in words; more than three whole numbers in a row as a range."""
    *first, last = values
    if len(first) > 2 and isinstance(last, int) and list(values) == list(range(last - len(first), last + 1)):
        return f"{values[0]} to {last}"
    return f"{', '.join(map(str, first))} or {last}" if first else str(last)


def _not_taken(model: Model, parameter: Parameter, value: Value, allowed: Sequence[object]) -> InvalidInput:
    words, shown = either(allowed), value if isinstance(value, int) else quoted(value, 60)
    return InvalidInput(
        f"{parameter} {shown} is not made by {model.name}; allowed: {words}.",
        field=parameter,
        allowed=f"{model.name}: {words}",
    )


SAMPLE_IMAGE = ImageInput("https://aivideomaker.ai/picture.png", "", "")
"""Stands for a picture in a quote: the API does not read it."""


def sample(name: str, seconds: int) -> VideoRequest:
    """Return a request of this length with the model's defaults, for a price before there is a prompt or a picture."""
    model = MODELS[name]
    ratio, image = model.field("aspect_ratio"), model.field("image")
    return VideoRequest(
        name,
        seconds,
        ("A video",) * (seconds // SEGMENT_SECONDS if model.segmented else 1),
        str(ratio.default) if ratio is not None and ratio.default is not None else None,
        SAMPLE_IMAGE if image is not None and model.modes[0] in image.required else None,
    )


def estimate(request: VideoRequest) -> int:
    """Return the highest price in credits that any known formula gives; a later one may be higher still."""
    return max(formula.credits(request) for formula in MODELS[request.model].prices)


def alternatives(tool: str, seconds: int) -> list[str]:
    """Return, cheapest first, the models of `tool` that make videos of this length."""
    able = [name for name in models_of(tool) if seconds in MODELS[name].durations]
    return sorted(able, key=lambda name: estimate(sample(name, seconds)))
