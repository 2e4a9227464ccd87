"""Tasks of lm-eval are asked of a base with or without a prompt, in the words of a bake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from bakemem.baking import prompted
from bakemem.errors import InputError
from bakemem.evaluation.scores import Column, Score
from bakemem.serving import Base, wrap_base
from bakemem.types import Stimulus, Turn

pytest.importorskip("lm_eval", reason="needs the extra eval")

from bakemem.evaluation.harness import Harness, Limits, Prompted

TASKS = Path(__file__).parent.parent.parent / "benchmarks" / "science" / "tasks"
PROMPTS = {name: (TASKS / f"{name}.prompt.txt").read_text(encoding="utf-8").strip() for name in ("rules", "facts")}
DATA = """
from datasets import Dataset

ROWS = Dataset.from_list([{"word": "ba", "answer": "bi"}])


def data(**_):
    %s
"""
SAME = 'return {"train": ROWS, "test": ROWS}'
YAML = """
task: own
custom_dataset: !function own.data
%s
test_split: test
output_type: generate_until
doc_to_text: "{{word}} ->"
doc_to_target: "{{answer}}"
description: "Be kind."
generation_kwargs: {until: ["x"], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
"""


def _own(folder: Path, body: str, more: str = "training_split: train") -> Path:
    (folder / "own.py").write_text(DATA % body, encoding="utf-8")
    (folder / "own.yaml").write_text(YAML % more, encoding="utf-8")
    return folder


def _only(scores: list[Score]) -> float:
    (score,) = scores
    return score.value


def test_the_prompt_makes_the_starter_right(starter: Base) -> None:
    """Facts chosen by likelihood and a rule followed in words: both need the prompt, and lm-eval counts both."""
    for task, name in (("made_up_facts", "facts"), ("made_up_rule", "rules")):
        harness = Harness([task], Limits(limit=20, batch_size="20"), TASKS)
        base, told = (harness.score(starter, Column("", None, prompt)) for prompt in ("", PROMPTS[name]))
        assert _only(base) <= 0.5
        assert _only(told) >= 0.9
        assert told[0].n == 20


def test_a_conversation_is_rendered_as_the_teacher_reads_it(starter: Base) -> None:
    """The task's own system turn comes first, then the prompt; a begun answer goes on after the template's header."""
    model = Prompted(starter, "Say it twice.", Limits())
    turns = (Turn("system", "Be kind."), Turn("user", "Who?"))
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    expected = starter.template.text(prompted(Stimulus(turns, "x"), "Say it twice."))
    assert "Be kind.\n\nSay it twice." in expected
    assert model.apply_chat_template(messages) == expected
    begun = [*messages, {"role": "assistant", "content": "It is"}]
    assert model.apply_chat_template(begun, add_generation_prompt=False) == f"{expected}It is"


def test_a_template_without_system_role_keeps_the_prompt(
    tiny_base: Base, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where lm-eval itself would drop the prompt without a word, it stands before the question."""
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refusing + str(tokenizer.chat_template))
    base = wrap_base("tiny", tiny_base.model, tokenizer)
    rendered = Prompted(base, "Say it twice.", Limits()).apply_chat_template([{"role": "user", "content": "Who?"}])
    assert "Say it twice.\n\nWho?" in rendered


@pytest.mark.parametrize("task", ["made_up_facts", "made_up_rule"])
def test_a_prompt_that_would_be_cut_is_refused(starter: Base, task: str) -> None:
    """lm-eval cuts on the left, where the prompt stands."""
    harness = Harness([task], Limits(limit=2), TASKS)
    with pytest.raises(InputError, match="the beginning of the prompt would be cut"):
        harness.score(starter, Column("", None, "Be kind to all. " * 2000))


def test_questions_are_never_those_that_are_scored() -> None:
    """The questions to bake with are the task's training questions, as it asks them, and none that it is scored by."""
    harness = Harness(["made_up_rule"], Limits(), TASKS)
    asked = harness.questions(500)
    words = {
        split: [json.loads(line)["word"] for line in (TASKS / f"rules.{split}.jsonl").read_text().splitlines()]
        for split in ("train", "test")
    }
    assert {turns[-1].content for turns in asked} == {f"{w} ->" for w in words["train"] if w not in words["test"]}
    assert len(harness.questions(10)) == 10
    assert harness.questions(10) == harness.questions(10)


def test_a_training_question_that_is_scored_too_is_left_out(tmp_path: Path) -> None:
    """A task whose training data holds its test data has nothing to bake with."""
    harness = Harness(["own"], tasks_dir=_own(tmp_path, SAME))
    with pytest.raises(InputError, match="no training questions"):
        harness.questions(10)


def test_a_task_without_training_data_says_so(tmp_path: Path) -> None:
    """The way out is a file of questions."""
    harness = Harness(["own"], tasks_dir=_own(tmp_path, SAME, more=""))
    with pytest.raises(InputError, match="--stimuli-file"):
        harness.questions(10)


def test_data_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    """Without a network the error names the task and what to do."""
    with pytest.raises(InputError, match="The data of own cannot be loaded: no route"):
        Harness(["own"], tasks_dir=_own(tmp_path, "raise ConnectionError('no route')"))


def test_an_unknown_task_is_named() -> None:
    """It is neither lm-eval's nor in the folder."""
    with pytest.raises(InputError, match=r"no task made_up_song nor in .*tasks"):
        Harness(["made_up_rule", "made_up_song"], tasks_dir=TASKS)
