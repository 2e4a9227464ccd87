"""How far the weights of two LoRA adapters are apart, module by module of their base.

Knows an adapter's two files, which must have passed `check_adapter`; knows no version and loads no model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakemem.errors import AdapterError
from bakemem.versions.tensors import Tensor, tensors_of


@dataclass(frozen=True, slots=True)
class LayerChange:
    """How much the update of one module's weight changed: absolute Frobenius norms, in the units of the weight.

    The update is U = s·B·A with s = alpha / rank. `change` is ‖U_new − U_old‖, `old` and `new` are ‖U_old‖ and ‖U_new‖;
    a version without an adapter for this module, and the base, has the update 0.
    """

    module: str
    change: float
    old: float
    new: float


def layer_changes(old: Path | None, new: Path | None) -> tuple[LayerChange, ...]:
    """Compares the adapters in two folders (None: the base), in the order of the base's modules.

    The product B·A is never formed: with B = Q_b R_b and Aᵀ = Q_a R_a, ‖B·A‖ = ‖R_b R_aᵀ‖, which is rank × rank. A
    difference of two updates is one product too, of [s_new B_new, −s_old B_old] and [A_new; A_old]. Unlike Gram
    matrices, which square the numbers, this loses no digits where the two hardly differ.
    Raises AdapterError when the adapters are of models of different shapes.
    """
    before, after = _Updates.of(old), _Updates.of(new)
    changes = []
    for module in sorted(before.pairs.keys() | after.pairs.keys(), key=_place):
        was, now = list(before.factors(module)), list(after.factors(module))
        if {(b.shape[0], a.shape[1]) for b, a in was} != {(b.shape[0], a.shape[1]) for b, a in now} and was and now:
            raise AdapterError(
                f"The adapters in {old} and {new} differ in the shape of {module}: they have other bases."
            )
        change = _norm([*now, *((-b, a) for b, a in was)])
        changes.append(LayerChange(module.removeprefix("base_model.model."), change, _norm(was), _norm(now)))
    return tuple(changes)


_Factors = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Updates:
    """The updates of one adapter: their scale s, and the sides A and B of each module."""

    scale: float
    pairs: dict[str, dict[str, Tensor]]

    @classmethod
    def of(cls, folder: Path | None) -> _Updates:
        pairs: dict[str, dict[str, Tensor]] = {}
        if folder is None:
            return cls(0.0, pairs)
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        for tensor in tensors_of(folder / "adapter_model.safetensors"):
            module, _, side = tensor.name.partition(".lora_")
            pairs.setdefault(module, {})[side[0]] = tensor
        return cls(config["lora_alpha"] / config["r"], pairs)

    def factors(self, module: str) -> list[_Factors]:
        """The one pair s·B and A of a module, or none."""
        sides = self.pairs.get(module)
        return [(self.scale * sides["B"].floats(), sides["A"].floats())] if sides else []


def _norm(factors: list[_Factors]) -> float:
    """‖Σ B·A‖ over pairs of B (out × rank) and A (rank × in)."""
    if not factors:
        return 0.0
    # asarray, for numpy's types do not know that this mode gives R alone.
    left = np.asarray(np.linalg.qr(np.hstack([b for b, _ in factors]), mode="r"))
    right = np.asarray(np.linalg.qr(np.hstack([a.T for _, a in factors]), mode="r"))
    return float(np.linalg.norm(left @ right.T))


def _place(module: str) -> list[tuple[int, str]]:
    """Sorts layer 10 behind layer 2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in module.split(".")]
