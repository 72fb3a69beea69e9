"""Pydantic AI: the schema as it gives it to Gemini, to OpenAI (strict where it says that it can be), and to Claude."""

import copy
from importlib.metadata import version
from typing import Any

from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer
from reply import Way, tell


def by(transformer: Any, strict: bool | None) -> Way:
    def convert(tool: dict[str, Any]) -> Any:
        return transformer(copy.deepcopy(tool["inputSchema"]), strict=strict).walk()

    return convert


tell(
    f"pydantic-ai-slim {version('pydantic-ai-slim')}",
    {
        "Gemini": by(GoogleJsonSchemaTransformer, strict=None),
        "OpenAI": by(OpenAIJsonSchemaTransformer, strict=False),
        "OpenAI strict": by(OpenAIJsonSchemaTransformer, strict=True),
    },
)
