"""B1: from the start of a process to its first answers over stdio, against a bare one-tool `MCPServer`.

`python -m tests.bench.b1` prints one JSON line. The programs take turns in one run, so that what else the machine
does falls on all of them; only the ratios mean anything. Seconds are wall time from the start of the process to the
line that holds the answer; `cpu` is what the process had used by then (all its threads; Linux only).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from avm_mcp.fast_start import reading

ROUNDS = 15
LIMIT = 0.35

BARE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
async def add(a: int, b: int) -> int:
    return a + b
server.run("stdio")
"""

SERVER = [sys.executable, "-c", "import sys; from avm_mcp.cli import server_main; sys.exit(server_main())"]
HELP = [sys.executable, "-c", "import sys; from avm_mcp.cli import main; sys.exit(main())", "list", "--help"]
PROGRAMS: Mapping[str, tuple[list[str], Mapping[str, str]]] = {
    "bare": ([sys.executable, "-c", BARE], {}),
    "front": (SERVER, {}),
    "no_front": (SERVER, {"AVM_FAST_START": "off"}),
}

LEGACY = (
    {
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    },
    {"method": "tools/list"},
)
_ENVELOPE = {"_meta": {reading.VERSION: "2026-07-28", reading.CAPABILITIES: {}}}
MODERN = ({"method": "server/discover", "params": _ENVELOPE}, {"method": "tools/list", "params": _ENVELOPE})
NAMES = ("first", "tools")  # the answer to initialize or server/discover, and the one to tools/list

Run = dict[str, float]


def cpu(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, or 0 where the kernel does not say."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError):
        return 0.0


def answers(argv: list[str], env: Mapping[str, str], requests: tuple[Mapping[str, Any], ...]) -> Run:
    """Start a server, ask one question after the other, and return when and at what cost each was answered."""
    reply: Run = {}
    begun = time.perf_counter()
    with subprocess.Popen(
        argv, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for at, request in enumerate(requests):
            server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": at, **request}).encode() + b"\n")
            server.stdin.flush()
            line = server.stdout.readline()
            reply[NAMES[at]] = time.perf_counter() - begun
            reply[f"{NAMES[at]}_cpu"] = cpu(server.pid)
            assert "result" in json.loads(line), line
            if request["method"] == "initialize":
                server.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        server.kill()
    return reply


def helped(env: Mapping[str, str]) -> Run:
    begun = time.perf_counter()
    before = os.times()
    subprocess.run(HELP, env=dict(env), check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"all": time.perf_counter() - begun, "all_cpu": cpu}


def _shown(runs: list[Run], pick: Callable[[list[float]], float]) -> dict[str, float]:
    return {name: round(pick([run[name] for run in runs]), 4) for name in runs[0]}


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return medians, minima and ratios."""
    runs: dict[str, list[Run]] = {}
    with TemporaryDirectory() as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AVM_", "AIVIDEO_"))}
        env |= {"AVM_STATE_DIR": home, "AVM_WORKER": "off"}
        for turn in range(rounds + 1):
            for name, (argv, more) in PROGRAMS.items():
                for era, requests in (("", LEGACY), ("_modern", MODERN)):
                    reply = answers(argv, env | dict(more), requests)
                    if turn:  # the first round warms the caches
                        runs.setdefault(name + era, []).append(reply)
            if turn:
                runs.setdefault("help", []).append(helped(env))
            else:
                helped(env)
    shown = {"median": statistics.median, "min": min}
    reply = {kind: {name: _shown(seen, pick) for name, seen in runs.items()} for kind, pick in shown.items()}
    ratios: dict[str, dict[str, float]] = {}
    for kind, of in reply.items():
        bare = of["bare"]
        ratios[kind] = {
            f"{name}_{column}": round(of[name][column] / of[_bare_like(name)][column], 3)
            for name in ("front", "front_modern", "no_front", "no_front_modern")
            for column in bare
            if of[_bare_like(name)][column]
        }
        # A help text has no answer to wait for: its whole life, against the bare server's way to `initialize`.
        ratios[kind] |= {f"help{end}": round(of["help"][f"all{end}"] / bare[f"first{end}"], 3) for end in ("", "_cpu")}
    ours = [value for name, value in ratios["median"].items() if not name.startswith("no_front")]
    return {"bench": "B1", "rounds": rounds, "limit": LIMIT, "worst": max(ours), "ratios": ratios, "seconds": reply}


def _bare_like(name: str) -> str:
    return "bare_modern" if name.endswith("_modern") else "bare"


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)))
