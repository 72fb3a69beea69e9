"""What a state folder holds is its user's alone, whatever the umask says and whatever an earlier version left (P5)."""

import logging
import os
import stat

import pytest

from avm_mcp.store import FILE_NAME, open_store
from avm_mcp.worker import LOG_NAME, _PrivateLog
from tests.unit.test_store import NOW, draft, reserve

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def others_may(path) -> int:
    return stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.parametrize("restored", [False, True], ids=["new", "restored at 0644"])
async def test_nobody_else_reads_the_state_nor_what_lies_beside_it(tmp_path, restored):
    """Prompts and prices stand in it; its write-ahead log holds the same."""
    if restored:
        (await open_store(tmp_path, now=NOW)).close()
        (tmp_path / FILE_NAME).chmod(0o644)
    store = await open_store(tmp_path, now=NOW)
    await reserve(store, draft("i1"))
    found = sorted(path.name for path in tmp_path.iterdir())
    assert f"{FILE_NAME}-wal" in found
    assert [name for name in found if others_may(tmp_path / name)] == []
    store.close()


def test_nobody_else_reads_the_log_of_the_background_worker(tmp_path):
    path = tmp_path / LOG_NAME
    path.touch(0o644)
    path.chmod(0o644)
    handler = _PrivateLog(path, maxBytes=10, backupCount=1)
    for _ in range(3):
        handler.emit(logging.LogRecord("avm_mcp", logging.INFO, "", 0, "a line of some length", None, None))
    handler.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == [LOG_NAME, f"{LOG_NAME}.1"]
    assert [one.name for one in tmp_path.iterdir() if others_may(one)] == []
