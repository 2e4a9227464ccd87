"""The norms of what changed between two adapters are those of the dense weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakemem.errors import AdapterError
from bakemem.versions import LayerChange
from bakemem.versions.change import layer_changes

Sides = tuple[NDArray[np.float64], NDArray[np.float64]]
Q = "base_model.model.model.layers.{}.self_attn.q_proj"


def encoded(numbers: NDArray[np.float64], dtype: str) -> tuple[bytes, NDArray[np.float64]]:
    """Numbers as a file holds them, and what they are after that rounding."""
    if dtype == "BF16":
        bits = (numbers.astype("<f4").view("<u4") >> 16).astype("<u2")
        return bits.tobytes(), (bits.astype("<u4") << 16).view("<f4").astype(np.float64)
    rounded = numbers.astype({"F32": "<f4", "F16": "<f2"}[dtype])
    return rounded.tobytes(), rounded.astype(np.float64)


def write(folder: Path, modules: dict[str, Sides], alpha: float, dtype: str = "F32") -> dict[str, NDArray[np.float64]]:
    """Writes an adapter of A and B for each module; the dense update of each."""
    folder.mkdir(exist_ok=True)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data, dense, rank = b"", {}, 0
    for module, (a, b) in modules.items():
        kept = []
        for side, numbers in (("A", a), ("B", b)):
            raw, rounded = encoded(numbers, dtype)
            header[f"{module}.lora_{side}.weight"] = {
                "dtype": dtype, "shape": numbers.shape, "data_offsets": [len(data), len(data) + len(raw)],
            }  # fmt: skip
            data += raw
            kept.append(rounded)
        rank = a.shape[0]
        dense[module] = alpha / rank * kept[1] @ kept[0]
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": alpha}))
    return dense


def sides(rng: np.random.Generator, rank: int, rows: int, columns: int, size: float = 1.0) -> Sides:
    """A random A (rank × columns) and B (rows × rank)."""
    return size * rng.standard_normal((rank, columns)), size * rng.standard_normal((rows, rank))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1), shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    ranks=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    alphas=st.tuples(st.floats(0.01, 64), st.floats(0.01, 64)),
    dtypes=st.tuples(*[st.sampled_from(["F32", "F16", "BF16"])] * 2), size=st.sampled_from([1e-3, 1.0, 30.0]),
)  # fmt: skip
def test_the_norms_are_those_of_the_dense_product(
    tmp_path: Path, seed: int, shape: tuple[int, int], ranks: tuple[int, int], alphas: tuple[float, float],
    dtypes: tuple[str, str], size: float,
) -> None:  # fmt: skip
    """For any shapes, ranks (larger than the matrix too), alphas and float types, mixed between the two versions."""
    rng = np.random.default_rng(seed)
    name = Q.format(0)
    dense = [
        write(tmp_path / which, {name: sides(rng, rank, *shape, size)}, alpha, dtype)[name]
        for which, rank, alpha, dtype in zip(("old", "new"), ranks, alphas, dtypes, strict=True)
    ]
    (change,) = layer_changes(tmp_path / "old", tmp_path / "new")
    assert change.module == "model.layers.0.self_attn.q_proj"
    norms = np.linalg.norm(dense[1] - dense[0]), np.linalg.norm(dense[0]), np.linalg.norm(dense[1])
    scale = sum(alpha * size**2 * 200 for alpha in alphas)  # what is rounded: the sizes of the factors
    assert (change.change, change.old, change.new) == pytest.approx(norms, rel=1e-11, abs=1e-14 * scale)


def test_a_change_far_smaller_than_the_updates_keeps_its_digits(tmp_path: Path) -> None:
    """A bake that goes on from another moves little: by Gram matrices, one part in 10⁹ would drown in rounding."""
    rng = np.random.default_rng(0)
    a, b = (side.astype("<f4").astype(np.float64) for side in sides(rng, 4, 40, 30))
    moved = b.copy()
    moved[3, 1] = np.nextafter(np.float32(b[3, 1]), np.float32(9))
    dense = [write(tmp_path / which, {Q.format(0): (a, x)}, 4.0)[Q.format(0)] for which, x in (("o", b), ("n", moved))]
    (change,) = layer_changes(tmp_path / "o", tmp_path / "n")
    assert 0 < change.change < 1e-8 * change.old
    assert change.change == pytest.approx(float(np.linalg.norm(dense[1] - dense[0])), rel=1e-5)
    (same,) = layer_changes(tmp_path / "o", tmp_path / "o")
    assert same.change < 1e-14 * same.old


def test_the_base_has_no_update(tmp_path: Path) -> None:
    """From the base everything is change, to it too, and from base to base there is nothing."""
    dense = write(tmp_path / "a", {Q.format(0): sides(np.random.default_rng(1), 2, 6, 5)}, 8.0)
    norm = pytest.approx(float(np.linalg.norm(dense[Q.format(0)])))
    assert layer_changes(None, tmp_path / "a") == (LayerChange("model.layers.0.self_attn.q_proj", norm, 0.0, norm),)
    assert layer_changes(tmp_path / "a", None) == (LayerChange("model.layers.0.self_attn.q_proj", norm, norm, 0.0),)
    assert layer_changes(None, None) == ()


def test_modules_come_in_the_order_of_the_model_and_may_be_in_one_only(tmp_path: Path) -> None:
    """Layer 10 stands behind layer 2; a module that only one version adapted counts as 0 in the other."""
    rng = np.random.default_rng(2)
    write(tmp_path / "a", {Q.format(n): sides(rng, 2, 6, 5) for n in (10, 2, 0)}, 8.0)
    write(tmp_path / "b", {Q.format(n): sides(rng, 3, 6, 5) for n in (2, 3)}, 8.0)
    changes = layer_changes(tmp_path / "a", tmp_path / "b")
    assert [int(c.module.split(".")[2]) for c in changes] == [0, 2, 3, 10]
    assert [(c.old > 0, c.new > 0) for c in changes] == [(True, False), (True, True), (False, True), (True, False)]
    assert changes[2].change == pytest.approx(changes[2].new)


def test_adapters_of_other_shapes_are_refused(tmp_path: Path) -> None:
    """Weights of two models have no difference; the module is named."""
    rng = np.random.default_rng(3)
    write(tmp_path / "a", {Q.format(0): sides(rng, 2, 6, 5)}, 8.0)
    write(tmp_path / "b", {Q.format(0): sides(rng, 2, 6, 7)}, 8.0)
    with pytest.raises(AdapterError, match=r"layers\.0\.self_attn\.q_proj"):
        layer_changes(tmp_path / "a", tmp_path / "b")
