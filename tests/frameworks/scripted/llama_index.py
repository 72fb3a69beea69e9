"""A model of LlamaIndex that follows the script: its own mock, with answers of ours."""

from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM

from scripted import Script


def scripted() -> MockFunctionCallingLLM:
    script = Script()

    def respond(messages: Any, **more: Any) -> ChatMessage:
        last = messages[-1]
        turn = script.next(last.content if last.role == MessageRole.TOOL else None)
        if isinstance(turn, str):
            return ChatMessage(role=MessageRole.ASSISTANT, content=turn)
        block = ToolCallBlock(tool_call_id=turn.id, tool_name=turn.tool, tool_kwargs=turn.arguments)
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])

    return MockFunctionCallingLLM(response_generator=respond, is_chat_model=True)
