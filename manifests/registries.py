"""The manifests that are one JSON or YAML document: Claude Desktop, the MCP registry, plugin, Gemini, Docker."""

from typing import Any

from manifests import facts

Document = dict[str, Any]

# What a person is asked for when the bundle is installed; each answer reaches the server under this name.
FORM: dict[str, tuple[str, Document]] = {
    "api_key": (
        "AVM_API_KEY",
        {
            "type": "string",
            "title": "API key",
            "description": f"Your key from {facts.SITE}. Leave it empty, or write sandbox, to try everything for free "
            "with placeholder videos.",
            "sensitive": True,
            "required": False,
            "default": "",
        },
    ),
    "output_dir": (
        "AVM_OUTPUT_DIR",
        {
            "type": "directory",
            "title": "Folder for finished videos",
            "description": "Left empty: the Videos folder of your account (Movies on a Mac).",
            "required": False,
        },
    ),
    "daily_credits": (
        "AVM_MAX_CREDITS_PER_DAY",
        {
            "type": "number",
            "title": "Credits a day, at most",
            "description": "A video that would spend more than this in one day (UTC) is refused. "
            "1 credit is 0.01 USD, so 1000 are 10 USD.",
            "required": False,
            "default": 1000,
            "min": 0,
            "max": 1_000_000,
        },
    ),
    "notify": (
        "AVM_NOTIFY",
        {
            "type": "boolean",
            "title": "Desktop notice",
            "description": "Show a notice when a video has been saved.",
            "required": False,
            "default": False,
        },
    ),
}
FOLDERS: Document = {
    "type": "directory",
    "title": "Folders that pictures may come from",
    "description": "Pictures are read from these folders only. Left empty: Pictures, Downloads, Desktop and Videos.",
    "multiple": True,
    "required": False,
}
"""Several folders cannot go into one variable, so they are arguments of the bundle's own start (`mcpb/start.py`)."""


def mcpb() -> Document:
    """Return the bundle's manifest; its schema refuses any key that it does not know."""
    form = {name: question for name, (_, question) in FORM.items()}
    return {
        "manifest_version": "0.4",
        "name": facts.NAME,
        "display_name": facts.TITLE,
        "version": facts.VERSION,
        "description": facts.SENTENCE,
        "long_description": LONG_DESCRIPTION,
        "author": {"name": facts.AUTHOR, "url": f"https://github.com/{facts.OWNER}"},
        "repository": {"type": "git", "url": f"{facts.REPOSITORY}.git"},
        "homepage": facts.REPOSITORY,
        "documentation": f"{facts.REPOSITORY}#readme",
        "support": f"{facts.REPOSITORY}/issues",
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": "start.py",
            "mcp_config": {
                "command": "uv",
                "args": [
                    *("run", "--directory", "${__dirname}", "--frozen", "--no-dev"),
                    *("python", "start.py", "${user_config.input_dirs}"),
                ],
                "env": {variable: f"${{user_config.{name}}}" for name, (variable, _) in FORM.items()},
            },
        },
        "tools": [{"name": name, "description": text} for name, text in facts.TOOLS.items()],
        "tools_generated": False,
        "keywords": facts.KEYWORDS,
        "license": facts.LICENSE,
        "privacy_policies": [f"{facts.REPOSITORY}/blob/main/PRIVACY.md"],
        "compatibility": {
            "claude_desktop": ">=1.0.0",
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": facts.PYTHON},
        },
        "user_config": {"api_key": form["api_key"], "input_dirs": FOLDERS, **form},
    }


LONG_DESCRIPTION = f"""Ask for a video in words and find it in your Videos folder a few minutes later.

**What it costs.** Each video spends credits of your {facts.SITE} account: 1 credit is 0.01 USD, a short video about \
15 credits, a dear one several hundred. Without a key it runs on a free sandbox that makes placeholder videos. \
The daily limit below is kept by the extension itself.

**What leaves your computer.** Your prompts, and the pictures you name, go to aivideomaker.ai with your key. \
Nothing else does. Whoever has the link of a finished video can watch it for 24 hours.

**What stays.** Videos are saved to your disk. A request that got no answer is looked for, not sent and paid again.

Needs Claude Desktop of August 2026 or later, which brings uv and Python; the first start downloads the libraries.
"""


