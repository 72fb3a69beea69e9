"""AI Video Maker for AI agents: an MCP server that never loses a paid job and never pays for one twice."""

__version__ = "0.1.0"
"""As in pyproject.toml, which a test compares: asking the installed metadata costs 40 ms."""
