"""A chat model of LangChain that follows the script."""

from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from scripted import Script


class ScriptedChatModel(GenericFakeChatModel):
    """LangChain's own fake, which answers to what it reads instead of from a list."""

    script: Any

    def bind_tools(self, tools: Any, **kwargs: Any) -> "ScriptedChatModel":
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        turn = self.script.next(last.text if isinstance(last, ToolMessage) else None)
        if isinstance(turn, str):
            message = AIMessage(turn)
        else:
            message = AIMessage("", tool_calls=[{"name": turn.tool, "args": turn.arguments, "id": turn.id}])
        return ChatResult(generations=[ChatGeneration(message=message)])


def scripted() -> ScriptedChatModel:
    return ScriptedChatModel(messages=iter(()), script=Script())
