"""Adapters beside one another: the first is placed by the library, others of its shape without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bakemem.errors import AdapterError
from bakemem.serving import Base
from bakemem.serving.adapters import Adapters

Change = dict[str, Any]
IDS = torch.arange(5, 17)[None]


def logits(base: Base, adapters: Adapters, adapter_id: str) -> Tensor:
    """What the model says with an adapter."""
    with adapters.active(adapter_id) as model, torch.no_grad():
        return model(input_ids=IDS).logits


def copied(folder: Path, to: Path, rank: int, **config: object) -> Path:
    """An adapter of another rank, made from one of rank 8."""
    to.mkdir()
    tensors = load_file(folder / "adapter_model.safetensors")
    cut = {n: (t[:rank] if "lora_A" in n else t[:, :rank]).contiguous() for n, t in tensors.items()}
    targets = config.get("target_modules")
    save_file({n: t for n, t in cut.items() if not targets or n.split(".")[-3] in targets},  # type: ignore[operator]
              to / "adapter_model.safetensors")  # fmt: skip
    written = json.loads((folder / "adapter_config.json").read_text())
    (to / "adapter_config.json").write_text(json.dumps({**written, "r": rank, **config}))
    return to


@pytest.mark.parametrize("change", [{}, {"rank": 3, "lora_alpha": 5}, {"target_modules": ["q_proj", "down_proj"]}])
def test_one_beside_another_says_what_it_says_alone(
    tiny_base: Base, folders: dict[str, Path], tmp_path: Path, change: Change
) -> None:
    """Of the same shape, of another rank and scale, and on other layers."""
    folder = copied(folders["two"], tmp_path / "copy", **{"rank": 8, **change})
    adapters = Adapters(tiny_base.model, tiny_base.lock)
    adapters.attach("alone", folder)
    alone = logits(tiny_base, adapters, "alone")
    adapters.detach("alone")
    adapters.attach("one", folders["one"])
    one = logits(tiny_base, adapters, "one")
    adapters.attach("beside", folder)
    assert torch.equal(logits(tiny_base, adapters, "beside"), alone)
    assert torch.equal(logits(tiny_base, adapters, "one"), one)
    assert not torch.equal(one, alone)
    assert not any(p.requires_grad for p in tiny_base.model.parameters())
    for name in ("one", "beside"):
        adapters.detach(name)


def test_one_beside_another_is_removed_without_a_trace(tiny_base: Base, folders: dict[str, Path]) -> None:
    """The library's own removal finds all that was placed without it."""
    adapters = Adapters(tiny_base.model, tiny_base.lock)
    for name in folders:
        adapters.attach(name, folders[name])
    adapters.detach("two")
    left = [name for name, _ in tiny_base.model.named_modules() if name.endswith(".two")]
    held = [v for m in tiny_base.model.modules() for v in vars(m).values() if isinstance(v, dict) and "two" in v]
    assert not left
    assert not held
    assert "two" not in tiny_base.model.peft_config
    adapters.detach("one")


def test_what_does_not_fit_leaves_the_others(tiny_base: Base, folders: dict[str, Path], tmp_path: Path) -> None:
    """A matrix of another model's width, and one that is no matrix."""
    adapters = Adapters(tiny_base.model, tiny_base.lock)
    adapters.attach("one", folders["one"])
    before = logits(tiny_base, adapters, "one")
    for i, spoil in enumerate((lambda t: torch.cat([t, t], 1), lambda t: t[0], lambda t: t[:, None])):
        folder = copied(folders["two"], tmp_path / f"bad{i}", 8)
        tensors = load_file(folder / "adapter_model.safetensors")
        name = next(n for n in tensors if "lora_A" in n)
        save_file({**tensors, name: spoil(tensors[name]).contiguous()}, folder / "adapter_model.safetensors")
        with pytest.raises(AdapterError):
            adapters.attach("bad", folder)
        assert adapters.ids() == {"one"}
        assert "bad" not in tiny_base.model.peft_config
        assert torch.equal(logits(tiny_base, adapters, "one"), before)
    adapters.detach("one")
