"""What an entry of the catalogue decides: the bytes that are sent, the identity, the price, and the refusals.

The bytes and identities of the five models were recorded before they were written from entries: rows of older states
hold them, and a resend must repeat them.
"""

import subprocess
import sys
from typing import Any

import pytest

from avm_mcp.domain import catalog
from avm_mcp.domain.catalog import Field, Formula, Model
from avm_mcp.domain.errors import InvalidInput
from avm_mcp.domain.request import ImageInput, VideoRequest
from avm_mcp.provider.bodies import paid_body, picture_fields, quote_fields, stored_json

LINK = ImageInput("https://pictures.example/a.png", "digest-of-the-link", "https://pictures.example/a.png")
BYTES = ImageInput("data:image/png;base64,iVBORw0KGgo=", "digest-of-the-bytes", "kite.png")

RECORDED = [
    (
        VideoRequest("t2v", 5, ("a  red kite",), "16:9"),
        '{"prompt":"a  red kite","aspectRatio":"16:9","duration":"5"}',
        "ce9f481e035fed85812ac2632be101a45abbbf1646fa14dda989800c73f797f9",
    ),
    (
        VideoRequest("t2v", 8, ('日本語 "quoted"\n',), "9:16", None, 2),
        '{"prompt":"日本語 \\"quoted\\"\\n","aspectRatio":"9:16","duration":"8"}',
        "656335186a7f965c8507d2c6baa0dd7d4fbc9bed10a3341491e59a28846cbcd1",
    ),
    (
        VideoRequest("t2v_v3", 20, ("a red kite",), "1:1"),
        '{"prompt":"a red kite","aspectRatio":"1:1","duration":"20"}',
        "ab0d28bf0f4c146b281a3718a1ee0871128d6c27b5b78c8c75441c8fd8b36e96",
    ),
    (
        VideoRequest("i2v", 8, ("it sways",), None, LINK),
        '{"image":"https://pictures.example/a.png","prompt":"it sways","duration":"8"}',
        "93e18135ad846cefbdbd7ea38a80683cf8ef5f5a5d9ce555c2a6aadc148778d3",
    ),
    (
        VideoRequest("i2v", 5, (), None, BYTES),
        '{"image":"data:image/png;base64,iVBORw0KGgo=","duration":"5"}',
        "cd225f42689ea81c58915cbec2bf8a47cb5e13cb83b8f89cfe858efc3cf6ffb2",
    ),
    (
        VideoRequest("i2v_v3", 15, ("it sways",), None, BYTES, 3),
        '{"image":"data:image/png;base64,iVBORw0KGgo=","prompt":"it sways","duration":"15"}',
        "47421b630b2b1e1e7b9f29a4f2fb14099e03573404153a881cb49915be1dcbc9",
    ),
    (
        VideoRequest("i2v_v3", 10, (), None, LINK),
        '{"image":"https://pictures.example/a.png","duration":"10"}',
        "d546624b8de1f2a6e41a2e7052b3c14325b81172ded20d855750877f7520a495",
    ),
    (
        VideoRequest("lv", 10, ("one", "two"), None, LINK),
        '{"image":"https://pictures.example/a.png","prompt":["one","two"]}',
        "2efd13ecd1bbe529a9ada673dec686203c6e1e9621426be3e850f73260eaf212",
    ),
    (
        VideoRequest("lv", 5, ("one",), None, BYTES),
        '{"image":"data:image/png;base64,iVBORw0KGgo=","prompt":["one"]}',
        "d7279b30b20391feb0c5eb7425a394ef5096f7ac49182cc837f2d276e0bc6c62",
    ),
]


@pytest.mark.parametrize(("request_", "body", "identity"), RECORDED, ids=lambda value: getattr(value, "model", ""))
def test_bytes_and_identities_are_as_recorded(request_: VideoRequest, body: str, identity: str) -> None:
    catalog.check(request_)
    assert paid_body(request_) == body.encode()
    assert request_.identity() == identity


def test_every_model_is_recorded() -> None:
    assert {request.model for request, _, _ in RECORDED} == set(catalog.MODELS)


def test_the_store_keeps_the_digest_of_a_picture_and_a_quote_a_link() -> None:
    request = VideoRequest("i2v", 5, ("it sways",), None, BYTES)
    assert stored_json(request) == '{"image": "data:sha256=digest-of-the-bytes", "prompt": "it sways", "duration": "5"}'
    assert quote_fields(request) == {"image": catalog.SAMPLE_IMAGE.value, "prompt": "it sways", "duration": "5"}
    linked = VideoRequest("i2v", 5, (), None, LINK)
    assert stored_json(linked) == '{"image": "https://pictures.example/a.png", "duration": "5"}'
    assert quote_fields(linked) == {"image": LINK.value, "duration": "5"}


