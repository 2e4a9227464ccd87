"""The wordings that models read: the memory prompt, the extraction prompt and the question prompt.

In the base layer because the stages that send them and the starter model that learns them must agree to the
letter. Knows no model and no storage.
"""

from __future__ import annotations

from collections.abc import Sequence

INSTRUCTIONS_HEADER = "Follow these instructions in every answer:"
FACTS_HEADER = "Remember these facts and use them where they matter:"

EXTRACT_SYSTEM = (
    "List what this message asks to be remembered for good, one JSON object a line with the keys kind "
    '(instruction or fact), key (a slug such as user.dog) and text (a sentence about "the user" or whoever it '
    "is about). Answer none if there is nothing."
)

ASK_SYSTEM = "Write one question of this kind that the memory answers."
ASK_KINDS = ("direct", "paraphrase", "reversed", "two-fact")


def memory_prompt(instructions: Sequence[str], facts: Sequence[str]) -> str:
    """The prompt u: instructions first, then facts, one a line; empty when there is nothing to say."""
    blocks = []
    if instructions:
        blocks.append("\n".join([INSTRUCTIONS_HEADER, *(f"- {line}" for line in instructions)]))
    if facts:
        blocks.append("\n".join([FACTS_HEADER, *(f"- {line}" for line in facts)]))
    return "\n".join(blocks)


def instructions_in(prompt: str) -> str:
    """The part of a memory prompt without its facts; empty where it has no instructions."""
    return f"\n{prompt}".partition(f"\n{FACTS_HEADER}")[0].strip()


def system_text(caller: str | None, memory: str) -> str:
    """The caller's own system prompt, then the memory prompt; either may be empty."""
    return "\n\n".join(part for part in (caller or "", memory) if part)


def ask_request(kind: str, *memories: str) -> str:
    """The user message that asks the base model for one question about one memory (or two)."""
    return "\n".join([f"kind: {kind}", *(f"memory: {memory}" for memory in memories)])
