"""Fakes beside each port, for the tests of this project and of those who build on it.

They keep the promises of their ports (the conformance suites run on them too) and need no model and no disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bakemem.memory.embed import Embedder, LexicalEmbedder, Vectors
from bakemem.types import Draft, Memory, Turn


class MemoryIndex:
    """An `Index` in memory: exact search over a dict of vectors."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder or LexicalEmbedder()
        self._vectors: dict[str, Vectors] = {}
        self._seal: str | None = None

    def put(self, memories: Iterable[Memory]) -> None:
        """Adds or replaces memories."""
        listed = list(memories)
        vectors = self._embedder.embed([memory.text for memory in listed])
        self._vectors.update({memory.id: vector for memory, vector in zip(listed, vectors, strict=True)})

    def remove(self, ids: Iterable[str]) -> None:
        """Removes memories; unknown ids are no error."""
        for memory_id in ids:
            self._vectors.pop(memory_id, None)

    def search(self, text: str, k: int) -> list[tuple[str, float]]:
        """The `k` nearest ids with their cosines, nearest first."""
        [asked] = self._embedder.embed([text])
        scored = [(memory_id, float(vector @ asked)) for memory_id, vector in self._vectors.items()]
        return sorted(scored, key=lambda hit: -hit[1])[: max(k, 0)]

    def ids(self) -> set[str]:
        """All ids that are in the index."""
        return set(self._vectors)

    def sync(self, memories: Iterable[Memory]) -> int:
        """Makes the index hold exactly these memories; returns how many had to be added or removed."""
        wanted = {memory.id: memory for memory in memories}
        missing = [memory for i, memory in wanted.items() if i not in self._vectors]
        extra = self.ids() - wanted.keys()
        self.remove(extra)
        self.put(missing)
        return len(missing) + len(extra)

    def seal(self, state: str) -> None:
        """Notes the journal's state down."""
        self._seal = state

    def sealed(self) -> str | None:
        """The state that was noted last."""
        return self._seal

    def purge(self, memories: Iterable[Memory]) -> None:
        """Begins anew with these memories."""
        self._vectors.clear()
        self._seal = None
        self.put(memories)

    def close(self) -> None:
        """Nothing to close."""


class ScriptedExtractor:
    """An `Extractor` that gives the drafts written down for each user text, and none for any other."""

    def __init__(self, script: Mapping[str, Sequence[Draft]]) -> None:
        self._script = script

    def extract(self, turn: Turn) -> list[Draft]:
        """The drafts of the turn's text; none unless a user said it."""
        return list(self._script.get(turn.content, ())) if turn.role != "assistant" else []

    def same(self, draft: Draft, memory: Memory) -> bool:
        """Whether the texts are the same but for case and white space."""
        return draft.text.casefold().split() == memory.text.casefold().split()
