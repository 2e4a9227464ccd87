"""Instructions of the made-up world: one of a chosen kind, the questions asked under it, and whether an answer obeys.

Knows the starter's world and the demo's story, which draws the questions; knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from bakemem.demo.story import Story
from bakemem.starter import Fact, Instruction, make_instructions


def story_of(seed: int, facts: Sequence[Fact], instructions: Sequence[Instruction]) -> Story:
    """A story about these; the same seed and facts ask the same questions, whatever the instructions are."""
    story = Story(seed)
    story.facts, story.instructions = list(facts), list(instructions)
    return story


def instruction_of(rng: random.Random, kind: str) -> Instruction:
    """An instruction of the kind with that name; if it has a word, one that training never showed or a common one."""
    while (made := make_instructions(rng, 1, held_out=True)[0]).kind.name != kind:
        pass
    return made


def obeys(instruction: Instruction, text: str) -> bool:
    """Whether a text looks as the instruction asks, whatever it says: for models whose plain answer is not known."""
    kind, word = instruction.kind, instruction.word
    if kind.name == "one word":
        return len(text.split()) == 1 or (bool(text) and all(w[-1] in ".!?" for w in text.split()))  # one a question
    if kind.name == "twice":
        words = text.split()
        return bool(words) and words[: len(words) // 2] == words[len(words) // 2 :]
    added = kind.apply("#", word).split("#")
    if any(added):
        return all(part.strip(" ,") in text for part in added)
    return bool(text) and kind.apply(text, word) == text
