"""What the tools take: the parameters as data, how input is understood, and how it is refused before anything is sent.

One table serves the published schemas, the command line, and the checks. Every refusal names the field, what is
allowed, and the nearest valid call, because the reader is a model that will try again with exactly that.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from avm_mcp import catalog
from avm_mcp.errors import InvalidInput, quoted
from avm_mcp.models import API_STATUSES

ACTIVE = "ACTIVE"
KEEP_SHAPE = "picture"
MAX_WAIT = 3600
MAX_TAKE = 1000
MAX_LIMIT = 100
DEFAULT_LIMIT = 20
ENOUGH = 10**9
"""What a number without an upper bound is cut to: more means the same, and would not fit into the journal."""

LONGEST_WORD = 100
"""Characters of what may be one of a few words; a longer text is none, and is not looked at."""

_NOTHING = frozenset({"", "null", "none", "undefined", "nil"})
"""Words that models send where they mean to leave something out."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool.

    Attributes:
        name: As published.
        kind: JSON type.
        about: The sentence that models read.
        default: What holds when it is left out; None where there is nothing to say.
        required: Whether the call is refused without it.
        words: The values allowed, for strings.
        numbers: The values allowed, for integers that are not a range.
        low, high: Bounds of an integer, or of the number of items.
    """

    name: str
    kind: Literal["string", "integer", "array"]
    about: str
    default: Any = None
    required: bool = False
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    low: int | None = None
    high: int | None = None

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema: plain types, `nullable` for what may be left out, every default legal."""
        values: dict[str, Any] = {"type": self.kind, "description": self.about}
        if not self.required:
            values["nullable"] = True
        if self.default is not None:
            values["default"] = self.default
        if self.words or self.numbers:
            values["enum"] = [*(self.words or self.numbers)]
        if self.kind == "array":
            values |= {"items": {"type": "string"}, "minItems": self.low, "maxItems": self.high}
        elif self.kind == "integer" and not self.numbers:
            values |= {k: v for k, v in (("minimum", self.low), ("maximum", self.high)) if v is not None}
        return values


def _lengths(tool: str) -> str:
    """Return which model makes which lengths, for the description of `duration`."""
    told: list[str] = []
    for name in catalog.models_of(tool):
        told.append(f"{name}: {_either(catalog.MODELS[name].durations)}.")
    return "Seconds. " + " ".join(told)


def _either(values: Sequence[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last


def _model(tool: str) -> Parameter:
    names = catalog.models_of(tool)
    dearer = names[-1]
    return Parameter("model", "string", f"{dearer} is sharper, longer and dearer.", default=names[0], words=names)


def _duration(tool: str) -> Parameter:
    lengths = sorted({s for name in catalog.models_of(tool) for s in catalog.MODELS[name].durations})
    return Parameter("duration", "integer", _lengths(tool), default=5, numbers=tuple(lengths))


COMMON = (
    Parameter(
        "wait_seconds",
        "integer",
        "Longest wait in seconds. Leave out for this host's best.",
        low=0,
        high=MAX_WAIT,
    ),
    Parameter(
        "max_credits",
        "integer",
        "Refuse, unpaid, if it costs more credits. Leave out for no limit.",
        low=1,
    ),
    Parameter(
        "take",
        "integer",
        "Which take, not how many: 2 makes a second version.",
        default=1,
        low=1,
        high=MAX_TAKE,
    ),
)
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
            default="16:9",
            words=tuple(catalog.SHAPES),
        ),
        _model("text_to_video"),
        *COMMON,
    ),
    "image_to_video": (
        IMAGE,
        Parameter("prompt", "string", "How it should move."),
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
        Parameter(
            "wait_seconds",
            "integer",
            "Longest wait in seconds. Leave out: as long as this host allows.",
            low=0,
            high=MAX_WAIT,
        ),
    ),
    "list_tasks": (
        Parameter("status", "string", "Only these; ACTIVE is everything unfinished.", words=(*API_STATUSES, ACTIVE)),
        Parameter("limit", "integer", "How many.", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT),
        Parameter("cursor", "string", "next_cursor of the previous page."),
    ),
    "cancel_task": (TASK_ID,),
    "quote_video": (
        Parameter("model", "string", "lv is long_video.", required=True, words=tuple(catalog.MODELS)),
        Parameter(
            "duration",
            "integer",
            "Seconds; not for lv.",
            numbers=tuple(sorted({s for m in catalog.MODELS.values() if m.name != "lv" for s in m.durations})),
        ),
        Parameter("segments", "integer", "Number of prompts, for lv.", low=1, high=catalog.MAX_SEGMENTS),
    ),
    "get_account": (),
}
"""Every tool and what it takes, in the order that is published."""

