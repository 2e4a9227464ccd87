"""A prompt is baked with questions alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakemem.baking import answers
from bakemem.config import load_config
from bakemem.errors import InputError
from bakemem.evaluation.on_the_spot import BAKED, bake_prompt, stimuli_of
from bakemem.serving import Base
from bakemem.types import Turn

ASKED = [(Turn("user", f"Question {i}?"),) for i in range(24)]


def test_no_question_is_trained_on_and_judged_by() -> None:
    """Each question stands once, in the training or in the eighth that is held out."""
    made = stimuli_of([*ASKED, *ASKED])
    assert len(made.train) == 21
    assert {s.turns for s in made.train} | {s.turns for s in made.held_out} == set(ASKED)
    assert not {s.turns for s in made.train} & {s.turns for s in made.held_out}


def test_too_few_questions_are_refused() -> None:
    """Seven different questions are no training."""
    with pytest.raises(InputError, match="7 different questions"):
        stimuli_of([*ASKED[:7], *ASKED[:7]])


def test_the_baked_prompt_stays_attached(tiny_base: Base, tmp_path: Path) -> None:
    """After the bake the adapter answers otherwise than the base, nearer to the prompted one, and reports how near."""
    config = load_config(tmp_path, steps=12, max_new_tokens=6)
    told: list[str] = []
    report = bake_prompt(tiny_base, "Always answer with a number.", stimuli_of(ASKED), config,
                         lambda stage, *_: told.append(stage))  # fmt: skip
    assert report.kl_after < report.kl_before
    assert {"rollout", "bake", "gate"} <= set(told)
    said = {
        name: answers(tiny_base.model, tiny_base.template, ASKED, adapter_name=name, lock=tiny_base.lock,
                      max_new_tokens=6)
        for name in (None, BAKED)
    }  # fmt: skip
    assert said[None] != said[BAKED]


def test_the_next_prompt_takes_the_place_of_the_one_before(tiny_base: Base, tmp_path: Path) -> None:
    """The adapter `baked` is that of the last prompt: it answers otherwise than the one before."""
    config, said = load_config(tmp_path, steps=12, max_new_tokens=6), []
    for prompt in ("Always answer with a number.", "The user's dog is called Bosuk, and lives in Plinth."):
        bake_prompt(tiny_base, prompt, stimuli_of(ASKED), config, lambda *_: None)
        said.append(answers(tiny_base.model, tiny_base.template, ASKED, adapter_name=BAKED, lock=tiny_base.lock,
                            max_new_tokens=6))  # fmt: skip
    assert said[0] != said[1]
