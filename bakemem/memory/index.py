"""The meaning index on Chroma, embedded in this process, and the embedders that Chroma brings.

Holds ids and vectors, never text. Knows no SQL: the journal is the truth, and `sync` mends whatever is found here.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import chromadb
import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings
from chromadb.errors import NotFoundError
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2, SentenceTransformerEmbeddingFunction

from bakemem.disk import folder_name
from bakemem.errors import ConfigError, HomeError, ModelError
from bakemem.memory.embed import Embedder, LexicalEmbedder, Vectors
from bakemem.memory.slack import Slack
from bakemem.memory.vectors import digest
from bakemem.types import Memory

_LOG = logging.getLogger(__name__)
_BATCH = 1_000
_MOST = 2**31 - 1  # results that Chroma can be asked for
_NEIGHBOURS = 64  # of each memory in the graph: with Chroma's 16, some of many that are much alike are never found


class ChromaIndex:
    """An `Index` (see `recall.py`) kept by Chroma, in a folder of the home that belongs to one namespace.

    Only the owner of the home's lock may open it: Chroma makes a second process wait for many minutes. What cannot be
    read, is damaged, or was made by another embedder, is deleted with a warning in the log; `sync` then fills it again.
    Chroma never reads vector files that are not as it wrote them: they can end the process (see `vectors.py`).

    With a `client` of the user's own (a server, or another folder) the collections are kept there, named after `path`
    as well, since several homes may share it; it is left open, and what it keeps of deleted vectors is its owner's.
    """

    def __init__(self, path: Path, namespace: str, embedder: Embedder, client: ClientAPI | None = None) -> None:
        """Opens or makes the index. Raises HomeError when the folder cannot be written, or the client cannot work."""
        self._path, self._given = (path / folder_name(namespace) if client is None else path), client
        self._namespace = namespace
        _remove_shared(path)
        self._embedder, self._slack = embedder, Slack()
        try:
            self._open()
        except Exception as error:  # Chroma raises many kinds for a damaged folder; all of them mean: build it anew
            self._start_over(error)

    def put(self, memories: Iterable[Memory]) -> None:
        """Adds or replaces memories. Raises ModelError when the embedder cannot work, HomeError without space."""
        listed = list({memory.id: memory for memory in memories}.values())
        for start in range(0, len(listed), _BATCH):
            batch = listed[start : start + _BATCH]
            vectors = self._embedder.embed([memory.text for memory in batch])
            with self._translated("written"):
                self._collection.upsert(ids=[memory.id for memory in batch], embeddings=vectors)
            self._wrote()

    def remove(self, ids: Iterable[str]) -> None:
        """Removes memories; unknown ids are no error. Raises HomeError when it cannot be written."""
        listed = list(ids)
        for start in range(0, len(listed), _BATCH):
            with self._translated("written"):
                self._collection.delete(ids=listed[start : start + _BATCH])
            self._wrote()

    def search(self, text: str, k: int) -> list[tuple[str, float]]:
        """The `k` nearest ids with their cosines, nearest first. Raises ModelError when the embedder cannot work,
        HomeError when it cannot be read.
        """
        if k < 1:
            return []
        asked = self._embedder.embed([text])
        with self._translated("read"):
            found = self._collection.query(query_embeddings=asked, n_results=min(k, _MOST), include=["distances"])
        self._wrote()  # the first search lays files out for the vectors to come
        [ids], [distances] = found["ids"], cast(list[list[float]], found["distances"])
        return [(i, 1.0 - distance) for i, distance in zip(ids, distances, strict=True)]

    def ids(self) -> set[str]:
        """All ids that are in the index. Raises HomeError when it cannot be read."""
        with self._translated("read"):
            return set(self._collection.get(include=[])["ids"])

    def sync(self, memories: Iterable[Memory]) -> int:
        """Adds what is missing, removes what is too much, and rebuilds an index that cannot be read.

        Raises ModelError when the embedder cannot work.
        """
        wanted = {memory.id: memory for memory in memories}
        try:
            present = self.ids()
            if present:  # some damage shows itself only in a search
                self.search(".", 1)
        except ModelError:
            raise
        except Exception as error:
            self._start_over(error)
            present = set()
        missing = [memory for i, memory in wanted.items() if i not in present]
        extra = present - wanted.keys()
        self.remove(extra)
        self.put(missing)
        return len(missing) + len(extra)

    def seal(self, state: str) -> None:
        """Notes the journal's state down, with the number of memories. Raises HomeError when it cannot be written."""
        with self._translated("written"):
            self._note(state=state, holds=self._collection.count())

    def sealed(self) -> str | None:
        """The state of the last `seal`; None when the index holds another number of memories or cannot be searched."""
        noted = self._collection.metadata or {}
        try:
            self.search(".", 1)
            whole = self._collection.count() == noted.get("holds")
        except ModelError:
            raise
        except Exception:  # `sync` says what is wrong
            whole = False
        return str(noted["state"]) if whole else None

    def purge(self, memories: Iterable[Memory]) -> None:
        """Begins anew: Chroma keeps deleted vectors in its files. Raises HomeError, ModelError."""
        self.close()
        self._begin_anew()
        self.put(memories)

    def close(self) -> None:
        """Closes Chroma's files."""
        if self._given is None:
            cast(Client, self._client).close()

    def _open(self) -> None:
        self._client: ClientAPI = self._given or self._own()
        self._collection, self._failed = self._ours(), False
        noted = self._collection.metadata or {}
        if any(noted.get(key) != value for key, value in self._metadata.items()):
            raise HomeError("it was made by another embedder or version")
        if self._given is None:
            if noted.get("vectors", "") != digest(self._path):
                raise HomeError("its vector files are not as they were written")
            self._slack.blank(self._path)

    def _wrote(self) -> None:
        """Leaves nothing in the files that this process had in its memory by chance, and notes down what they hold."""
        if self._given is None:
            with self._translated("written"):
                if self._slack.blank(self._path) and not self._failed:
                    self._note(vectors=digest(self._path))

    def _note(self, **known: str | int) -> None:
        noted = dict(self._collection.metadata or {})
        if noted | known != noted:
            self._collection.modify(metadata=noted | known)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Chroma raises many kinds
            self._failed = True  # it may have written half a file: what is noted before stays, and tells
            raise HomeError(f"The index in {self._path} cannot be {what} ({error}): check space and rights.") from error

    def _own(self) -> ClientAPI:
        # Chroma keeps a system for each path for the life of the process, also a broken one: so each build of the
        # index has a folder of its own, and starting over never meets what was there before.
        builds = sorted(p for p in self._path.iterdir() if p.is_dir()) if self._path.is_dir() else []
        folder = builds[-1] if builds else self._path / secrets.token_hex(4)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = Settings(anonymized_telemetry=False, allow_reset=False)
        return chromadb.PersistentClient(str(folder), settings=settings)

    @property
    def _name(self) -> str:
        owner = self._namespace if self._given is None else f"{self._path.absolute()}\n{self._namespace}"
        return f"ns-{hashlib.sha256(owner.encode()).hexdigest()[:32]}"

    @property
    def _metadata(self) -> dict[str, str | int]:
        return {"namespace": self._namespace, "embedder": self._embedder.name, "neighbours": _NEIGHBOURS}

    def _ours(self) -> Collection:
        # No embedding function: Chroma's default one would download a model. Vectors always come from our embedder.
        return self._client.get_or_create_collection(
            name=self._name,
            metadata=self._metadata,
            configuration={"hnsw": {"space": "cosine", "max_neighbors": _NEIGHBOURS}},
            embedding_function=None,
        )

    def _start_over(self, reason: Exception) -> None:
        _LOG.warning("The index in %s cannot be read (%s): it is built anew from the journal.", self._path,
                     reason.__cause__ or reason)  # fmt: skip
        with contextlib.suppress(Exception):  # it may not have come to its opening
            self.close()
        self._begin_anew()

    def _begin_anew(self) -> None:
        try:
            if self._given is not None:
                with contextlib.suppress(NotFoundError):
                    self._given.delete_collection(self._name)
            elif self._path.is_dir():
                shutil.rmtree(self._path)
            else:
                self._path.unlink(missing_ok=True)
            self._open()
        except Exception as error:
            what, check = (
                ("on your Chroma", "that it answers") if self._given else (f"in {self._path}", "space and rights")
            )
            raise HomeError(f"The index {what} cannot be made ({error}): check {check}.") from error


