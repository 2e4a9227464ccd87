"""A damaged, full, locked or foreign database is told in our words, and never costs what was acknowledged."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from bakemem.errors import HomeCorruptError, HomeError
from bakemem.memory import Journal
from bakemem.types import Draft, Provenance


def fill(path: Path, n: int = 5) -> None:
    """A journal with `n` memories, closed."""
    journal = Journal(path)
    for i in range(n):
        journal.add(Draft("fact", f"key{i}", f"Text {i}."), Provenance())
    journal.close()


def test_text_that_is_not_utf8_is_damage_and_is_not_told(tmp_path: Path) -> None:
    """SQLite's own message quotes all of it."""
    fill(tmp_path / "journal.db", 1)
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("UPDATE memories SET text = CAST(x'5365637265742034373131ff' AS TEXT)")
    connection.close()
    journal = Journal(tmp_path / "journal.db")
    with pytest.raises(HomeCorruptError, match="decode to UTF-8 column 'text'") as caught:
        journal.memories()
    journal.close()
    assert "4711" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_a_home_whose_name_is_not_utf8_can_be_read(tmp_path: Path) -> None:
    """As it can be written."""
    home = tmp_path / os.fsdecode(b"ho\xffme")
    home.mkdir()
    fill(home / "journal.db", 1)
    reader = Journal(home / "journal.db", readonly=True)
    assert [m.text for m in reader.memories()] == ["Text 0."]
    reader.close()


def test_a_reader_sees_what_a_writer_beside_it_commits(tmp_path: Path) -> None:
    """Reading works while a writer is in the middle of a transaction, and never sees half of it."""
    fill(tmp_path / "journal.db", 1)
    reader = Journal(tmp_path / "journal.db", readonly=True)
    writer = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE memories SET status = 'held'")
    assert [m.status for m in reader.memories()] == ["pending"]
    writer.execute("COMMIT")
    assert [m.status for m in reader.memories()] == ["held"]
    writer.close()
    reader.close()


def test_a_journal_is_opened_while_another_program_writes(tmp_path: Path) -> None:
    """For writing too, as nothing has to be written for that."""
    fill(tmp_path / "journal.db", 1)
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        opened = Journal(tmp_path / "journal.db", "other")
        assert opened.memories() == []
        opened.close()


def test_a_read_only_journal_refuses_to_write(tmp_path: Path) -> None:
    """Writing through a reader is a HomeError."""
    fill(tmp_path / "journal.db")
    reader = Journal(tmp_path / "journal.db", readonly=True)
    with pytest.raises(HomeError):
        reader.add(Draft("fact", "a", "b"), Provenance())
    reader.close()


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such permission")
def test_a_closed_journal_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only mount: no file is made beside it, not even by root. One that is open is read as ever."""
    home = tmp_path / "home"
    home.mkdir()
    fill(home / "journal.db", 1)
    monkeypatch.setattr(os, "access", lambda place, *_, **__: Path(place) != home)  # root may write anywhere
    home.chmod(0o555)
    reader = Journal(home / "journal.db", readonly=True)
    assert [m.text for m in reader.memories()] == ["Text 0."]
    assert [path.name for path in home.iterdir()] == ["journal.db"]
    reader.close()
    home.chmod(0o755)
    writer = Journal(home / "journal.db")
    writer.add(Draft("fact", "more", "Text 1."), Provenance())
    reader = Journal(home / "journal.db", readonly=True)
    assert len(reader.memories()) == 2
    reader.close()
    writer.close()


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be one " * 100, b"garbage"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path, content: bytes, readonly: bool) -> None:
    """Opening it is a HomeCorruptError that names the file, and leaves it as it is."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(HomeCorruptError, match="journal.db"):
        Journal(path, readonly=readonly)
    assert path.read_bytes() == content


