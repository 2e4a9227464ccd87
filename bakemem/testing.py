"""Fakes beside each port, for the tests of this project and of those who build on it.

They keep the promises of their ports (the conformance suites run on them too) and need no model.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bakemem.errors import AdapterError, BusyError, ServingError
from bakemem.memory.embed import Embedder, LexicalEmbedder, Vectors
from bakemem.serving import Channel, Ending, Reply, Request, check
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


class FakeEngine:
    """An `Engine` without a model: `answer` says what is replied, a word at a time, each after `pace` seconds.

    One reply runs at a time, and one of each namespace waits in turn. An adapter is any folder that holds the file
    `adapter_config.json`.
    """

    def __init__(self, answer: Callable[[Request], str], *, pace: float = 0.0, waiting: int = 64) -> None:
        self._answer, self._pace, self._most = answer, pace, waiting
        self._adapters: set[str] = set()
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[tuple[Request, Channel]]] = OrderedDict()
        self._now: Channel | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Notes the adapter down."""
        if not (folder / "adapter_config.json").is_file():
            raise AdapterError(f"The adapter in {folder} cannot be read.")
        self._adapters.add(adapter_id)

    def detach(self, adapter_id: str) -> None:
        """New replies cannot name it."""
        self._adapters.discard(adapter_id)

    def attached(self) -> set[str]:
        """The adapters that new replies may begin with."""
        return set(self._adapters)

    def submit(self, request: Request) -> Reply:
        """Has a reply wait for its turn."""
        check(request)
        with self._changed:
            if self._closed:
                raise ServingError("The engine is closed.")
            if request.adapter_id is not None and request.adapter_id not in self._adapters:
                raise AdapterError(f"Adapter {request.adapter_id} is not attached.")
            if len(self._waiting.get(request.namespace, ())) >= self._most + (self._now is None):
                raise BusyError("Too many requests wait.")
            channel = Channel(Ending("cancelled", 1, 0))
            self._waiting.setdefault(request.namespace, deque()).append((request, channel))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        return Reply(channel, request.adapter_id)

    def close(self, timeout: float = 5.0) -> None:
        """Ends what has not ended in time."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._now is None and not self._waiting, timeout)
            left = [channel for of in self._waiting.values() for _, channel in of] + ([self._now] if self._now else [])
        for channel in left:
            channel.end(ServingError("The engine was closed before the reply had ended."))

    def _run(self) -> None:
        for request, channel in self._turns():
            made = 0
            text = self._answer(request)
            ends = [at for stop in request.sampling.stop if (at := text.find(stop)) >= 0]
            for word in text[: min(ends, default=None)].split(" "):
                if channel.cancelled or channel.over or made == request.sampling.max_new_tokens:
                    break
                channel.put(f" {word}" if made else word)
                made += 1
                time.sleep(self._pace)
            full = made == request.sampling.max_new_tokens
            channel.end(Ending("cancelled" if channel.cancelled else "length" if full else "stop", 1, made))

    def _turns(self) -> Iterator[tuple[Request, Channel]]:
        """Whose turn it is, one namespace after the other, until nobody waits."""
        while True:
            with self._changed:
                self._now = None
                self._changed.notify_all()
                if not self._waiting:
                    self._thread = None
                    return
                namespace, waiting = next(iter(self._waiting.items()))
                request, self._now = waiting.popleft()
                self._waiting.move_to_end(namespace)
                if not waiting:
                    del self._waiting[namespace]
                channel = self._now
                channel.begin()
            yield request, channel
