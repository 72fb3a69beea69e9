"""Desktop notifications by the system's own program, if the user wants them (AVM_NOTIFY)."""

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


def build_command(title: str, message: str) -> Sequence[str] | None:
    """Return the command that shows a notification on this system; None if it has no such program.

    Title and message never become a part of a script, since a file name may contain code.
    """
    if sys.platform == "darwin":
        return ["osascript", "-e", _SCRIPT, title, message]
    if sys.platform == "win32":
        return ["powershell", "-NoProfile", "-Command", f"{_assign_variables(title, message)};{_TOAST}"]
    program = shutil.which("notify-send")
    return [program, "--app-name=AI Video Maker", "--", title, message] if program else None


def _assign_variables(*texts: str) -> str:
    """Return the PowerShell code that sets $t and $m. What follows -Command is one script, so both are base64 in it."""
    coded = ",".join(f"'{base64.b64encode(text.encode()).decode()}'" for text in texts)
    return f"$t,$m={coded}|ForEach-Object{{[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($_))}}"


def show(title: str, message: str) -> None:
    """Show a notification. If that is not possible, a line is logged."""
    found = build_command(title, message)
    if found is None:
        logger.info("no program for desktop notifications was found")
        return
    try:
        subprocess.Popen(  # noqa: S603 - a fixed program with arguments
            found, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        logger.info("no desktop notification: %s", error)
