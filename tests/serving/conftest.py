"""Two adapters on a tiny base, so that swaps can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bakemem.baking.bake import Baked
from bakemem.baking.weights import add_candidate, candidate_parameters, candidate_state, remove_candidate
from bakemem.serving import Base, LocalEngine, ServingModel
from bakemem.types import Report


@pytest.fixture
def folders(tiny_base: Base, tmp_path: Path) -> dict[str, Path]:
    """The folders of the adapters `one` and `two` of the tiny base: random ones, that change what it says."""
    made = {}
    for seed, name in enumerate(("one", "two")):
        add_candidate(tiny_base.model, 8, 16, seed, None)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            for parameter in candidate_parameters(tiny_base.model).values():
                parameter.normal_(std=0.1)
        made[name] = tmp_path / name
        made[name].mkdir()
        Baked(*candidate_state(tiny_base.model), Report(1, 0, 1, 1, 1, 0, 30, 1, True), (), "").save(made[name])
        remove_candidate(tiny_base.model)
    return made


@pytest.fixture
def engine(tiny_base: Base, folders: dict[str, Path]) -> Iterator[LocalEngine]:
    """An engine with both attached."""
    made = LocalEngine(tiny_base)
    for name, folder in folders.items():
        made.attach(name, folder)
    yield made
    made.close(0)


@pytest.fixture
def serving(engine: LocalEngine) -> ServingModel:
    """What one namespace serves."""
    return ServingModel(engine)
