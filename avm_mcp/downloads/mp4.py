"""Whether an MP4 is whole, by its top-level boxes (ISO/IEC 14496-12, 4.2).

A box has its length in its header, so a file that was cut ends inside a box, or lacks a required one. Only headers are
read. A fragmented video that was cut between two fragments is not recognized.
"""

import os
from pathlib import Path
from typing import BinaryIO

REQUIRED = frozenset({b"moov", b"mdat"})
"""The index of a video, and its pictures."""

KNOWN = REQUIRED | {
    *(b"ftyp", b"styp", b"moof", b"mfra", b"sidx", b"ssix", b"prft", b"emsg"),
    *(b"free", b"skip", b"wide", b"pdin", b"meta", b"udta", b"uuid", b"pnot"),
}
"""Top-level boxes of videos. If anything else follows a complete video, it is ignored."""

MAX_BOXES = 20_000
"""Boxes that are read. A video of 15 minutes in fragments of 0.1 s has as many; the service's longest has 30 seconds.
The limit is needed because this runs on the event loop."""


def find_missing(file: BinaryIO, size: int) -> str | None:
    """Return what a video of `size` bytes lacks, in words; None if it is whole."""
    seen: set[bytes] = set()
    place, kind = 0, b""
    for _ in range(MAX_BOXES):
        if place == size:
            break
        file.seek(place)
        header = file.read(16)
        kind = header[4:8]
        if seen >= REQUIRED and b"moof" not in seen and kind not in KNOWN:
            return None
        length = _read_length(header, size - place)
        if length is None:
            return "it ends within the header of a box"
        if length < 8:
            return f"the box at byte {place:,} is not valid"
        if place + length > size:
            return f"it ends {place + length - size:,} bytes too early"
        seen.add(kind)
        place += length
    if kind == b"moof":
        return "its last fragment has no pictures"
    lacking = sorted(needed.decode() for needed in REQUIRED - seen)
    return f"it has no {' and no '.join(lacking)} box" if lacking else None


def _read_length(header: bytes, left: int) -> int | None:
    """Return the length of a box, from 32 or 64 bits, or all bytes that are left; None if its header is incomplete."""
    if len(header) < 8:
        return None
    length = int.from_bytes(header[:4])
    if length == 0:
        return left
    if length > 1:
        return length
    return int.from_bytes(header[8:]) if len(header) == 16 else None


def video_is_whole(path: Path) -> bool:
    """Return whether a saved video is whole; True if it cannot be read."""
    try:
        with path.open("rb") as file:
            return find_missing(file, file.seek(0, os.SEEK_END)) is None
    except OSError:
        return True
