"""The sandbox's field tables and prices."""

import base64
import json
from typing import Any

import pytest

from avm_mcp.sandbox.payloads import BadPayload, parse
from avm_mcp.sandbox.prices import price_of
from avm_mcp.sandbox.tables import LIVE_MODELS, MODELS, SEED_MODELS, size_of

LINK = "https://example.com/cat.png"
DATA_URI = "data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode()
GOOD: dict[str, dict[str, Any]] = {
    "t2v": {"prompt": "x", "aspectRatio": "16:9", "duration": "5"},
    "i2v": {"image": LINK, "duration": "8", "prompt": None},
    "lv": {"image": DATA_URI, "prompt": ["a", "b"]},
    "t2v_v3": {"prompt": "x", "aspectRatio": "1:1", "duration": "20"},
    "i2v_v3": {"image": DATA_URI, "prompt": "x", "duration": "10"},
    "minimax": {"content": "x"},
    "seedance20": {"prompt": "x", "duration": 4, "resolution": 480, "ratio": "16:9"},
    "wan27": {"prompt": "x", "duration": "5", "resolution": "720P", "ratio": "4:3", "promptExtend": True},
    "happyhorse": {"prompt": "x", "duration": 3, "resolution": "720P", "image": [LINK, LINK]},
}


def hint_of(model: str, **changes: Any) -> str:
    body = {name: value for name, value in {**GOOD[model], **changes}.items() if value != "absent"}
    with pytest.raises(BadPayload) as bad:
        parse(model, json.dumps(body).encode())
    return str(bad.value).removeprefix("Invalid payload: ")


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_good_body_passes_and_comes_back_as_it_was(model: str) -> None:
    assert parse(model, json.dumps(GOOD[model]).encode()).fields == GOOD[model]


def test_every_model_of_both_generations_has_a_table() -> None:
    assert {*SEED_MODELS, *LIVE_MODELS} == set(MODELS) == set(GOOD)


