"""What the demo asks for, and what comes back: three tool calls with a bar fed by their progress notifications."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp import Client
from mcp.types import CallToolResult

from avm_mcp.cli.bars import draw_bars
from avm_mcp.cli.demo.stage import DemoFailed
from avm_mcp.cli.terminal import Terminal

if TYPE_CHECKING:
    import rich.progress

CALL = 150
"""Seconds that a call may wait."""

PICTURE = "<the packaged picture>"

SCENES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("text_to_video", {"prompt": "A red kite dances over a stormy sea, wide shot, golden light"}),
    ("image_to_video", {"image": PICTURE, "prompt": "The boat drifts towards the sun, the camera moves in slowly"}),
    (
        "long_video",
        {
            "image": PICTURE,
            "prompts": ["The sun sets behind the hills, lights wake on the shore", "Stars come out over the lake"],
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Take:
    """What one call came to."""

    tool: str
    task_id: str
    status: str
    credits: int
    seconds: int
    file: Path | None

    def fields(self) -> dict[str, Any]:
        return {
            "tool": self.tool,
            "task_id": self.task_id,
            "status": self.status,
            "credits": self.credits,
            "seconds": self.seconds,
            "file": str(self.file) if self.file else None,
        }


async def play(client: Client, picture: Path, terminal: Terminal) -> list[Take]:
    """Make the calls one after the other.

    Raises:
        DemoFailed: One was refused.
    """
    takes: list[Take] = []
    with draw_bars(terminal, stays=True) if terminal.is_interactive else nullcontext() as bars:
        for tool, asked in SCENES:
            given = {**asked, **({"image": str(picture)} if "image" in asked else {}), "wait_seconds": CALL}
            bar = _Bar(tool, bars, terminal)
            result = await client.call_tool(tool, given, read_timeout_seconds=CALL + 30, progress_callback=bar)
            takes.append(_read_take(tool, result))
            bar.end(takes[-1])
    return takes


class _Bar:
    """Shows one call: a bar where one can be drawn, else a line for every step that is worth one."""

    def __init__(self, tool: str, bars: "rich.progress.Progress | None", terminal: Terminal) -> None:
        self._tool = tool
        self._bars = bars
        self._terminal = terminal
        self._row = bars.add_task(tool.ljust(14), total=100, tail="") if bars is not None else None

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        tail = (message or "").split(": ", 1)[-1]
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, completed=progress, total=total, tail=tail)
        else:
            self._terminal.note(f"{self._tool}: {progress:3.0f} %, {message}")

    def end(self, take: Take) -> None:
        if self._bars is not None and self._row is not None:
            self._bars.update(self._row, completed=100, tail=f"{take.status.lower()} in {take.seconds} s")


def _read_take(tool: str, result: CallToolResult) -> Take:
    fields: dict[str, Any] = result.structured_content or {}
    if result.is_error or "error" in fields:
        why = fields.get("error", {}).get("message") or " ".join(getattr(b, "text", "") for b in result.content)
        raise DemoFailed(f"{tool} was refused: {why}")
    spent: dict[str, Any] = fields.get("credits", {})
    return Take(
        tool,
        fields["task_id"],
        fields["status"],
        spent.get("charged", spent.get("quoted", 0)),
        fields["elapsed_seconds"],
        Path(fields["file"]) if "file" in fields else None,
    )
