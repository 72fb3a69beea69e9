"""What is to be drawn for a task: the video's texts, seconds, size and picture."""

import hashlib
from dataclasses import dataclass

from avm_mcp.sandbox.ledger import Task
from avm_mcp.sandbox.payloads import strings_of
from avm_mcp.sandbox.tables import MODELS, seconds_of, size_of

# Where the first picture of a model stands; for minimax a first frame, else a reference.
_PICTURES = ("image", "imageUrl", "lastFrameUrl", "referenceImageUrls")
_TEXTS = ("prompt", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOrder:
    """One video to be drawn; equal orders make equal videos.

    Args:
        texts: One text per segment; the segments share the time evenly.
        seconds: The length of the video.
        width: Pixels, even.
        height: Pixels, even.
        picture: The bytes of the picture to animate; its shape decides the video's.
        picture_name: The address of a picture that was not given as data: it is named, never fetched.
        model: The model, for the mark in the corner.
    """

    texts: tuple[str, ...]
    seconds: float
    width: int
    height: int
    picture: bytes = b""
    picture_name: str = ""
    model: str = ""

    @property
    def digest(self) -> str:
        """The hash under which the video is kept."""
        return hashlib.sha256(repr(self).encode("utf-8", "backslashreplace")).hexdigest()

    @property
    def shape(self) -> str:
        """The bundled clip that comes nearest: wide, vertical or square."""
        ratio = self.width / self.height
        return "square" if 0.8 < ratio < 1.25 else "wide" if ratio > 1 else "vertical"


def even(pixels: float) -> int:
    """The nearest even number, at least 32: H.264 wants both sides even."""
    return max(32, round(pixels / 2) * 2)


def order_of(task: Task, scale: float) -> VideoOrder:
    """The video a task asks for, at a share of its measured size."""
    width, height = size_of(task.model, task.filled)
    pictures = [text for name in _PICTURES for text in strings_of(task.filled.get(name))]
    first = pictures[0] if pictures else ""
    data = task.pictures.get(first, b"")
    texts = tuple(text for name in _TEXTS for text in strings_of(task.filled.get(name)))
    return VideoOrder(
        texts=texts or ("",),
        seconds=round(seconds_of(task.model, task.filled) + MODELS[task.model].extra_seconds, 2),
        width=even(width * scale),
        height=even(height * scale),
        picture=data,
        picture_name="" if data else first,
        model=task.model,
    )
