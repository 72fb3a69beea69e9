"""What several manifests say: names, version, one sentence, and what the code says about its tools and settings."""

import tomllib
from pathlib import Path

from avm_mcp.mcp_server.tool_schemas import PUBLISHED
from avm_mcp.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "manifests"

OWNER = "example"
"""A placeholder: the project has no public home yet. Change it here and run `make manifests`.

It also stands in the Dockerfile and in the README's mcp-name; a test fails if one of them is forgotten."""

NAME = "avm-mcp"
TITLE = "AI Video Maker"
REGISTRY_NAME = f"io.github.{OWNER}/{NAME}"
LICENSE = "MIT"
SENTENCE = "Make videos from text or a picture with AI Video Maker; no job is lost or paid twice."
SKILL = "ai-video-maker"
MCP_URL = "http://127.0.0.1:8765/mcp"
"""Where `avm-mcp serve` listens."""

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = _PROJECT["version"]
PYTHON: str = _PROJECT["requires-python"]
BUNDLE = f"{NAME}-{VERSION}.mcpb"
TOOLS = {name: published.description for name, published in PUBLISHED.items()}
SETTINGS = {name: (field.description or "").replace("`", "") for name, field in Settings.model_fields.items()}
"""What each setting means, without the marks of Markdown."""
