"""A small LoRA adapter as files, for the tests that need folders of versions and no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
    "bias": "none", "lora_dropout": 0.0, "inference_mode": True, "rank_pattern": {}, "alpha_pattern": {},
    "auto_mapping": None, "base_model_name_or_path": "starter", "megatron_core": "megatron.core",
    "init_lora_weights": True,
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 8),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (8, 2),
}


def write_weights(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16", bits: int = 0x3F80) -> None:
    """A safetensors file of the given shapes; `bits` are the bits of every number."""
    kind = np.dtype({"F32": "<u4", "I32": "<u4", "F64": "<u8"}.get(dtype, "<u2"))
    header, data = {}, b""
    for name, shape in shapes.items():
        numbers = np.full(shape, bits, dtype=kind).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_adapter(folder: Path) -> Path:
    """A whole adapter in a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, SHAPES)
    (folder / CONFIG_FILE).write_text(json.dumps(CONFIG))
    return folder
