"""The picture in the README: `python -m manifests.picture`, or `make picture`. It takes minutes, as a video does.

`avm` makes a video on the sandbox, at the service's own speed, in front of a real terminal. Two moments of what it
wrote there become `docs/call.svg`: the bar on its way, and the end. Only the line that was typed is added.
"""

import os
import re
import shlex
import shutil
import sys
import tempfile
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from manifests import terminal, trial
from manifests.facts import MANIFESTS, ROOT

PICTURE = ROOT / "docs" / "call.svg"
TYPED = ("avm", "text-to-video", "a red kite over the sea")
COLUMNS, ROWS, INTERVAL = 112, 30, 10
ON_ITS_WAY = 55
"""Percent at which the first of the two moments is taken, or soon after."""

CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x00-\x1f\x7f]+)|(.)", re.DOTALL)
SVG = "http://www.w3.org/2000/svg"
_BACK, _FRONT = (24, 26, 33), (208, 212, 222)
_COLOURS = [(235, 95, 95), (114, 196, 94), (226, 184, 92), (98, 155, 235), (196, 128, 222), (86, 190, 196)]
THEME = TerminalTheme(_BACK, _FRONT, [_BACK, *_COLOURS, _FRONT])
WINDOW = (MANIFESTS / "window.svg").read_text().rstrip()
"""The frame that rich draws a terminal into; it loads no fonts, unlike rich's own."""


class Screen:
    """A terminal's screen, for the few control sequences that the program sends; any other is an error."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def write(self, text: str) -> None:
        for words, letter, back, down, plain, odd in CONTROL.findall(text):
            if plain or letter == "m":
                self.lines[self._row] += plain or f"\x1b[{words}m"
            elif letter == "K" and words == "2":
                self.lines[self._row] = ""
            elif letter == "A":
                self._row -= int(words or 1)
            elif down:
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif not back and (letter, words) not in (("l", "?25"), ("h", "?25")):
                raise ValueError(f"the picture cannot show {odd or letter!r} with {words!r}")


def moments(frames: terminal.Frames) -> tuple[str, str]:
    """Return the screen on the way, and at the end.

    Raises:
        ValueError: There was no such moment.
    """
    screen, on_its_way = Screen(), ""
    for _, text in frames:
        screen.write(text)
        percent = re.search(r"(\d+)%", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.lines[0]))
        if not on_its_way and percent and ON_ITS_WAY <= int(percent[1]) < 100:
            on_its_way = "\n".join(screen.lines)
    if not on_its_way:
        raise ValueError("the bar was never on its way")
    return on_its_way, "\n".join(screen.lines).rstrip()


def draw(screens: tuple[str, str]) -> str:
    """Return the picture: one window above the other."""
    ElementTree.register_namespace("", SVG)
    typed = Text.assemble(("$ ", "bold green"), shlex.join(TYPED), "\n")
    titles = ("while it is being made", "when it is done")
    texts = [Text.assemble(typed, Text.from_ansi(screen)) for screen in screens]
    windows = [_window(text, title) for text, title in zip(texts, titles, strict=True)]
    sizes = [tuple(map(float, window.attrib["viewBox"].split()[2:])) for window in windows]
    width, height = max(size[0] for size in sizes), sum(size[1] for size in sizes) + INTERVAL * (len(sizes) - 1)
    whole = ElementTree.Element(f"{{{SVG}}}svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img"})
    ElementTree.SubElement(
        whole, f"{{{SVG}}}title"
    ).text = "avm makes a video: the bar while it is being made, and what is printed when it is done"
    top = 0.0
    for window, (wide, high) in zip(windows, sizes, strict=True):
        window.attrib |= {"y": f"{top:g}", "width": f"{wide:g}", "height": f"{high:g}"}
        whole.append(window)
        top += high + INTERVAL
    return ElementTree.tostring(whole, encoding="unicode") + "\n"


def _window(text: Text, title: str) -> ElementTree.Element:
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, soft_wrap=False, overflow="fold")
    svg = console.export_svg(title=title, theme=THEME, code_format=WINDOW, unique_id=title.split()[0])
    return ElementTree.fromstring(svg)  # noqa: S314 - made here


def record(speed: float) -> terminal.Frames:
    """Return what the program writes; its home is a folder whose name says nothing of this machine.

    Raises:
        RuntimeError: It did not end well.
    """
    home = Path(tempfile.gettempdir(), "home")
    home.mkdir()
    try:
        environ = trial.clean(os.environ, home) | trial.FAST | {"AVM_SANDBOX_SPEED": str(speed)}
        program = str(Path(sys.executable).parent / TYPED[0])
        code, frames = terminal.record([program, *TYPED[1:]], environ, home, columns=COLUMNS, rows=ROWS, timeout=1800)
    finally:
        shutil.rmtree(home)
    if code:
        raise RuntimeError("".join(text for _, text in frames))
    return frames


def main() -> int:
    """Record, and write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(moments(record(speed=float(sys.argv[1]) if sys.argv[1:] else 1))))
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}  {PICTURE.stat().st_size / 1000:.0f} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