def server_json() -> Document:
    """Return the entry of the MCP registry."""
    key = {
        "name": "AVM_API_KEY",
        "description": facts.about("AVM_API_KEY"),
        "isRequired": False,
        "isSecret": True,
        "format": "string",
    }
    numbers = ("AVM_MAX_CREDITS_PER_CALL", "AVM_MAX_CREDITS_PER_DAY")
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": facts.REGISTRY_NAME,
        "title": facts.TITLE,
        "description": facts.SENTENCE,
        "version": facts.VERSION,
        "websiteUrl": facts.REPOSITORY,
        "repository": {"url": facts.REPOSITORY, "source": "github"},
        "icons": [{"src": facts.ICON, "mimeType": "image/png", "sizes": ["512x512"]}],
        "packages": [
            {
                "registryType": "pypi",
                "identifier": facts.NAME,
                "version": facts.VERSION,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": [
                    key,
                    _variable("AVM_OUTPUT_DIR", "filepath"),
                    _variable("AVM_INPUT_DIRS", "string"),
                    *(_variable(name, "number") for name in numbers),
                    _variable("AVM_NOTIFY", "string", choices=["on", "off"], default="off"),
                ],
            },
            {
                "registryType": "oci",
                "identifier": f"{facts.IMAGE}:{facts.VERSION}",
                "runtimeHint": "docker",
                "transport": {"type": "stdio"},
                "runtimeArguments": [
                    {
                        "type": "named",
                        "name": "--mount",
                        "value": "type=bind,src={out},dst=/data",
                        "isRequired": True,
                        "variables": {
                            "out": {
                                "description": "Folder for finished videos and the journal of paid jobs; "
                                "user 10001 must be able to write there.",
                                "isRequired": True,
                                "format": "filepath",
                            }
                        },
                    }
                ],
                "environmentVariables": [key, *(_variable(name, "number") for name in numbers)],
            },
            {
                "registryType": "mcpb",
                "identifier": f"{facts.RELEASE}/{facts.BUNDLE}",
                "version": facts.VERSION,
                "fileSha256": "0" * 64,
                "transport": {"type": "stdio"},
            },
        ],
    }


def _variable(name: str, form: str, **more: Any) -> Document:
    return {"name": name, "description": facts.about(name), "isRequired": False, "format": form, **more}


def plugin() -> Document:
    """Return the plugin for Claude Code and OpenClaw.

    The key that Claude Code keeps is passed on under the second name of the variable: OpenClaw does not fill it in,
    and then AVM_API_KEY of the environment must still count. It counts first in both.
    """
    return {
        "name": facts.NAME,
        "displayName": facts.TITLE,
        "version": facts.VERSION,
        "description": facts.SENTENCE,
        "author": {"name": facts.AUTHOR, "url": f"https://github.com/{facts.OWNER}"},
        "homepage": facts.REPOSITORY,
        "repository": facts.REPOSITORY,
        "license": facts.LICENSE,
        "keywords": facts.KEYWORDS,
        "mcpServers": {
            facts.NAME: {
                "command": "uvx",
                "args": [facts.NAME],
                "env": {"AIVIDEO_API_KEY": "${user_config.api_key}"},
            }
        },
        "userConfig": {
            "api_key": {
                "type": "string",
                "title": "API key",
                "description": f"Your key from {facts.SITE}, or: sandbox, for a free try with placeholder videos. "
                "Leave it empty where AVM_API_KEY is set.",
                "sensitive": True,
                "required": False,
            }
        },
    }


def marketplace() -> Document:
    """Return the market of one plugin, so that the folder installs from a checkout."""
    return {
        "name": facts.NAME,
        "description": f"{facts.TITLE} for Claude Code",
        "owner": {"name": facts.AUTHOR},
        "plugins": [{"name": facts.NAME, "source": "./", "description": facts.SENTENCE}],
    }


def gemini() -> Document:
    """Return the extension of Gemini CLI."""
    return {
        "name": facts.NAME,
        "version": facts.VERSION,
        "description": facts.SENTENCE,
        "contextFileName": "GEMINI.md",
        "mcpServers": {
            facts.NAME: {
                "command": "uvx",
                "args": [facts.NAME],
                "env": {"AVM_API_KEY": "${AVM_API_KEY}"},
                "timeout": 600_000,
            }
        },
        "settings": [
            {
                "name": "API key",
                "description": f"Your key from {facts.SITE}, or: sandbox, for a free try with placeholder videos.",
                "envVar": "AVM_API_KEY",
                "sensitive": True,
            }
        ],
    }


GEMINI_MD = """# AI Video Maker

Each call of `text_to_video`, `image_to_video` or `long_video` makes one video, spends credits (1 credit is 0.01 USD)
and takes 3 to 13 minutes. Ask the user before spending more than 50 credits; `quote_video` tells the price for free.
Wait with `get_task`. Never repeat a paid call to check on it: the work goes on without you, and `list_tasks` finds
every task again. Give the user the path and the link exactly as they are returned.
"""


def docker_yaml() -> str:
    """Return the draft of a pull request to the Docker MCP catalog; `commit` is filled in there."""
    return f"""name: avm
image: mcp/avm
type: server
meta:
  category: ai
  tags:
    - video
    - generation
about:
  title: {facts.TITLE}
  description: {facts.SENTENCE}
  icon: {facts.ICON}
source:
  project: {facts.REPOSITORY}
  commit: "0000000000000000000000000000000000000000"
run:
  volumes:
    - "{{{{avm.data}}}}:/data"
config:
  description: The key comes from {facts.SITE}. Finished videos are saved in the folder.
  secrets:
    - name: avm.api_key
      env: AVM_API_KEY
      example: <AVM_API_KEY>
  parameters:
    type: object
    properties:
      data:
        type: string
        description: Folder for finished videos and the journal of paid jobs.
        default: $HOME/data/avm
    required:
      - data
"""
