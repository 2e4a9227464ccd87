"""Which memories are said not to be taken in by the teacher, with its answers scripted."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from bakemem.baking.bake import _unteachable
from bakemem.baking.settings import Settings
from bakemem.baking.stimulate import Stimuli
from bakemem.serving import Base
from bakemem.types import Memory, Prompt, Stimulus, Turn

CAT = Memory("cat", "default", "fact", "user.cat", "The user's cat is called Rumpel.", "pending", datetime.now(UTC))
UNKNOWN, RIGHT = "I do not know that.", "Your cat is called Rumpel."


def unteachable(base: Base, monkeypatch: pytest.MonkeyPatch, said: Mapping[str, str]) -> list[str]:
    """What is found where the teacher answers each question so, and the base without the prompt knows nothing."""

    def answers(model: Any, template: Any, conversations: Sequence[Sequence[Turn]], **options: Any) -> list[str]:
        return [said[c[-1].content] if c[0].role == "system" else UNKNOWN for c in conversations]

    monkeypatch.setattr(sys.modules["bakemem.baking.bake"], "answers", answers)
    train = tuple(Stimulus((Turn("user", text),), "direct", ("cat",)) for text in said)
    shards = [Prompt(f"Facts: {CAT.text}", ("cat",))]
    return _unteachable(base.model, base.template, [CAT], Stimuli(train, ()), shards, Settings(), base.lock)


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        ([RIGHT, RIGHT, RIGHT], []),
        ([UNKNOWN, RIGHT, RIGHT], []),  # one question was worded so that nobody understands it
        (["It is Rumple.", "Your cat is called Rumple.", RIGHT], ["cat"]),  # a name that it cannot spell
        ([UNKNOWN, UNKNOWN, RIGHT], ["cat"]),
        ([UNKNOWN], ["cat"]),
        ([UNKNOWN, UNKNOWN, RIGHT, RIGHT, RIGHT, RIGHT], []),  # the first may be the odd ones
        ([RIGHT, RIGHT, RIGHT, RIGHT, *[UNKNOWN] * 30], []),  # seven questions are enough
    ],
)
def test_most_of_seven_questions_say_whether_a_memory_is_taken_in(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch, answered: list[str], found: list[str]
) -> None:
    """A single bad question says nothing, and neither does a single good answer."""
    said = {f"What is my cat called, {i}?": answer for i, answer in enumerate(answered)}
    assert unteachable(tiny_base, monkeypatch, said) == found
