"""The sandbox as a process: `python -m tests.bench.upstream '{"speed": 10}'` prints its base URL and serves.

Options are those of `SandboxOptions`; `t2v` is a distribution as `tests/bench/schedules.py` reads it.
"""

import json
import sys

import anyio

from avm_mcp.sandbox import SandboxOptions
from avm_mcp.sandbox.server import serve
from tests.bench.schedules import parsed


def main() -> None:
    given = json.loads(sys.argv[1])
    if "t2v" in given:
        given["durations"] = {"t2v": parsed(given.pop("t2v"))[0].draw}
    options = SandboxOptions(render=False, control=True, balance=10**9, **given)

    async def run() -> None:
        await serve(options, ready=lambda base_url: print(base_url, flush=True))

    anyio.run(run)


if __name__ == "__main__":
    main()
