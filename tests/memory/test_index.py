"""Every index keeps the promises of the port, and Chroma's heals itself."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import chromadb
import numpy as np
import pytest

import bakemem.memory.index as module
from bakemem.disk import folder_name
from bakemem.errors import ConfigError, HomeError, ModelError
from bakemem.memory import Index, Journal, Shadow, forget
from bakemem.memory.embed import LexicalEmbedder
from bakemem.memory.index import ChromaIndex, MiniLMEmbedder, make_embedder
from bakemem.testing import MemoryIndex
from bakemem.types import Draft, Memory, Provenance

MakeMemory = Callable[..., Memory]


@pytest.fixture(params=["chroma", "client", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """Each index there is, empty."""
    given = chromadb.EphemeralClient() if request.param == "client" else None
    opened: Index = ChromaIndex(tmp_path / "index", "default", LexicalEmbedder(), given)
    if request.param == "memory":
        opened.close()
        opened = MemoryIndex()
    yield opened
    opened.close()


def test_the_nearest_memory_comes_first(index: Index, make_memory: MakeMemory) -> None:
    """Ids come with falling cosines, and an equal text has cosine one."""
    dog, town, tea = (
        make_memory(t) for t in ("The user's dog is called Bosuk.", "Tarn makes silk.", "The user drinks tea.")
    )
    index.put([dog, town, tea])
    hits = index.search("What is my dog called?", 3)
    assert hits[0][0] == dog.id
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
    [(found, score)] = index.search("Tarn makes silk.", 1)
    assert (found, round(score, 4)) == (town.id, 1.0)


def test_an_empty_index_finds_nothing(index: Index) -> None:
    """No hits and no ids, whatever is asked for."""
    assert (index.search("anything", 5), index.ids()) == ([], set())
    assert index.search("", 0) == []
    index.put([])
    index.remove([])
    index.remove(["unknown"])


def test_a_seal_is_kept_until_the_index_begins_anew(index: Index, make_memory: MakeMemory) -> None:
    """It names the journal's state; an index that was emptied shows none."""
    assert index.sealed() is None
    index.put([make_memory("One.")])
    index.seal("state 1")
    assert index.sealed() == "state 1"
    index.purge([])
    assert index.sealed() is None


def test_more_than_there_is_gives_what_there_is(index: Index, make_memory: MakeMemory) -> None:
    """Asking for fifty of two gives two; asking for none gives none."""
    index.put([make_memory("One."), make_memory("Two.")])
    assert len(index.search("one", 50)) == len(index.search("one", 2**63)) == 2
    assert index.search("one", 0) == []


def test_putting_an_id_again_replaces_it(index: Index, make_memory: MakeMemory) -> None:
    """The newer text is found, and the index does not grow."""
    old = make_memory("The user's dog is called Bosuk.")
    new = Memory(**{**{n: getattr(old, n) for n in Memory.__slots__}, "text": "Tarn makes silk."})
    index.put([old])
    index.put([new, new])
    assert index.ids() == {old.id}
    assert index.search("Tarn makes silk.", 1)[0][1] > 0.99


def test_removed_memories_are_not_found(index: Index, make_memory: MakeMemory) -> None:
    """Neither by search nor among the ids."""
    one, two = make_memory("One."), make_memory("Two.")
    index.put([one, two])
    index.remove([one.id, "unknown"])
    assert index.ids() == {two.id}
    assert [i for i, _ in index.search("One.", 5)] == [two.id]


def test_sync_adds_and_removes_what_differs(index: Index, make_memory: MakeMemory) -> None:
    """It returns the number of repairs, and a second run finds none."""
    one, two, three = (make_memory(t) for t in ("One.", "Two.", "Three."))
    index.put([one, two])
    assert index.sync([two, three]) == 2
    assert index.ids() == {two.id, three.id}
    assert index.sync([two, three]) == 0


