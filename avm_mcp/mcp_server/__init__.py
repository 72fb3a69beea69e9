"""The MCP server: eight tools over the service, resources and prompts.

`presentation.arguments` checks input, not the SDK, whose messages name no next step.
"""

from avm_mcp.mcp_server.client_timeouts import ClientTimeoutObserver
from avm_mcp.mcp_server.revisions import Revisions
from avm_mcp.mcp_server.tools import Backend, Tools

__all__ = ["Backend", "ClientTimeoutObserver", "Revisions", "Tools"]