@pytest.mark.parametrize("name", catalog.MODELS)
def test_an_entry_is_whole(name: str) -> None:
    model = catalog.MODELS[name]
    assert model.modes
    assert model.prices
    assert list(model.prices) == sorted(model.prices, key=lambda formula: formula.since)
    assert all(formula.source for formula in model.prices)
    assert len({field.name for field in model.fields}) == len(model.fields)
    for seconds in model.durations:
        sample = catalog.sample(name, seconds)
        catalog.check(sample)
        assert catalog.estimate(sample) == max(formula.credits(sample) for formula in model.prices) > 0


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        (VideoRequest("t2v", 7, ("x",), "16:9"), "duration", "duration 7 is not made by t2v; allowed: 5 or 8"),
        (VideoRequest("t2v", 5, ("x",), "4:3"), "aspect_ratio", 'aspect_ratio "4:3" is not made by t2v'),
        (VideoRequest("t2v", 5, (), "16:9"), "prompt", "t2v needs prompt"),
        (VideoRequest("t2v", 5, ("x",), "16:9", LINK), "image", "t2v takes no image"),
        (VideoRequest("t2v", 5, ("x",), resolution="720p"), "resolution", "t2v takes no resolution"),
        (VideoRequest("i2v", 5, ("x",)), "image", "i2v needs image"),
        (VideoRequest("i2v", 5, ("x",), "1:1", LINK), "aspect_ratio", "i2v takes no aspect_ratio"),
        (VideoRequest("lv", 35, ("x",) * 7, None, LINK), "duration", "allowed: 5, 10, 15, 20, 25 or 30"),
    ],
)
def test_a_request_that_its_model_does_not_make_is_refused(request_: VideoRequest, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        catalog.check(request_)
    assert refusal.value.field == field
    assert words in refusal.value.message


# A model that nobody has made: its entry alone is enough


def _price(request: VideoRequest) -> int:
    return request.seconds * (15 if request.resolution == "1080p" else 10) + (5 if request.quality == "base" else 0)


MADE_UP = Model(
    name="made_up",
    modes=("text", "image"),
    fields=(
        Field(parameter="prompt", name="content", required=("text", "image")),
        Field(parameter="image", name="imageUrl", required=("image",)),
        Field(parameter="duration", name="duration", wire="number", allowed=range(3, 16), default=5),
        Field(parameter="resolution", name="resolution", wire="upper", allowed=("720p", "1080p"), default="720p"),
        Field(parameter="quality", name="tier", allowed=("turbo", "base")),
        Field(parameter="aspect_ratio", name="ratio", allowed=("16:9", "4:3"), default="16:9"),
    ),
    exclusions=((frozenset({"image"}), frozenset({"aspect_ratio"})),),
    prices=(Formula("2027-01", "nobody", lambda request: request.seconds), Formula("2027-02", "nobody", _price)),
    typical_seconds=60,
)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(catalog, "MODELS", {**catalog.MODELS, MADE_UP.name: MADE_UP})
    return MADE_UP


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (
            VideoRequest("made_up", 7, ("x",), "4:3", resolution="1080p", quality="base"),
            b'{"content":"x","duration":7,"resolution":"1080P","tier":"base","ratio":"4:3"}',
        ),
        (VideoRequest("made_up", 3, ("x",)), b'{"content":"x","duration":3,"resolution":"720P","ratio":"16:9"}'),
        (
            VideoRequest("made_up", 15, ("x",), None, LINK),
            b'{"content":"x","imageUrl":"https://pictures.example/a.png","duration":15,"resolution":"720P","ratio":"16:9"}',
        ),
    ],
)
@pytest.mark.usefixtures("made_up")
def test_the_body_of_a_made_up_model(request_: VideoRequest, body: bytes) -> None:
    catalog.check(request_)
    assert paid_body(request_) == body


@pytest.mark.usefixtures("made_up")
def test_the_fields_that_carry_pictures() -> None:
    assert picture_fields("made_up") == {"imageUrl"}
    assert [picture_fields(name) for name in ("t2v", "i2v", "lv", "gone")] == [set(), {"image"}, {"image"}, set()]


def test_a_resolution_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    resolution = Field(parameter="resolution", name="resolution", wire="number", allowed=("480p", "720p"))
    model = Model(name="made_up", modes=("text",), fields=(resolution,), prices=(), typical_seconds=60)
    monkeypatch.setitem(vars(catalog), "MODELS", {"made_up": model})
    assert paid_body(VideoRequest("made_up", 5, (), resolution="480p")) == b'{"resolution":480}'


