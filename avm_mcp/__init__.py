"""AI Video Maker for AI agents: an MCP server that never loses a paid job and never pays for one twice."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("avm-mcp")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "0.0.0"