# What people mean when they do not use the published word.
_SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "aspect_ratio": {
        "wide": "16:9", "widescreen": "16:9", "landscape": "16:9", "horizontal": "16:9", "youtube": "16:9",
        "vertical": "9:16", "portrait": "9:16", "tall": "9:16", "tiktok": "9:16", "reel": "9:16", "shorts": "9:16",
        "square": "1:1",
        "auto": KEEP_SHAPE, "original": KEEP_SHAPE, "source": KEEP_SHAPE, "same": KEEP_SHAPE, "image": KEEP_SHAPE,
    },
    "status": {
        "WAITING": "SUBMITTED", "QUEUED": "SUBMITTED", "PENDING": "SUBMITTED",
        "RUNNING": "PROGRESS", "PROCESSING": "PROGRESS", "IN_PROGRESS": "PROGRESS",
        "DONE": "COMPLETED", "COMPLETE": "COMPLETED", "SUCCEEDED": "COMPLETED", "READY": "COMPLETED",
        "ERROR": "FAILED", "CANCELLED": "CANCEL", "CANCELED": "CANCEL",
        "UNFINISHED": ACTIVE, "OPEN": ACTIVE,
    },
    "model": {"long_video": "lv", "text_to_video": "t2v", "image_to_video": "i2v"},
}  # fmt: skip

_WISHES: Mapping[str, tuple[str, str]] = {
    "n": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "count": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "num_videos": ("take", "one call makes one video; for another version repeat the call with take=2"),
    "seed": ("take", "no model takes a seed; take=2 makes another version"),
    "negative_prompt": ("take", "no model takes one; say in the prompt what to show instead"),
    "image_url": ("image", "the parameter is called image"),
    "image_path": ("image", "the parameter is called image"),
    "first_frame": ("image", "the parameter is called image"),
    "last_frame": ("take", "no model here takes a last frame"),
    "url": ("image", "the parameter is called image"),
    "text": ("prompt", "the parameter is called prompt"),
    "seconds": ("duration", "the parameter is called duration"),
    "length": ("duration", "the parameter is called duration"),
    "ratio": ("aspect_ratio", "the parameter is called aspect_ratio"),
    "resolution": ("model", "the model decides it: t2v and i2v make about 720p, t2v_v3 and i2v_v3 about 1080p"),
    "quality": ("model", "the model decides it: t2v_v3 and i2v_v3 are sharper"),
    "size": ("aspect_ratio", "say aspect_ratio instead; the model decides the resolution"),
    "fps": ("take", "no model takes a frame rate"),
    "audio": ("take", "the service adds its own sound; no model here takes one"),
    "wait": ("wait_seconds", "the parameter is called wait_seconds"),
    "timeout": ("wait_seconds", "the parameter is called wait_seconds"),
    "budget": ("max_credits", "the parameter is called max_credits"),
    "id": ("task_id", "the parameter is called task_id"),
    "webhook": ("take", "not needed: get_task waits for the end"),
    "video": ("take", "a finished video cannot be extended or edited; image_to_video starts from a picture"),
}
"""What to say to a known wish, and the parameter a tool must have for that to be an answer."""

