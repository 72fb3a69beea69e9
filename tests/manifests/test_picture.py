"""The picture in the README: two moments of what the program really wrote to a terminal."""

import re
import sys
from xml.etree import ElementTree

import pytest

from manifests import picture, terminal
from manifests.facts import ROOT

BAR = "\r\x1b[2Kck1 being made \x1b[38;5;197m━━━\x1b[0m {}% 3 min"
DRAWN = [(0.0, "\x1b[?25l"), *((n, BAR.format(n)) for n in (10, 54, 56, 99, 100))]
END = (101.0, "\r\n\x1b[?25h\r\x1b[1A\x1b[2KThe video is ready.\r\nFile: /tmp/home/Videos/kite.mp4\r\n")


def test_the_two_moments_are_the_bar_past_half_and_the_end_without_it():
    on_its_way, end = picture.moments([*DRAWN, END])
    assert "56%" in on_its_way
    assert end == "The video is ready.\nFile: /tmp/home/Videos/kite.mp4"


def test_a_bar_that_was_never_on_its_way_makes_no_picture():
    with pytest.raises(ValueError, match="never on its way"):
        picture.moments([(0.0, BAR.format(10)), (1.0, BAR.format(100)), END])


def test_what_the_picture_could_not_show_truly_is_an_error():
    for odd in ("\x1b[5;1H", "\x1b[0K", "\x07", "\x1b[3J"):
        with pytest.raises(ValueError, match="cannot show"):
            picture.Screen().write(f"text{odd}")


def words(svg: str) -> str:
    return "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")


def test_the_drawing_is_one_svg_of_both():
    svg = picture.draw(picture.moments([*DRAWN, END]))
    shown = words(svg)
    assert shown.index("avm text-to-video") < shown.index("56%") < shown.index("The video is ready.")
    assert not re.search(r"https?://(?!www\.w3\.org/)", svg), "a picture in a page loads nothing"


def test_the_one_in_the_readme_is_small_says_both_and_nothing_of_the_machine_it_was_made_on():
    svg = picture.PICTURE.read_text()
    assert len(svg.encode()) < 150_000
    assert f"({picture.PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    shown = words(svg)
    assert re.search(r"being made .*\b[5-9]\d% \d+ min", shown)
    assert re.search(r"File: /tmp/home/Videos/[\w-]+\.mp4", shown)
    places = set(re.findall(r"(?<![\w/:.])/\w+(?=/)", shown))
    assert places == {"/tmp"}
    assert "Traceback" not in shown


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_recording_is_what_a_program_writes_to_a_terminal_of_that_size(tmp_path):
    code = "import os, sys; print(os.get_terminal_size(), sys.stderr.isatty(), 'é'); sys.exit(3)"
    ended, frames = terminal.record([sys.executable, "-c", code], {}, tmp_path, columns=77, rows=7)
    assert ended == 3
    assert "".join(text for _, text in frames) == "os.terminal_size(columns=77, lines=7) True é\r\n"


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_recording_of_a_program_that_hangs_ends(tmp_path):
    with pytest.raises(TimeoutError):
        terminal.record([sys.executable, "-c", "input()"], {}, tmp_path, columns=77, rows=7, timeout=1)
