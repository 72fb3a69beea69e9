"""Resources: a task as JSON, and its saved video."""

from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError

from avm_mcp.app import Runtime
from avm_mcp.domain.errors import AvmError
from avm_mcp.mcp_server.pace import Pace
from avm_mcp.presentation.audience import MODEL_AUDIENCE
from avm_mcp.presentation.task import build_task, format_task

MAX_VIDEO_RESOURCE = 20_000_000
"""Bytes. A larger video is not read as a resource: the error names its path and link. Reading one takes about five
times its size in memory, and a second of the event loop."""

READ_PACE = 10_000_000
"""Bytes of saved videos that are read as resources each second."""


def add_resources(server: MCPServer[Runtime], runtime: Runtime) -> None:
    """Add the resources of a runtime to its server."""
    pace = Pace(READ_PACE)

    @server.resource(
        "avm://tasks/{task_id}", title="Task", description="State, file and link.", mime_type="application/json"
    )
    async def task(task_id: str) -> dict[str, Any]:
        try:
            return build_task(await runtime.service.find(task_id), MODEL_AUDIENCE, runtime.place).dump()
        except AvmError as error:
            raise ResourceError(error.message) from error

    @server.resource(
        "avm://tasks/{task_id}/video", title="Video", description="The saved video.", mime_type="video/mp4"
    )
    async def video(task_id: str) -> bytes:
        try:
            result = build_task(await runtime.service.find(task_id), MODEL_AUDIENCE, runtime.place)
        except AvmError as error:
            raise ResourceError(error.message) from error
        if result.file is None:
            raise ResourceError(format_task(result))
        path = anyio.Path(result.file)
        size = (await path.stat()).st_size
        if size > MAX_VIDEO_RESOURCE:
            raise ResourceError(
                f"The video is too large to be handed out. It is at {result.file}; its link: {result.video_url}"
            )
        await pace.turn(size)
        return await path.read_bytes()

    _ = (task, video)
