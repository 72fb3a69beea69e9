"""The MCP face: eight tools over the service.

Arguments are checked by `arguments`, not by the SDK, whose messages name no next step.
"""

from avm_mcp.mcp_server.client_timeouts import Cuts
from avm_mcp.mcp_server.revisions import Revisions
from avm_mcp.mcp_server.tools import Backend, Desk

__all__ = ["Backend", "Cuts", "Desk", "Revisions"]
