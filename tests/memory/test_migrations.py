"""Journals of older schemas open, for writers and for readers, with all that they hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bakemem.memory import Conversations, Journal, TurnQueue, once
from bakemem.memory.schema import SCHEMA_VERSION
from bakemem.types import Draft, Provenance, Turn

SCHEMA_1 = """
CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR, PRIMARY KEY (name));
CREATE TABLE memories (seq INTEGER NOT NULL, id VARCHAR NOT NULL, namespace VARCHAR NOT NULL, kind VARCHAR NOT NULL,
  key VARCHAR NOT NULL, text VARCHAR NOT NULL, status VARCHAR NOT NULL, created VARCHAR NOT NULL, role VARCHAR NOT NULL,
  source VARCHAR NOT NULL, conversation VARCHAR NOT NULL, turn VARCHAR NOT NULL, extractor VARCHAR NOT NULL,
  superseded_by VARCHAR, PRIMARY KEY (seq), UNIQUE (id), FOREIGN KEY(superseded_by) REFERENCES memories (id));
CREATE TABLE events (seq INTEGER NOT NULL, namespace VARCHAR NOT NULL, memory_id VARCHAR NOT NULL, at VARCHAR NOT NULL,
  action VARCHAR NOT NULL, old VARCHAR, new VARCHAR NOT NULL, note VARCHAR NOT NULL, PRIMARY KEY (seq),
  FOREIGN KEY(memory_id) REFERENCES memories (id));
CREATE TABLE versions (seq INTEGER NOT NULL, namespace VARCHAR NOT NULL, name VARCHAR NOT NULL, id VARCHAR NOT NULL,
  parent VARCHAR, status VARCHAR NOT NULL, created VARCHAR NOT NULL, prompt_sha256 VARCHAR NOT NULL,
  folder VARCHAR NOT NULL, base_fingerprint VARCHAR NOT NULL, report VARCHAR NOT NULL, settings VARCHAR NOT NULL,
  PRIMARY KEY (seq), UNIQUE (namespace, name));
CREATE TABLE version_memories (version INTEGER NOT NULL, place INTEGER NOT NULL, memory_id VARCHAR NOT NULL,
  PRIMARY KEY (version, place));
CREATE TABLE reflog (seq INTEGER NOT NULL, namespace VARCHAR NOT NULL, at VARCHAR NOT NULL, action VARCHAR NOT NULL,
  old VARCHAR, new VARCHAR, PRIMARY KEY (seq));
CREATE TABLE pointers (namespace VARCHAR NOT NULL, name VARCHAR NOT NULL, version VARCHAR,
  PRIMARY KEY (namespace, name));
INSERT INTO meta VALUES ('schema_version', '1');
INSERT INTO memories VALUES (1, 'aaaa', 'default', 'fact', 'user.dog', 'The user''s dog is called Bosuk.', 'pending',
  '2026-01-01T00:00:00+00:00', 'user', 'user', '', '', 'explicit', NULL);
INSERT INTO events VALUES (1, 'default', 'aaaa', '2026-01-01T00:00:00+00:00', 'remember', NULL, 'pending', '');
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal as the first schema laid it out."""
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_1)
    connection.close()
    return path


@pytest.mark.parametrize("readonly", [False, True])
def test_an_old_journal_opens_with_all_that_it_holds(old: Path, readonly: bool) -> None:
    """What is new has a sensible value: a memory holds from the time at which it was kept."""
    journal = Journal(old, readonly=readonly)
    [memory] = journal.memories()
    assert (memory.text, memory.valid_from, memory.reason) == ("The user's dog is called Bosuk.", memory.created, "")
    [event] = journal.history("aaaa")
    assert (event.action, event.actor) == ("remember", "")
    journal.close()
    connection = sqlite3.connect(old)
    assert connection.execute("SELECT value FROM meta").fetchone() == (str(SCHEMA_VERSION),)
    connection.close()


def test_a_migrated_journal_can_do_all_that_a_new_one_can(old: Path) -> None:
    """The new table and columns are used at once."""
    journal = Journal(old)
    TurnQueue(journal).put([Turn("user", "Hello.")])
    journal.add(Draft("fact", "user.cat", "A cat."), Provenance("tool"), "quarantined", reason="a tool")
    assert journal.memories("quarantined")[0].reason == "a tool"
    journal.close()
    assert len(TurnQueue(Journal(old, readonly=True))) == 1


def test_an_old_journal_takes_conversations(old: Path) -> None:
    """A reader finds none there, a writer begins one."""
    reader = Journal(old, readonly=True)
    assert Conversations(reader).tail("main", 9) == []
    reader.close()
    journal = Journal(old)
    asked = Conversations(journal).ask("main", "Hi.")
    assert [e.seq for e in Conversations(journal).unheard()] == [asked.seq]
    journal.close()


def test_an_old_journal_knows_what_is_heard_from_now_on(old: Path) -> None:
    """It had no place for that."""
    journal = Journal(old)
    turns = [Turn("user", "Hello.")]
    assert [TurnQueue(journal).put(turns, "t1", once(journal, "t1", "m1", turns)) for _ in range(2)] == [1, 0]
    journal.close()
