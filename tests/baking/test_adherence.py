"""The forgetting meter on the starter, which forgets its prompt in a long conversation, and on none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bakemem.baking import Adherence, adherence
from bakemem.everyday import everyday_stimuli
from bakemem.memory import consolidate
from bakemem.serving import Base
from bakemem.types import Kind, Memory, Turn

TOLD: tuple[tuple[Kind, str], ...] = (
    ("fact", "The user's dog is called Bosuk."), ("fact", "The user lives in Plinth."),
    ("fact", "The user's sister is called Tarin."), ("instruction", "Always answer in upper case."),
)  # fmt: skip
MEMORIES = [Memory(f"m{i}", "default", kind, f"k{i}", text, "pending", datetime(2026, 1, 1, tzinfo=UTC))
            for i, (kind, text) in enumerate(TOLD)]  # fmt: skip


def small_talk(turns: int) -> list[Turn]:
    """Everyday questions with their answers, in which the instruction was heeded at first and then no more."""
    asked = everyday_stimuli()[:turns]
    return [turn for row in asked for turn in (Turn("user", row.question), Turn("assistant", row.answer))]


def measure(base: Base, memories: list[Memory], history: list[Turn]) -> Adherence:
    """With the memories in the prompt of the base."""
    return adherence(base.model, base.template, memories, consolidate(memories).text, history, adapter_name=None,
                     lock=base.lock, max_new_tokens=48)  # fmt: skip


@pytest.mark.slow
def test_the_meter_falls_as_the_conversation_grows(starter: Base) -> None:
    """All that the model can say is heeded at the start, and little after sixty turns; what is lost is named."""
    start, deep = (measure(starter, MEMORIES, small_talk(n)) for n in (0, 60))
    assert (start.share, start.tokens) == (1.0, 0)
    assert start.asked >= 2
    assert deep.share < 0.7
    assert deep.tokens > 500
    assert set(deep.lost) <= {memory.id for memory in MEMORIES}
    assert len(deep.lost) == deep.asked - deep.kept


def test_a_conversation_that_is_too_long_is_cut_at_its_start(tiny_base: Base) -> None:
    """The newest turns that fit the model are kept, from a user's turn on."""
    found = measure(tiny_base, MEMORIES, [turn for _ in range(4) for turn in small_talk(40)])
    assert 500 < found.tokens < tiny_base.context
    assert measure(tiny_base, MEMORIES, [Turn("user", "cat " * 5000)]).tokens == 0


def test_of_nothing_nothing_is_lost(tiny_base: Base) -> None:
    """Without memories nothing is asked."""
    assert measure(tiny_base, [], small_talk(3)) == Adherence(0, 0, measure(tiny_base, [], small_talk(3)).tokens)
    assert measure(tiny_base, [], []).share == 1.0