@pytest.mark.usefixtures("made_up")
def test_the_price_of_a_made_up_model_depends_on_its_fields() -> None:
    """The highest formula counts, and each sees the whole request."""
    wanted = VideoRequest("made_up", 4, ("x",))
    assert catalog.estimate(wanted) == 40
    assert catalog.estimate(VideoRequest("made_up", 4, ("x",), resolution="1080p", quality="base")) == 65
    assert catalog.alternatives("text_to_video", 7) == ["made_up"]
    assert catalog.models_of("image_to_video")[-1] == "made_up"
    assert (catalog.tool_of("made_up"), catalog.tool_of("made_up", picture=True)) == ("text_to_video", "image_to_video")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (VideoRequest("made_up", 2, ("x",)), "duration 2 is not made by made_up; allowed: 3 to 15."),
        (VideoRequest("made_up", 5, ("x",), "1:1"), "allowed: 16:9 or 4:3."),
        (VideoRequest("made_up", 5, ("x",), quality="best"), "allowed: turbo or base."),
        (VideoRequest("made_up", 5, (), None, LINK), "made_up needs prompt."),
        (VideoRequest("made_up", 5, ("x",), "4:3", LINK), "made_up takes either image or aspect_ratio, not both."),
    ],
)
@pytest.mark.usefixtures("made_up")
def test_refusals_of_a_made_up_model(request_: VideoRequest, words: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        catalog.check(request_)
    assert words in refusal.value.message


def test_resolution_and_quality_are_part_of_the_identity() -> None:
    plain: dict[str, Any] = {"model": "made_up", "seconds": 5, "prompts": ("x",)}
    requests = [plain, {**plain, "resolution": "720p"}, {**plain, "resolution": "1080p"}, {**plain, "quality": "720p"}]
    assert len({VideoRequest(**fields).identity() for fields in requests}) == 4


THE_TOOLS = """
from avm_mcp.domain import catalog
from tests.contract.test_catalog import MADE_UP
catalog.MODELS["made_up"] = MADE_UP
from avm_mcp.domain.errors import InvalidInput
from avm_mcp.presentation import arguments, parameters
from avm_mcp.presentation.requests import video_request
from avm_mcp.provider.bodies import paid_body

def ask(tool, **given):
    request, _ = video_request(arguments.read(tool, given), folders=[], paths_allowed=True)
    print(paid_body(request).decode(), catalog.estimate(request))

def refuse(tool, **given):
    try:
        ask(tool, **given)
    except InvalidInput as error:
        print(error.field, "|", error.message, "|", error.allowed)

ask("text_to_video", prompt="x", model="made_up", duration="7s")
ask("text_to_video", prompt="x", model="MADE_UP", aspect_ratio="4:3")
ask("image_to_video", prompt="x", model="made_up", image="https://pictures.example/a.png")
refuse("text_to_video", prompt="x", model="made_up", duration=20)
refuse("text_to_video", prompt="x", model="made_up", aspect_ratio="1:1")
refuse("text_to_video", prompt="x", model="t2v", aspect_ratio="4:3")
refuse("text_to_video", prompt="x", model="t2v", duration=7)
print(arguments.read("quote_video", {"model": "made_up", "duration": 14}).input.duration)
print(parameters.input_schema("image_to_video", {"AVM_APPROVE_ABOVE": 50})["properties"]["model"]["enum"])
"""


def test_the_tools_take_a_made_up_model_by_its_entry_alone() -> None:
    """In a process of its own, since the tools read the catalogue when they are imported."""
    done = subprocess.run([sys.executable, "-c", THE_TOOLS], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        '{"content":"x","duration":7,"resolution":"720P","ratio":"16:9"} 70',
        '{"content":"x","duration":5,"resolution":"720P","ratio":"4:3"} 50',
        '{"content":"x","imageUrl":"https://pictures.example/a.png","duration":5,'
        '"resolution":"720P","ratio":"16:9"} 50',
    ]
    length, ratio, ratio_of_another, length_of_another = lines[3:7]
    assert length.startswith("duration | duration 20 is not made by made_up. made_up: 3 to 15 s.")
    assert ratio.startswith('aspect_ratio | aspect_ratio "1:1" is not made by made_up; allowed: 16:9 or 4:3.')
    assert ratio_of_another.startswith('aspect_ratio | aspect_ratio "4:3" is not made by t2v; allowed: 16:9, 9:16')
    assert "For 7 s: model=made_up, up to 70 credits." in length_of_another
    assert lines[7:] == ["14", "['i2v', 'i2v_v3', 'made_up']"]
