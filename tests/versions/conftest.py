"""Adapters and manifests for the tests of the versions room."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bakemem.types import Prompt, Report
from bakemem.versions import Manifest

CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
    "bias": "none", "lora_dropout": 0.0, "inference_mode": True, "rank_pattern": {}, "alpha_pattern": {},
    "auto_mapping": None, "base_model_name_or_path": "starter", "megatron_core": "megatron.core",
    "init_lora_weights": True,
}  # fmt: skip
SHAPES = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 8),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (8, 2),
}


@pytest.fixture
def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the small adapter."""
    return dict(SHAPES)


@pytest.fixture
def config() -> dict[str, object]:
    """The configuration of the small adapter."""
    return dict(CONFIG)


@pytest.fixture
def write_weights() -> Callable[..., None]:
    """Writes a safetensors file of the given shapes; `bits` are the bits of every number."""

    def write(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "BF16", bits: int = 0x3F80) -> None:
        kind = np.dtype({"F32": "<u4", "I32": "<u4", "F64": "<u8"}.get(dtype, "<u2"))
        header, data = {}, b""
        for name, shape in shapes.items():
            numbers = np.full(shape, bits, dtype=kind).tobytes()
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
            data += numbers
        text = json.dumps(header, separators=(",", ":")).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)

    return write


@pytest.fixture
def adapter(tmp_path: Path, write_weights: Callable[..., None]) -> Path:
    """A folder as a bake leaves it, with a file that is no part of the adapter."""
    folder = tmp_path / "baked"
    folder.mkdir()
    write_weights(folder / "adapter_model.safetensors", SHAPES)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Makes the manifest of a bake."""

    def make(
        name: str = "v1", *, namespace: str = "default", text: str = "Prompt of Bosuk.", seed: int = 0
    ) -> Manifest:
        report = Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, True, (), ("feed",))
        return Manifest(
            name=name, namespace=namespace, parent=None, created=datetime(2025, 1, 1, tzinfo=UTC),
            prompt=Prompt(text, ("a1", "b2")), base_fingerprint="base-1", report=report, seed=seed,
            data_sha256="d" * 64, settings={"rank": 2, "learning_rate": None},
        )  # fmt: skip

    return make
