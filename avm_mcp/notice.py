"""A desktop notice through the system's own program, where the user asked for it (AVM_NOTIFY)."""

import base64
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

logger = logging.getLogger(__name__)

_TOAST = (
    "param($t,$m) Add-Type -AssemblyName System.Windows.Forms;"
    "$n=New-Object System.Windows.Forms.NotifyIcon;$n.Icon=[System.Drawing.SystemIcons]::Information;"
    "$n.Visible=$true;$n.ShowBalloonTip(5000,$t,$m,'Info');Start-Sleep 6"
)
_SCRIPT = "on run {t, m}\ndisplay notification m with title t\nend run"


def command(title: str, message: str) -> Sequence[str] | None:
    """Return the command that shows a notice on this system; None where it has no such program.

    Title and message are arguments of their own, never part of a script: a file name is not code. Only PowerShell has
    no such arguments, for it reads all that follows its -Command as script; there they are quoted as its strings.
    """
    if sys.platform == "darwin":
        return ["osascript", "-e", _SCRIPT, title, message]
    if sys.platform == "win32":
        script = f"& {{{_TOAST}}} {_powershell_string(title)} {_powershell_string(message)}"
        encoded = base64.b64encode(script.encode("utf-16-le")).decode()
        return ["powershell", "-NoProfile", "-EncodedCommand", encoded]
    program = shutil.which("notify-send")
    return [program, "--app-name=AI Video Maker", "--", title, message] if program else None


def _powershell_string(text: str) -> str:
    """Return text as a string in which nothing is expanded; to PowerShell typographic quotes end it, too."""
    return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"


def show(title: str, message: str) -> None:
    """Show a notice; where that is impossible it is only logged."""
    found = command(title, message)
    if found is None:
        logger.info("no program for desktop notices was found")
        return
    try:
        subprocess.Popen(  # noqa: S603 - a fixed program with arguments
            found, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        logger.info("no desktop notice: %s", error)
