"""Text on videos: titles, subtitles and the mark in the corner, each a transparent layer of the video's size."""

import functools
import unicodedata

from PIL import Image, ImageDraw, ImageFont

Size = tuple[int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WHITE = (255, 255, 255, 255)
_SHADE = (0, 0, 0, 150)
_PANEL = (8, 10, 20, 150)
_BUILT_IN = "·…–—’“”"  # beyond ASCII, the built-in font has these
# For everything else, umlauts included: whichever of these the system has.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
    "arial.ttf",
)


@functools.cache
def _wide_font() -> str:
    """A font of this system that knows more scripts than the built-in one; empty when there is none."""
    for name in _WIDE_FONTS:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return ""


def _is_plain(text: str) -> bool:
    return all(letter.isascii() or letter in _BUILT_IN for letter in text)


def _font(size: float, text: str) -> Font:
    if _is_plain(text) or not _wide_font():
        return ImageFont.load_default(size=size)
    return ImageFont.truetype(_wide_font(), size)


def _clean(text: str) -> str:
    """One line that can be drawn: without a font for its script, its letters lose their accents."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    if _is_plain(line) or _wide_font():
        return line
    plain = unicodedata.normalize("NFKD", line).encode("ascii", "ignore").decode()
    return plain if plain.strip() or not line else "(a prompt in a script this machine has no font for)"


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines no wider than that; a word that is too long is broken."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _fitted(text: str, size: Size, largest: float, smallest: float, most: int) -> tuple[list[str], Font, float]:
    """The largest letters in which the text takes at most so many lines; cut with an ellipsis at the smallest."""
    width = size[0] * 0.84
    points = largest
    while True:
        font = _font(points, text)
        lines = _wrapped(text, font, width)
        if len(lines) <= most:
            return lines, font, points
        if points <= smallest:
            return [*lines[: most - 1], lines[most - 1][:-1].rstrip() + "…"], font, points
        points = max(smallest, points * 0.88)


def title(size: Size, text: str, note: str = "", *, largest: float = 7.5) -> Image.Image:
    """A text in the middle of the video, a small note above it; `largest` letters are that share of the side."""
    layer = Image.new("RGBA", size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    unit = min(size)
    lines, font, points = _fitted(_clean(text)[:600], size, unit / largest, unit / 18, 7)
    step = points * 1.28
    top = (size[1] - step * len(lines)) / 2
    if note:
        draw.text((size[0] / 2, top - points * 0.5), note, _WHITE, _font(unit / 24, note), anchor="ms")
    for number, line in enumerate(lines):
        spot = (size[0] / 2, top + step * (number + 0.5))
        draw.text((spot[0] + points / 24, spot[1] + points / 24), line, _SHADE, font, anchor="mm")
        draw.text(spot, line, _WHITE, font, anchor="mm")
    return layer


def subtitle(size: Size, text: str, note: str = "") -> Image.Image:
    """A text on a dark band along the lower edge."""
    layer = Image.new("RGBA", size, (255, 255, 255, 0))
    cleaned = _clean(text)
    said = f"{note}   {cleaned}".strip() if note else cleaned
    if not said:
        return layer
    draw = ImageDraw.Draw(layer)
    unit = min(size)
    lines, font, points = _fitted(said[:400], size, unit / 14, unit / 20, 3)
    step = points * 1.3
    top = size[1] * 0.94 - step * len(lines)
    width = max(font.getlength(line) for line in lines) + points * 1.6
    box = ((size[0] - width) / 2, top - points * 0.45, (size[0] + width) / 2, size[1] * 0.94 + points * 0.45)
    draw.rounded_rectangle(box, radius=points * 0.5, fill=_PANEL)
    for number, line in enumerate(lines):
        draw.text((size[0] / 2, top + step * (number + 0.5)), line, _WHITE, font, anchor="mm")
    return layer


def mark(size: Size, text: str) -> Image.Image:
    """The small mark in the upper right corner."""
    layer = Image.new("RGBA", size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    points = max(9.0, min(size) / 24)
    font = _font(points, text)
    width = font.getlength(text)
    right, top = size[0] - points * 0.8, points * 0.8
    box = (right - width - points * 1.2, top, right, top + points * 1.7)
    draw.rounded_rectangle(box, radius=points * 0.5, fill=_PANEL)
    draw.text((right - points * 0.6, top + points * 0.85), text, _WHITE, font, anchor="rm")
    return layer
