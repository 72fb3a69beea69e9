"""Two transcriptions of one contract: what the tools accept the sandbox accepts, what it refuses they refuse first.

The tables of `avm_mcp.domain.catalog` and of `avm_mcp.sandbox` were written separately from the same pages, so that a
slip in one of them shows here. Nothing may pass between them; the last tests hold that.
"""

import ast
import base64
import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import avm_mcp
from avm_mcp.domain import catalog
from avm_mcp.domain.errors import AvmError, FileRefused, InvalidInput
from avm_mcp.domain.request import VideoRequest
from avm_mcp.presentation import arguments
from avm_mcp.presentation.parameters import PARAMETERS
from avm_mcp.presentation.requests import video_request
from avm_mcp.provider.bodies import paid_body, quote_fields
from avm_mcp.sandbox import SandboxOptions, build_sandbox

PACKAGE = Path(avm_mcp.__file__).parent
BASE = "https://sandbox.test"
PROFILES: tuple[dict[str, Any], ...] = ({"profile": "seed"}, {"profile": "live", "lv": True})
PAID = ("text_to_video", "image_to_video", "long_video")
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png(width: int, height: int) -> bytes:
    """The smallest picture of a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


SQUARE = png(16, 16)
DATA_URI = "data:image/png;base64," + base64.b64encode(SQUARE).decode()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "square.png").write_bytes(SQUARE)
    (folder / "wide.png").write_bytes(png(32, 18))
    return folder


async def generate(body: bytes, model: str, profile: dict[str, Any]) -> httpx2.Response:
    app = build_sandbox(SandboxOptions(render=False, balance=10**9, **profile), now=lambda: 1_800_000_000.0)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE) as http:
        return await http.post(
            f"/api/v1/generate/{model}",
            content=body,
            headers={"key": "ak_1", "Idempotency-Key": "idem-0001", "Content-Type": "application/json"},
        )


def request_of(tool: str, raw: dict[str, Any], pictures: Path) -> VideoRequest:
    given_ = arguments.read(tool, raw)
    return video_request(given_, folders=[pictures], paths_allowed=True)[0]


def understood(tool: str, raw: dict[str, Any], pictures: Path) -> tuple[VideoRequest | None, Any]:
    try:
        return request_of(tool, raw, pictures), None
    except AvmError as refusal:
        return None, refusal


# What the tools accept: drawn from what is published, in the spellings that are understood

TEXT = st.text(min_size=1, max_size=80).filter(lambda text: text.strip().lower() not in arguments._NOTHING)
ODD_TEXT = st.sampled_from(
    [
        "\u200b",
        "\u00a0x",
        "a\x00b",
        "\x1b[31m",
        "日本語",
        "🎬" * 50,
        '"; drop',
        "\\u0000",
        "null and void",
        "\ufeff",
        "\x85x",
    ]
)
PROMPT = TEXT | ODD_TEXT | st.just("x" * catalog.MAX_PROMPT_CHARS)
IMAGE = st.sampled_from([
    "square.png", DATA_URI, "https://pictures.example/a.png", "HTTP://PICTURES.EXAMPLE/a b.png".replace(" ", "%20"),
    "https://pictures.example", "https://pictures.example/?q=1#x", "https://1.1.1.1/a.png", "https://bücher.example/ü.png",
    "https://pictures.example:8443/%00", "https://pictures.example/" + "a" * 1900,
])  # fmt: skip


def _valid(tool: str) -> st.SearchStrategy[dict[str, Any]]:
    common = {"take": st.integers(1, 3), "max_credits": st.none() | st.integers(1, 10**12), "wait_seconds": st.just("")}
    if tool == "long_video":
        prompts = st.lists(PROMPT, min_size=1, max_size=6)
        return st.fixed_dictionaries({"image": IMAGE, "prompts": prompts | PROMPT}, optional=common)
    pairs = [
        (m.name, seconds) for m in catalog.MODELS.values() if catalog.tool_of(m.name) == tool for seconds in m.durations
    ]
    shapes = st.sampled_from([*catalog.SHAPES, "vertical", "square", "wide", "16x9"])

    def with_pair(pair: tuple[str, int]) -> st.SearchStrategy[dict[str, Any]]:
        name, seconds = pair
        fixed: dict[str, Any] = {
            "model": st.sampled_from([name, name.upper(), f" {name} "]),
            "duration": st.sampled_from([seconds, str(seconds), f"{seconds}s", float(seconds)]),
        }
        if tool == "text_to_video":
            return st.fixed_dictionaries({**fixed, "prompt": PROMPT}, optional={**common, "aspect_ratio": shapes})
        more = {**common, "prompt": st.none() | PROMPT, "aspect_ratio": st.sampled_from(["picture", "auto", "1:1"])}
        return st.fixed_dictionaries({**fixed, "image": IMAGE}, optional=more)

    return st.sampled_from(pairs).flatmap(with_pair)


VALID = st.sampled_from(PAID).flatmap(lambda tool: st.tuples(st.just(tool), _valid(tool)))


@SLOW
@given(call=VALID, profile=st.sampled_from(PROFILES))
async def test_what_the_tools_accept_the_sandbox_accepts(
    call: tuple[str, dict[str, Any]], profile: dict[str, Any], pictures: Path
) -> None:
    tool, raw = call
    if isinstance(raw.get("image"), str) and raw["image"] == "square.png":
        raw = {**raw, "image": str(pictures / "square.png")}
    request, refusal = understood(tool, raw, pictures)
    if request is None:
        event(f"refused: {refusal.field}")
        assert refusal.field in ("image", "prompt", "prompts"), refusal  # odd texts may be; nothing else here
        return
    answer = await generate(paid_body(request), request.model, profile)
    assert answer.status_code == 200, (answer.text, quote_fields(request))
    event(f"accepted: {request.model}")


def test_the_tools_accept_nearly_all_of_what_is_published(pictures: Path) -> None:
    """The property above would be empty if everything were refused."""
    accepted: Counter[str] = Counter()

    @settings(max_examples=200, deadline=None, database=None)
    @given(VALID)
    def count(call: tuple[str, dict[str, Any]]) -> None:
        tool, raw = call
        accepted["tried"] += 1
        try:
            accepted[request_of(tool, {**raw, **({"image": DATA_URI} if "image" in raw else {})}, pictures).model] += 1
        except InvalidInput:
            accepted["refused"] += 1

    count()
    assert accepted["refused"] < accepted["tried"] / 10
    assert set(accepted) >= set(catalog.MODELS)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p["profile"])
@pytest.mark.parametrize("model", catalog.MODELS)
async def test_every_model_at_every_length_and_shape(model: str, profile: dict[str, Any], pictures: Path) -> None:
    known = catalog.MODELS[model]
    for seconds in known.durations:
        for shape in catalog.SHAPES if "text" in known.modes else (None,):
            raw: dict[str, Any] = {
                "model": model,
                "duration": seconds,
                "prompt": "x",
                "image": DATA_URI,
                "aspect_ratio": shape,
            }
            wanted = {p.name for p in PARAMETERS[catalog.tool_of(model)]}
            raw = {name: value for name, value in raw.items() if name in wanted}
            if model == "lv":
                raw = {"image": DATA_URI, "prompts": ["x"] * (seconds // catalog.SEGMENT_SECONDS)}
            request = request_of(catalog.tool_of(model), raw, pictures)
            assert (request.model, request.seconds) == (model, seconds)
            assert (await generate(paid_body(request), model, profile)).status_code == 200


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p["profile"])
async def test_the_sandbox_has_no_length_or_shape_that_the_tools_lack(profile: dict[str, Any]) -> None:
    """From the other side: every value near the published ones is refused by both or by neither."""
    for model, known in catalog.MODELS.items():
        if model == "lv":
            continue
        for seconds in range(1, 31):
            body = {"prompt": "x", "image": DATA_URI, "aspectRatio": "16:9", "duration": str(seconds)}
            answer = await generate(json.dumps(body).encode(), model, profile)
            assert (answer.status_code == 200) == (seconds in known.durations), (model, seconds)
    for shape in ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "auto"):
        for model in catalog.models_of("text_to_video"):
            body = {"prompt": "x", "aspectRatio": shape, "duration": "5"}
            answer = await generate(json.dumps(body).encode(), model, profile)
            assert (answer.status_code == 200) == (shape in catalog.SHAPES), (model, shape)
    for count in range(9):
        answer = await generate(json.dumps({"image": DATA_URI, "prompt": ["x"] * count}).encode(), "lv", profile)
        assert (answer.status_code == 200) == (1 <= count <= catalog.MAX_SEGMENTS), count


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p["profile"])
async def test_no_price_passes_the_estimate(profile: dict[str, Any], pictures: Path) -> None:
    """The highest known formula is what counts where the price is not known: it must never be too low."""
    for model, known in catalog.MODELS.items():
        for seconds in known.durations:
            app = build_sandbox(SandboxOptions(render=False, balance=10**6, **profile), now=lambda: 1_800_000_000.0)
            fields: dict[str, Any] = {"prompt": "x", "image": DATA_URI, "aspectRatio": "16:9", "duration": str(seconds)}
            if model == "lv":
                fields = {"image": DATA_URI, "prompt": ["x"] * (seconds // 5)}
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE) as http:
                answer = await http.post(f"/api/v1/generate/{model}", json=fields, headers={"key": "ak_1"})
            assert answer.status_code == 200
            assert 0 < 10**6 - app.sandbox.balance("ak_1") <= catalog.estimate(catalog.sample(model, seconds)), (
                model,
                seconds,
            )


# What the sandbox refuses: arguments bent in one place and sent as a naive client would

ODD_VALUES = [
    "", " ", "5s", "720p", "4:3", "data:image/png;base64,!!!", "data:text/plain;base64,eA==", "http://127.0.0.1/x.png",
    "https:///a", "https://x y.example/", "t2v", "minimax", "T2V", "file:///x", None, True, False, 5, 8, 10, 5.0, -1,
]  # fmt: skip
BENT: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.integers(-2, 40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.text(max_size=5) | st.none() | st.integers(), max_size=8),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def naive(tool: str, raw: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Send what was said, field by field, as a client without any checks would."""
    model = "lv" if tool == "long_video" else str(raw.get("model", {"text_to_video": "t2v"}.get(tool, "i2v")))
    names = {"prompt": "prompt", "prompts": "prompt", "image": "image", "duration": "duration"}
    if tool == "text_to_video":
        names["aspect_ratio"] = "aspectRatio"
    body = {sent: raw[name] for name, sent in names.items() if name in raw}
    return model, body


