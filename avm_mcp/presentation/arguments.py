"""How input is understood, and how it is refused before anything is sent.

Every refusal names the field, what is allowed, and the nearest valid call, because the reader is a model that will try
again with exactly that.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, cast

from avm_mcp.domain import catalog
from avm_mcp.domain.catalog import either
from avm_mcp.domain.errors import InvalidInput, quoted
from avm_mcp.domain.next_steps import Action
from avm_mcp.presentation.inputs import INPUTS, Arguments
from avm_mcp.presentation.parameters import ACTIVE, ALL, KEEP_SHAPE, PARAMETERS, SEGMENTED, Parameter
from avm_mcp.presentation.wishes import HOST_ARGUMENTS, unknown

logger = logging.getLogger(__name__)

ENOUGH = 10**9
"""What a number without an upper bound is cut to: more means the same, and would not fit into the state."""

LONGEST_WORD = 100
"""Characters. A longer text is none of the allowed words, and is not searched for them."""

LONGEST_LIST = 12 * catalog.MAX_SEGMENTS * catalog.MAX_PROMPT_CHARS
"""Characters of a list that is written as text; a character takes at most twelve in it."""

_NOTHING = frozenset({"", "null", "none", "undefined", "nil"})
"""Words that models send where they mean to leave something out."""


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
        "UNFINISHED": ACTIVE, "OPEN": ACTIVE, "ANY": ALL,
    },
    "model": {tool: catalog.models_of(tool)[0] for tool in catalog.TOOLS},
}  # fmt: skip
"""What people mean when they do not use the published word, by parameter."""


def read(tool: str, given: Mapping[str, Any]) -> Arguments[Any]:
    """Return what a call means.

    Raises:
        InvalidInput: For the first field that no model of the API could accept; nothing was sent.
    """
    parameters = {p.name: p for p in PARAMETERS[tool]}
    others = [str(name) for name in given if name not in parameters]
    for name in others:
        if parameters and name not in HOST_ARGUMENTS:
            raise unknown(tool, name, list(parameters))
    if others:
        logger.info("%s: ignored what the host added: %s", tool, ", ".join(quoted(name, 40) for name in others[:20]))
    values: dict[str, Any] = {}
    normalized: dict[str, Any] = {}
    for name, parameter in parameters.items():
        raw = given.get(name)
        value = _understand(tool, parameter, raw)
        if parameter.neutral and value == parameter.default:
            value = None
        values[name] = value
        if value is not None and not _same(raw, value):
            normalized[name] = value
    _agree(tool, values)
    return Arguments(tool, INPUTS[tool](**values), normalized)


def _is_left_out(raw: object) -> bool:
    """Return whether something is meant to be left out."""
    return raw is None or (isinstance(raw, str) and raw.strip()[:LONGEST_WORD].lower() in _NOTHING)


def _same(raw: object, value: object) -> bool:
    """Return whether a value is what was sent; leaving something out is not worth a word."""
    if _is_left_out(raw):
        return True
    return (raw.strip() if isinstance(raw, str) else raw) == value and isinstance(raw, bool) == isinstance(value, bool)


def _understand(tool: str, parameter: Parameter, raw: object) -> Any:
    if _is_left_out(raw):
        if parameter.required:
            allowed = either(parameter.words) if parameter.words else parameter.about
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
        for form in (text, text.lower(), text.upper(), ratio, ratio.lower()):
            word = synonyms.get(form, form)
            if word in parameter.words:
                return word
        if name == "model" and text.lower() in catalog.MODELS:
            tool = catalog.tool_of(text.lower())
            raise InvalidInput(
                f"model {text} is for {tool}.",
                field=name,
                allowed=either(parameter.words),
                next_step=Action.USE_TOOL(tool=tool),
            )
    raise InvalidInput(
        f"{name} {quoted(raw, 60)} is not known; allowed: {either(parameter.words)}.",
        field=name,
        allowed=either(parameter.words),
    )


def _whole(parameter: Parameter, raw: object) -> int:
    name = parameter.name
    number: int | None = None
    if isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    elif isinstance(raw, float) and raw.is_integer():
        number = int(raw)
    elif isinstance(raw, str) and len(raw) <= LONGEST_WORD:
        unit = r"(?:s|sec|secs|second|seconds|credits?)?"
        match = re.fullmatch(rf"([+-]?\d{{1,9}})(?:\.0+)?\s*{unit}", raw.strip().lower())
        number = int(match[1]) if match else None
    allowed = either(parameter.numbers) if parameter.numbers else _range(parameter)
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
        if raw.lstrip()[:1] == "[" and len(raw) <= LONGEST_LIST:
            try:
                items = json.loads(raw)
            except (ValueError, RecursionError):
                items = [raw]
    if not isinstance(items, list | tuple):
        raise InvalidInput(f"{name} is not a list.", field=name, allowed="a list of 1 to 6 strings")
    if not items or len(cast("list[object]", items)) > catalog.MAX_SEGMENTS:
        raise InvalidInput(
            f"{name} has {len(cast('list[object]', items))} items; 1 to {catalog.MAX_SEGMENTS} are allowed,"
            " five seconds each.",
            field=name,
            allowed=f"1 to {catalog.MAX_SEGMENTS} strings",
            next_step=Action.JOIN_PROMPTS() if items else None,
        )
    prompts = [_text(parameter, item) for item in cast("list[object]", items)]
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
        price = catalog.estimate(catalog.sample(able[0], seconds))
        hint = f" For {seconds} s: model={able[0]}, up to {price} credits."
    nearest = min(durations, key=lambda d: (abs(d - seconds), d))
    hint += f" Nearest for {model}: duration={nearest}."
    allowed = f"{model}: {either(durations)} s"
    raise InvalidInput(
        f"duration {seconds} is not made by {model}. {allowed}.{hint}", field="duration", allowed=allowed
    )


def _agree_on_quote(values: dict[str, Any]) -> None:
    """Check the length in the words of its model; the other model's parameter may stand there with its default."""
    model = values["model"]
    if catalog.MODELS[model].segmented:
        meant = (_default("quote_video", "duration"), catalog.SEGMENT_SECONDS * values["segments"])
        if values["duration"] not in meant:
            raise InvalidInput(
                f"duration is not for {model}: its length is five seconds for each prompt.",
                field="duration",
                allowed="segments=1 to 6",
            )
    else:
        if values["segments"] != _default("quote_video", "segments"):
            raise InvalidInput(
                f"segments is only for {SEGMENTED}.", field="segments", allowed="duration for other models"
            )
        _agree_on_length(catalog.tool_of(model), model, values["duration"])


def _default(tool: str, name: str) -> Any:
    return next(p.default for p in PARAMETERS[tool] if p.name == name)
