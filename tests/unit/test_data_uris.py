"""Data URIs and links as programs and models write them: the bytes decide, and our own limits are named as ours."""

import base64
import html
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avm_mcp.domain.errors import FileRefused
from avm_mcp.images import MAX_PICTURE_BYTES, PathRules, Picture, read_picture
from tests.unit.test_whole_pictures import PICTURES

PIXELS = PICTURES["png"]
ENCODED = base64.b64encode(PIXELS).decode()
CANONICAL = f"data:image/png;base64,{ENCODED}"


def read(text: str) -> Picture:
    return read_picture(text, folders=(), paths_allowed=False, rules=PathRules())


def refusal(text: str) -> str:
    with pytest.raises(FileRefused) as caught:
        read(text)
    return caught.value.message


def folded(text: str, width: int, by: str) -> str:
    return by.join(text[at : at + width] for at in range(0, len(text), width))


HEADS = [
    "data:image/png;base64,", "DATA:IMAGE/PNG;BASE64,", "data:image/png;charset=utf-8;base64,", "data:;base64,",
    "data:base64,", "data:application/octet-stream;base64,", "data:image/jpeg;base64,", "data:image/jpg;base64,",
    "data:image/x-png;base64,", "data:binary/octet-stream;base64,", "data:text/plain;charset=US-ASCII;base64,",
    "data: image/png ; base64 , ", 'data:image/png;name="a,b.png";base64,', "data:image/png;name=a%2Cb.png;base64,",
    "data:image/png;base64;charset=utf-8,", "data:image/*;base64,", "data:image/png;filename=x.png;size=3;base64,",
    "data:image/png,",  # base64 without the word
]  # fmt: skip
BODIES = {
    "plain": ENCODED,
    "without padding": ENCODED.rstrip("="),
    "too much padding": ENCODED + "==",
    "URL-safe": ENCODED.replace("+", "-").replace("/", "_"),
    "URL-safe without padding": ENCODED.replace("+", "-").replace("/", "_").rstrip("="),
    "lines of 76": folded(ENCODED, 76, "\r\n"),
    "blanks": folded(ENCODED, 60, " \t"),
    "percent": quote(ENCODED, safe=""),
    "percent in lower case": quote(ENCODED, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "line ends as percent": folded(ENCODED, 76, "%0D%0A"),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("body", BODIES)
def test_a_picture_is_read_from_a_data_uri_of_any_label_and_folding(head: str, body: str) -> None:
    """P3: RFC 2397 is read leniently, and the canonical form is sent."""
    picture = read(head + BODIES[body])
    assert picture.value == CANONICAL
    assert (picture.width, picture.height) == (96, 54)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp lossy"])
@pytest.mark.parametrize("head", ["data:,", "data:image/png,", "data:;charset=utf-8,", "data:image/gif;x=y,"])
def test_percent_encoded_bytes_are_read(name: str, head: str) -> None:
    data = PICTURES[name]
    for text in (quote(data, safe=""), "".join(f"%{byte:02x}" for byte in data)):
        assert base64.b64decode(read(head + text).value.partition(",")[2]) == data


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["png", "jpeg", "webp lossy"]),
    st.sampled_from(["image/png", "IMAGE/JPEG", "text/html", "", "a/b", "application/octet-stream"]),
    st.lists(st.from_regex(r"\A[a-z]{1,8}=[A-Za-z0-9.-]{1,8}\Z"), max_size=3),
    st.sampled_from(["", "\n", "\r\n", " "]),
    st.integers(1, 200),
    st.booleans(),
)
def test_the_bytes_decide_the_type(
    name: str, label: str, parameters: list[str], by: str, width: int, safe: bool
) -> None:
    data = PICTURES[name]
    body = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    picture = read(f"data:{';'.join([label, *parameters, 'base64'])},{folded(body, width, by)}")
    assert picture.value == f"data:image/{name.split()[0]};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/png;base64,", "is empty"),
        ("data:,", "is empty"),
        ("data:image/png;base64", "no comma"),
        ("data:", "no comma"),
        (CANONICAL[:80] + "!" + CANONICAL[81:], "damaged"),
        (CANONICAL[: -len(ENCODED) // 2], "cut off"),
        ("data:image/png;base64," + base64.b64encode(b"GIF89a" + bytes(60)).decode(), "a GIF picture"),
        ("data:image/png;base64," + base64.b64encode(b"<html><body>").decode(), "a web page"),
        ("data:image/png;base64," + base64.b64encode(b"\0\0\0\x18ftypheic" + bytes(40)).decode(), "a HEIC picture"),
        ("data:text/html,<html>%20<body>", "a web page"),
    ],
)
def test_a_refused_data_uri_is_named_by_its_content(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize("body", ["A" * 14_000_000, "A\n" * 14_000_000, "%41" * 11_000_000, "\n" * 40_000_000])
def test_a_data_uri_beyond_the_limit_is_refused_by_its_length(body: str) -> None:
    message = refusal("data:image/png;base64," + body)
    assert "at most 10.0 MB" in message or "is empty" in message or "31,000,000 at most" in message


def test_a_picture_of_the_largest_size_is_read_from_every_encoding() -> None:
    data = PIXELS + bytes(MAX_PICTURE_BYTES - len(PIXELS))
    encoded = base64.b64encode(data).decode()
    percent = encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    for body in (encoded, folded(encoded, 76, "\r\n"), percent):
        assert read("data:image/png;base64," + body).width == 96
    literal = "".join(f"%{byte:02X}" for byte in PIXELS) + "%00" * (len(data) - len(PIXELS))
    assert read("data:image/png," + literal).width == 96
    assert "10.0 MB; at most 10.0 MB" in refusal("data:;base64," + base64.b64encode(data + b"x").decode())


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='data:;,=%base64/+-_"\n \\é\ud83d', max_size=80))
def test_any_data_uri_is_read_or_refused(text: str) -> None:
    try:
        read("data:" + text)
    except FileRefused as refused:
        assert len(refused.message) < 500  # noqa: PT017 - most texts are refused, and that is right