@SLOW
@given(data=st.data(), profile=st.sampled_from(PROFILES))
async def test_what_the_sandbox_refuses_the_tools_refuse_first(
    data: st.DataObject, profile: dict[str, Any], pictures: Path
) -> None:
    tool = data.draw(st.sampled_from(PAID))
    raw: dict[str, Any] = {"prompt": "x", "duration": "5", "model": "t2v", "aspect_ratio": "16:9"}
    if tool == "image_to_video":
        raw = {"image": DATA_URI, "prompt": "x", "duration": "5", "model": "i2v"}
    elif tool == "long_video":
        raw = {"image": DATA_URI, "prompts": ["x", "y"]}
    name = data.draw(st.sampled_from(sorted(raw)))
    if data.draw(st.booleans()):
        del raw[name]
    else:
        raw[name] = data.draw(BENT)
    model, body = naive(tool, raw)
    refused = await _refused_by_the_sandbox(model, body, profile)
    request, refusal = understood(tool, raw, pictures)
    if request is None:
        assert isinstance(refusal, InvalidInput | FileRefused)
        assert refusal.charged == "no"
        event("refused by both" if refused else "refused by the tools alone")
        return
    # Not refused: then it was understood as something that is right, and that is what is sent.
    answer = await generate(paid_body(request), request.model, profile)
    assert answer.status_code == 200, (answer.text, quote_fields(request))
    event("understood" if refused else "accepted by both")


