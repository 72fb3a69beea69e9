"""A model of Google ADK that follows the script."""

import json
from collections.abc import AsyncGenerator
from typing import Any

from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.genai import types

from scripted import Script


class ScriptedLlm(BaseLlm):
    script: Any

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        part = llm_request.contents[-1].parts[0]
        seen = json.dumps(part.function_response.response) if part.function_response else None
        turn = self.script.next(seen)
        if isinstance(turn, str):
            printed = types.Part.from_text(text=turn)
        else:
            printed = types.Part.from_function_call(name=turn.tool, args=turn.arguments)
        yield LlmResponse(content=types.Content(role="model", parts=[printed]))


def scripted() -> ScriptedLlm:
    return ScriptedLlm(model="scripted", script=Script())
