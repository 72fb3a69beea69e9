"""mcpadapt and smolagents: every argument counts as required there, and a call must hold them all."""

from importlib.metadata import version
from typing import Any

from mcp.types import Tool
from mcpadapt.smolagents_adapter import SmolAgentsAdapter
from reply import published, tell
from smolagents.models import get_tool_json_schema
from smolagents.tools import validate_tool_arguments


def adapted(tool: dict[str, Any]) -> Any:
    return SmolAgentsAdapter().adapt(lambda given: given, Tool.model_validate(published(tool)))


def inputs(tool: dict[str, Any]) -> Any:
    made = adapted(tool)
    validate_tool_arguments(made, tool["calls"][-1])  # all filled in
    return {"type": "object", "properties": made.inputs, "required": list(made.inputs)}


def told_to_the_model(tool: dict[str, Any]) -> Any:
    return get_tool_json_schema(adapted(tool))["function"]["parameters"]


tell(
    f"smolagents {version('smolagents')}, mcpadapt {version('mcpadapt')}",
    {"inputs": inputs, "what the model is told": told_to_the_model},
)
