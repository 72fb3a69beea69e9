"""Desktop notices: the right program, and a file name that is never code (P5)."""

import base64
import logging
import sys
import time
from pathlib import Path

import pytest

from avm_mcp import notice

TITLE = "Your video is ready"
NASTY = "/films/$(touch x) `id`; it's \u2019quoted\u2019 --flag.mp4"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty PATH but for one folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nobody waits for such a program
@pytest.mark.skipif(sys.platform != "linux", reason="notify-send")
def test_a_notice_reaches_the_systems_program_word_for_word(elsewhere: Path):
    out = elsewhere / "said"
    program = elsewhere / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {out}.part; /bin/mv {out}.part {out}\n')
    program.chmod(0o755)
    notice.show(TITLE, NASTY)
    deadline = time.monotonic() + 20
    while not out.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert out.read_text().splitlines() == ["--app-name=AI Video Maker", "--", TITLE, NASTY]


@pytest.mark.skipif(sys.platform != "linux", reason="notify-send")
@pytest.mark.parametrize("there", [False, True], ids=["no program", "one that does not run"])
def test_where_no_notice_can_be_shown_the_film_is_none_the_worse(elsewhere: Path, caplog, there):
    if there:
        (elsewhere / "notify-send").write_text("not a program")
        (elsewhere / "notify-send").chmod(0o755)
    with caplog.at_level(logging.INFO):
        notice.show(TITLE, NASTY)
    assert "desktop notice" in caplog.text


def test_on_a_mac_both_are_arguments_of_the_script(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    *script, title, message = notice.command(TITLE, NASTY)
    assert (title, message) == (TITLE, NASTY)
    assert NASTY not in " ".join(script)


def test_on_windows_both_are_strings_in_which_nothing_is_expanded(monkeypatch):
    """PowerShell reads whatever follows -Command as script, so an argument of its own would be code."""
    monkeypatch.setattr(sys, "platform", "win32")
    *_, flag, encoded = notice.command(TITLE, NASTY)
    script = base64.b64decode(encoded).decode("utf-16-le")
    doubled = NASTY.replace("'", "''").replace("\u2019", "\u2019\u2019")
    assert flag == "-EncodedCommand"
    assert script.endswith(f" '{TITLE}' '{doubled}'")
