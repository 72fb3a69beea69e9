"""A model of Pydantic AI that follows the script."""

from pydantic_ai.messages import ModelMessage, ModelResponse, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from scripted import Script


def scripted() -> FunctionModel:
    script = Script()

    def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen = None
        for part in messages[-1].parts:
            if isinstance(part, ToolReturnPart):
                seen = part.model_response_str()
            elif isinstance(part, RetryPromptPart):
                seen = part.model_response()
        turn = script.next(seen)
        if isinstance(turn, str):
            return ModelResponse([TextPart(turn)])
        return ModelResponse([ToolCallPart(turn.tool, turn.arguments, turn.id)])

    return FunctionModel(respond)
