"""Turns as token ids, by the model's own chat template: prompts, and dialogues with their answers marked.

In the base layer because baking and serving must render alike. Knows tokenizers only by what it calls on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

CALL_MARKS = frozenset({"<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|python_tag|>"})
"""What models write around a call; for some of them it is special tokens."""

_SENTINEL = "bakemem-answer-{}-here"
_NAME, _VALUE = "bakemem_name", "bakemem_argument"
_MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")  # <tool_call>, [TOOL_CALLS]


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


@dataclass(frozen=True, slots=True)
class CallForm:
    """What stands before a call's name, between it and the arguments, and behind them.

    `mark` is what a call begins with and nothing else does; empty where the model's calls bear none.
    """

    start: str
    between: str
    end: str
    mark: str

    def begin(self, name: str) -> str:
        """A call of a tool up to its arguments."""
        return f"{self.start}{name}{self.between}"


class ChatTemplate:
    """Renders turns for one tokenizer.

    Models that know no system role, or it not at the beginning, get its text before the first user turn, and those
    whose turns alternate strictly get neighbouring user turns as one. `ends` are tokens that end answers too, by the
    model's own account.
    """

    def __init__(
        self, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None, ends: Sequence[int] = ()
    ) -> None:
        if tokenizer.eos_token is None:
            raise ModelError("The tokenizer has no end-of-sequence token, so answers could not end. Set eos_token.")
        self.tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        self._template = None if tokenizer.chat_template else DEFAULT_TEMPLATE
        first = tokenizer.encode("x")[:1] if self._template else []
        self._begin = [t for t in first if t == getattr(tokenizer, "bos_token_id", None)]  # templates write their own
        self._special = _anywhere([*self.special_tokens, *getattr(tokenizer, "all_special_tokens", ())])
        talk = [Turn("system", "bakemem-system"), Turn("user", "bakemem-user"), Turn("assistant", "bakemem-answer"),
                Turn("user", "bakemem-more")]  # fmt: skip
        # Mistral 7B v0.3 writes it into the prompt's last turn only: it would be lost behind an answer.
        self._has_system = all(self._writes(*talk[:n]) for n in (2, 3, 4))
        self._takes_neighbours = self._writes(Turn("user", "bakemem-one"), Turn("user", "bakemem-two"))
        plain = self.text([Turn("user", "x")], generation_prompt=False)
        self._generation_header = self.text([Turn("user", "x")])[len(plain) :]
        answered = [Turn("user", "x"), Turn("assistant", _SENTINEL)]
        last, _, tail = self.text(answered, generation_prompt=False)[len(plain) :].partition(_SENTINEL)
        middle, _, _ = self.text([*answered, Turn("user", "x")])[len(plain) :].partition(_SENTINEL)
        self._history_headers = sorted({last, middle}, key=len, reverse=True)  # Qwen3 writes two kinds
        end_ids = self._encode(tail.strip())
        added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
        text = len(end_ids) > 1 and end_ids[0] not in added  # which answers may hold too
        self.end_id: int = int(tokenizer.eos_token_id) if text or not end_ids else end_ids[0]
        self._ends = [token for token in ends if token in added]  # a config's mere default may be any piece of text
        self._end_text = str(tokenizer.decode([self.end_id]))

    @property
    def source(self) -> str:
        """What it renders by: the template itself and its arguments. What they make of a text may tell the date."""
        return repr((self._template or self.tokenizer.chat_template, self._arguments))

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The token ids that end an answer."""
        return tuple(dict.fromkeys((self.end_id, int(self.tokenizer.eos_token_id), *self._ends)))

    def ended(self, answer: Sequence[int]) -> bool:
        """Whether an answer came to its end, or was cut short."""
        return bool(answer) and answer[-1] in self.stop_ids

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of tokens that no text is read as."""
        added: Mapping[int, Any] = getattr(self.tokenizer, "added_tokens_decoder", {})
        return {str(token): id for id, token in added.items() if token.special}

    @cached_property
    def _left_out(self) -> frozenset[int]:
        """The ids of special tokens that are no part of a text."""
        return frozenset(id for token, id in self.special_tokens.items() if token not in CALL_MARKS)

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
                [_message(self._as_text(turn)) for turn in turns], tokenize=False,
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
        return self._takes(_called("bakemem00", "bakemem01"))

    @cached_property
    def _takes_long_ids(self) -> bool:
        """Whether calls may have the ids of any provider: Mistral's are nine letters and digits."""
        return self._takes(_called("call_of_bakemem"))

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
        called = _called("bakemem00")
        return not self._takes(called) or self._takes([*called, Turn("user", "x")])

    def _takes(self, turns: Sequence[Turn]) -> bool:
        try:
            self._render(turns, generation_prompt=False)
        except InputError:
            return False
        return True

    def prompt_ids(self, turns: Sequence[Turn], tools: Sequence[Tool] = ()) -> list[int]:
        """Token ids of the conversation up to where the assistant's answer begins."""
        return [*self._begin, *self._encode(self.text(turns, tools=tools))]

    @cached_property
    def call_form(self) -> CallForm:
        """How an answer calls a tool. Raises InputError for templates that write no calls."""
        asked, calling, _ = _called("bakemem00")
        written = self.text([asked, calling], generation_prompt=False)
        made = written.removeprefix(self.text([asked]))
        start, found, rest = made.partition(_NAME)
        between, name_first, _ = rest.partition(_VALUE)
        _, has_value, behind = made.partition(_VALUE)
        if made == written or not found or not has_value:
            raise InputError("The model's chat template writes no tool calls: none can be asked for.")
        if not name_first:  # Hermes 3 writes the name last
            start, between = f'{start.partition("{")[0]}{{"name": "', '", "arguments": {'
        _, _, rest = behind.partition(self._end_text)[0].rstrip().partition("}")  # what closes the arguments
        _, brace, end = rest.rpartition("}")
        mark = _MARK.match(start) if name_first else None
        return CallForm(start, between.rpartition("{")[0].rstrip(), brace + end, mark[0] if mark else "")

    def next_ids(self, text: str) -> list[int]:
        """Token ids from the end of one answer to where the next begins, when the user goes on with `text`."""
        turns = [Turn("user", "x"), Turn("assistant", _SENTINEL), Turn("user", text)]
        _, _, rest = self.text(turns).partition(_SENTINEL)
        rest, after = self._behind_end(rest, self.end_id)
        return self._encode(rest, after)

    def dialogue_ids(
        self, turns: Sequence[Turn], answers: Mapping[int, Sequence[int]], past: Container[int] = ()
    ) -> tuple[list[int], dict[int, int]]:
        """Token ids of a whole dialogue, and where each answer's first token stands.

        `answers` maps the index of an assistant turn to its token ids, which end with a token that ends answers; they
        are put in as they are, so that training sees the very tokens that the teacher produced. Only the end is left
        out where the template writes none there. Those in `past` are read and not asked for: before them stands what
        the template writes in a history, which need not be what it has a model go on from.
        """
        marked = [Turn(t.role, _SENTINEL.format(i)) if i in answers else t for i, t in enumerate(turns)]
        rest = self.text(marked, generation_prompt=False)
        ids: list[int] = list(self._begin)
        starts: dict[int, int] = {}
        after: int | None = None
        for i, answer in sorted(answers.items()):
            before, found, rest = rest.partition(_SENTINEL.format(i))
            if not found:
                raise InputError("The model's chat template leaves out an assistant turn of the dialogue.")
            if i not in past:
                header = next((h for h in self._history_headers if before.endswith(h)), "")
                before = before.removesuffix(header) + self._generation_header
            ids += self._encode(before, after)
            starts[i] = len(ids)
            ids += answer
            after = None
            if self.ended(answer):  # one that was cut short has no end of its own
                rest, after = self._behind_end(rest, answer[-1])
                ids[-1:] = [] if after is None else [after]
        return ids, starts

    def _behind_end(self, rest: str, stop: int) -> tuple[str, int | None]:
        """What the template writes behind the end of an answer, and that end, which may be another than was made."""
        for token in dict.fromkeys((stop, self.end_id)):
            text = str(self.tokenizer.decode([token]))
            if text.strip() and rest.lstrip().startswith(text):
                return rest.lstrip().removeprefix(text), token
        return rest, None

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer, without its end, special tokens and the space around it."""
        return self.decode_raw(token_ids[:-1] if self.ended(token_ids) else token_ids).strip()

    def decode_raw(self, token_ids: Sequence[int]) -> str:
        """The text of tokens without special ones, white space at both ends kept; marks of calls are part of it."""
        marked = not self.special_tokens.keys().isdisjoint(CALL_MARKS)
        shown = [token for token in token_ids if token not in self._left_out] if marked else list(token_ids)
        return str(self.tokenizer.decode(shown, skip_special_tokens=not marked))

    def ids(self, text: str) -> list[int]:
        """Token ids of a text as it is, without the template."""
        return self._encode(text)

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._encode(text))

    def _encode(self, text: str, after: int | None = None) -> list[int]:
        """The ids of a text, as they are behind a special token, which may swallow white space."""
        try:
            before = "" if after is None else str(self.tokenizer.decode([after]))
            ids = list(self.tokenizer.encode(before + text, add_special_tokens=False))
            if before and ids[:1] != [after]:
                return list(self.tokenizer.encode(text, add_special_tokens=False))
            return ids[1:] if before else ids
        except (UnicodeEncodeError, TypeError) as error:
            raise InputError("The text holds lone surrogates, which no tokenizer reads. Clean it first.") from error

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


def _message(turn: Turn) -> dict[str, Any]:
    """A turn as Hugging Face templates read it."""
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        message["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in turn.tool_calls
        ]
    if turn.role == "tool":
        message |= {"name": turn.source.removeprefix("tool:"), "tool_call_id": turn.tool_call_id}
    return message


def _called(*ids: str) -> list[Turn]:
    """Calls of these ids in one turn, and their results. Mistral's ids have nine letters."""
    calls = tuple(ToolCall(_NAME, json.dumps({_VALUE: 0}), id) for id in ids)
    results = [Turn("tool", "x", f"tool:{_NAME}", tool_call_id=id) for id in ids]
    return [Turn("user", "x"), Turn("assistant", "", tool_calls=calls), *results]


def _arguments(call: ToolCall) -> Any:
    """Read, as most templates write them out themselves; what is no JSON stays text."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments
