"""Desktop notifications: the right program is called, and a file name is never code (P5)."""

import base64
import logging
import re
import sys
import time
from pathlib import Path

import pytest

from avm_mcp import notify

TITLE, MESSAGE = "Your video is ready", "C:\\Videos; calc $(calc) 'of' \"mine\"\\é.mp4"
NASTY = "/videos/$(touch x) `id`; it's \u2019quoted\u2019 --flag.mp4"


@pytest.fixture
def empty_path(monkeypatch, tmp_path):
    """Make PATH a single, empty folder, and return it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nobody waits for such a program
@pytest.mark.skipif(sys.platform != "linux", reason="notify-send")
def test_title_and_message_reach_the_systems_program_unchanged(empty_path: Path):
    out = empty_path / "arguments"
    program = empty_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {out}.part; /bin/mv {out}.part {out}\n')
    program.chmod(0o755)
    notify.show(TITLE, NASTY)
    deadline = time.monotonic() + 20
    while not out.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert out.read_text().splitlines() == ["--app-name=AI Video Maker", "--", TITLE, NASTY]


@pytest.mark.skipif(sys.platform != "linux", reason="notify-send")
@pytest.mark.parametrize("there", [False, True], ids=["no program", "one that does not run"])
def test_a_notification_that_cannot_be_shown_is_logged_only(empty_path: Path, caplog, there):
    if there:
        (empty_path / "notify-send").write_text("not a program")
        (empty_path / "notify-send").chmod(0o755)
    with caplog.at_level(logging.INFO):
        notify.show(TITLE, NASTY)
    assert "desktop notification" in caplog.text


@pytest.fixture(params=["linux", "darwin", "win32"])
def command(request, monkeypatch) -> list[str]:
    monkeypatch.setattr(notify.sys, "platform", request.param)
    monkeypatch.setattr(notify.shutil, "which", lambda name: f"/usr/bin/{name}")
    return list(notify.build_command(TITLE, MESSAGE))


def test_a_file_name_is_never_a_part_of_a_script(command):
    """PowerShell joins what follows -Command into one script. The other programs take arguments unchanged."""
    if "-Command" not in command:
        assert command[-2:] == [TITLE, MESSAGE]
        assert not any(MESSAGE in word for word in command[:-1])
        return
    script = " ".join(command[command.index("-Command") + 1 :])
    assert "calc" not in script
    assert '"' not in script, "it would end the argument on some versions"
    reply = re.match(r"\$t,\$m='([A-Za-z0-9+/=]*)','([A-Za-z0-9+/=]*)'\|", script)
    assert [base64.b64decode(word).decode() for word in reply.groups()] == [TITLE, MESSAGE]
