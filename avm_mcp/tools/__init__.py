"""The MCP face: eight tools over the service.

Arguments are checked by `arguments`, not by the SDK, whose messages name no next step.
"""

from avm_mcp.tools.cuts import Cuts
from avm_mcp.tools.desk import Backend, Desk
from avm_mcp.tools.revisions import Revisions

__all__ = ["Backend", "Cuts", "Desk", "Revisions"]
