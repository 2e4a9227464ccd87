"""Turns as text, by the model's own chat template, also where it has no place for a turn or refuses an order.

Knows tokenizers only by what it calls on them; knows no token ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

from bakemem.errors import InputError, ModelError
from bakemem.turns import answered, merged_users, one_call_each, with_short_ids, without_system
from bakemem.types import ToolCall, Turn

DEFAULT_TEMPLATE = (
    "{% for message in messages %}### {{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
"""What a model without a chat template is given: `### User:` and `### Assistant:` lines, answers ended by EOS."""

Tool = Mapping[str, Any]
"""A tool as Hugging Face templates are given it: `{"type": "function", "function": {"name", "parameters", …}}`."""

NAME, VALUE = "bakemem_name", "bakemem_argument"


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    chat_template: Any
    eos_token: Any
    eos_token_id: Any

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render messages as text."""

    def encode(self, text: str, **options: Any) -> Any:
        """Text to token ids."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Token ids to text."""

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token."""


class Rendering:
    """Writes turns for one tokenizer.

    Models that know no system role, or it not at the beginning, get its text before the first user turn, those whose
    turns alternate strictly get neighbouring user turns as one, and those that read content in parts get it so.
    """

    def __init__(self, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None) -> None:
        if tokenizer.eos_token is None:
            raise ModelError("The tokenizer has no end-of-sequence token, so answers could not end. Set eos_token.")
        self.tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        self._template = None if tokenizer.chat_template else DEFAULT_TEMPLATE
        self._special = _anywhere([*self.special_tokens, *getattr(tokenizer, "all_special_tokens", ())])
        # Some models that read images too take content as a list of parts alone, and pass over text in silence.
        self._in_parts = False
        if not self._writes(Turn("user", "bakemem-user")):
            self._in_parts = True
            self._in_parts = self._writes(Turn("user", "bakemem-user"))
        talk = [Turn("system", "bakemem-system"), Turn("user", "bakemem-user"), Turn("assistant", "bakemem-answer"),
                Turn("user", "bakemem-more")]  # fmt: skip
        # Mistral 7B v0.3 writes it into the prompt's last turn only: it would be lost behind an answer.
        self._has_system = all(self._writes(*talk[:n]) for n in (2, 3, 4))
        self._takes_neighbours = self._writes(Turn("user", "bakemem-one"), Turn("user", "bakemem-two"))

    @property
    def source(self) -> str:
        """What it renders by: the template itself and its arguments. What they make of a text may tell the date."""
        return repr((self._template or self.tokenizer.chat_template, self._arguments))

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of tokens that no text is read as."""
        added: Mapping[int, Any] = getattr(self.tokenizer, "added_tokens_decoder", {})
        return {str(token): id for id, token in added.items() if token.special}

    def text(self, turns: Sequence[Turn], generation_prompt: bool = True, tools: Sequence[Tool] = ()) -> str:
        """The conversation as the template writes it.

        Raises InputError for roles in an order that it refuses, and for tools where it leaves them out.
        """
        turns = turns if self._has_system else without_system(turns)
        turns = turns if self._takes_neighbours else merged_users(turns)
        rendered = self._render(self._with_calls(turns), generation_prompt, tools)
        if any(str(tool.get("function", tool).get("name")) not in rendered for tool in tools):
            raise InputError("The model's chat template leaves tools out: take a model that was trained to call them.")
        return rendered

    def _render(self, turns: Sequence[Turn], generation_prompt: bool, tools: Sequence[Tool] = ()) -> str:
        options: dict[str, Any] = {"chat_template": self._template} if self._template else {}
        options |= {"tools": [dict(tool) for tool in tools]} if tools else {}
        try:
            return str(self.tokenizer.apply_chat_template(
                [_message(self._as_text(turn), self._in_parts) for turn in turns], tokenize=False,
                add_generation_prompt=generation_prompt, **options, **self._arguments,
            ))  # fmt: skip
        except Exception as error:  # jinja2 and transformers raise many kinds here
            roles = ", ".join(turn.role for turn in turns)
            raise InputError(f"The model's chat template refuses turns in the order ({roles}): {error}") from error

    def _with_calls(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """The turns with their calls in the form that the template takes."""
        if not any(turn.tool_calls or turn.role == "tool" for turn in turns):
            return turns
        if any(len(turn.tool_calls) > 1 for turn in turns) and not self._takes_calls_together:
            turns = one_call_each(turns)
        if not self._takes_long_ids:
            turns = [with_short_ids(turn) for turn in turns]
        return turns if self._takes_unanswered else answered(turns)

    @cached_property
    def _takes_calls_together(self) -> bool:
        """Whether an assistant's turn may hold more than one call: Llama 3's may not."""
        return self._takes(called_thread("bakemem00", "bakemem01"))

    @cached_property
    def _takes_long_ids(self) -> bool:
        """Whether calls may have the ids of any provider: Mistral's are nine letters and digits."""
        return self._takes(called_thread("call_of_bakemem"))

    @cached_property
    def writes_results(self) -> bool:
        """Whether a tool's results may stand behind an answer that is written as a call, each answered in turn.

        Not where that answer counts as one to the user, as with Mistral's templates.
        """
        call, result = Turn("assistant", '{"name": "x"}'), Turn("tool", "bakemem-result", "tool:called")
        thread = [Turn("user", "x"), call, *([result, Turn("assistant", "x")] * 2)]
        return self._takes(thread) and self.text(thread).count(result.content) == 2

    @cached_property
    def _takes_unanswered(self) -> bool:
        """Whether a user may go on behind a call that nothing was said of: with Mistral's templates none may.

        What refuses calls altogether is left to say so itself.
        """
        called = called_thread("bakemem00")
        return not self._takes(called) or self._takes([*called, Turn("user", "x")])

    def _takes(self, turns: Sequence[Turn]) -> bool:
        try:
            self._render(turns, generation_prompt=False)
        except InputError:
            return False
        return True

    def _as_text(self, turn: Turn) -> Turn:
        """A turn with special tokens in two pieces, or a page could write turns of its own; not the assistant's."""
        return turn if turn.role == "assistant" else replace(turn, content=self._special.sub(r"\g<0> ", turn.content))

    def _writes(self, *turns: Turn) -> bool:
        """Whether the template takes turns, leaves out none, and keeps their order."""
        try:
            rest = self._render(turns, generation_prompt=turns[-1].role == "user")
        except InputError:
            return False
        for turn in turns:
            _, found, rest = rest.partition(turn.content)
            if not found:
                return False
        return True


def _anywhere(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches the first character of each text wherever one stands, also within or across others."""
    rests: dict[str, list[str]] = {}
    for text in sorted({text for text in texts if len(text) > 1}):
        rests.setdefault(re.escape(text[0]), []).append(re.escape(text[1:]))
    return re.compile("|".join(f"{first}(?={'|'.join(rest)})" for first, rest in rests.items()) or "(?!)")


def _message(turn: Turn, in_parts: bool) -> dict[str, Any]:
    """A turn as Hugging Face templates read it."""
    content = [{"type": "text", "text": turn.content}] if in_parts else turn.content
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.tool_calls:
        message["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in turn.tool_calls
        ]
    if turn.role == "tool":
        message |= {"name": turn.source.removeprefix("tool:"), "tool_call_id": turn.tool_call_id}
    return message


def called_thread(*ids: str) -> list[Turn]:
    """Calls of these ids in one turn, and their results. Mistral's ids have nine letters."""
    calls = tuple(ToolCall(NAME, json.dumps({VALUE: 0}), id) for id in ids)
    results = [Turn("tool", "x", f"tool:{NAME}", tool_call_id=id) for id in ids]
    return [Turn("user", "x"), Turn("assistant", "", tool_calls=calls), *results]


def _arguments(call: ToolCall) -> Any:
    """Read, as most templates write them out themselves; what is no JSON stays text."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments
