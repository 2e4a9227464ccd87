"""The journal against a plain model of dicts, under any order of adding, approving, baking, rolling back, forgetting
and reopening, by two processes, with a disk that is full at times, and with the fewest ids in a query.
"""

from __future__ import annotations

import multiprocessing
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sqlalchemy
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bakemem.errors import HomeError, InputError
from bakemem.memory import Journal, export, forget, load, memories, version_rows
from bakemem.types import Adapter, Draft, Memory, Provenance, Report, Version
from tests.plain_model import PlainMemories

KEYS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["one", "two"])


def elsewhere(folder: Path, act: Callable[..., object], *arguments: object) -> object:
    """What a method gives that another process calls on a journal of its own; runs there."""
    journal = Journal(folder / "journal.db", readonly=act in (Journal.memories, Journal.live))
    try:
        return act(journal, *arguments)
    finally:
        journal.close()


@pytest.fixture(scope="module", autouse=True)
def other_process() -> Iterator[None]:
    """A second process beside the machine's, and queries of two ids at most."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as JournalMachine.other,
    ):
        for room in (memories, version_rows):
            patch.setattr(room, "SLICE", 2)
        yield


def no_more_pages(connection: sqlite3.Connection, *_: object) -> None:
    """The file may not grow, as on a full disk."""
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")


class JournalMachine(PlainMemories, RuleBasedStateMachine):
    """The plain model, with what was rejected, what a tool told, and how often the live pointer moved."""

    other: ProcessPoolExecutor

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bakemem-journal-"))
        self.journal = Journal(self.folder / "journal.db")
        self.rejected: set[str] = set()
        self.heard: set[str] = set()
        self.moves = 0

    def teardown(self) -> None:
        """Removes the home."""
        self.journal.close()
        shutil.rmtree(self.folder)

    def act(self, there: bool, method: Callable[..., object], *arguments: object) -> object:
        """Calls a method of the journal here, or in the other process."""
        if there:
            return self.other.submit(elsewhere, self.folder, method, *arguments).result(60)
        return method(self.journal, *arguments)

    @rule(key=KEYS, text=TEXTS, there=st.booleans())
    def say(self, key: str, text: str, there: bool) -> None:
        """The user tells something: new, repeated, changed, or held before."""
        memory = self.act(there, Journal.add, Draft("fact", key, text), Provenance(source="user"))
        assert isinstance(memory, Memory)
        known = [i for i in self.ids("pending", "baked", "held") if self.said[i] == (key, text)]
        if known:
            assert [memory.id] == known
            self.say_again(memory.id)
            return
        assert memory.id not in self.status
        self.said[memory.id] = (key, text)
        self.order.append(memory.id)
        self.bring("pending", memory.id, "held", "quarantined")

    @rule(key=KEYS, text=TEXTS)
    def overhear(self, key: str, text: str) -> None:
        """A tool tells something."""
        memory = self.journal.add(Draft("fact", key, text), Provenance("tool", "tool"), "quarantined")
        known = [i for i in self.ids("pending", "baked", "quarantined") if self.said[i] == (key, text)]
        if known:
            assert memory.id in known
        else:
            self.status[memory.id], self.said[memory.id] = "quarantined", (key, text)
            self.order.append(memory.id)
            self.heard.add(memory.id)

    @rule(data=st.data(), accepted=st.booleans(), everything=st.booleans())
    def bake(self, data: st.DataObject, accepted: bool, everything: bool) -> None:
        """A version of all live memories, or of some memories that may be baked, is committed; of one for each key."""
        pool = self.ids("pending", "baked") if everything else self.ids("pending", "baked", "held", "superseded")
        some = data.draw(st.lists(st.sampled_from(pool), unique=True)) if pool and not everything else pool
        some = list({self.said[i][0]: i for i in some}.values())
        name = self.journal.next_version_name()
        assert name == f"v{len(self.contents) + 1}"
        report = Report(1, 0, 1, 1, 1, 0, 1, 1, accepted)
        version = Version(
            name=name, id=name, namespace="default", parent=self.live, status="accepted" if accepted else "rejected",
            created=datetime.now(UTC), memory_ids=tuple(some), prompt_sha256="", report=report,
            adapter=Adapter(self.folder / name, "base"),
        )  # fmt: skip
        self.journal.commit_version(version, accepted=accepted)
        self.contents[name], self.parents[name] = tuple(some), self.live
        if not accepted:
            self.rejected.add(name)
            return
        self.live, self.moves = name, self.moves + 1
        for i in some:
            if self.status[i] in ("pending", "held"):
                self.bring("baked", i)
        for i in self.ids("baked"):
            if i not in some:
                self.status[i] = "pending"

    @rule(data=st.data(), there=st.booleans())
    def move(self, data: st.DataObject, there: bool) -> None:
        """The live pointer goes to the base or to any accepted version."""
        target = data.draw(st.sampled_from([None, *(n for n in self.contents if n not in self.rejected | self.learned(
            self.ids("forgotten")))]))  # fmt: skip
        self.act(there, Journal.set_live, target)
        if target == self.live:
            return
        self.moves += 1
        self.go_live(target)

    @precondition(lambda self: self.ids("held"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Some held memories return to the prompt."""
        some = data.draw(st.lists(st.sampled_from(self.ids("held")), unique=True))
        self.journal.release(some)
        for i in some:
            self.bring("pending", i)

    @precondition(lambda self: self.ids("quarantined"))
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        """The operator lets some out of quarantine, one after the other."""
        some = data.draw(st.lists(st.sampled_from(self.ids("quarantined")), unique=True))
        self.journal.approve(some)
        for i in some:
            self.order.append(i)
            self.bring("pending", i, "held")

    @precondition(lambda self: set(self.status.values()) - {"forgotten"})
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """One memory goes for good, with all that it superseded; no version that learned it serves again."""
        chosen = data.draw(st.sampled_from([i for i, status in self.status.items() if status != "forgotten"]))
        forget(self.journal, [chosen])
        self.forgotten(self.erase([chosen]))

    @rule(tool=st.booleans())
    def drop(self, tool: bool) -> None:
        """All that the tool told goes, or all that the user did; of the other, what that superseded is as before."""
        forget(self.journal, source="tool" if tool else "user")
        gone = {i for i, status in self.status.items() if status != "forgotten" and (i in self.heard) == tool}
        self.forgotten(self.erase(gone, spared=set(self.status) - gone))

    def forgotten(self, gone: set[str]) -> None:
        """What follows when these are."""
        if self.live in self.learned(gone):
            self.live, self.moves = None, self.moves + 1
            self.status.update(dict.fromkeys(self.ids("baked"), "pending"))
        self.restore(gone)
        assert not any(self.journal.get(i).text for i in gone)
        for name in self.learned(self.ids("forgotten")) - self.rejected:
            with pytest.raises(InputError):
                self.journal.set_live(name)

    @rule()
    def carry(self) -> None:
        """All moves to another home: what was baked waits there, and so does what was held, if nothing else holds."""
        other = Journal(self.folder / f"{secrets.token_hex(4)}.db")
        load(other, export(self.journal))
        known = {self.said[i][0] for i in self.ids("pending", "baked")}
        lone = [i for i in self.ids("held") if self.said[i][0] not in known]
        expected = {i: status for i, status in self.status.items() if status != "forgotten"}
        expected.update(dict.fromkeys([*self.ids("baked"), *lone], "pending"))
        assert {m.id: m.status for m in other.memories()} == expected
        other.close()

    @rule()
    def fill_the_disk(self) -> None:
        """What does not fit is refused in whole, in words that say what to do."""
        full = Journal(self.folder / "journal.db")
        full._engine.dispose()
        sqlalchemy.event.listen(full._engine, "connect", no_more_pages)
        with pytest.raises(HomeError, match="free disk space"):
            full.add(Draft("fact", "a", "x"), Provenance(turn="y" * 100_000))
        full.close()

    @rule()
    def reopen(self) -> None:
        """The process ends and another begins."""
        self.journal.close()
        self.journal = Journal(self.folder / "journal.db")

    @invariant()
    def agrees(self) -> None:
        """Statuses, versions, pointer and reflog are those of the model."""
        found = self.journal.memories()
        assert {m.id: m.status for m in found} == self.status
        tied = {m.id: m.superseded_by for m in found if m.status != "forgotten"}
        assert tied == {i: self.newer.get(i) for i in tied}
        assert {v.name: v.memory_ids for v in self.journal.versions()} == self.contents
        assert self.journal.live() == self.live == self.act(True, Journal.live)
        assert self.act(True, Journal.memories) == found
        assert len(self.journal.reflog()) == self.moves

    @invariant()
    def nothing_is_between_two_stools(self) -> None:
        """Baked is what the live version holds, pending is what it lacks, and a key has one memory in use."""
        inside = self.contents.get(self.live or "", ())
        assert all(i in inside for i in self.ids("baked"))
        assert not any(i in inside for i in self.ids("pending"))
        for statuses in (("pending", "baked"), ("held",)):
            keys = [self.said[i][0] for i in self.ids(*statuses)]
            assert len(keys) == len(set(keys))


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