@pytest.mark.parametrize(
    ("model", "changes", "hint"),
    [
        ("t2v", {"duration": 5}, "duration: Expected '5' | '8', received number"),
        ("t2v", {"duration": "6"}, "duration: Invalid enum value. Expected '5' | '8', received '6'"),
        (
            "t2v",
            {"aspectRatio": "4:3"},
            "aspectRatio: Invalid enum value. Expected '16:9' | '9:16' | '1:1', received '4:3'",
        ),
        ("t2v", {"prompt": ["x"]}, "prompt: Expected string, received array"),
        ("t2v", {"prompt": None}, "prompt: Expected string, received null"),
        ("t2v", {"prompt": " "}, "prompt: String must contain at least 1 character(s)"),
        ("i2v", {"image": "absent"}, "image: Required"),
        ("i2v", {"image": "/home/me/cat.png"}, "image: Invalid url"),
        (
            "i2v",
            {"image": "data:image/png;base64,@"},
            "image: Invalid image data URI, expected data:image/...;base64,...",
        ),
        (
            "i2v",
            {"image": "data:text/plain;base64,eA=="},
            "image: Invalid image data URI, expected data:image/...;base64,...",
        ),
        ("lv", {"prompt": "x"}, "prompt: Expected array, received string"),
        ("lv", {"prompt": []}, "prompt: Array must contain at least 1 element(s)"),
        ("lv", {"prompt": list("1234567")}, "prompt: Array must contain at most 6 element(s)"),
        ("lv", {"prompt": ["a", 2]}, "prompt.1: Expected string, received number"),
        ("i2v_v3", {"duration": "8"}, "duration: Invalid enum value. Expected '5' | '10' | '15' | '20', received '8'"),
        ("minimax", {"duration": 4}, "duration: Number must be greater than or equal to 5"),
        ("minimax", {"duration": 21}, "duration: Number must be less than or equal to 20"),
        ("minimax", {"duration": 5.5}, "duration: Expected integer, received float"),
        ("minimax", {"duration": True}, "duration: Expected integer, received boolean"),
        (
            "minimax",
            {"resolution": "720P"},
            "resolution: Invalid enum value. Expected '720p' | '1080p', received '720P'",
        ),
        (
            "minimax",
            {"imageUrl": LINK, "referenceImageUrls": [LINK]},
            "Frame inputs (imageUrl, lastFrameUrl) and reference assets are mutually exclusive",
        ),
        ("minimax", {"referenceVideoUrl": DATA_URI}, "referenceVideoUrl: Invalid url"),
        ("seedance20", {"prompt": None}, "At least one of prompt, image, video is required"),
        ("seedance20", {"resolution": "480"}, "resolution: Expected 480 | 720, received string"),
        ("seedance20", {"resolution": 1080}, "resolution: Invalid enum value. Expected 480 | 720, received 1080"),
        ("wan27", {"promptExtend": "yes"}, "promptExtend: Expected boolean, received string"),
        ("happyhorse", {"duration": "5"}, "duration: Expected number, received string"),
        ("happyhorse", {"image": DATA_URI}, "image: Invalid url"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(model: str, changes: dict[str, Any], hint: str) -> None:
    assert hint_of(model, **changes) == hint


def test_an_empty_body_lists_every_missing_field() -> None:
    with pytest.raises(BadPayload, match="prompt: Required; aspectRatio: Required; duration: Required"):
        parse("t2v", b"{}")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a": NaN}', b"[]", b"null", b"3", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadPayload):
        parse("t2v", raw)


def test_the_fingerprint_sees_through_spelling_but_not_through_content() -> None:
    one = parse("minimax", b'{"content":"x","duration":5}')
    same = parse("minimax", b'{ "duration": 5.0, "content": "x" }')
    other = parse("minimax", b'{"content":"x"}')
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("model", "changes", "credits_"),
    [
        # measured charges and quotes of September 2026
        ("t2v", {}, 15),
        ("i2v", {"duration": "5"}, 15),
        ("t2v_v3", {"duration": "5"}, 20),
        ("i2v_v3", {"duration": "5"}, 20),
        ("minimax", {}, 15),
        ("minimax", {"tier": "base"}, 20),
        ("minimax", {"resolution": "1080p"}, 20),
        ("minimax", {"resolution": "1080p", "tier": "base"}, 25),
        ("seedance20", {}, 41),
        ("seedance20", {"duration": 5}, 51),
        ("seedance20", {"duration": 5, "resolution": 720}, 110),
        ("wan27", {}, 50),
        ("wan27", {"resolution": "1080P"}, 75),
        ("happyhorse", {}, 75),
        ("happyhorse", {"duration": 5}, 125),
        ("happyhorse", {"duration": 5, "resolution": "1080P"}, 250),
        ("lv", {}, 150),
    ],
)
def test_live_prices_are_the_measured_ones(model: str, changes: dict[str, Any], credits_: int) -> None:
    payload = parse(model, json.dumps({**GOOD[model], **changes}).encode())
    assert price_of("live", model, payload.filled) == credits_


@pytest.mark.parametrize(("model", "credits_"), [("t2v", 5), ("i2v", 8), ("t2v_v3", 200), ("i2v_v3", 100), ("lv", 150)])
def test_seed_prices_are_those_of_the_page(model: str, credits_: int) -> None:
    assert price_of("seed", model, GOOD[model]) == credits_


def test_videos_have_the_measured_size_turned_for_tall_ones() -> None:
    assert size_of("t2v", {"aspectRatio": "16:9"}) == (1248, 704)
    assert size_of("t2v", {"aspectRatio": "9:16"}) == (704, 1248)
    assert size_of("t2v_v3", {}) == (1904, 1080)
    assert size_of("seedance20", {"resolution": 480, "ratio": "16:9"}) == (864, 496)
    width, height = size_of("t2v", {"aspectRatio": "1:1"})
    assert width == height
    width, height = size_of("wan27", {"resolution": "720P", "ratio": "3:4"})
    assert abs(width / height - 3 / 4) < 0.02
