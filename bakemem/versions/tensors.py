"""The tensors of a safetensors file as numpy reads them, bfloat16, which numpy lacks, among them.

Knows the file's layout; the file must be a valid one of float32, float16 and bfloat16 (`check_adapter` sees to that).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = {"F32": "<u4", "BF16": "<u2", "F16": "<u2"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file; its numbers are read from the disk when they are asked for."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: NDArray[np.uint8]

    def bits(self) -> NDArray[Any]:
        """The bits of every number, as unsigned integers of its size."""
        return np.frombuffer(self.content.tobytes(), dtype=_BITS[self.dtype])

    def floats(self) -> NDArray[np.float64]:
        """The numbers, each exactly, in the tensor's shape."""
        bits = self.bits()
        if self.dtype == "BF16":  # the upper half of a float32
            bits = bits.astype("<u4") << 16
        return bits.view("<f2" if self.dtype == "F16" else "<f4").astype(np.float64).reshape(self.shape)


def tensors_of(path: Path) -> Iterator[Tensor]:
    """The tensors of a file, in the order of its header."""
    content = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            yield Tensor(name, tensor["dtype"], tuple(tensor["shape"]), content[start + begin : start + end])
