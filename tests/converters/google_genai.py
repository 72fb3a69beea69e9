"""google-genai: a session, parameters as a Schema, and parameters as JSON schema; what it would send is read."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from typing import Any

try:
    import httpx2 as httpx  # from its third major on
except ImportError:
    import httpx
from google import genai
from google.genai import types
from mcp import ClientSession
from mcp.types import ListToolsResult, Tool
from reply import Way, published, tell

ANSWER = {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}


class Session(ClientSession):
    """A session as the library asks it: one that lists a tool."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    async def list_tools(self, *_args: Any, **_more: Any) -> ListToolsResult:
        return ListToolsResult(tools=[self._tool])


BODIES: list[dict[str, Any]] = []


def answer(request: Any) -> Any:
    BODIES.append(json.loads(request.content))
    return httpx.Response(200, json=ANSWER)


@cache
def client(vertex: bool) -> genai.Client:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return genai.Client(api_key="x", vertexai=vertex, http_options=types.HttpOptions(httpx_async_client=http))


async def sent(tool: Any, vertex: bool) -> Any:
    """Return the parameters in the request that the library sends for a tool."""
    config = types.GenerateContentConfig(tools=[tool])
    await client(vertex).aio.models.generate_content(model="gemini-2.5-flash", contents="x", config=config)
    (declaration,) = BODIES.pop()["tools"][0]["functionDeclarations"]
    (schema,) = [value for name, value in declaration.items() if name.startswith("parameters")]
    return schema


def declared(tool: Tool, **parameters: Any) -> types.Tool:
    named = types.FunctionDeclaration(name=tool.name, description=tool.description, **parameters)
    return types.Tool(function_declarations=[named])


def whole(schema: dict[str, Any]) -> types.Schema:
    return types.Schema.from_json_schema(json_schema=types.JSONSchema(**schema))


FORMS: dict[str, Callable[[Tool, dict[str, Any]], Any]] = {
    "session": lambda tool, _: Session(tool),
    "parameters": lambda tool, schema: declared(tool, parameters=schema),
    "parameters from JSON schema": lambda tool, schema: declared(tool, parameters=whole(schema)),
    "JSON schema": lambda tool, schema: declared(tool, parameters_json_schema=schema),
}


def way(form: str, vertex: bool) -> Way:
    def convert(tool: dict[str, Any]) -> Any:
        made = FORMS[form](Tool.model_validate(published(tool)), tool["inputSchema"])
        return asyncio.run(sent(made, vertex))

    return convert


tell(
    f"google-genai {genai.__version__}",
    {f"{form} ({'Vertex' if vertex else 'Gemini'})": way(form, vertex) for form in FORMS for vertex in (False, True)},
)
