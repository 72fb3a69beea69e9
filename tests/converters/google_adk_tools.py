"""Google ADK: the declaration that it makes of an MCP tool."""

from importlib.metadata import version
from typing import Any

from google.adk.tools.mcp_tool.mcp_session_manager import MCPSessionManager, StdioConnectionParams
from google.adk.tools.mcp_tool.mcp_tool import McpTool
from mcp import StdioServerParameters
from mcp.types import Tool
from reply import published, tell

MANAGER = MCPSessionManager(StdioConnectionParams(server_params=StdioServerParameters(command="avm-mcp")))


def declaration(tool: dict[str, Any]) -> Any:
    made = McpTool(mcp_tool=Tool.model_validate(published(tool)), mcp_session_manager=MANAGER)._get_declaration()
    assert made is not None
    if made.parameters is not None:
        return made.parameters.model_dump(mode="json", exclude_none=True)
    return made.parameters_json_schema


tell(f"google-adk {version('google-adk')}", {"declaration": declaration})
