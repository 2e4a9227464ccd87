"""LangChain messages as turns. Knows text, tool calls and their results; other content is an error that names it.

Of an answer only media are: what a model noted beside its words (thoughts, its provider's own steps) is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from bakemem.errors import InputError
from bakemem.types import Role, ToolCall, Turn

_MEDIA = ("image", "image_url", "audio", "input_audio", "video", "file", "document", "text-plain")


def turns_of(messages: Sequence[BaseMessage]) -> list[Turn]:
    """The conversation; system messages become one turn at its head.

    Raises InputError for kinds of messages and of content that a text model cannot read.
    """
    if not messages:
        raise InputError("There are no messages: give at least one of the user's.")
    system = [_text(m) for m in messages if isinstance(m, SystemMessage)]
    turns = [Turn("system", "\n\n".join(text for text in system if text))] if any(system) else []
    return turns + [_turn(m) for m in messages if not isinstance(m, SystemMessage)]


def _turn(message: BaseMessage) -> Turn:
    text = _text(message)
    if isinstance(message, HumanMessage):
        return Turn("user", text)
    if isinstance(message, AIMessage):
        calls = [
            ToolCall(c["name"], json.dumps(c["args"], ensure_ascii=False), c["id"] or "") for c in message.tool_calls
        ]
        return Turn("assistant", text, tool_calls=tuple(calls))
    if isinstance(message, ToolMessage):
        return Turn("tool", text, f"tool:{message.name}" if message.name else "", tool_call_id=message.tool_call_id)
    if isinstance(message, ChatMessage):
        for role in get_args(Role)[:4]:
            if message.role == role:
                return Turn(role, text)
        raise InputError(f"A message has the role {message.role!r}: give one of system, user, assistant and tool.")
    raise InputError(f"A {type(message).__name__} cannot be read: give system, human, AI and tool messages.")


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_block(block, isinstance(message, AIMessage)) for block in message.content)


def _block(block: str | dict[str, Any], of_an_answer: bool) -> str:
    if isinstance(block, str):
        return block
    kind, text = block.get("type"), block.get("text")
    if kind in (None, "text", "text-plain") and isinstance(text, str):
        return f"\n{text}\n" if kind == "text-plain" else text
    if kind is None or (of_an_answer and kind not in _MEDIA):  # such as a provider's mark for its cache
        return ""
    raise InputError(f"A message holds {kind} content: the model reads text only.")
