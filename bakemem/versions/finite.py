"""Whether the numbers of a safetensors file are all finite, by their exponent bits alone.

Knows the file's layout; bfloat16, which numpy lacks, needs no special case this way.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

# A float is NaN or infinite exactly when all bits of its exponent are set.
_EXPONENTS = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}


def first_not_finite(path: Path) -> str | None:
    """The name of the first tensor with a NaN or an infinity, or None; the file must be a valid one of these types."""
    content = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        kind, mask = _EXPONENTS[tensor["dtype"]]
        begin, end = tensor["data_offsets"]
        bits = np.frombuffer(content[start + begin : start + end].tobytes(), dtype=kind)
        if bool(np.any((bits & mask) == mask)):
            return str(name)
    return None
