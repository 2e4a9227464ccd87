"""A whole home against a plain model, under any order of remembering, baking, rolling back, forgetting, tagging,
collecting, crashing and starting again, with a second process beside it.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bakemem.config import load_config
from bakemem.errors import HomeLockedError, InputError
from bakemem.memory import HomeLock, Journal
from bakemem.testing import MemoryIndex, ScriptedExtractor
from bakemem.versioned import Versioned
from bakemem.versions import Manifest, VersionStore
from tests.homes import State, assert_sound, fake_bake, let_go, state_of, write_adapter
from tests.plain_model import PlainMemories

KEYS = st.sampled_from(["user.dog", "user.town", "style.case"])
TEXTS = st.sampled_from(["The first thing.", "The second thing."])
TAGS = st.sampled_from(["good", "demo"])


def beside(home: Path) -> tuple[State, str]:
    """What another process reads, and what it hears when it wants to write."""
    journal = Journal(home / "journal.db", readonly=True)
    try:
        found = state_of(journal)
    finally:
        journal.close()
    try:
        HomeLock(home).acquire().release()
    except HomeLockedError as error:
        return found, str(error)
    return found, ""


class Home(Versioned):
    """A home opened for writing, with a made-up baker in place of the model."""

    def __init__(self, home: Path) -> None:
        self.lock, self.journal, self.store = HomeLock(home).acquire(), Journal(home / "journal.db"), VersionStore(home)
        self.store.sweep([v.name for v in self.journal.versions() if not v.gone])
        super().__init__(load_config(home), self.journal, self.store, open_index=MemoryIndex,
                         make_extractor=lambda: ScriptedExtractor({}), redact=str)  # fmt: skip

    def close(self) -> None:
        """Lets go of the home, as `AgentMemory` does."""
        self._close()
        self.lock.release()


class MemoryMachine(PlainMemories, RuleBasedStateMachine):
    """The plain model, with the verdict on each version, tags and the reflog."""

    other: ProcessPoolExecutor
    source: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bakemem-machine-"))
        self.home = Home(self.folder)
        self.verdict: dict[str, tuple[str, str]] = {}
        self.tagged: dict[str, str] = {}
        self.reflog: list[tuple[str, str | None, str | None]] = []

    def teardown(self) -> None:
        """Removes the home."""
        self.home.close()
        shutil.rmtree(self.folder)

    def servable(self) -> list[str]:
        """The versions that may become live."""
        tainted = self.learned(self.ids("forgotten"))
        return [n for n in self.contents if self.verdict[n] == ("accepted", "") and n not in tainted]

    def point(self, action: str, new: str | None) -> None:
        """The live pointer moves."""
        self.reflog.append((action, self.live, new))
        self.live = new

    @rule(key=KEYS, text=TEXTS)
    def remember(self, key: str, text: str) -> None:
        """The user tells something: new, repeated, changed, or held before."""
        memory = self.home.remember(text, kind="fact", key=key)
        known = [i for i in self.ids("pending", "baked", "held") if self.said[i] == (key, text)]
        if known:
            assert [memory.id] == known
            self.say_again(memory.id)
            return
        self.said[memory.id] = (key, text)
        self.order.append(memory.id)
        self.bring("pending", memory.id, "held")

    @precondition(lambda self: self.ids("pending"))
    @rule(accepted=st.booleans(), from_base=st.booleans())
    def bake(self, accepted: bool, from_base: bool) -> None:
        """All that is pending or baked becomes a version; it serves if it is accepted."""
        parent = None if from_base else self.live
        version = fake_bake(self.home.journal, self.home.store, self.source, accepted=accepted, from_base=from_base)
        assert version.name == f"v{len(self.contents) + 1}"
        self.contents[version.name] = version.memory_ids
        self.parents[version.name], self.verdict[version.name] = parent, (version.status, "")
        assert set(version.memory_ids) == set(self.ids("pending", "baked"))
        if accepted:
            self.point("bake", version.name)
            self.status.update(dict.fromkeys(self.ids("pending"), "baked"))

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """Any version serves that may, or the base; all others are refused."""
        name = data.draw(st.sampled_from(["base", *self.contents]))
        if name != "base" and name not in self.servable():
            with pytest.raises(InputError):
                self.home.journal.set_live(name)
            return
        self.home.journal.set_live(name)
        target = None if name == "base" else name
        if target == self.live:
            return
        self.point("rollback", target)
        self.go_live(target)

    @precondition(lambda self: self.ids("pending", "baked", "held", "superseded"))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """One memory goes for good with all that it superseded; no version that learned it serves again."""
        chosen = data.draw(st.sampled_from(self.ids("pending", "baked", "held", "superseded")))
        self.home.forget([chosen])
        gone = self.erase([chosen])
        if self.live in self.learned(gone):
            self.point("forget", None)
            self.status.update(dict.fromkeys(self.ids("baked"), "pending"))
        self.restore(gone)

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), tag=TAGS)
    def tag(self, data: st.DataObject, tag: str) -> None:
        """A version gets a name of the user's own, unless it is destroyed."""
        name = data.draw(st.sampled_from(list(self.contents)))
        if self.verdict[name][1]:
            with pytest.raises(InputError):
                self.home.tag(tag, name)
        else:
            self.home.tag(tag, name)
            self.tagged[tag] = name

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), why=st.sampled_from(["collected", "erased"]), cut_short=st.booleans())
    def collect(self, data: st.DataObject, why: str, cut_short: bool) -> None:
        """A version is destroyed, unless it is live; a crash after the journal's word only delays the folder's end."""
        name = data.draw(st.sampled_from(list(self.contents)))
        if name == self.live:
            with pytest.raises(InputError):
                let_go(self.home.journal, self.home.store, [name], why)
            return
        if cut_short:
            self.home.journal.destroyed([name], "erased" if why == "erased" else "collected")
        else:
            let_go(self.home.journal, self.home.store, [name], why)
        status, gone = self.verdict[name]
        if not gone:
            self.verdict[name] = (status, why)
            self.reflog.append(("erase" if why == "erased" else "collect", name, None))
            self.tagged = {tag: of for tag, of in self.tagged.items() if of != name}
        if cut_short:
            self.crash(staged=False)

    @rule(staged=st.booleans())
    def crash(self, staged: bool) -> None:
        """The process dies, perhaps with a half-written version and one that was not committed; another begins."""
        if staged:
            name = self.home.journal.next_version_name()
            whole = next((n for n, (_, gone) in self.verdict.items() if not gone), None)
            half = self.folder / "versions" / f".tmp-{name}-x"
            half.mkdir(parents=True)
            (half / "adapter_model.safetensors").write_bytes(b"half")
            if whole:
                manifest = dataclasses.replace(self.home.store.manifest(whole), name=name)
                self.home.store.stage(self.home.store.folder(whole), manifest)
        self.home.journal._engine.dispose()  # as the end of a process does: nothing is tidied up
        self.home.lock.release()
        self.home = Home(self.folder)

    @rule()
    def restart(self) -> None:
        """The process ends in order, and another begins."""
        self.home.close()
        self.home = Home(self.folder)

    @invariant()
    def agrees(self) -> None:
        """All that the journal holds is as in the model, and the home is sound."""
        found = state_of(self.home.journal)
        assert found.statuses == self.status
        assert {i: text for i, text in found.texts.items() if text} == {
            i: self.said[i][1] for i, status in self.status.items() if status != "forgotten"
        }
        assert {name: ids for name, _, _, ids in found.versions} == self.contents
        assert {name: (status, gone) for name, status, gone, _ in found.versions} == self.verdict
        assert (found.live, found.tags, list(found.reflog)) == (self.live, self.tagged, self.reflog)
        assert_sound(found, self.home.store)

    @invariant()
    def serves_only_what_may_serve(self) -> None:
        """The live version is accepted, whole, and never learned what was forgotten; its manifest is its own."""
        assert self.live is None or self.live in self.servable()
        if self.live:
            manifest: Manifest = self.home.store.manifest(self.live)
            assert manifest.id == self.home.journal.version(self.live).id

    @rule()
    def look_from_beside(self) -> None:
        """A second process reads the same, and is refused as a writer."""
        found, refusal = self.other.submit(beside, self.folder).result(60)
        assert found == state_of(self.home.journal)
        assert "in use for writing" in refusal


@pytest.fixture(scope="module", autouse=True)
def _beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A second process, and an adapter that every made-up bake gives."""
    MemoryMachine.source = write_adapter(tmp_path_factory.mktemp("baked"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as MemoryMachine.other:
        yield


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
