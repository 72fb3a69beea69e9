"""Anthropic's SDK: the tool of an MCP session, and the schema of a strict tool."""

from typing import Any

import anthropic
from anthropic.lib.tools.mcp import async_mcp_tool
from mcp.types import Tool
from reply import published, tell


def of_session(tool: dict[str, Any]) -> Any:
    session: Any = None  # it is asked when the tool is called
    return async_mcp_tool(Tool.model_validate(published(tool)), session).to_dict()["input_schema"]


def strict(tool: dict[str, Any]) -> Any:
    return anthropic.transform_schema(tool["inputSchema"])


tell(f"anthropic {anthropic.__version__}", {"tool": of_session, "strict": strict})
