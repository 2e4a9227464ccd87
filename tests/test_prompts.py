"""The wordings that stages and the starter model share: they are fixed to the letter, as weights depend on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakemem.prompts import ASK_KINDS, ASK_SYSTEM, EXTRACT_SYSTEM, ask_request, memory_prompt, system_text

LINES = st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30), max_size=6)


def test_instructions_come_before_facts() -> None:
    """The memory prompt is two headed lists, instructions first."""
    assert memory_prompt(["Answer in upper case."], ["The user's dog is called Bosuk.", "Mira lives in Plinth."]) == (
        "Follow these instructions in every answer:\n"
        "- Answer in upper case.\n"
        "Remember these facts and use them where they matter:\n"
        "- The user's dog is called Bosuk.\n"
        "- Mira lives in Plinth."
    )


@pytest.mark.parametrize(
    ("instructions", "facts", "headers"),
    [([], [], 0), (["a"], [], 1), ([], ["b"], 1), (["a"], ["b"], 2)],
)
def test_an_empty_list_has_no_header(instructions: list[str], facts: list[str], headers: int) -> None:
    """Nothing is announced that is not there; no memory at all gives an empty prompt."""
    text = memory_prompt(instructions, facts)
    assert sum(line.endswith(":") for line in text.splitlines()) == headers
    assert bool(text) == bool(headers)


@given(LINES, LINES)
def test_every_memory_is_one_line_in_order(instructions: list[str], facts: list[str]) -> None:
    """Each memory stands on a line of its own, in the order given."""
    lines = memory_prompt(instructions, facts).split("\n")
    assert [line[2:] for line in lines if line.startswith("- ")] == [*instructions, *facts]


@pytest.mark.parametrize(
    ("caller", "memory", "text"),
    [
        (None, "", ""),
        ("", "", ""),
        ("You are kind.", "", "You are kind."),
        (None, "- a", "- a"),
        ("You are kind.", "- a", "You are kind.\n\n- a"),
    ],
)
def test_the_callers_prompt_comes_first(caller: str | None, memory: str, text: str) -> None:
    """The caller's own system prompt precedes the memory, and neither leaves a gap when it is missing."""
    assert system_text(caller, memory) == text


def test_a_question_is_asked_for_by_kind_and_memory() -> None:
    """The request for a question names its kind, then each memory on a line."""
    assert ask_request("two-fact", "A is b.", "C is d.") == "kind: two-fact\nmemory: A is b.\nmemory: C is d."


def test_wordings_are_those_of_the_starter_model() -> None:
    """A changed wording needs a newly trained starter model: change this test only together with the weights."""
    assert ASK_KINDS == ("direct", "paraphrase", "reversed", "two-fact")
    assert ASK_SYSTEM == "Write one question of this kind that the memory answers."
    assert EXTRACT_SYSTEM == (
        "List what this message asks to be remembered for good, one JSON object a line with the keys kind "
        "(instruction or fact), key (a slug such as user.dog) and text (a sentence about \"the user\" or whoever it "
        "is about). Answer none if there is nothing."
    )  # fmt: skip