_PICTURE_WISHES = ("image", "image_url", "image_path", "first_frame")
_WISHES_OF: Mapping[tuple[str, str], str] = {
    ("long_video", "duration"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("long_video", "prompt"): "the parameter is called prompts: one for each five seconds",
    ("long_video", "aspect_ratio"): "the video keeps the picture's shape",
    ("long_video", "model"): "there is one model for long videos",
    **{("text_to_video", name): "use image_to_video to start from a picture" for name in _PICTURE_WISHES},
    ("long_video", "text"): "the parameter is called prompts: one for each five seconds",
    ("long_video", "seconds"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("long_video", "length"): "its length is five seconds for each prompt; give more prompts for a longer video",
    ("text_to_video", "prompts"): "use long_video for several prompts, or put everything into prompt",
    ("image_to_video", "prompts"): "use long_video for several prompts, or put everything into prompt",
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """Checked input: every parameter has a value, and `normalized` says what was understood from another form."""

    tool: str
    values: Mapping[str, Any]
    normalized: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def input_schema(tool: str) -> dict[str, Any]:
    """Return the published input schema of a tool."""
    parameters = PARAMETERS[tool]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {p.name: p.schema() for p in parameters},
        "additionalProperties": False,
    }
    required = [p.name for p in parameters if p.required]
    return schema | ({"required": required} if required else {})


def read(tool: str, given: Mapping[str, Any]) -> Arguments:
    """Return what a call means.

    Raises:
        InvalidInput: For the first field that no model of the API could accept; nothing was sent.
    """
    parameters = {p.name: p for p in PARAMETERS[tool]}
    for name in given:
        if name not in parameters:
            raise _unknown(tool, str(name), list(parameters))
    values: dict[str, Any] = {}
    normalized: dict[str, Any] = {}
    for name, parameter in parameters.items():
        raw = given.get(name)
        value = _understood(tool, parameter, raw)
        values[name] = value
        if value is not None and not _same(raw, value):
            normalized[name] = value
    _agree(tool, values)
    return Arguments(tool, values, normalized)


def _same(raw: object, value: object) -> bool:
    """Return whether a value is what was sent; leaving something out is not worth a word."""
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in _NOTHING):
        return True
    return (raw.strip() if isinstance(raw, str) else raw) == value and isinstance(raw, bool) == isinstance(value, bool)


def _unknown(tool: str, name: str, known: list[str]) -> InvalidInput:
    needs, said = _WISHES.get(name, ("", ""))
    wish = _WISHES_OF.get((tool, name)) or (said if needs in known else None)
    near = difflib.get_close_matches(name, known, 1)
    if wish is not None:
        hint = f": {wish}"
    elif near:
        hint = f"; did you mean {near[0]}?"
    else:
        hint = ""
    takes = ", ".join(known) or "no parameters"
    end = "" if hint.endswith("?") else "."
    return InvalidInput(
        f"{tool} has no parameter {quoted(name, 40)}{hint}{end} It takes: {takes}.",
        field=name[:40] if _is_unicode(name) else "?",
        allowed=takes,
    )


def _understood(tool: str, parameter: Parameter, raw: object) -> Any:
    if raw is None or (isinstance(raw, str) and raw.strip().lower() in _NOTHING):
        if parameter.required:
            allowed = _either(parameter.words) if parameter.words else parameter.about
            end = "" if allowed.endswith(".") else "."
            raise InvalidInput(f"{tool} needs {parameter.name}: {allowed}{end}", field=parameter.name, allowed=allowed)
        return parameter.default
    if parameter.kind == "array":
        return _prompts(parameter, raw)
    if parameter.kind == "integer":
        return _whole(parameter, raw)
    return _word(parameter, raw) if parameter.words else _text(parameter, raw)


def _text(parameter: Parameter, raw: object) -> str:
    if not isinstance(raw, str):
        raise InvalidInput(f"{parameter.name} is not text.", field=parameter.name, allowed="one string")
    text = raw.strip()
    if not _is_unicode(text):
        raise InvalidInput(
            f"{parameter.name} is not text: it holds halves of characters (lone surrogates).",
            field=parameter.name,
            allowed="one string of Unicode characters",
        )
    if parameter.name.startswith("prompt") and len(text) > catalog.MAX_PROMPT_CHARS:
        raise InvalidInput(
            f"{parameter.name} has {len(text)} characters; at most {catalog.MAX_PROMPT_CHARS} are allowed.",
            field=parameter.name,
            allowed=f"at most {catalog.MAX_PROMPT_CHARS} characters",
        )
    return text


def _is_unicode(text: str) -> bool:
    """Return whether `text` can be sent at all; JSON and command lines may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _word(parameter: Parameter, raw: object) -> str:
    name = parameter.name
    if isinstance(raw, str) and len(raw) <= LONGEST_WORD:
        text = raw.strip()
        synonyms = _SYNONYMS.get(name, {})
        ratio = re.sub(r"\s*[x/]\s*", ":", text) if name == "aspect_ratio" else text.replace("-", "_").replace(" ", "_")
        for spelling in (text, text.lower(), text.upper(), ratio, ratio.lower()):
            word = synonyms.get(spelling, spelling)
            if word in parameter.words:
                return word
        if name == "model" and text.lower() in catalog.MODELS:
            tool = catalog.MODELS[text.lower()].tool
            raise InvalidInput(
                f"model {text} is for {tool}.",
                field=name,
                allowed=_either(parameter.words),
                next_step=f"{{do}} {{tool:{tool}}}; nothing was started.",
            )
    raise InvalidInput(
        f"{name} {quoted(raw, 60)} is not known; allowed: {_either(parameter.words)}.",
        field=name,
        allowed=_either(parameter.words),
    )


def _whole(parameter: Parameter, raw: object) -> int:
    name = parameter.name
    number: int | None = None
    if isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    elif isinstance(raw, float) and raw.is_integer():
        number = int(raw)
    elif isinstance(raw, str):
        unit = r"(?:s|sec|secs|second|seconds|credits?)?"
        match = re.fullmatch(rf"([+-]?\d{{1,9}})(?:\.0+)?\s*{unit}", raw.strip().lower())
        number = int(match[1]) if match else None
    allowed = _either(parameter.numbers) if parameter.numbers else _range(parameter)
    if number is None:
        raise InvalidInput(
            f"{name} {quoted(raw, 60)} is not a whole number; allowed: {allowed}.", field=name, allowed=allowed
        )
    low, high = parameter.low, parameter.high
    if not parameter.numbers and ((low is not None and number < low) or (high is not None and number > high)):
        shown = number if abs(number) <= ENOUGH else "far out of range"
        raise InvalidInput(f"{name} is {shown}; allowed: {allowed}.", field=name, allowed=allowed)
    return number if parameter.numbers or high is not None else min(number, ENOUGH)


def _range(parameter: Parameter) -> str:
    numbers = f"{parameter.low} to {parameter.high}" if parameter.high is not None else f"{parameter.low} or more"
    return numbers if parameter.required else f"{numbers}, or leave it out"


def _prompts(parameter: Parameter, raw: object) -> list[str]:
    name = parameter.name
    items: object = raw
    if isinstance(raw, str):
        items = [raw]
        if raw.strip().startswith("["):
            try:
                items = json.loads(raw)
            except (ValueError, RecursionError):
                items = [raw]
    if not isinstance(items, list | tuple):
        raise InvalidInput(f"{name} is not a list.", field=name, allowed="a list of 1 to 6 strings")
    prompts = [_text(parameter, item) for item in cast("list[object]", items)]
    if not prompts or len(prompts) > catalog.MAX_SEGMENTS:
        raise InvalidInput(
            f"{name} has {len(prompts)} items; 1 to {catalog.MAX_SEGMENTS} are allowed, five seconds each.",
            field=name,
            allowed=f"1 to {catalog.MAX_SEGMENTS} strings",
            next_step="join prompts until six are left, or make two videos." if prompts else None,
        )
    if not all(prompts):
        raise InvalidInput(f"{name} has an empty item.", field=name, allowed="text for each five seconds")
    return prompts


def _agree(tool: str, values: dict[str, Any]) -> None:
    """Check what depends on more than one field."""
    if tool == "quote_video":
        _agree_on_quote(values)
    elif "duration" in values and "model" in values:
        _agree_on_length(tool, values["model"], values["duration"])


def _agree_on_length(tool: str, model: str, seconds: int) -> None:
    durations = catalog.MODELS[model].durations
    if seconds in durations:
        return
    hint = ""
    able = catalog.alternatives(tool, seconds)
    if able:
        price = catalog.estimate(able[0], seconds)
        hint = f" For {seconds} s: model={able[0]}, up to {price} credits."
    nearest = min(durations, key=lambda d: (abs(d - seconds), d))
    hint += f" Nearest for {model}: duration={nearest}."
    allowed = f"{model}: {_either(durations)} s"
    raise InvalidInput(
        f"duration {seconds} is not made by {model}. {allowed}.{hint}", field="duration", allowed=allowed
    )


def _agree_on_quote(values: dict[str, Any]) -> None:
    if values["model"] == "lv":
        if values["duration"] is not None:
            raise InvalidInput(
                "duration is not for lv: its length is five seconds for each prompt.",
                field="duration",
                allowed="segments=1 to 6",
            )
        values["segments"] = values["segments"] or 1
    else:
        if values["segments"] is not None:
            raise InvalidInput("segments is only for lv.", field="segments", allowed="duration for other models")
        values["duration"] = 5 if values["duration"] is None else values["duration"]
        _agree_on_length(catalog.MODELS[values["model"]].tool, values["model"], values["duration"])
