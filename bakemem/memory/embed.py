"""Text to vectors for the meaning index: the port, and the default that needs no model.

Knows no index. The embedders that load a model are in `index.py`, since Chroma brings them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_WORD = re.compile(r"\w+")


class Embedder(Protocol):
    """Turns texts into unit vectors whose cosine says how near they are.

    Deterministic: the same text, the same vector. May download or load a model on first use, and then raises
    ModelError when it cannot. `name` identifies model and version: vectors of two names are never mixed.
    """

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text: an array [texts, dimensions]."""


class LexicalEmbedder:
    """Hashed words and character 3- to 5-grams in 512 dimensions: offline, instant, the same on every machine.

    It finds shared words, inflections and misspellings in any script. It does not know synonyms ("car" is not near
    "automobile"): choose `minilm` or `sentence-transformers` where that matters and a download is allowed.
    """

    name = "lexical-1"
    dimensions = 512

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text; a text without any word gets a direction of its own."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                bounded = f"<{word[:64]}>"
                grams = [bounded[i : i + n] for n in (3, 4, 5) for i in range(len(bounded) - n + 1)]
                for gram in (bounded, *grams):
                    digest = hashlib.blake2b(gram.encode("utf-8", "replace"), digest_size=8).digest()
                    code = int.from_bytes(digest, "little")
                    # The sign keeps two grams of one place from adding up; a word counts as much as its grams together.
                    row[code % self.dimensions] += (1 if code >> 63 else -1) * (1.0 if gram is bounded else 0.3)
            length = float(np.linalg.norm(row))
            if length:
                row /= length
            else:
                row[0] = 1.0
        return vectors