def _remove_shared(path: Path) -> None:
    """Earlier versions kept all namespaces in one build; it can hold what was forgotten since."""
    for build in path.glob("*/chroma.sqlite3"):
        shutil.rmtree(build.parent, ignore_errors=True)


class MiniLMEmbedder:
    """all-MiniLM-L6-v2 by Chroma's ONNX runtime: knows synonyms; English; downloads 80 MB on first use."""

    name = "minilm-l6-v2"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of 384 for each text. Raises ModelError when the model can be neither found nor downloaded."""
        try:
            return np.asarray(ONNXMiniLM_L6_V2()(list(texts)), dtype=np.float32)
        except Exception as error:  # whatever the download, the archive or the runtime raises
            raise ModelError(
                f"The embedder minilm could not be loaded ({error}): connect once so that it can be downloaded, or "
                "set embedder = 'lexical', which works offline."
            ) from error


class SentenceTransformerEmbedder:
    """A model of the sentence-transformers package, an optional extra; downloads it on first use."""

    def __init__(self, model: str = "all-MiniLM-L6-v2") -> None:
        """Raises ConfigError when the package is not installed, ModelError when the model cannot be loaded."""
        self.name = f"sentence-transformers/{model}"
        try:
            self._embed = SentenceTransformerEmbeddingFunction(model_name=model, normalize_embeddings=True)
        except ValueError as error:
            if "not installed" not in str(error):
                raise ModelError(f"The embedder {self.name} cannot be loaded ({error}).") from error
            raise ConfigError(
                "embedder = 'sentence-transformers' needs a package that is not installed: "
                "pip install sentence-transformers, or set embedder = 'lexical'."
            ) from error
        except Exception as error:
            raise ModelError(
                f"The embedder {self.name} cannot be loaded ({error}): connect once so that it can be downloaded, or "
                "set embedder = 'lexical', which works offline."
            ) from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text."""
        return np.asarray(self._embed(list(texts)), dtype=np.float32)


def make_embedder(name: str) -> Embedder:
    """The embedder of that name in the settings. Raises ConfigError, ModelError."""
    kinds = {"lexical": LexicalEmbedder, "minilm": MiniLMEmbedder, "sentence-transformers": SentenceTransformerEmbedder}
    if name not in kinds:
        raise ConfigError(f"There is no embedder {name!r}: choose one of {', '.join(kinds)}.")
    return cast(Embedder, kinds[name]())
