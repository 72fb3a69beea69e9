"""OpenAI Agents SDK: the schema as it is, made strict, and the function tool of an MCP server in both modes."""

import copy
from importlib.metadata import version
from typing import Any

from agents.mcp import MCPServerStdio
from agents.mcp.util import MCPUtil
from agents.strict_schema import ensure_strict_json_schema
from mcp.types import Tool
from reply import Way, published, tell

SERVER = MCPServerStdio(params={"command": "avm-mcp"})


def function_tool(strict: bool) -> Way:
    def convert(tool: dict[str, Any]) -> Any:
        made = MCPUtil.to_function_tool(Tool.model_validate(published(tool)), SERVER, strict)
        # An object that names no property counts as open, and is then sent as it is.
        assert made.strict_json_schema is (strict and bool(tool["inputSchema"]["properties"])), "not made strict"
        return made.params_json_schema

    return convert


def strict(tool: dict[str, Any]) -> Any:
    return ensure_strict_json_schema(copy.deepcopy(tool["inputSchema"]))


tell(
    f"openai-agents {version('openai-agents')}",
    {"strict": strict, "tool": function_tool(strict=False), "tool, strict": function_tool(strict=True)},
)
