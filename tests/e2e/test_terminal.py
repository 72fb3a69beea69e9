"""P8: a person at a terminal is asked before an expensive video."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from tests.e2e.workspace import AVM, FAST, Workspace, open_workspace, until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name == "nt", reason="a terminal as POSIX has it"),
]

DEAR = ("long-video", "https://example.com/a.png", "dawn", "noon", "dusk", "--wait", "0")
"""225 credits, above the 200 that need a yes."""


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with open_workspace(tmp_path, FAST) as workspace:
        yield workspace


async def typed(workspace: Workspace, answer: bytes, *argv: str) -> tuple[int, str, str]:
    """Run `avm` at a terminal, answer its question; return its exit code, stdout, and what the terminal showed."""
    import pty

    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shown = bytearray()

    def seen(words: bytes) -> bool:
        try:
            shown.extend(os.read(ours, 4096))
        except BlockingIOError:
            return words in shown
        except OSError:  # the other end is closed
            return True
        return words in shown

    environ = workspace.environ(TERM="dumb")
    # A session of its own whose terminal this is: Ctrl-C typed there is a signal.
    process = await anyio.open_process([*AVM, *argv], stdin=theirs, stderr=theirs, env=environ, start_new_session=True)
    os.close(theirs)
    async with process:
        try:
            await until(lambda: seen(b"[y/N]"), "a question", 60)
            assert workspace.posts == 0, "nothing is sent before the answer"
            os.write(ours, answer)
            assert process.stdout is not None
            out = b"".join([piece async for piece in process.stdout])
            with anyio.fail_after(60):
                await process.wait()
            await until(lambda: seen(b"\0never"), "the end of the terminal")
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            os.close(ours)
    return process.returncode or 0, out.decode(), shown.decode()


@pytest.mark.parametrize("answer", [b"y\n", b" Yes\n"])
async def test_a_yes_at_the_terminal_starts_it(workspace, answer):
    code, out, shown = await typed(workspace, answer, *DEAR)
    assert code == 0, shown
    assert 'Start this video (15 s, lv) for 225 credits ($2.25)? "dawn' in shown
    assert "Video started" in out
    assert "[y/N]" not in out, "questions are no results"
    assert workspace.posts == len(workspace.charges) == 1


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"])
async def test_anything_else_does_not(workspace, answer):
    code, out, shown = await typed(workspace, answer, *DEAR)
    assert code == 4
    assert out == ""
    assert "Not started, nothing charged." in shown
    assert workspace.posts == 0


async def test_whoever_has_nobody_to_ask_gets_the_refusal(workspace):
    """A pipe is no person, nor is a reader of JSON."""
    for more in ([], ["--json"]):
        done = await anyio.run_process(
            [*AVM, *DEAR, *more], env=workspace.environ(), check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 4
        printed = (done.stdout + done.stderr).decode()
        assert "[y/N]" not in printed
        assert "--max-credits 225" in printed
        assert ("ask the user" in printed) is bool(more)
    await anyio.sleep(1)  # as long as it takes to ask somebody, at the very least
    done = await anyio.run_process([*AVM, *DEAR, "--max-credits", "225"], env=workspace.environ(), check=False)
    assert done.returncode == 0, done.stderr
    assert workspace.posts == 1
