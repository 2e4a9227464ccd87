"""Memories to the one prompt u that the teacher reads, or to shards of it that each fit the teacher's context.

Knows no tokenizer (a counting function is given) and no storage. Same memories, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bakemem.errors import InputError
from bakemem.memory.transitions import LIVE
from bakemem.prompts import memory_prompt
from bakemem.types import Memory, Prompt


def consolidate(memories: Iterable[Memory]) -> Prompt:
    """The prompt of these memories: instructions, then facts, each a line, oldest first.

    Raises InputError when one is neither pending nor baked: nothing else may reach the teacher.
    """
    instructions, facts = _by_kind(memories)
    return _prompt(instructions, facts)


def shards(
    memories: Iterable[Memory], count_tokens: Callable[[str], int], limit: int, most: int | None = None
) -> list[Prompt]:
    """Prompts of about `limit` tokens: every one has all instructions, and each fact is in exactly one.

    A fact that takes more beside the instructions is alone with them, in up to `most` tokens (None: `limit`). Raises
    InputError when one takes more than that, or as `consolidate` does.
    """
    instructions, facts = _by_kind(memories)
    most = max(limit, most or 0)
    for n, memory in enumerate(instructions, start=1):
        _check_fits(memory, _prompt(instructions[:n], []), count_tokens, most)
    if not facts:
        return [_prompt(instructions, [])] if instructions else []
    groups: list[list[Memory]] = [[]]
    for fact in facts:
        grown = [*groups[-1], fact]
        if len(grown) > 1 and count_tokens(_prompt(instructions, grown).text) > limit:
            groups.append([fact])
        else:
            groups[-1] = grown
        if len(groups[-1]) == 1:
            _check_fits(fact, _prompt(instructions, [fact]), count_tokens, most)
    return [_prompt(instructions, group) for group in groups]


def _by_kind(memories: Iterable[Memory]) -> tuple[list[Memory], list[Memory]]:
    ordered = sorted(memories, key=lambda m: (m.created, m.id))
    for memory in ordered:
        if memory.status not in LIVE:
            raise InputError(f"Memory {memory.id} is {memory.status}: only pending and baked ones go into a prompt.")
    return [m for m in ordered if m.kind == "instruction"], [m for m in ordered if m.kind == "fact"]


def _prompt(instructions: Sequence[Memory], facts: Sequence[Memory]) -> Prompt:
    text = memory_prompt([_line(m) for m in instructions], [_line(m) for m in facts])
    return Prompt(text, tuple(m.id for m in (*instructions, *facts)))


def _line(memory: Memory) -> str:
    # One memory is one line: a text with a line that looks like our own headers must not become a section.
    return " ".join(part for part in map(str.strip, memory.text.splitlines()) if part)


def _check_fits(memory: Memory, prompt: Prompt, count_tokens: Callable[[str], int], most: int) -> None:
    needed = count_tokens(prompt.text)
    if needed > most:
        raise InputError(
            f"Memory {memory.id} ({memory.key}) needs a prompt of {needed} tokens with the instructions beside it; "
            f"the teacher reads {most} at once. Shorten it, or take it back (edit, forget)."
        )
