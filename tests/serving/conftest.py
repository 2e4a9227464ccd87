"""Two baked adapters on a tiny base, so that swaps can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakemem.baking import Recipe
from bakemem.baking.bake import Baked
from bakemem.baking.train import train
from bakemem.baking.weights import candidate_state, output_head, remove_candidate
from bakemem.serving import Base, ServingModel
from bakemem.types import Report
from tests.tiny import PROMPT, MakeTaught


@pytest.fixture
def serving(tiny_base: Base, make_taught: MakeTaught, tmp_path: Path) -> ServingModel:
    """A serving model with the adapters `one` and `two` attached."""
    for name, prompt in (("one", PROMPT), ("two", PROMPT.replace("Bosuk", "Tarn").upper())):
        taught = make_taught(tiny_base, 6, prompt)
        recipe = Recipe(rank=8, alpha=16, learning_rate=1e-2, steps=30, trajectories_per_step=6)
        train(tiny_base.model, tiny_base.template, taught, output_head(tiny_base.model), recipe, start=None,
              lock=tiny_base.lock)  # fmt: skip
        (tmp_path / name).mkdir()
        Baked(*candidate_state(tiny_base.model), Report(1, 0, 1, 1, 1, 0, 30, 1, True), (), "").save(tmp_path / name)
        remove_candidate(tiny_base.model)
    made = ServingModel(tiny_base)
    for name in ("one", "two"):
        made.attach(name, tmp_path / name)
    return made
