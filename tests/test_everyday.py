"""The everyday questions: enough of them, well formed, and never both trained on and tested on."""

from __future__ import annotations

from bakemem.everyday import everyday, everyday_held_out, everyday_stimuli


def test_there_are_150_different_questions() -> None:
    """The list holds 150 questions and none of them twice."""
    assert len({entry.question for entry in everyday()}) == len(everyday()) == 150


def test_the_parts_share_no_question() -> None:
    """What the gate asks is never a stimulus of a bake, and together they are everything."""
    trained = {entry.question for entry in everyday_stimuli()}
    held_out = {entry.question for entry in everyday_held_out()}
    assert not trained & held_out
    assert trained | held_out == {entry.question for entry in everyday()}


def test_every_field_is_filled() -> None:
    """Each entry has a question, a full answer and a short one, without stray blanks."""
    for entry in everyday():
        for text in (entry.question, entry.answer, entry.short):
            assert text
            assert text == text.strip()
