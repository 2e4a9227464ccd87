"""Damaged vector files of Chroma's: it dies of some, and finds less for ever with the rest."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakemem.memory import Journal, export, load
from bakemem.memory.embed import LexicalEmbedder
from bakemem.memory.index import ChromaIndex
from bakemem.types import Draft, Memory, Provenance

N = 1_200  # Chroma writes vector files from 1,000 on
FILES = ["header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle"]

# In a process of its own, as Chroma may end it: each argument is a home, of which the output tells for each of two
# openings how many of 12 memories are not found by their own text, and how many warnings there were.
_OPEN = """
import json, logging, os, sys
from pathlib import Path
import numpy as np
from hashlib import sha256
from bakemem.memory import Journal, Shadow
from bakemem.memory.index import ChromaIndex

class Hashed:
    name = "hashed"
    def embed(self, texts):
        return np.array([[b - 127.5 for b in sha256(text.encode()).digest()] for text in texts], dtype=np.float32)

class Counted(logging.Handler):
    n = 0
    def emit(self, record):
        self.n += "built anew" in record.getMessage()

logging.getLogger("bakemem").addHandler(counted := Counted())
told = {}
for home in map(Path, sys.argv[1:]):
    journal, told[home.name] = Journal(home / "journal.db"), []
    memories = journal.memories()
    for opening in range(2):
        counted.n, shadow = 0, Shadow(journal, lambda: ChromaIndex(home / "index", "default", Hashed()))
        if home.name.startswith("reindex") and opening == 0:
            assert shadow.rebuild() == len(memories)
        lost = sum([m.id for m, _ in shadow.recall(wanted.text, 1)] != [wanted.id] for wanted in memories[::100])
        if home.name == "killed by itself":
            os._exit(0)
        shadow.close()
        told[home.name].append([lost, counted.n])
    journal.close()
print(json.dumps(told))
"""


def told(*homes: Path) -> Any:
    """What a new process loses in each home, and how many warnings it logs, each at two openings."""
    run = subprocess.run([sys.executable, "-c", _OPEN, *map(str, homes)], capture_output=True, text=True)
    assert run.returncode == 0, f"exit code {run.returncode}: {run.stderr[-500:]}"
    return json.loads(run.stdout or "null")


def _fill(home: Path) -> None:
    home.mkdir()
    journal = Journal(home / "journal.db")
    journal.add(Draft("fact", "key", "A fact."), Provenance())
    [line] = export(journal)
    journal.close()
    (home / "journal.db").unlink()
    journal, known = Journal(home / "journal.db"), json.loads(line)
    load(journal, [json.dumps({**known, "id": f"{i:016x}", "key": f"key{i}", "text": f"Number {i} is {i * 7919}."})
                   for i in range(N)])  # fmt: skip
    journal.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose index is in step, closed."""
    home = tmp_path_factory.mktemp("damage") / "whole"
    _fill(home)
    assert told(home) == {"whole": [[0, 0], [0, 0]]}
    return home


def _gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _damaged(whole: Path, home: Path, file: str, damage: Callable[[Path], None]) -> Path:
    shutil.copytree(whole, home)
    [header] = home.rglob("header.bin")
    damage(header.parent / file)
    return home


DAMAGES = {file: [_gone, _cut, _zeros] for file in FILES} | {"": [_gone]}  # of the folder itself: gone


@pytest.mark.parametrize("file", DAMAGES)
def test_an_index_with_damaged_vectors_is_built_anew(whole: Path, tmp_path: Path, file: str) -> None:
    """With a warning, once, and then everything is found; a reindex, which is the cure, comes through too."""
    cases = [("recall", damage) for damage in DAMAGES[file]] + [("reindex", DAMAGES[file][-1])]
    homes = [_damaged(whole, tmp_path / f"{how}{damage.__name__}", file, damage) for how, damage in cases]
    assert told(*homes) == {home.name: [[0, 1], [0, 0]] for home in homes}


def test_damage_after_a_process_was_killed_is_found_too(tmp_path: Path) -> None:
    """Its index has no seal, and is compared where it is whole."""
    _fill(killed := tmp_path / "killed by itself")
    told(killed)
    shutil.copytree(killed, whole := tmp_path / "whole")
    homes = [_damaged(killed, tmp_path / file, file, _zeros) for file in ("data_level0.bin", "link_lists.bin")]
    expected = {"whole": [[0, 0], [0, 0]]} | {home.name: [[0, 1], [0, 0]] for home in homes}
    assert told(whole, *homes) == expected


def test_what_chroma_failed_to_write_is_not_vouched_for(
    tmp_path: Path, make_memory: Callable[..., Memory], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A full disk may have cut a file, whatever could be written since."""
    memories = [make_memory(f"Number {i} is {i * 7919}.") for i in range(N)]
    index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    write = index._collection.upsert

    def full(**vectors: Any) -> None:
        write(**vectors)
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(index._collection, "upsert", full)
        with pytest.raises(Exception, match="disk full"):
            index.put(memories)
    index.put(memories[1_000:])
    index.close()
    with caplog.at_level(logging.WARNING):
        index = ChromaIndex(tmp_path, "default", LexicalEmbedder())
    assert ("built anew" in caplog.text, index.sync(memories)) == (True, N)
    index.close()
