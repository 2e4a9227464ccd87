"""The optimizer of the starter's training, and the checkpoint that a run goes on from."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class Optimizer:
    """AdamW on a cosine; the attention of the first two layers, which begins as a circuit, learns more slowly."""

    def __init__(self, model: nn.Module, learning_rate: float = 2e-3) -> None:
        circuit = [p for n, p in model.named_parameters() if re.search(r"layers\.[01]\.self_attn", n)]
        rest = [p for n, p in model.named_parameters() if not re.search(r"layers\.[01]\.self_attn", n)]
        self._learning_rate = learning_rate
        self._adamw = torch.optim.AdamW([{"params": rest}, {"params": circuit}], betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, progress: float, grown: float) -> None:
        """One update; the rate warms up over 1 % of the run and falls on a cosine to nearly zero.

        `grown` is the progress of the model over all its runs: the circuit is held back only while it is young.
        """
        warm = min(1.0, progress / 0.01 + 0.05)
        rate = self._learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        rest, circuit = self._adamw.param_groups
        rest["lr"], circuit["lr"] = rate, rate * (0.05 + 0.95 * min(1.0, grown / 0.3))
        self._adamw.step()
        self._adamw.zero_grad()

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state as named tensors, for safetensors."""
        states = self._adamw.state_dict()["state"]
        return {f"{n}.{key}": value.contiguous() for n, state in states.items() for key, value in state.items()}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave."""
        saved = self._adamw.state_dict()
        for name, value in tensors.items():
            n, key = name.split(".", 1)
            saved["state"].setdefault(int(n), {})[key] = value
        self._adamw.load_state_dict(saved)


class Checkpoint:
    """A run that can stop: weights and optimizer state as safetensors, and how far it came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, model: nn.Module, optimizer: Optimizer, state: dict[str, float]) -> None:
        """Write everything aside, then swap it in."""
        fresh = self._folder.with_suffix(".tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file({n: p.detach().clone() for n, p in model.named_parameters()}, fresh / "model.safetensors")
        save_file(optimizer.tensors(), fresh / "optimizer.safetensors")
        (fresh / "state.json").write_text(json.dumps(state))
        shutil.rmtree(self._folder, ignore_errors=True)
        fresh.rename(self._folder)

    def load(self, model: nn.Module, optimizer: Optimizer) -> dict[str, float]:
        """The state of the last save, put back into model and optimizers; a fresh state when there is none."""
        if not (self._folder / "state.json").exists():
            return {"step": 0, "tokens": 0, "seconds": 0.0}
        model.load_state_dict(load_file(self._folder / "model.safetensors"), strict=False)
        optimizer.load(load_file(self._folder / "optimizer.safetensors"))
        state: dict[str, float] = json.loads((self._folder / "state.json").read_text())
        return state
