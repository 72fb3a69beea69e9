"""The one printer: results go to stdout, all else to stderr; with `--json` one JSON object goes to stdout."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from avm_mcp.domain.errors import AvmError

if TYPE_CHECKING:
    from avm_mcp.presentation.audience import Audience


@dataclass(slots=True)
class Terminal:
    """The streams of a program, and whether a program reads them. Without `inp` nobody can be asked."""

    out: TextIO
    err: TextIO
    json: bool = False
    inp: TextIO | None = None

    @classmethod
    def standard(cls, *, json: bool) -> "Terminal":
        """Return the process's own streams; a character they cannot show is replaced rather than fatal."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        out, err = (stream or _nowhere() for stream in (sys.stdout, sys.stderr))  # None is one that was closed
        return cls(out, err, json, sys.stdin)

    @property
    def is_interactive(self) -> bool:
        """Whether stderr is a terminal, so that a bar can be drawn there."""
        return not self.json and self.err.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a person can be asked."""
        return self.is_interactive and self.inp is not None and self.inp.isatty()

    async def ask(self, question: str) -> bool:
        """Ask on stderr and return whether the answer is yes; anything else, and no answer, is no."""
        assert self.inp is not None
        print(f"{harmless(question)} [y/N] ", end="", file=self.err, flush=True)
        if os.name == "posix":  # elsewhere the event loop blocks meanwhile; nothing has been sent yet
            import anyio

            await anyio.wait_readable(self.inp)  # a terminal gives whole lines
        return self.inp.readline().strip().lower() in ("y", "yes")

    @property
    def audience(self) -> "Audience":
        """Who reads what is printed: a person, or with `--json` a program."""
        from avm_mcp.presentation.audience import JSON_AUDIENCE, SHELL_AUDIENCE

        return JSON_AUDIENCE if self.json else SHELL_AUDIENCE

    def result(self, text: Callable[[], str], fields: Callable[[], Mapping[str, Any]]) -> None:
        """Print the result of a command, in the form that was asked for."""
        if self.json:
            self.fields(fields())
        else:
            self.say(text())

    def say(self, text: str) -> None:
        print(harmless(text), file=self.out, flush=True)

    def fields(self, values: Mapping[str, Any]) -> None:
        wide = (getattr(self.out, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
        text = json.dumps(values, ensure_ascii=not wide)
        # JSON itself escapes half of what a terminal obeys; escaped, the rest means the same and does nothing.
        shown = "".join(ch if ch.isprintable() else json.dumps(ch)[1:-1] for ch in text)
        print(shown, file=self.out, flush=True)

    def note(self, text: str) -> None:
        """Print beside the result: on stderr."""
        print(harmless(text), file=self.err, flush=True)

    def interrupted(self) -> None:
        """Print that a signal ended the command before anything was started, with `--json` as one object."""
        if not self.json:
            self.note("Interrupted.")
            return
        error = {"code": "INTERRUPTED", "message": "Interrupted; nothing was started.", "retryable": True}
        self.fields({"error": {**error, "charged": "no", "next_step": "repeat the command if it is still wanted."}})

    def refuse(self, error: AvmError, text: str | None = None) -> None:
        """Print an error, in our words or the caller's: on stderr, or as the one JSON object."""
        if text is not None and not self.json:
            self.note(text)
            return
        from avm_mcp.presentation.errors import dump_error, format_error

        if self.json:
            self.fields(dump_error(error, self.audience))
        else:
            self.note(format_error(error, self.audience))


def harmless(text: str) -> str:
    """Return text without control characters: prompts, titles and messages come from outside."""
    return "".join(ch if ch == "\n" or ch.isprintable() else " " for ch in text)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it lives as long as the process


def abandon_stdout() -> None:
    """Send later writes to nowhere, so that the interpreter's exit raises no error."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
