"""`avm sandbox` as a process of its own, judged by what it tells over its control endpoint."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import anyio

from avm_mcp.sandbox.faults import Fault
from avm_mcp.sandbox.ledger import fingerprint
from tests.e2e.workspace import AVM, Workspace, names, program


@dataclass
class Served(Workspace):
    """A ground whose service is another process."""

    def control(self, method: str, what: str, **given: Any) -> dict[str, Any]:
        """Ask the control endpoint; it is on this machine and answers at once."""
        body = json.dumps(given).encode() if given else None
        with urlopen(Request(f"{self.url}/_control/{what}", body, method=method), timeout=30) as answer:
            return json.load(answer)

    def spoil(self, endpoint: str, fault: Fault, **how: int) -> None:
        """Spoil the next answer of an endpoint; whoever asks next meets it, so it should be one of this story."""
        self.control("POST", "faults", match=endpoint, **asdict(fault), **how)

    def _mine(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [SimpleNamespace(**row) for row in rows if row["key"] == fingerprint(self.key)]

    @property
    def tasks(self) -> list[Any]:
        return self._mine(self.control("GET", "tasks")["tasks"])

    @property
    def charges(self) -> list[Any]:
        rows = self._mine(self.control("GET", "ledger")["entries"])
        return [row for row in rows if row.kind == "charge"]

    @property
    def refunds(self) -> list[Any]:
        rows = self._mine(self.control("GET", "ledger")["entries"])
        return [row for row in rows if row.kind == "refund"]

    def requests(self, endpoint: str) -> list[Any]:
        rows = [row for row in self.control("GET", "requests")["requests"] if row["endpoint"] == endpoint]
        return [SimpleNamespace(**row) for row in rows] if endpoint == "file" else self._mine(rows)

    def one_of_everything(self) -> Path:
        """Assert one task, one charge, one whole video on the disk; return the video."""
        assert self.posts == len(self.tasks) == len(self.charges) == 1, (self.posts, self.tasks, self.charges)
        self.only_whole_videos(1)
        return self.videos / names(self.videos)[0]


@asynccontextmanager
async def served(folder: Path, *, profile: str = "live", **options: Any) -> AsyncGenerator[Served]:
    """Start `avm sandbox`; with `options` besides those of a quick one without limits."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = [*AVM, "sandbox", "--profile", profile, "--no-render", "--control", "--json"]
    argv += ["--speed", "200", "--balance", "100000"]
    async with program(argv, Workspace(folder, None, "").environ(), err=folder / "sandbox.err") as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            line = await process.stdout.receive()
        workspace = Served(folder, None, json.loads(line)["url"])
        workspace.control("POST", "options", query_limit=None, **{"durations": {"t2v": 100.0}, **options})
        yield workspace
