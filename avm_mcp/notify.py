"""A desktop notice through the system's own program, where the user asked for it (AVM_NOTIFY)."""

import base64
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence

logger = logging.getLogger(__name__)

_TOAST = (
    "Add-Type -AssemblyName System.Windows.Forms;"
    "$n=New-Object System.Windows.Forms.NotifyIcon;$n.Icon=[System.Drawing.SystemIcons]::Information;"
    "$n.Visible=$true;$n.ShowBalloonTip(5000,$t,$m,'Info');Start-Sleep 6"
)
_SCRIPT = "on run {t, m}\ndisplay notification m with title t\nend run"


def command(title: str, message: str) -> Sequence[str] | None:
    """Return the command that shows a notice on this system; None where it has no such program.

    Title and message are never read as a part of a script: a file name is not code.
    """
    if sys.platform == "darwin":
        return ["osascript", "-e", _SCRIPT, title, message]
    if sys.platform == "win32":
        return ["powershell", "-NoProfile", "-Command", f"{_words(title, message)};{_TOAST}"]
    program = shutil.which("notify-send")
    return [program, "--app-name=AI Video Maker", "--", title, message] if program else None


def _words(*texts: str) -> str:
    """Return what sets $t and $m: all that follows -Command is one script, so they stand in it in base64."""
    coded = ",".join(f"'{base64.b64encode(text.encode()).decode()}'" for text in texts)
    return f"$t,$m={coded}|ForEach-Object{{[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($_))}}"


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