# Links


SIGNED = "https://bucket.s3.amazonaws.com/cat.png?X-Amz-Signature="


@pytest.mark.parametrize("length", [2001, 5000, 8000])
def test_a_signed_link_of_up_to_eight_thousand_characters_is_taken(length: int) -> None:
    link = SIGNED + "a" * (length - len(SIGNED))
    assert read(link).value == link


def test_a_longer_link_is_refused_with_our_own_limit() -> None:
    message = refusal(SIGNED + "a" * (8001 - len(SIGNED)))
    assert "8,001 characters" in message
    assert "this server takes" in message
    assert "service" not in message


@pytest.mark.parametrize(
    "link", ["https://a.example/a b.png", "https://me:pw@a.example/x.png", "https://a.example/\u202e"]
)
def test_the_error_for_an_unsupported_link_does_not_name_the_service(link: str) -> None:
    assert "service" not in refusal(link)


def test_a_link_copied_out_of_a_page_is_unescaped() -> None:
    link = "https://a.example/x.png?a=1&b=2&c=%26amp;"
    assert read(html.escape(link.replace("amp;", ""))).value == link.replace("amp;", "")
    plain = read("https://a.example/x.png?a=1&b=2")
    for written in ("https://a.example/x.png?a=1&amp;b=2", "https://a.example/x.png?a=1&AMP;b=2"):
        assert read(written).digest == plain.digest  # P1: the same request, so the same video
    assert read("https://a.example/x.png?a=1&#38;b=2").value == plain.value


def test_quotes_around_a_text_of_many_megabytes_take_bounded_work() -> None:
    """P4."""
    from tests.unit.test_whole_pictures import steps

    for text in ('"' * 20_000_000, "'x'" * 7_000_000, "a" * 20_000_000, "a:" * 10_000_000, "data" * 5_000_000):
        assert steps(lambda text=text: refusal(text)) < 20_000
