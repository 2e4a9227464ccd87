"""Whether the numbers of a safetensors file are all finite, by their exponent bits alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bakemem.versions.tensors import tensors_of

# A float is NaN or infinite exactly when all bits of its exponent are set.
_EXPONENTS = {"F32": 0x7F800000, "BF16": 0x7F80, "F16": 0x7C00}


def first_not_finite(path: Path) -> str | None:
    """The name of the first tensor with a NaN or an infinity, or None; the file must be a valid one of these types."""
    for tensor in tensors_of(path):
        mask = _EXPONENTS[tensor.dtype]
        if bool(np.any((tensor.bits() & mask) == mask)):
            return tensor.name
    return None
