"""A model of the OpenAI Agents SDK that follows the script."""

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelResponse, Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from scripted import Script


class ScriptedModel(Model):
    def __init__(self) -> None:
        self._script = Script()

    async def get_response(self, *rest: Any, **more: Any) -> ModelResponse:
        last = more["input"][-1] if isinstance(more["input"], list) else {}
        result = last.get("type") == "function_call_output"
        turn = self._script.next(_text(last["output"]) if result else None)
        if isinstance(turn, str):
            text = ResponseOutputText(text=turn, type="output_text", annotations=[])
            item: Any = ResponseOutputMessage(
                id="answer", role="assistant", type="message", status="completed", content=[text]
            )
        else:
            item = ResponseFunctionToolCall(
                name=turn.tool, arguments=json.dumps(turn.arguments), call_id=turn.id, type="function_call"
            )
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    def stream_response(self, *rest: Any, **more: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


def _text(output: Any) -> str:
    return output if isinstance(output, str) else "\n".join(part.get("text", json.dumps(part)) for part in output)


def scripted() -> ScriptedModel:
    return ScriptedModel()
