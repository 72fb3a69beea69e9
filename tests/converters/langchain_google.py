"""LangChain: a tool whose arguments are a JSON schema, as its MCP adapters make it, for Gemini and for OpenAI."""

from importlib.metadata import version
from typing import Any

from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_google_genai._function_utils import convert_to_genai_function_declarations
from reply import tell


def made(tool: dict[str, Any]) -> StructuredTool:
    return StructuredTool(
        name=tool["name"], description=tool["description"], args_schema=tool["inputSchema"], func=lambda **given: given
    )


def for_gemini(tool: dict[str, Any]) -> Any:
    (kind,) = convert_to_genai_function_declarations([made(tool)])
    (declaration,) = kind.function_declarations
    if declaration.parameters is None:  # of a tool without parameters
        return declaration.parameters_json_schema or {"type": "object", "properties": {}}
    return declaration.parameters.model_dump(mode="json", exclude_none=True)


def for_openai(tool: dict[str, Any]) -> Any:
    return convert_to_openai_tool(made(tool))["function"]["parameters"]


def for_openai_strict(tool: dict[str, Any]) -> Any:
    return convert_to_openai_tool(made(tool), strict=True)["function"]["parameters"]


def called(tool: dict[str, Any]) -> Any:
    for given in tool["calls"]:
        assert made(tool).invoke(given) == given
    return tool["inputSchema"]


tell(
    f"langchain-google-genai {version('langchain-google-genai')}, langchain-core {version('langchain-core')}",
    {"Gemini": for_gemini, "OpenAI": for_openai, "OpenAI strict": for_openai_strict, "call": called},
)
