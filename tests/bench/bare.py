"""The least that a server can do, to compare with: one tool that only POSTs, and one that only waits and says so.

python -m tests.bench.bare stdio
python -m tests.bench.bare PORT
"""

import os
import sys
from typing import Any

import anyio
import httpx2
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server: MCPServer[Any] = MCPServer("bare", log_level="ERROR")
http = httpx2.AsyncClient(
    base_url=os.environ.get("AVM_BASE_URL", ""), headers={"key": os.environ.get("AVM_API_KEY", "")}
)


@server.tool()
async def post(prompt: str) -> dict[str, Any]:
    """Start a video."""
    answer = await http.post(
        "/api/v1/generate/t2v", json={"prompt": prompt, "aspectRatio": "16:9", "duration": "5"}
    )  # fmt: skip
    return answer.json()


@server.tool()
async def wait(seconds: float, context: Context) -> str:  # type: ignore[type-arg]
    """Wait, with a beat every three seconds."""
    end = anyio.current_time() + seconds
    while (left := end - anyio.current_time()) > 0:
        await context.report_progress(100 * (1 - left / seconds), 100, "Waiting")
        await anyio.sleep(min(left, 3))
    return "done"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        app = server.streamable_http_app(stateless_http=True)
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
