"""Cut and damaged pictures are refused before anything is paid: each format is read to its end in bounded work."""

import contextlib
import io
import itertools
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from avm_mcp.domain.errors import FileRefused
from avm_mcp.images import PathRules, read_picture
from avm_mcp.images.formats import Damaged, read_header

SIZE = (96, 54)


def noise(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """Return a picture that does not compress."""
    rng = random.Random(7)
    pixels = bytes(rng.randrange(256) for _ in range(size[0] * size[1] * 3))
    return Image.frombytes("RGB", size, pixels).convert(mode)


def saved(kind: str, picture: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (picture or noise()).save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_thumbnail(jpeg: bytes) -> bytes:
    """Put a whole JPEG, its end marker included, into an APP1 segment, as cameras do."""
    small = saved("JPEG", noise((16, 16)))
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0\0\0\0\0" + small) + jpeg[2:]


def frames(count: int = 3) -> list[Image.Image]:
    return [noise().rotate(90 * number) for number in range(count)]


def animated(kind: str, **options: object) -> bytes:
    first, *others = frames()
    return saved(kind, first, save_all=True, append_images=others, **options)


def separate_scans() -> bytes:
    """Build a baseline picture whose three components have a scan each, from three pictures of one component."""
    parts = [saved("JPEG", noise().rotate(180 * number).convert("L")) for number in range(3)]
    frame, scan = parts[0].index(b"\xff\xc0"), parts[0].index(b"\xff\xda")
    tables = parts[0].index(b"\xff\xc4")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    out = parts[0][:frame] + segment(0xC0, struct.pack(">BHHB", 8, SIZE[1], SIZE[0], 3) + components)
    out += parts[0][tables:scan]
    for number, part in enumerate(parts, 1):
        pixels = part[part.index(b"\xff\xda") + 10 : -2]
        out += segment(0xDA, bytes([1, number, 0, 0, 63, 0])) + pixels
    return out + b"\xff\xd9"


VALID: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG"),
    "jpeg progressive": lambda: saved("JPEG", progressive=True),
    "jpeg grey": lambda: saved("JPEG", noise(mode="L")),
    "jpeg cmyk": lambda: saved("JPEG", noise(mode="CMYK")),
    "jpeg 4:2:0": lambda: saved("JPEG", subsampling=2),
    "jpeg 4:4:4 optimised": lambda: saved("JPEG", subsampling=0, optimize=True, quality=100),
    "jpeg restart markers": lambda: saved("JPEG", restart_marker_blocks=1),
    "jpeg restart rows, progressive": lambda: saved("JPEG", restart_marker_rows=1, progressive=True),
    "jpeg exif": lambda: saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "jpeg comment and profile": lambda: saved("JPEG", comment=b"c" * 60000, icc_profile=b"p" * 150_000),
    "jpeg thumbnail in APP1": lambda: with_thumbnail(saved("JPEG")),
    "jpeg several scans": separate_scans,
    "mpo": lambda: animated("MPO"),
    "jpeg and a video behind it": lambda: saved("JPEG") + b"\0\0\0\x18ftypisom" + bytes(500),
    "jpeg and zeros behind it": lambda: saved("JPEG") + bytes(4096),
    "jpeg stray bytes between segments": lambda: (j := saved("JPEG"))[:20] + b"\0\x12\xff\xff\0" + j[20:],
    "jpeg fill bytes": lambda: (j := saved("JPEG"))[:20] + b"\xff" * 9 + j[20:],
    "jpeg fill bytes before its end": lambda: saved("JPEG")[:-2] + b"\xff\xff\xff\xd9",
    "png": lambda: saved("PNG"),
    "png 1 bit": lambda: saved("PNG", noise(mode="1")),
    "png palette": lambda: saved("PNG", noise(mode="P")),
    "png alpha": lambda: saved("PNG", noise(mode="RGBA")),
    "png 16 bit": lambda: saved("PNG", noise(mode="I;16")),
    "png exif and text": lambda: saved("PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "apng": lambda: animated("PNG"),
    "png and trailing data": lambda: saved("PNG") + b"behind",
    "webp lossy": lambda: saved("WEBP"),
    "webp lossless": lambda: saved("WEBP", lossless=True),
    "webp alpha": lambda: saved("WEBP", noise(mode="RGBA")),
    "webp exif and profile": lambda: saved("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", icc_profile=b"p" * 501),
    "webp animated": lambda: animated("WEBP", minimize_size=True),
    "webp animated lossless": lambda: animated("WEBP", lossless=True),
    "webp and trailing data": lambda: saved("WEBP") + b"behind",
}


def interlaced() -> bytes:
    """Return a PNG in Adam7 order, which Pillow reads and does not write."""
    import zlib

    width, height = SIZE
    raw = b""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for x0, y0, dx, dy in passes:
        across, down = -(-(width - x0) // dx), -(-(height - y0) // dy)
        raw += (b"\0" + bytes(range(across)))[: across + 1] * down

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compress(raw)
    parts = [packed[at : at + 7] for at in range(0, len(packed), 7)]  # many small IDAT chunks
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    body = b"".join(chunk(b"IDAT", part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


VALID["png interlaced"] = interlaced
PICTURES = {name: make() for name, make in VALID.items()}
BARE = {
    "mpo": "jpeg",
    "jpeg and a video behind it": "jpeg",
    "jpeg and zeros behind it": "jpeg",
    "png and trailing data": "png",
    "webp and trailing data": "webp lossy",
}
"""Files whose first half may hold the whole picture, and the name of that picture alone."""


def decodes(data: bytes) -> bool:
    """Return whether a strict decoder shows the first picture whole."""
    try:
        Image.open(io.BytesIO(data)).load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_decodes_is_accepted(name: str) -> None:
    """No variant of a format that real programs write is refused."""
    data = PICTURES[name]
    assert decodes(data)
    header = read_header(data)
    assert header is not None
    assert (header.width, header.height) == SIZE


@pytest.mark.parametrize("name", PICTURES)
def test_half_a_picture_is_refused(name: str, tmp_path: Path) -> None:
    """P8: half a picture costs as much as a whole one."""
    data = PICTURES[BARE.get(name, name)]
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileRefused, match="cut off"):
        read_picture(str(path), folders=[tmp_path], rules=PathRules())


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(PICTURES)), st.floats(0, 1))
def test_any_beginning_of_a_picture_is_refused_or_complete(name: str, part: float) -> None:
    """P8: a picture cut anywhere is refused, unless a strict decoder still shows all of it."""
    data = PICTURES[name]
    cut = data[: int(part * len(data))]
    try:
        header = read_header(cut)
    except Damaged:
        return
    assert header is None or decodes(cut)


def test_a_jpeg_without_its_end_marker_is_refused_with_advice(tmp_path: Path) -> None:
    """P8: some cameras write none, and without decoding, such a file looks like half a picture."""
    path = tmp_path / "webcam.jpg"
    path.write_bytes(PICTURES["jpeg"][:-2])
    with pytest.raises(FileRefused, match=r"before its end marker.*open it there and save it again"):
        read_picture(str(path), folders=[tmp_path], rules=PathRules())


@pytest.mark.parametrize("name", PICTURES)
def test_a_cut_in_the_last_bytes_is_noticed(name: str) -> None:
    """Cuts there are the hardest to notice."""
    data = PICTURES[name]
    for missing in range(1, 40):
        cut = data[:-missing]
        try:
            header = read_header(cut)
        except Damaged:
            continue
        assert header is not None
        assert decodes(cut), missing


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_after_the_end_are_ignored(behind: bytes) -> None:
    for name in ("jpeg", "png", "webp lossy"):
        assert read_header(PICTURES[name] + behind) == read_header(PICTURES[name])


def png_of(width: int, height: int) -> bytes:
    """Return a PNG with this size in its header only."""
    data = bytearray(PICTURES["png"])
    data[16:24] = struct.pack(">II", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 500), (500, 1), (15, 500), (20_001, 500), (500, 20_001), (19_000, 19_000), (2**31, 2**31)]
)
def test_a_size_out_of_range_is_refused_with_our_own_limit(size: tuple[int, int], tmp_path: Path) -> None:
    """P8: the error says that the limit is this server's, since the service publishes none."""
    (tmp_path / "x.png").write_bytes(png_of(*size))
    with pytest.raises(FileRefused) as caught:
        read_picture("x.png", folders=[tmp_path], rules=PathRules())
    message = caught.value.message
    assert f"{size[0]} x {size[1]}" in message
    assert "this server" in message
    assert "service" not in message.replace("the service publishes no limit", "")