def test_a_damaged_page_is_corrupt_when_it_is_read(tmp_path: Path) -> None:
    """Damage behind an intact first page is a HomeCorruptError too."""
    path = tmp_path / "journal.db"
    fill(path, 50)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(HomeCorruptError):
        Journal(path).memories()


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    """No tables are added to it."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name)")
    other.close()
    with pytest.raises(HomeCorruptError):
        Journal(path)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    other.close()


def test_a_journal_of_a_newer_bakemem_is_not_touched(tmp_path: Path) -> None:
    """It asks for an upgrade."""
    path = tmp_path / "journal.db"
    fill(path)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE meta SET value = '99'")
    other.close()
    with pytest.raises(HomeError, match="upgrade"):
        Journal(path)


@pytest.mark.parametrize("schema", ["²", "-1", "0", "x", "9" * 5_000])
def test_a_journal_of_no_schema_is_corrupt(tmp_path: Path, schema: str) -> None:
    """Whatever stands there for its number."""
    path = tmp_path / "journal.db"
    fill(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE meta SET value = ?", [schema])
    with pytest.raises(HomeCorruptError, match="is not a journal"):
        Journal(path)


def test_a_full_disk_changes_nothing_and_says_so(tmp_path: Path) -> None:
    """The write that does not fit is a HomeError with advice; everything before it is there."""
    path = tmp_path / "journal.db"
    fill(path, 3)
    journal = Journal(path)

    def cap(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    journal._engine.dispose()  # the next connection is new
    sqlalchemy.event.listen(journal._engine, "connect", cap)
    with pytest.raises(HomeError, match="free disk space"):
        for i in range(100):
            journal.add(Draft("fact", f"more{i}", "x" * 2_000), Provenance())
    kept = journal.memories()
    journal.close()
    again = Journal(path)
    assert again.memories() == kept
    assert [m.text for m in kept[:3]] == ["Text 0.", "Text 1.", "Text 2."]
    again.close()


def test_a_folder_that_does_not_exist_is_a_home_error(tmp_path: Path) -> None:
    """The message says which journal."""
    with pytest.raises(HomeError, match="journal.db"):
        Journal(tmp_path / "nowhere" / "journal.db")


def test_texts_are_wiped_from_the_file(tmp_path: Path) -> None:
    """The database is opened so that deleted bytes are overwritten."""
    journal = Journal(tmp_path / "journal.db")
    with journal._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    journal.close()


WRITER = """
import sys
from bakemem.memory import Journal
from bakemem.types import Draft, Provenance
journal = Journal(sys.argv[1])
for i in range(10_000):
    print(journal.add(Draft("fact", f"key{i % 7}", f"Text {i}."), Provenance()).id, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """After kill -9 every acknowledged id is there, and each key has one live memory."""
    path = tmp_path / "journal.db"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(25)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    journal = Journal(path)
    ids = [m.id for m in journal.memories()]
    assert ids[: len(acknowledged)] == acknowledged
    assert len(ids) - len(acknowledged) <= 1
    assert sorted(m.key for m in journal.memories("pending")) == [f"key{i}" for i in range(7)]
    journal.close()


@pytest.mark.parametrize(
    "url", ["sqlite://alice:hunter2@host/x.db", "sqlite://alice:hun@ter2@host/x.db", "none://alice:hunter2@host/x"]
)
def test_no_message_tells_the_password_of_the_database(url: str) -> None:
    """It ends up in logs and bug reports."""
    with pytest.raises(HomeError, match=r"://alice:\*\*\*@host/x") as said:
        Journal(url)
    assert "ter2" not in str(said.value)


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_no_traceback_tells_what_was_to_be_written(tmp_path: Path, scheme: str) -> None:
    """It ends up in logs and bug reports, where no forgetting reaches it."""
    journal, dog = Journal(f"{scheme}{tmp_path / 'journal.db'}"), Draft("fact", "user.dog", "The dog is called Bosuk.")
    with journal.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON memories BEGIN SELECT RAISE(ABORT, 'database is full'); END"
        )
    with pytest.raises(HomeError, match="is full") as said:
        journal.add(dog, Provenance())
    assert "Bosuk" not in "".join(traceback.format_exception(said.value))
    journal.close()


def test_a_missing_driver_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No raw ImportError."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(HomeError, match=r"psycopg2.*pip install"):
        Journal("postgresql+psycopg2://alice:hunter2@host/x")
