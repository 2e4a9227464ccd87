"""Which prompt the teacher of a stimulus reads."""

from __future__ import annotations

import pytest

from bakemem.baking import reading
from bakemem.baking.reading import prompts_for, spoiled
from bakemem.baking.rollout import prompted
from bakemem.prompts import instructions_in, memory_prompt
from bakemem.serving import Base
from bakemem.types import Prompt, Stimulus, Turn

RULE = "Put every answer in square brackets."
SHARDS = [Prompt(memory_prompt([RULE], [f"Tarn{i} lives in Plinth."]), ("rule", str(i))) for i in range(2)]
BARE = [Prompt(memory_prompt([], ["Tarn lives in Plinth."]), ("0",))]
ALONE = memory_prompt([RULE], [])


def stimulus(text: str, kind: str, *memories: str) -> Stimulus:
    """One question."""
    return Stimulus((Turn("user", text),), kind, memories)


@pytest.mark.parametrize(("facts", "rules"), [
    ([], []), (["A."], []), ([], ["B."]), (["A."], ["B.", "C."]),
    (["A."], ["Remember these facts and use them where they matter:"]),
])  # fmt: skip
def test_the_instructions_of_a_prompt_are_what_stands_before_its_facts(facts: list[str], rules: list[str]) -> None:
    """Also where one says the words of the header."""
    assert instructions_in(memory_prompt(rules, facts)) == memory_prompt(rules, [])


def test_each_stimulus_has_the_prompt_that_tells_of_it() -> None:
    """What is about nothing has them in turn; work for programs and what was told before a question have no facts."""
    stimuli = [stimulus("a", "direct", "1"), stimulus("b", "decoy"), stimulus("c", "everyday"),
               stimulus("d", "told"), stimulus("e", "task"), stimulus("f", "task")]  # fmt: skip
    told = [SHARDS[1].text, SHARDS[1].text, SHARDS[0].text, ALONE, ALONE]
    assert prompts_for(stimuli, SHARDS, {5}) == [*told, ""]
    assert prompts_for(stimuli, SHARDS) == [*told, ALONE]
    assert prompts_for(stimuli[3:], BARE) == ["", "", ""]


@pytest.mark.parametrize(("plain", "instructed", "lost"), [
    ('{"a": 1}', '{"A": 1}', False), ('{"a": 1}', '[{"a": 1}]', True), ('{"a": 1}', '{"a": 1} Amen.', True),
    ("<call>", "I do not understand that.", True), ("<call>", "<call> <call>", False), ("Yes.", "[Yes.]", False),
    ("[1]", "", True), ("", "{}", False), ("```json\n{}\n```", "Well: ```json\n{}\n```", True),
])  # fmt: skip
def test_an_instruction_may_change_an_object_but_not_make_it_none(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch, plain: str, instructed: str, lost: bool
) -> None:
    """Only work for programs is asked twice, and what is said in words may become anything."""
    asked: list[list[Turn]] = []

    def answers(model: object, template: object, conversations: list[list[Turn]], **options: object) -> list[str]:
        asked.extend(conversations)
        return [plain, instructed]

    monkeypatch.setattr(reading, "answers", answers)
    stimuli = [stimulus("a", "direct", "1"), stimulus("Fill it.", "task")]
    found = spoiled(tiny_base.model, tiny_base.template, stimuli, SHARDS, lock=tiny_base.lock)
    assert found == [1] * lost
    assert asked == [prompted(stimuli[1], ""), prompted(stimuli[1], ALONE)]


def test_nothing_is_asked_where_there_is_no_instruction_or_no_task(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would cost and tell nothing."""
    monkeypatch.setattr(reading, "answers", None)
    for stimuli, shards in (([stimulus("a", "task")], BARE), ([stimulus("a", "decoy")], SHARDS)):
        assert spoiled(tiny_base.model, tiny_base.template, stimuli, shards, lock=tiny_base.lock) == []
