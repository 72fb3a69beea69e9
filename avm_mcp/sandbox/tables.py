"""What each model takes, how long it works and what comes out: data, transcribed from upstream.md.

Tags in the comments: documented (an official page), measured (recorded on the live service), claimed (a third
party's word) and guess (ours). JSON types matter as they do upstream: `"duration": 5` is not `"5"`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["string", "number", "integer", "boolean", "null", "array"]
Form = Literal["text", "picture", "link"]

STRING: tuple[Kind, ...] = ("string",)
STRING_OR_NULL: tuple[Kind, ...] = ("string", "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a request body.

    Args:
        name: The field's name.
        kinds: The JSON types that are taken.
        required: Whether it may be left out.
        literals: The only values allowed, when they are enumerated.
        low: The least number.
        high: The greatest number.
        form: What a string must look like: any text, a picture (a link or an image data URI), or a link.
        items: The least and the greatest number of items of an array of strings.
        default: What a missing field means.
    """

    name: str
    kinds: tuple[Kind, ...] = STRING
    required: bool = False
    literals: tuple[str | int, ...] = ()
    low: float | None = None
    high: float | None = None
    form: Form = "text"
    items: tuple[int, int] | None = None
    default: str | int | bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: its fields, how long it works (median seconds), and how much longer than asked its video is."""

    name: str
    fields: tuple[Field, ...]
    median_seconds: float
    extra_seconds: float = 0.17


def _prompt(name: str = "prompt", *, required: bool = True) -> Field:
    return Field(name=name, kinds=STRING if required else STRING_OR_NULL, required=required)


def _seconds(*literals: str) -> Field:
    return Field(name="duration", required=True, literals=literals)


_RATIO = Field(name="aspectRatio", required=True, literals=("16:9", "9:16", "1:1"))
_IMAGE = Field(name="image", required=True, form="picture")
_LINK_OR_NULL = Field(name="image", kinds=STRING_OR_NULL, form="link")
_RESOLUTION_P = Field(name="resolution", required=True, literals=("720P", "1080P"))

# Generation time, submit to COMPLETED: t2v 6.5 min, i2v_v3 13 min and seedance20 3.5 min are measured; the
# others are guesses inside the noted range of 2 to 7 min. The spread is a guess.
SIGMA = 0.25

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        # documented
        Model(name="t2v", fields=(_prompt(), _RATIO, _seconds("5", "8")), median_seconds=390),
        # documented: no ratio field
        Model(name="i2v", fields=(_IMAGE, _prompt(required=False), _seconds("5", "8")), median_seconds=390),
        # documented, the only required field is `content`
        Model(
            name="minimax",
            fields=(
                _prompt("content"),
                Field(name="duration", kinds=("integer",), low=5, high=20, default=5),
                Field(name="resolution", literals=("720p", "1080p"), default="720p"),
                Field(name="tier", literals=("turbo", "base"), default="turbo"),
                Field(
                    name="aspectRatio",
                    literals=("auto", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"),
                    default="16:9",
                ),
                Field(name="imageUrl", kinds=STRING_OR_NULL, form="picture"),
                Field(name="lastFrameUrl", kinds=STRING_OR_NULL, form="picture"),
                Field(name="referenceImageUrls", kinds=("array",), form="picture", items=(0, 4)),
                Field(name="referenceVideoUrl", kinds=STRING_OR_NULL, form="link"),
                Field(name="referenceAudioUrls", kinds=("array",), form="link", items=(0, 2)),
            ),
            median_seconds=390,
        ),
        # documented
        Model(name="t2v_v3", fields=(_prompt(), _RATIO, _seconds("5", "10", "15", "20")), median_seconds=300),
        Model(
            name="i2v_v3",
            fields=(_IMAGE, _prompt(required=False), _seconds("5", "10", "15", "20")),
            median_seconds=780,
        ),
        # claimed fields, measured runs
        Model(
            name="seedance20",
            fields=(
                _prompt(required=False),
                _LINK_OR_NULL,
                Field(name="video", kinds=STRING_OR_NULL, form="link"),
                Field(name="audio", kinds=STRING_OR_NULL, form="link"),
                Field(name="duration", kinds=("number",), required=True, low=4, high=15),
                Field(name="resolution", kinds=("number",), required=True, literals=(480, 720)),
                Field(name="ratio", required=True, literals=("16:9", "9:16", "1:1")),
            ),
            median_seconds=210,
            extra_seconds=0.10,
        ),
        # claimed fields, measured runs
        Model(
            name="wan27",
            fields=(
                _prompt(),
                _LINK_OR_NULL,
                _seconds("5", "10", "15"),
                _RESOLUTION_P,
                Field(name="ratio", required=True, literals=("16:9", "9:16", "1:1", "4:3", "3:4")),
                Field(name="promptExtend", kinds=("boolean",), default=False),
            ),
            median_seconds=270,
            extra_seconds=0.04,
        ),
        # claimed fields, measured runs; one source says there is no ratio
        Model(
            name="happyhorse",
            fields=(
                _prompt(),
                Field(name="image", kinds=("string", "array", "null"), form="link", items=(1, 9)),  # most: a guess
                Field(name="duration", kinds=("number",), required=True, low=3, high=15),
                _RESOLUTION_P,
                Field(
                    name="ratio",
                    kinds=STRING_OR_NULL,
                    literals=("16:9", "9:16", "3:4", "4:3", "1:1"),
                    default="16:9",
                ),
            ),
            median_seconds=270,
            extra_seconds=0.16,
        ),
        # documented in March 2026, absent in September: five seconds per prompt
        Model(
            name="lv",
            fields=(_IMAGE, Field(name="prompt", kinds=("array",), required=True, items=(1, 6))),
            median_seconds=600,
        ),
    )
}

SEED_MODELS = ("t2v", "i2v", "lv", "t2v_v3", "i2v_v3")
LIVE_MODELS = ("t2v", "i2v", "minimax", "t2v_v3", "i2v_v3", "seedance20", "wan27", "happyhorse")  # measured order

# What really comes out for 16:9, by model and resolution: measured, except the 1080 line and lv (guesses).
SIZES: Mapping[tuple[str, str], tuple[int, int]] = {
    ("t2v", ""): (1248, 704),
    ("i2v", ""): (1248, 704),
    ("lv", ""): (1248, 704),
    ("minimax", "720p"): (1248, 704),
    ("minimax", "1080p"): (1904, 1080),
    ("t2v_v3", ""): (1904, 1080),
    ("i2v_v3", ""): (1904, 1080),
    ("seedance20", "480"): (864, 496),
    ("seedance20", "720"): (1280, 720),
    ("wan27", "720P"): (1280, 720),
    ("wan27", "1080P"): (1920, 1080),
    ("happyhorse", "720P"): (1280, 720),
    ("happyhorse", "1080P"): (1920, 1080),
}

# Shapes asked for by name; a video keeps the area of its 16:9 size (guess).
SHAPES: Mapping[str, float] = {
    "21:9": 21 / 9,
    "16:9": 16 / 9,
    "4:3": 4 / 3,
    "1:1": 1.0,
    "3:4": 3 / 4,
    "9:16": 9 / 16,
}

KEPT_MESSAGE = "The file will only be saved for 24 hours, please download it promptly."  # measured


def models_of(profile: str, *, lv: bool) -> tuple[str, ...]:
    """The models a profile serves, in the order the account names them."""
    if profile == "seed":
        return SEED_MODELS
    return (*LIVE_MODELS, "lv") if lv else LIVE_MODELS


def size_of(model: str, values: Mapping[str, object]) -> tuple[int, int]:
    """Width and height of the video for these fields, at full size."""
    width, height = SIZES[(model, str(values.get("resolution") or ""))]
    asked = values.get("aspectRatio") or values.get("ratio") or "16:9"
    if asked in ("16:9", "auto"):
        return width, height
    if asked == "9:16":
        return height, width
    ratio = SHAPES[str(asked)]
    area = width * height
    return round((area * ratio) ** 0.5 / 8) * 8, round((area / ratio) ** 0.5 / 8) * 8


def seconds_of(model: str, values: Mapping[str, object]) -> float:
    """Seconds of video these fields ask for: five per segment for lv, else `duration`."""
    if model == "lv":
        prompts = values["prompt"]
        assert isinstance(prompts, list)
        return 5.0 * len(prompts)  # pyright: ignore[reportUnknownArgumentType]
    return float(str(values["duration"]))