def test_text_without_a_word_is_no_error(index: Index, make_memory: MakeMemory) -> None:
    """Signs, emptiness and other scripts can be put and searched."""
    signs = make_memory("!!! 🐭 ???")
    index.put([signs, make_memory("用户住在柏林。")])
    assert all(np.isfinite(score) for _, score in index.search("…", 2))
    assert index.search("!?", 1)[0][0] == signs.id


def test_chroma_keeps_its_memories_between_processes(tmp_path: Path, make_memory: MakeMemory) -> None:
    """What was put is there after closing and opening."""
    memory = make_memory("The user's dog is called Bosuk.")
    first = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    first.put([memory])
    first.close()
    second = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    assert second.sync([memory]) == 0
    second.close()


def test_chroma_namespaces_are_apart(tmp_path: Path, make_memory: MakeMemory) -> None:
    """Two namespaces in one folder, with names that Chroma itself would refuse, share nothing."""
    one = ChromaIndex(tmp_path, "a", LexicalEmbedder())
    two = ChromaIndex(tmp_path, "Ünïcode / name with spaces", LexicalEmbedder())
    one.put([make_memory("The user's dog is called Bosuk.")])
    assert (two.ids(), two.search("dog", 5)) == (set(), [])
    one.close()
    two.close()


def test_chroma_stores_no_text(tmp_path: Path, make_memory: MakeMemory) -> None:
    """The words of a memory are in no file of the index."""
    index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    index.put([make_memory("The user's dog is called Zarabosuk.")])
    index.close()
    assert not any(b"Zarabosuk" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_damaged_chroma_is_rebuilt_with_a_warning(
    tmp_path: Path, make_memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage in its database costs nothing but a sync."""
    memory = make_memory("The user's dog is called Bosuk.")
    index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    index.put([memory])
    index.close()
    [database] = tmp_path.rglob("chroma.sqlite3")
    database.write_bytes(b"garbage!" * 2_000)
    with caplog.at_level(logging.WARNING):
        index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    assert "built anew" in caplog.text
    assert index.sync([memory]) == 1
    assert index.search("dog", 1)[0][0] == memory.id
    index.close()


def test_an_index_that_is_lost_while_it_is_open_is_an_error_of_the_home(
    tmp_path: Path, make_memory: MakeMemory
) -> None:  # fmt: skip
    """Whatever Chroma makes of it; it is built anew at the next opening."""
    one, two = make_memory("One."), make_memory("Two.")
    index = ChromaIndex(tmp_path / "index", "default", LexicalEmbedder())
    index.put([one])
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(HomeError, match="index"):
        index.put([two])
    with pytest.raises(HomeError, match="index"):
        index.remove([one.id])
    with pytest.raises(HomeError, match="index"):
        index.seal("now")
    index.close()
    index = ChromaIndex(tmp_path / "index", "default", LexicalEmbedder())
    assert index.sync([one, two]) == 2
    index.close()


def test_a_file_in_the_place_of_its_folder_goes(
    tmp_path: Path, make_memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """As a backup that went wrong may leave it: the index is built anew in its place, with a warning."""
    (tmp_path / folder_name("default")).write_text("a file")
    with caplog.at_level(logging.WARNING):
        index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    assert ("built anew" in caplog.text, index.sync([make_memory("One.")])) == (True, 1)
    index.close()


def test_a_file_in_the_place_of_the_index_is_told(tmp_path: Path) -> None:
    """What cannot be mended is an error of the home."""
    (tmp_path / "index").write_text("a file")
    with pytest.raises(Exception, match="index") as caught:
        ChromaIndex(tmp_path / "index", "default", LexicalEmbedder())
    assert type(caught.value).__name__ == "HomeError"


class Short:
    """Another embedder, with other dimensions."""

    name = "short"

    def embed(self, texts: list[str]) -> np.ndarray:
        """Vectors of three numbers."""
        return np.tile(np.array([1, 0, 0], dtype=np.float32), (len(texts), 1))


def test_another_embedder_means_another_index(
    tmp_path: Path, make_memory: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors of two embedders are never mixed: the old ones go, with a warning; other namespaces keep theirs."""
    memory = make_memory("The user's dog is called Bosuk.")
    for namespace in ("default", "other"):
        index = ChromaIndex(tmp_path, namespace, LexicalEmbedder())
        index.put([memory])
        index.close()
    with caplog.at_level(logging.WARNING):
        changed = ChromaIndex(tmp_path, "default", Short())
    assert "another embedder" in caplog.text
    assert changed.sync([memory]) == 1
    assert changed.search("anything", 1)[0][0] == memory.id
    changed.close()
    other = ChromaIndex(tmp_path, "other", LexicalEmbedder())
    assert other.sync([memory]) == 0
    other.close()


def _alike(n: int, seed: int) -> list[str]:
    """Statements that differ in two names of few syllables."""
    rng = random.Random(seed)
    syllables = "ba be bi bo ka ke la li mo mu na ne ra ri sa so ta to va vo".split()
    names = ["".join(rng.choice(syllables) for _ in range(3)).capitalize() for _ in range(2 * n)]
    return [f"The user's colleague {names[i]} lives in {names[n + i]}." for i in range(n)]


def test_memories_much_alike_are_found_too(tmp_path: Path, make_memory: MakeMemory) -> None:
    """A graph with Chroma's 16 neighbours has no way to 40 of these 1,000."""
    texts = _alike(1_000, seed=3)
    memories = [make_memory(text) for text in texts]
    index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    for start in range(0, len(memories), 50):
        index.put(memories[start : start + 50])
    lost = [text for text in texts if index.search(text, 1)[0][1] < 0.999]
    index.close()
    assert len(lost) < 10, f"{len(lost)} of {len(texts)}"


def test_an_index_with_fewer_neighbours_is_built_anew(
    tmp_path: Path, make_memory: MakeMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As homes have it that were made before."""
    memory = make_memory("The user's dog is called Bosuk.")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_NEIGHBOURS", 16)
        before = ChromaIndex(tmp_path, "default", LexicalEmbedder())
        before.put([memory])
        before.close()
    for found, mended in ((True, 1), (False, 0)):
        caplog.clear()
        index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
        assert ("built anew" in caplog.text, index.sync([memory])) == (found, mended)
        index.close()


def test_the_lexical_embedder_is_the_same_everywhere() -> None:
    """Unit rows, equal for equal texts; inflections and misspellings are near, other words are not."""
    embedder = LexicalEmbedder()
    texts = ["My dog is called Bosuk", "my DOGS are called Bosukk!", "Tarn makes silk", ""]
    vectors = embedder.embed(texts)
    assert vectors.shape == (4, 512)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.4 > 0.2 > abs(vectors[0] @ vectors[2])
    assert np.array_equal(vectors, embedder.embed(texts))
    assert [int(np.argmax(np.abs(v))) for v in embedder.embed(["dog", "tea"])] == [278, 74]


def test_embedders_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names and missing packages are settings errors that say what to choose."""
    assert make_embedder("lexical").name == "lexical-1"
    assert make_embedder("minilm").name == "minilm-l6-v2"
    with pytest.raises(ConfigError, match="lexical, minilm"):
        make_embedder("word2vec")


def test_a_model_that_cannot_be_downloaded_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, minilm says that lexical works."""

    def offline(self: object, texts: list[str]) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("bakemem.memory.index.ONNXMiniLM_L6_V2.__call__", offline)
    with pytest.raises(ModelError, match="lexical"):
        MiniLMEmbedder().embed(["text"])


def test_a_missing_package_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """sentence-transformers is an extra."""

    def missing(**_: object) -> None:
        raise ValueError("The sentence_transformers python package is not installed.")

    monkeypatch.setattr("bakemem.memory.index.SentenceTransformerEmbeddingFunction", missing)
    with pytest.raises(ConfigError, match="pip install"):
        make_embedder("sentence-transformers")


def test_homes_that_share_a_client_do_not_see_each_other(tmp_path: Path, make_memory: MakeMemory) -> None:
    """And a purge of one leaves the other's alone; closing an index leaves the client open."""
    client = chromadb.EphemeralClient()
    one = ChromaIndex(tmp_path / "one", "default", LexicalEmbedder(), client)
    two = ChromaIndex(tmp_path / "two", "default", LexicalEmbedder(), client)
    mine, yours = make_memory("Mine."), make_memory("Yours.")
    one.put([mine])
    two.put([yours])
    one.purge([])
    one.close()
    assert (two.ids(), ChromaIndex(tmp_path / "one", "default", LexicalEmbedder(), client).ids()) == ({yours.id}, set())


def test_a_purge_leaves_only_what_is_given(index: Index, make_memory: MakeMemory) -> None:
    """Whatever was there before."""
    old, new = make_memory("Old."), make_memory("New.")
    index.put([old])
    index.purge([new])
    assert index.ids() == {new.id}
    assert [i for i, _ in index.search("old", 5)] == [new.id]


_PUT = """
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from bakemem.memory.embed import LexicalEmbedder
from bakemem.memory.index import ChromaIndex
from bakemem.types import Memory
index, now = ChromaIndex(Path(sys.argv[1]), "default", LexicalEmbedder()), datetime.now(UTC)
for n in range(0, int(sys.argv[2]), 500):
    index.put([
        Memory(f"{i:016x}", "default", "fact", f"key{i}", f"{i} is {sha256(b'%d' % i).hexdigest()}.", "pending", now)
        for i in range(n, n + 500)
    ])
"""


_SEARCH = """
import sys
from pathlib import Path
from bakemem.memory.embed import LexicalEmbedder
from bakemem.memory.index import ChromaIndex
index = ChromaIndex(Path(sys.argv[1]), "default", LexicalEmbedder())
assert index.search("Number one", 1)
"""


@pytest.mark.parametrize("n", [500, 1500])  # Chroma keeps up to 1,000 vectors elsewhere
def test_nothing_that_the_process_had_in_its_memory_is_in_the_files(tmp_path: Path, n: int) -> None:
    """Chroma writes down what malloc gives it, here the sign A; else it is what was said and freed."""
    loud = {**os.environ, "MALLOC_PERTURB_": str(ord("A") ^ 255)}
    for script in (_PUT, _SEARCH):
        subprocess.run([sys.executable, "-c", script, tmp_path, str(n)], check=True, env=loud)
        assert not [p for p in tmp_path.rglob("*.bin") if b"A" * 64 in p.read_bytes()]
    index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    for i in range(n):
        assert index.search(f"{i} is {sha256(b'%d' % i).hexdigest()}.", 1)[0][0] == f"{i:016x}"
    index.close()


@pytest.mark.parametrize("table", ["max_seq_id", "embeddings", "embeddings_queue"])
def test_a_damaged_table_of_chroma_is_no_dead_end(journal: Journal, tmp_path: Path, table: str) -> None:
    """Chroma opens and cannot be read: what was forgotten may be in it, so it begins anew."""

    def shadow() -> Shadow:
        return Shadow(journal, lambda: ChromaIndex(tmp_path / "index", "default", LexicalEmbedder()))

    dog, town = (journal.add(Draft("fact", t, f"The user's {t} is Tarn."), Provenance()) for t in ("dog", "town"))
    opened = shadow()
    opened.recall("dog", 2)
    opened.close()
    [database] = tmp_path.rglob("chroma.sqlite3")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        [[page]] = connection.execute(query, [table]).fetchall()
        [[size]] = connection.execute("PRAGMA page_size").fetchall()
    content = bytearray(database.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    database.write_bytes(content)
    opened = shadow()
    assert {m.id for m, _ in opened.recall("dog", 2)} == {dog.id, town.id}
    forget(journal, [dog.id])
    opened.rebuild()
    opened.close()
    opened = shadow()
    assert [m.id for m, _ in opened.recall("dog", 2)] == [town.id]
    opened.close()
