"""Lateness against queries, drawn with Pillow: `python -m tests.bench.b3 | python -m tests.bench.plot`.

Reads B3's lines (from files that are named, or stdin) and writes `tests/bench/lateness.png`: a panel for each
distribution, both axes logarithmic, with the frontier that no schedule can pass, the pollers of each video, and ours.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.bench import schedules
from tests.bench.schedules import parsed

OUT = Path(__file__).with_name("lateness.png")
SCALE = 2  # drawn large and made smaller, so that lines are smooth
PANEL_W, PANEL_H = 620, 430
LEFT, TOP, RIGHT, BOTTOM = 62, 52, 18, 50
LEGEND = 96
X, Y = (1.1, 300.0), (0.7, 45.0)

INK, SOFT, GRID, PAPER = "#1f2933", "#52606d", "#e4e7eb", "#ffffff"
BEST, BEYOND, OURS, COLD, CROWD = "#3e4c59", "#f0f2f5", "#d64545", "#e8a33d", "#2a8a6b"
POLLERS = {"fixed": "#5b8def", "exponential": "#9a67c9"}
TITLES = {
    "ln:390,.25": "(a) lognormal, median 390 s",
    ".5*ln:180,.15+.5*ln:390,.15": "(b) two kinds of videos: 180 s and 390 s",
    ".95*ln:240,.3+.05*ln:720,.3": "(c) median 240 s, one in twenty takes three times as long",
    "ln:390,.25>ln:200,.25": "(d) after the service became faster: 390 s to 200 s",
}

Place = Callable[[float, float], tuple[float, float]]


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf",):
        try:
            return ImageFont.truetype(name, size * SCALE)
        except OSError:
            continue
    return ImageFont.load_default(size * SCALE)


class Sheet:
    """A drawing in points of its own, at `SCALE` times the pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def line(self, points: Iterable[tuple[float, float]], color: str, width: float = 1) -> None:
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], color, round(width * SCALE), joint="curve")

    def area(self, points: Iterable[tuple[float, float]], color: str) -> None:
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], color)

    def dot(self, at: tuple[float, float], color: str, size: float = 5, *, hollow: bool = False) -> None:
        x, y = (value * SCALE for value in at)
        r = size * SCALE
        self._draw.ellipse((x - r, y - r, x + r, y + r), PAPER if hollow else color, color, round(2 * SCALE))

    def text(self, at: tuple[float, float], printed: str, color: str = INK, size: int = 11, **more: Any) -> None:
        bold = more.pop("bold", False)
        x, y = (value * SCALE for value in at)
        self._draw.text((x, y), printed, color, font(size, bold=bold), **more)


def placed(left: float, top: float) -> Place:
    def place(queries: float, late: float) -> tuple[float, float]:
        def share(value: float, bounds: tuple[float, float]) -> float:
            return math.log(value / bounds[0]) / math.log(bounds[1] / bounds[0])

        x = left + LEFT + share(queries, X) * (PANEL_W - LEFT - RIGHT)
        return x, top + PANEL_H - BOTTOM - share(late, Y) * (PANEL_H - TOP - BOTTOM)

    return place


def axes(sheet: Sheet, place: Place, title: str, left: float, top: float) -> None:
    sheet.text((left + LEFT, top + 22), title, bold=True, size=12)
    for queries in (2, 5, 10, 20, 50, 100, 200):
        sheet.line((place(queries, Y[0]), place(queries, Y[1])), GRID)
        x, y = place(queries, Y[0])
        sheet.text((x, y + 6), str(queries), SOFT, 10, anchor="ma")
    for late in (1, 2, 5, 10, 20):
        sheet.line((place(X[0], late), place(X[1], late)), GRID)
        x, y = place(X[0], late)
        sheet.text((x - 7, y), f"{late} s", SOFT, 10, anchor="rm")
    sheet.line((place(X[0], Y[1]), place(*[X[0], Y[0]]), place(X[1], Y[0])), SOFT, 1.2)
    middle = (place(X[0], Y[0])[0] + place(X[1], Y[0])[0]) / 2
    sheet.text((middle, top + PANEL_H - 24), "queries for each video", SOFT, 10, anchor="ma")


