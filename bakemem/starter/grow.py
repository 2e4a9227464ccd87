"""Puts the weights of a finished starter into a model with more attention heads; the new heads say nothing yet."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import MistralForCausalLM

QUERY_SCALE, VALUE_SCALE = 0.03, 0.06  # standard deviations of new heads' weights


@torch.no_grad()
def load_grown(model: MistralForCausalLM, file: Path, seed: int) -> None:
    """Load `file` into `model`, whose layers may have more heads than the file's: it computes the same as before."""
    generator = torch.Generator().manual_seed(seed)
    finished = load_file(file)
    for name, weight in model.named_parameters():
        old = finished[name]
        if weight.shape != old.shape:
            if name.endswith("o_proj.weight"):
                weight.zero_()
            else:
                scale = VALUE_SCALE if name.endswith("v_proj.weight") else QUERY_SCALE
                weight.normal_(std=scale, generator=generator)
        weight[tuple(slice(n) for n in old.shape)] = old.to(weight.dtype)
