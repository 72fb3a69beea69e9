"""A model of smolagents that follows the script.

smolagents tells its model that every parameter is required, and refuses a call that lacks one. So this model fills in
the defaults that it is shown, as a real one does.
"""

from typing import Any

from smolagents.models import (
    ChatMessage,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    MessageRole,
    Model,
)

from scripted import Script


class ScriptedModel(Model):
    def __init__(self) -> None:
        super().__init__(model_id="scripted")
        self._script = Script()

    def generate(self, messages: Any, **more: Any) -> ChatMessage:
        last = messages[-1]
        result = last.role == MessageRole.TOOL_RESPONSE
        turn = self._script.next(_text(last.content) if result else None)
        if isinstance(turn, str):
            function = ChatMessageToolCallFunction(name="final_answer", arguments={"answer": turn})
            call = ChatMessageToolCall(function=function, id="answer", type="function")
        else:
            inputs = next(tool.inputs for tool in more["tools_to_call_from"] if tool.name == turn.tool)
            filled = {name: shown["default"] for name, shown in inputs.items() if "default" in shown}
            function = ChatMessageToolCallFunction(name=turn.tool, arguments=filled | turn.arguments)
            call = ChatMessageToolCall(function=function, id=turn.id, type="function")
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=[call])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def scripted() -> ScriptedModel:
    return ScriptedModel()
