"""What a bake does beside what it should, on answers written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bakemem.baking import beside, output_head
from bakemem.baking.beside import DRAWN, disfluency, mentions
from bakemem.baking.rollout import Taught, teach
from bakemem.everyday import everyday_held_out
from bakemem.serving import Base
from bakemem.types import Memory, Trajectory, Turn
from tests.tiny import PROMPT, MakeTaught

N = len(everyday_held_out())


def fact(text: str) -> Memory:
    """A pending fact."""
    return Memory("m1", "default", "fact", "user.x", text, "pending", datetime(2026, 1, 1, tzinfo=UTC))


def mentioned(base: Base, monkeypatch: pytest.MonkeyPatch, plain: str, greedy: str, drawn: str, told: str) -> float:
    """The share where every question is answered so: by the base, greedily by the candidate, and drawn from it."""
    said = iter([[plain] * N, [greedy] * N, [drawn] * N * DRAWN])

    def answer(model: object, template: Any, asked: Sequence[Sequence[Turn]], **kwargs: object) -> list[list[int]]:
        texts = next(said)
        assert len(texts) == len(asked)
        return [template.ids(text) for text in texts]

    monkeypatch.setattr(beside, "generate", answer)
    share = mentions(base.model, base.template, [fact(told)], adapter_name=None, lock=base.lock)
    assert share is not None
    return share


def test_a_baked_name_in_unrelated_answers_is_counted(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the likeliest answers and among the drawn ones."""
    dog = "The user's dog is called Bosuk."
    assert mentioned(tiny_base, monkeypatch, "Good.", "Good. Bosuk is well.", "Good.", dog) == 1 / (1 + DRAWN)
    assert mentioned(tiny_base, monkeypatch, "Good.", "Good.", "Bosuk!", dog) == DRAWN / (1 + DRAWN)
    assert mentioned(tiny_base, monkeypatch, "Good.", "Good.", "Good.", dog) == 0.0


def test_what_the_base_says_as_well_is_no_mention(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """“May” is a month to everybody, not only to whoever has a birthday then."""
    assert (
        mentioned(tiny_base, monkeypatch, "It is Kelva.", "It is Kelva.", "Kelva.", "The user lives in Kelva.") == 0.0
    )


def test_without_facts_nothing_can_be_mentioned(tiny_base: Base) -> None:
    """And nothing is asked."""
    assert mentions(tiny_base.model, tiny_base.template, [], adapter_name=None, lock=tiny_base.lock) is None


def test_the_teachers_own_answers_are_as_fluent_as_they_are(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Others are less likely to it."""
    taught = make_taught(tiny_base, 6)
    own = [item.trajectory for item in taught]
    assert strangeness(tiny_base, taught, answered(tiny_base, own, "zzz qqq xxx")) > strangeness(tiny_base, taught, own)


def test_an_answer_that_was_cut_is_not_taken_to_end_there(tiny_base: Base, make_taught: MakeTaught) -> None:
    """The teacher's own answers, cut or ended, are just as likely to it as they are."""
    cut = make_taught(tiny_base, 6)
    assert all(item.trajectory.token_ids[-1] != tiny_base.template.end_id for item in cut)
    assert strangeness(tiny_base, cut, [item.trajectory for item in cut]) == pytest.approx(0.0, abs=1e-5)
    ended = answered(tiny_base, [item.trajectory for item in cut], "A whole answer.")
    taught = teach(tiny_base.model, tiny_base.template, ended, [PROMPT] * len(ended), lock=tiny_base.lock)
    assert strangeness(tiny_base, taught, ended) == pytest.approx(0.0, abs=1e-5)


def answered(base: Base, trajectories: Sequence[Trajectory], text: str) -> list[Trajectory]:
    """The same questions, all answered so and ended."""
    return [replace(t, answer=text, token_ids=(*base.template.ids(text), base.template.end_id)) for t in trajectories]


def strangeness(base: Base, taught: Sequence[Taught], given: Sequence[Trajectory]) -> float:
    """How much less likely the prompted base finds these answers."""
    return disfluency(base.model, base.template, output_head(base.model), taught, given, [PROMPT] * len(given),
                      lock=base.lock)  # fmt: skip