@pytest.mark.parametrize("size", [(16, 16), (20_000, 16), (12_000, 9_000)])
def test_a_size_at_the_limit_is_accepted(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_of(*size))
    picture = read_picture("x.png", folders=[tmp_path], rules=PathRules())
    assert (picture.width, picture.height) == size


def test_arithmetic_coding_is_read_too() -> None:
    """Pillow does not write it, so the frame marker is replaced, which is the only difference."""
    jpeg = PICTURES["jpeg"].replace(b"\xff\xc0", b"\xff\xc9", 1)
    header = read_header(jpeg)
    assert header is not None
    assert (header.width, header.height) == SIZE
    with pytest.raises(Damaged):
        read_header(jpeg[: len(jpeg) // 2])


TEN_MEGABYTES = 10_000_000


JPEG, PNG, WEBP = PICTURES["jpeg"], PICTURES["png"], PICTURES["webp exif and profile"]
TAGS = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + bytes(60_000))
HOSTILE: dict[str, Callable[[], bytes]] = {
    "jpeg fill bytes": lambda: JPEG[:2] + b"\xff" * TEN_MEGABYTES + JPEG[2:],
    "jpeg empty segments": lambda: JPEG[:2] + b"\xff\xe0\0\2" * (TEN_MEGABYTES // 4) + JPEG[2:],
    "jpeg short lengths": lambda: JPEG[:2] + b"\xff\xe0\0\0" * (TEN_MEGABYTES // 4) + JPEG[2:],
    "jpeg bare markers": lambda: JPEG[:2] + b"\xff\xd0" * (TEN_MEGABYTES // 2) + JPEG[2:],
    "jpeg stuffing": lambda: JPEG[:-2] + b"\xff\0" * (TEN_MEGABYTES // 2) + b"\xff\xd9",
    "jpeg restarts": lambda: JPEG[:-2] + b"\xff\xd0" * (TEN_MEGABYTES // 2) + b"\xff\xd9",
    "jpeg stray": lambda: JPEG[:2] + b"\xff" + b"\0\xff" * (TEN_MEGABYTES // 2) + JPEG[2:],
    "jpeg scans": lambda: JPEG[:-2] + b"\xff\xda\0\2" * (TEN_MEGABYTES // 4) + b"\xff\xd9",
    "jpeg endless scan": lambda: JPEG[:-2] + bytes(TEN_MEGABYTES),
    "jpeg exif": lambda: JPEG[:2] + TAGS * 160 + JPEG[2:],
    "png chunks": lambda: PNG[:33] + b"\0\0\0\0tEXt\0\0\0\0" * (TEN_MEGABYTES // 12) + PNG[33:],
    "webp chunks": lambda: (
        WEBP[:4] + struct.pack("<I", TEN_MEGABYTES) + WEBP[8:30] + b"JUNK\0\0\0\0" * (TEN_MEGABYTES // 8) + WEBP[30:]
    ),
}
"""Files of ten megabytes for which a naive reader takes a step for every few bytes."""


def steps(work: Callable[[], object]) -> int:
    """Return how many lines of Python run, which is the same on every machine."""
    import sys

    count = itertools.count()

    def trace(*_: object) -> object:
        next(count)
        if (so_far := next(count) // 2) > 3_000_000:
            raise AssertionError(f"more than {so_far:,} steps")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return next(count) // 2


@pytest.mark.parametrize("name", HOSTILE)
def test_ten_megabytes_of_hostile_parts_take_bounded_work(name: str) -> None:
    """P4: such a file delays no other call."""
    data = HOSTILE[name]()

    def read() -> None:
        with contextlib.suppress(Damaged):
            read_header(data)

    assert steps(read) < 400_000


def test_pillow_here_writes_every_format() -> None:
    """Without a codec, the properties above would test nothing."""
    assert features.check("webp")
    assert features.check("jpg")
