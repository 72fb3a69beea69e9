"""What every manifest says, once: names, version, sentences, and what the code says of itself."""

import tomllib
from pathlib import Path

from avm_mcp.mcp_server.tool_schemas import PUBLISHED
from avm_mcp.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "manifests"

OWNER = "example"
"""A placeholder: the project has no public home yet. Change it here and run `make manifests`.

It also stands in the Dockerfile and in the README's mcp-name; a test says so if one of them is forgotten."""

NAME = "avm-mcp"
TITLE = "AI Video Maker"
REGISTRY_NAME = f"io.github.{OWNER}/{NAME}"
REPOSITORY = f"https://github.com/{OWNER}/{NAME}"
IMAGE = f"ghcr.io/{OWNER}/{NAME}"
ICON = f"https://raw.githubusercontent.com/{OWNER}/{NAME}/main/manifests/mcpb/icon.png"
SITE = "https://aivideomaker.ai"
AUTHOR = "AVM authors"
LICENSE = "MIT"
SENTENCE = "Make videos from text or a picture with AI Video Maker; no job is lost or paid twice."
KEYWORDS = ["mcp", "video", "text-to-video", "image-to-video"]

SKILL = "ai-video-maker"
MCP_URL = "http://127.0.0.1:8765/mcp"
"""Where `avm-mcp serve` listens."""

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PYTHON: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]

BUNDLE = f"{NAME}-{VERSION}.mcpb"
RELEASE = f"{REPOSITORY}/releases/download/v{VERSION}"
TOOLS = {name: published.description for name, published in PUBLISHED.items()}


def about(setting: str) -> str:
    """Return what a setting means, without the marks of Markdown.

    Raises:
        KeyError: There is no such setting.
    """
    return (Settings.model_fields[setting].description or "").replace("`", "")
