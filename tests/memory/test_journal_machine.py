"""The journal against a plain model of dicts, under any order of adding, approving, baking, rolling back,
forgetting and reopening.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bakemem.errors import InputError
from bakemem.memory import Journal, forget
from bakemem.types import Adapter, Draft, Provenance, Report, Version

KEYS = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["one", "two"])


class JournalMachine(RuleBasedStateMachine):
    """The model: the status of each id, its key and text, the ids in each version, and the live name."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bakemem-journal-"))
        self.journal = Journal(self.folder / "journal.db")
        self.status: dict[str, str] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.contents: dict[str, tuple[str, ...]] = {}
        self.parents: dict[str, str | None] = {}
        self.newer: dict[str, str] = {}
        self.rejected: set[str] = set()
        self.live: str | None = None
        self.moves = 0

    def teardown(self) -> None:
        """Removes the home."""
        self.journal.close()
        shutil.rmtree(self.folder)

    def ids(self, *statuses: str) -> list[str]:
        """The ids with one of these statuses, oldest first."""
        return [i for i, status in self.status.items() if status in statuses]

    @rule(key=KEYS, text=TEXTS)
    def say(self, key: str, text: str) -> None:
        """The user tells something: new, repeated, changed, or held before."""
        memory = self.journal.add(Draft("fact", key, text), Provenance())
        known = [i for i in self.ids("pending", "baked", "held") if self.said[i] == (key, text)]
        if known:
            assert [memory.id] == known
            if self.status[memory.id] == "held":
                self.status[memory.id] = "pending"
            return
        assert memory.id not in self.status
        for i in self.ids("pending", "baked", "held", "quarantined"):
            if self.said[i][0] == key:
                self.status[i], self.newer[i] = "superseded", memory.id
        self.status[memory.id], self.said[memory.id] = "pending", (key, text)

    @rule(key=KEYS, text=TEXTS)
    def overhear(self, key: str, text: str) -> None:
        """A tool tells something."""
        memory = self.journal.add(Draft("fact", key, text), Provenance(role="tool"), "quarantined")
        known = [i for i in self.ids("pending", "baked", "quarantined") if self.said[i] == (key, text)]
        if known:
            assert memory.id in known
        else:
            self.status[memory.id], self.said[memory.id] = "quarantined", (key, text)

    @rule(data=st.data(), accepted=st.booleans(), everything=st.booleans())
    def bake(self, data: st.DataObject, accepted: bool, everything: bool) -> None:
        """A version of all live memories, or of some memories that may be baked, is committed."""
        pool = self.ids("pending", "baked") if everything else self.ids("pending", "baked", "held", "superseded")
        some = data.draw(st.lists(st.sampled_from(pool), unique=True)) if pool and not everything else pool
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
        for i in self.status:
            if i in some and self.status[i] in ("pending", "held"):
                self.status[i] = "baked"
            elif i not in some and self.status[i] == "baked":
                self.status[i] = "pending"

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        """The live pointer goes to the base or to any accepted version."""
        target = data.draw(st.sampled_from([None, *(n for n in self.contents if n not in self.rejected | self.learned(
            self.ids("forgotten")))]))  # fmt: skip
        self.journal.set_live(target)
        if target == self.live:
            return
        self.live, self.moves = target, self.moves + 1
        inside = self.contents.get(target, ()) if target else ()
        for i in self.status:
            if i in inside and self.status[i] in ("pending", "held"):
                self.status[i] = "baked"
            elif i not in inside and self.status[i] == "baked":
                self.status[i] = "held"

    @precondition(lambda self: self.ids("held"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Some held memories return to the prompt."""
        some = data.draw(st.lists(st.sampled_from(self.ids("held")), unique=True))
        self.journal.release(some)
        self.status.update(dict.fromkeys(some, "pending"))

    def learned(self, ids: list[str]) -> set[str]:
        """The versions that hold one of these, or go on from one that does."""
        found: set[str] = set()
        for name, inside in self.contents.items():
            if set(inside) & set(ids) or self.parents[name] in found:
                found.add(name)
        return found

    @precondition(lambda self: self.ids("quarantined"))
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        """The operator lets some out of quarantine, one after the other."""
        some = data.draw(st.lists(st.sampled_from(self.ids("quarantined")), unique=True))
        self.journal.approve(some)
        for i in some:
            for j in self.ids("pending", "baked", "held"):
                if self.said[j][0] == self.said[i][0]:
                    self.status[j], self.newer[j] = "superseded", i
            self.status[i] = "pending"

    @precondition(lambda self: set(self.status.values()) - {"forgotten"})
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """One memory goes for good, with all that it superseded; no version that learned it serves again."""
        gone = {data.draw(st.sampled_from([i for i, status in self.status.items() if status != "forgotten"]))}
        while more := {i for i, newer in self.newer.items() if newer in gone} - gone:
            gone |= more
        forget(self.journal, [next(iter(i for i in gone if self.newer.get(i) not in gone))])
        if self.live in self.learned(list(gone)):
            self.live, self.moves = None, self.moves + 1
            self.status.update(dict.fromkeys(self.ids("baked"), "pending"))
        self.status.update(dict.fromkeys(gone, "forgotten"))
        assert not any(self.journal.get(i).text for i in gone)
        for name in self.learned(self.ids("forgotten")) - self.rejected:
            with pytest.raises(InputError):
                self.journal.set_live(name)

    @rule()
    def reopen(self) -> None:
        """The process ends and another begins."""
        self.journal.close()
        self.journal = Journal(self.folder / "journal.db")

    @invariant()
    def agrees(self) -> None:
        """Statuses, versions, pointer and reflog are those of the model."""
        memories = self.journal.memories()
        assert {m.id: m.status for m in memories} == self.status
        assert {v.name: v.memory_ids for v in self.journal.versions()} == self.contents
        assert self.journal.live() == self.live
        assert len(self.journal.reflog()) == self.moves

    @invariant()
    def nothing_is_between_two_stools(self) -> None:
        """Baked is what the live version holds, pending is what it lacks, and a key has one memory in use."""
        inside = self.contents.get(self.live or "", ())
        assert all(i in inside for i in self.ids("baked"))
        assert not any(i in inside for i in self.ids("pending"))
        keys = [self.said[i][0] for i in self.ids("pending", "baked", "held")]
        assert len(keys) == len(set(keys))


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
