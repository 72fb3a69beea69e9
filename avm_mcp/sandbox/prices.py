"""Credits per request, for both generations of the API.

The seed page's formulas are documented. Of September 2026, minimax is documented, the others are claimed
formulas that agree with every measured charge, and seedance20 is a fit through three measured points (guess).
One credit is one cent of a US dollar (documented).
"""

import math
from collections.abc import Callable, Mapping

from avm_mcp.sandbox.tables import seconds_of

Fields = Mapping[str, object]
Price = Callable[[Fields], int]

USD_PER_CREDIT = 0.01


def _per_second(model: str, credits_each: float) -> Price:
    return lambda fields: math.ceil(round(seconds_of(model, fields) * credits_each, 6))


def _by_resolution(model: str, each: Mapping[str, float]) -> Price:
    return lambda fields: _per_second(model, each[str(fields["resolution"])])(fields)


def _minimax(fields: Fields) -> int:
    each = (3 if fields["resolution"] == "720p" else 4) + (1 if fields["tier"] == "base" else 0)
    return _per_second("minimax", each)(fields)


_LONG: Price = _per_second("lv", 15)  # documented on the seed page: prompts x 5 x 15

SEED_PRICES: Mapping[str, Price] = {
    "t2v": _per_second("t2v", 1),
    "i2v": _per_second("i2v", 1),
    "lv": _LONG,
    "t2v_v3": _per_second("t2v_v3", 10),
    "i2v_v3": _per_second("i2v_v3", 10),
}

LIVE_PRICES: Mapping[str, Price] = {
    "t2v": _per_second("t2v", 3),
    "i2v": _per_second("i2v", 3),
    "minimax": _minimax,
    "t2v_v3": _per_second("t2v_v3", 4),
    "i2v_v3": _per_second("i2v_v3", 4),
    "seedance20": _by_resolution("seedance20", {"480": 10.2, "720": 22}),  # guess: 41, 51 and 110 are measured
    "wan27": _by_resolution("wan27", {"720P": 10, "1080P": 15}),
    "happyhorse": _by_resolution("happyhorse", {"720P": 25, "1080P": 50}),
    "lv": _LONG,  # guess: nobody has seen lv priced since the seed page
}


def price_of(profile: str, model: str, fields: Fields) -> int:
    """Credits for a request whose fields are valid and whose defaults are filled in."""
    return (SEED_PRICES if profile == "seed" else LIVE_PRICES)[model](fields)
