"""The models as data: what each takes, what it has cost, how long it usually takes.

Sources: the API's own reference of March 2026 (fields, prices of that time) and the published contract and
measurements of September 2026 (prices of that time, generation times). Prices have changed before without
notice, so a formula is never the truth: the API's quote is; where there is none, the highest known counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SHAPES: Mapping[str, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
"""The aspect ratios that text models take, and their width over height."""

SEGMENT_SECONDS = 5
MAX_SEGMENTS = 6
MAX_PROMPT_CHARS = 10_000
"""Our own bound: the API documents none, and nobody means to send a book."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the API.

    Attributes:
        name: The word in `/generate/{model}`.
        tool: The tool that offers it.
        durations: Lengths in seconds that it makes.
        takes_image: Whether it starts from a picture; then the video keeps the picture's shape.
        credits_per_second: Every price known so far, oldest first.
        typical_seconds: Median time to make a video, and
        spread: the standard deviation of its logarithm; both are the prior until videos of our own were seen.
    """

    name: str
    tool: str
    durations: tuple[int, ...]
    takes_image: bool
    credits_per_second: tuple[int, ...]
    typical_seconds: float
    spread: float = 0.35


_SHORT = (5, 8)
_LONG = (5, 10, 15, 20)
_SEGMENTED = tuple(SEGMENT_SECONDS * n for n in range(1, MAX_SEGMENTS + 1))

MODELS: Mapping[str, Model] = {
    m.name: m
    for m in (
        # Generation times: t2v 190 to 390 s were measured; i2v_v3 once took 13 minutes; the site says 2 to 6 minutes.
        Model("t2v", "text_to_video", _SHORT, False, (1, 3), 330),
        Model("t2v_v3", "text_to_video", _LONG, False, (10, 4), 400),
        Model("i2v", "image_to_video", _SHORT, True, (1, 3), 330),
        Model("i2v_v3", "image_to_video", _LONG, True, (10, 4), 600),
        Model("lv", "long_video", _SEGMENTED, True, (15,), 600),
    )
}

TOOLS: tuple[str, ...] = tuple(dict.fromkeys(m.tool for m in MODELS.values()))


def models_of(tool: str) -> tuple[str, ...]:
    """Return the names of the models that `tool` offers, the default first."""
    return tuple(m.name for m in MODELS.values() if m.tool == tool)


def estimate(model: str, seconds: int) -> int:
    """Return the highest price in credits that any known formula gives; a later one may be higher still."""
    return max(MODELS[model].credits_per_second) * seconds


def alternatives(tool: str, seconds: int) -> list[str]:
    """Return, cheapest first, the models of `tool` that make videos of this length."""
    able = [name for name in models_of(tool) if seconds in MODELS[name].durations]
    return sorted(able, key=lambda name: estimate(name, seconds))
