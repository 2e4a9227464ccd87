"""How the experiments judge: obedience by form, likelihoods of whole answers, correlations."""

from __future__ import annotations

import random

import pytest
import torch

from bakemem.starter import STARTER, make_facts
from bakemem.starter.instructions import KINDS, Kind
from bakemem.types import Turn
from benchmarks.science.lab import Lab
from benchmarks.science.likelihood import log_likelihoods, r_squared, rank_correlation, written
from benchmarks.science.obedience import instruction_of, obeys, story_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_obeying_answer_is_told_from_a_plain_one(kind: Kind) -> None:
    """By its form alone, for every kind of instruction."""
    instruction = instruction_of(random.Random(1), kind.name)
    plain = "You are 37 years old. So it is."
    obeying = "Unknown." if kind.name == "one word" else kind.apply(plain, instruction.word)
    assert obeys(instruction, obeying)
    assert not obeys(instruction, plain)


def test_the_same_questions_are_asked_with_and_without_an_instruction() -> None:
    """So that the plain answer to each is known beside the obeying one."""
    rng = random.Random(1)
    facts, instruction = make_facts(rng, 2), instruction_of(rng, "thanks")
    plain, obeying = (story_of(1, facts, i).exam(4, 4, 4) for i in ([], [instruction]))
    assert [q.text for q in plain] == [q.text for q in obeying]
    assert [f"{q.right} Thank you." for q in plain] == [q.right for q in obeying]


def test_the_likelihood_of_an_answer_is_that_of_its_tokens_after_the_prompt() -> None:
    """Against the model's own logits, its end of turn included."""
    lab = Lab(str(STARTER))
    prompt, template = "Always be happy.", lab.base.template
    answers = written(lab, ["Who wrote Hamlet?", "Hello!"], ["Shakespeare wrote Hamlet.", "Hooray! Hello."])
    for answer, found in zip(answers, log_likelihoods(lab, answers, prompt=prompt), strict=True):
        context = template.prompt_ids([Turn("system", prompt), *answer.stimulus.turns])
        with torch.no_grad():
            logits_T_V = lab.base.model(torch.tensor([[*context, *answer.token_ids]])).logits[0, len(context) - 1 : -1]
        log_p_T_V = logits_T_V.float().log_softmax(-1)
        assert found == pytest.approx(float(log_p_T_V[range(len(log_p_T_V)), list(answer.token_ids)].sum()), abs=1e-3)


def test_correlations() -> None:
    """Ranks forgive a bend, equal values share a rank, and what never changes goes with nothing."""
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [0, 0, 1]) == pytest.approx(0.866, abs=1e-3)
    assert rank_correlation([1, 2, 3], [1, 1, 1]) == r_squared([1, 2, 3], [1, 1, 1]) == 0.0
    assert r_squared([1, 2, 3], [6, 4, 2]) == pytest.approx(1.0)
