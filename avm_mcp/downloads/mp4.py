"""Whether an MP4 is all there, by its outermost boxes (ISO/IEC 14496-12, 4.2).

A box says its length before its content, so a file that was cut ends inside of one, or lacks the boxes that a video
cannot be without. Only headers are read. What cannot be told: a video of fragments that ends between two of them.
"""

from collections.abc import Callable
from pathlib import Path

ReadAt = Callable[[int, int], bytes]
"""Returns up to so many bytes from a place in the file."""

NEEDED = frozenset({b"moov", b"mdat"})
"""What a video cannot be without: where its pictures are, and the pictures."""

KNOWN = NEEDED | {
    *(b"ftyp", b"styp", b"moof", b"mfra", b"sidx", b"ssix", b"prft", b"emsg"),
    *(b"free", b"skip", b"wide", b"pdin", b"meta", b"udta", b"uuid", b"pnot"),
}
"""Outermost boxes of videos. After a video that is complete, anything else does not matter."""

MOST = 20_000
"""Boxes that are looked at: a quarter of an hour of fragments of a tenth of a second. The service's longest video has
thirty seconds, and the look is on the event loop."""


def what_is_missing(size: int, read_at: ReadAt) -> str | None:
    """Return what a video of `size` bytes lacks, in words; None if its boxes end where it does."""
    seen: set[bytes] = set()
    place, kind = 0, b""
    for _ in range(MOST):
        if place == size:
            break
        header = read_at(place, 16)
        kind = header[4:8]
        if seen >= NEEDED and b"moof" not in seen and kind not in KNOWN:
            return None
        length = _length(header, size - place)
        if length is None:
            return "it ends within the head of a box"
        if length < 8:
            return f"at byte {place:,} it is no video"
        if place + length > size:
            return f"it ends {place + length - size:,} bytes too early"
        seen.add(kind)
        place += length
    if kind == b"moof":
        return "its last fragment has no pictures"
    lacking = sorted(needed.decode() for needed in NEEDED - seen)
    return f"it has no {' and no '.join(lacking)} box" if lacking else None


def _length(header: bytes, left: int) -> int | None:
    """Return a box's length: in 32 bits, in 64, or all that is left; None where its header is cut."""
    if len(header) < 8:
        return None
    length = int.from_bytes(header[:4])
    if length == 0:
        return left
    if length > 1:
        return length
    return int.from_bytes(header[8:]) if len(header) == 16 else None


def video_is_whole(path: Path) -> bool:
    """Tell whether a saved video is all there; True where that cannot be looked at."""
    try:
        with path.open("rb") as file:

            def read_at(place: int, count: int) -> bytes:
                file.seek(place)
                return file.read(count)

            return what_is_missing(file.seek(0, 2), read_at) is None
    except OSError:
        return True