def panel(sheet: Sheet, line: dict[str, Any], left: float, top: float) -> None:
    place = placed(left, top)
    known = parsed(line["durations"])[-1]
    prices = [0.004 * 1.25**step for step in range(40)]
    # The one query that fetches the output belongs to every schedule.
    best = [(polls + 1, late) for polls, late in schedules.frontier(known, prices)]
    best = sorted((q, late) for q, late in best if X[0] <= q <= X[1] and Y[0] <= late <= Y[1])
    curve = [place(*point) for point in best]
    sheet.area([*curve, place(best[-1][0], Y[0]), place(*[X[0], Y[0]]), place(X[0], best[0][1])], BEYOND)
    axes(sheet, place, TITLES.get(line["durations"], line["durations"]), left, top)
    sheet.line(curve, BEST, 2)
    sheet.text((place(X[0], Y[0])[0] + 10, place(X[0], Y[0])[1] - 20), "out of reach for a lone video", SOFT, 10)
    for name, reply in line["others"].items():
        color = next(color for kind, color in POLLERS.items() if name.startswith(kind))
        at = place(reply["queries"], reply["late"])
        sheet.dot(at, color)
        sheet.text((at[0] + 9, at[1] - 7), name.removeprefix("fixed ").replace("exponential ", ""), color, 10)
    for name, videos in (("ten", 10), ("hundred", 100)):
        crowd = line[name]
        sheet.dot(at := place(max(X[0], crowd["queries"] / videos), crowd["late"]), CROWD)
        sheet.text((at[0], at[1] + 9), str(videos), CROWD, 10, anchor="ma")
    sheet.dot(place(line["cold"]["queries"], line["cold"]["late"]), COLD, hollow=True)
    ours = line["alone"]
    at = place(ours["queries"], ours["late"])
    sheet.dot(at, OURS, 6)
    sheet.text((at[0] - 10, at[1] + 8), f"{ours['ratio']:.2f} × best", OURS, 11, bold=True, anchor="ra")


def legend(sheet: Sheet, top: float) -> None:
    sheet.text(
        (LEFT, top + 6),
        "Seconds until the end of a video is seen, against the queries that it cost",
        bold=True,
        size=14,
    )
    entries = (
        (OURS, "avm-mcp, one video in flight", False),
        (COLD, "its first five videos ever", True),
        (CROWD, "ten, and a hundred, videos in flight: one list for all", False),
        (POLLERS["fixed"], "polling each video on a fixed clock", False),
        (POLLERS["exponential"], "polling with exponential backoff", False),
        (BEST, "the best schedule that knows the distribution, 2 to 30 s between looks", None),
    )
    x, y = float(LEFT), top + 40.0
    for number, (color, printed, hollow) in enumerate(entries):
        if number == 3:
            x, y = float(LEFT), top + 62.0
        if hollow is None:
            sheet.line(((x - 7, y + 7), (x + 9, y + 7)), color, 2.5)
        else:
            sheet.dot((x + 1, y + 7), color, hollow=hollow)
        sheet.text((x + 16, y), printed, INK, 11)
        x += 270 if number != 4 else 250


def drawn(lines: list[dict[str, Any]], out: Path) -> None:
    rows = math.ceil(len(lines) / 2)
    width, height = 2 * PANEL_W, LEGEND + rows * PANEL_H
    sheet = Sheet(width, height)
    legend(sheet, 8)
    for number, line in enumerate(lines):
        panel(sheet, line, (number % 2) * PANEL_W, LEGEND + (number // 2) * PANEL_H)
    small = sheet.image.resize((width, height), Image.Resampling.LANCZOS)
    small.save(out, optimize=True)


def main() -> None:
    sources = [Path(name).read_text() for name in sys.argv[1:]] or [sys.stdin.read()]
    lines = [json.loads(line) for source in sources for line in source.splitlines() if line.startswith("{")]
    drawn([line for line in lines if line["bench"] == "B3"], OUT)
    print(OUT)


if __name__ == "__main__":
    main()