async def _refused_by_the_sandbox(model: str, body: dict[str, Any], profile: dict[str, Any]) -> bool:
    if "/" in model or not model.strip() or not model.isprintable() or model in (".", ".."):
        return True  # no such path
    path = "".join(ch if ch.isalnum() and ch.isascii() else "_" for ch in model)
    return (await generate(json.dumps(body).encode(), path, profile)).status_code == 400


@pytest.mark.parametrize(
    ("tool", "raw"),
    [
        ("text_to_video", {"prompt": "x", "duration": 10}),
        ("text_to_video", {"prompt": "x", "model": "i2v"}),
        ("text_to_video", {"prompt": "x", "model": "minimax"}),
        ("text_to_video", {"prompt": "x", "aspect_ratio": "4:3"}),
        ("text_to_video", {"prompt": ""}),
        ("image_to_video", {"image": "https://x.example/a.png", "duration": 10}),
        ("image_to_video", {"prompt": "x"}),
        ("image_to_video", {"image": "data:image/png;base64,!!!"}),
        ("image_to_video", {"image": "data:text/plain;base64,eA=="}),
        ("image_to_video", {"image": "ftp://x.example/a.png"}),
        ("long_video", {"image": "https://x.example/a.png", "prompts": ["x"] * 7}),
        ("long_video", {"image": "https://x.example/a.png", "prompts": []}),
        ("long_video", {"image": "https://x.example/a.png", "prompts": ["x", ""]}),
        ("long_video", {"prompts": ["x"]}),
    ],
)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p["profile"])
async def test_refused_by_both(tool: str, raw: dict[str, Any], profile: dict[str, Any], pictures: Path) -> None:
    if tool != "long_video":
        raw = {"duration": 5, **raw}
    if tool == "text_to_video":
        raw = {"aspect_ratio": "16:9", **raw}
    model, body = naive(tool, raw)
    if isinstance(body.get("duration"), int):
        body["duration"] = str(body["duration"])
    if model in catalog.MODELS and tool == catalog.tool_of(model):
        assert await _refused_by_the_sandbox(model, body, profile)
    with pytest.raises((InvalidInput, FileRefused)):
        request_of(tool, raw, pictures)


