"""Turns as token ids, by the model's own chat template: prompts, dialogues with their answers marked, and answers back.

In the base layer because baking and serving must render alike. Knows tokenizers only by what it calls on them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bakemem.errors import InputError
from bakemem.rendering import NAME, VALUE, Rendering, Tokenizer, Tool, called_thread
from bakemem.types import Turn

CALL_MARKS = frozenset({"<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|python_tag|>"})
"""What models write around a call; for some of them it is special tokens."""

_SENTINEL = "bakemem-answer-{}-here"
_MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")  # <tool_call>, [TOOL_CALLS]


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


class ChatTemplate(Rendering):
    """Turns as token ids for one tokenizer, and token ids as answers. `ends` are tokens that end answers too, by the
    model's own account.
    """

    def __init__(
        self, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None, ends: Sequence[int] = ()
    ) -> None:
        super().__init__(tokenizer, arguments)
        first = tokenizer.encode("x")[:1] if self._template else []
        self._begin = [t for t in first if t == getattr(tokenizer, "bos_token_id", None)]  # templates write their own
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
    def stop_ids(self) -> tuple[int, ...]:
        """The token ids that end an answer."""
        return tuple(dict.fromkeys((self.end_id, int(self.tokenizer.eos_token_id), *self._ends)))

    def ended(self, answer: Sequence[int]) -> bool:
        """Whether an answer came to its end; else it was cut short."""
        return bool(answer) and answer[-1] in self.stop_ids

    @cached_property
    def _left_out(self) -> frozenset[int]:
        """The ids of special tokens that are no part of a text."""
        return frozenset(id for token, id in self.special_tokens.items() if token not in CALL_MARKS)

    def prompt_ids(self, turns: Sequence[Turn], tools: Sequence[Tool] = ()) -> list[int]:
        """Token ids of the conversation up to where the assistant's answer begins."""
        return [*self._begin, *self._encode(self.text(turns, tools=tools))]

    @cached_property
    def call_form(self) -> CallForm:
        """How an answer calls a tool. Raises InputError for templates that write no calls."""
        asked, calling, _ = called_thread("bakemem00")
        written = self.text([asked, calling], generation_prompt=False)
        made = written.removeprefix(self.text([asked]))
        start, found, rest = made.partition(NAME)
        between, name_first, _ = rest.partition(VALUE)
        _, has_value, behind = made.partition(VALUE)
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
