"""A real process that is stopped with SIGSTOP between two steps of a paid request, and goes on much later (P1)."""

import json
import os
import signal
import sys

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from avm_mcp.domain.job import NOT_CREATED, UNKNOWN
from avm_mcp.sandbox import SandboxOptions, build_sandbox, faults
from avm_mcp.sandbox.server import running
from avm_mcp.store import open_store

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")]

SUBMITS = """
import anyio, json, sys
from avm_mcp.settings import Settings
from avm_mcp.domain.errors import AvmError
from avm_mcp.domain.request import VideoRequest
from avm_mcp.app import Runtime

async def main():
    async with Runtime(Settings.from_env()) as runtime:
        found = await runtime.service.submit(VideoRequest("t2v", 5, ("a red kite",), "16:9", None))
        print(json.dumps({"id": found.job.id}), flush=True)
        await anyio.sleep(float(sys.argv[1]))
        found = await runtime.service.find(found.job.id)
        print(json.dumps({"status": found.job.status, "task": found.job.task_id}), flush=True)

anyio.run(main)
"""


async def test_what_was_decided_while_a_process_was_stopped_is_not_sent(tmp_path):
    """Issue 10 M: it waits out a 429, is stopped, and its row is said NOT_CREATED; it goes on, and sends nothing."""
    app = build_sandbox(SandboxOptions(speed=20, render=False))
    app.sandbox.faults.next("generate", faults.rate_limited(4))
    async with running(app=app) as url:
        environ = {
            **os.environ,
            "AVM_API_KEY": "ak_0123456789abcdef",
            "AVM_BASE_URL": url,
            "AVM_STATE_DIR": str(tmp_path / "state"),
            "AVM_OUTPUT_DIR": str(tmp_path / "videos"),
            "AVM_WORKER": "off",
        }
        async with await anyio.open_process([sys.executable, "-c", SUBMITS, "6"], env=environ, stderr=None) as process:
            assert process.stdout is not None
            lines = BufferedByteReceiveStream(process.stdout)
            reply = json.loads(await lines.receive_until(b"\n", 10_000))
            os.kill(process.pid, signal.SIGSTOP)
            store = await open_store(tmp_path / "state", now=0.0)
            (row,) = await store._driver.rows("SELECT account FROM jobs")
            job = await store.find(row["account"], reply["id"])
            assert job is not None
            sender = job.sender
            assert sender is not None
            later = store.clock() + 600
            job = await store.record_lapsed(job.id, "gone", later)
            assert job.status == UNKNOWN
            assert store.machine.gone(sender) is False, "a stopped process lives"
            assert (await store.record_never_created(job, "never", later)).status == UNKNOWN, "it may still send"
            await store.end_send(job.id, sender)  # as if it had been taken for dead all the same
            job = await store.find(row["account"], reply["id"])
            assert (await store.record_never_created(job, "never", later)).status == NOT_CREATED
            await anyio.sleep(3)
            os.kill(process.pid, signal.SIGCONT)
            ended = json.loads(await lines.receive_until(b"\n", 10_000))
            await process.wait()
        assert ended == {"status": NOT_CREATED, "task": None}
        assert not app.sandbox.entries("charge")
        assert store.machine.gone(sender) is True
        store.close()