# No shared tables


def imports_of(path: Path, root: Path = PACKAGE.parent) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    package = ".".join(path.relative_to(root).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(package.split(".")[: -node.level]) + "." if node.level else ""
            yield from (f"{parent}{node.module or ''}.{name.name}".replace("..", ".") for name in node.names)


def test_the_sandbox_imports_nothing_of_ours() -> None:
    files = sorted((PACKAGE / "sandbox").rglob("*.py"))
    assert len(files) > 8
    for path in files:
        for name in imports_of(path):
            assert not name.startswith("avm_mcp") or name.startswith("avm_mcp.sandbox"), f"{path.name} imports {name}"


def test_nothing_of_ours_imports_the_sandboxs_tables() -> None:
    secret = (
        "avm_mcp.sandbox.tables",
        "avm_mcp.sandbox.prices",
        "avm_mcp.sandbox.payloads",
        "avm_mcp.sandbox.endpoints",
    )
    for path in sorted(PACKAGE.rglob("*.py")):
        if (PACKAGE / "sandbox") in path.parents:
            continue
        for name in imports_of(path):
            assert not name.startswith(secret), f"{path.relative_to(PACKAGE)} imports {name}"


def test_these_checks_see_every_way_to_import(tmp_path: Path) -> None:
    file = tmp_path / "avm_mcp" / "sandbox" / "made_up.py"
    file.parent.mkdir(parents=True)
    source = (
        "import avm_mcp.domain.catalog\nfrom avm_mcp.domain import catalog\nfrom ..domain.catalog import MODELS\n"
        "from ..domain import job\n"
    )
    file.write_text(source + "def f():\n    from avm_mcp.domain.catalog import MODELS\n")
    found = list(imports_of(file, tmp_path))
    assert len(found) == 5
    assert all(name.startswith(("avm_mcp.domain.catalog", "avm_mcp.domain.job")) for name in found)
