"""What every script of this folder does: read tools, convert each in each way, and print what came of it.

On stdin stands a JSON list of tools as `tools/list` publishes them, each with `calls`: arguments that must be taken. On
stdout comes `{"library": …, "ways": {way: {tool: schema, or why there is none}}}`. Standard library only: the scripts
run in environments of their own.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Way = Callable[[dict[str, Any]], Any]
"""From a tool to the schema that the library makes of it; it raises where the library would."""


def tell(library: str, ways: Mapping[str, Way]) -> None:
    tools = json.load(sys.stdin)
    reply = {way: {tool["name"]: _converted(convert, tool) for tool in tools} for way, convert in ways.items()}
    print(json.dumps({"library": library, "ways": reply}))


def _converted(convert: Way, tool: dict[str, Any]) -> Any:
    try:
        return convert(tool)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


def published(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the tool as the protocol has it."""
    return {name: value for name, value in tool.items() if name != "calls"}
