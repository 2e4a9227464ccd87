"""A home is looked over without a model: what is sound passes, each damage is named, and repair loses nothing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bakemem.config import load_config
from bakemem.errors import BakeError, BakememError, HomeError, InputError
from bakemem.memory import Journal, Ledger, adopt, export, forget, load
from bakemem.schedule import state_of
from bakemem.testing import MemoryIndex, ScriptedExtractor
from bakemem.types import Prompt
from bakemem.upkeep import check, spared, strangers, sweep
from bakemem.versioned import Versioned
from bakemem.versions import ORIGIN, VersionStore
from tests.cli.conftest import CASE, DOG, TOWN, Keeper


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that nobody else may look into."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def keeper(home: Path) -> Iterator[Keeper]:
    """v1 (a dog), v2 (and an instruction), which is live, the rejected v3, and a pending memory."""
    made = Keeper(home)
    made.remember(DOG, key="user.dog")
    made.bake()
    made.remember(CASE, "instruction", "style.case")
    made.bake()
    made.remember(TOWN, key="user.town")
    made.bake(accepted=False)
    shutil.rmtree(home / "source")
    yield made
    made.journal.close()


@pytest.fixture
def versioned(keeper: Keeper) -> Versioned:
    """The versions as their user holds them."""
    return Versioned(load_config(keeper.home), keeper.journal, keeper.store, open_index=MemoryIndex,
                     make_extractor=lambda: ScriptedExtractor({}), redact=str)  # fmt: skip


def change(keeper: Keeper, statement: str) -> None:
    """Changes the journal behind its back."""
    with sqlite3.connect(keeper.home / "journal.db") as connection:
        connection.execute(statement)
    connection.close()


def found(keeper: Keeper) -> list[tuple[str, str, str]]:
    """Severity, place and fact of each problem."""
    return [(p.severity, p.where, p.what) for p in check(keeper.journal, keeper.store)]


def test_a_sound_home_has_no_problem(keeper: Keeper) -> None:
    """After bakes, refusals, a rollback and back, a tag, an erasure, and with scratch of a bake."""
    assert found(keeper) == []
    keeper.journal.set_live("v1")
    assert found(keeper) == []
    keeper.journal.tag("good", "v3")
    (keeper.store.folder("v1").parent / ".bake").mkdir()
    keeper.journal.set_live("v2")
    keeper.remember("The user's dog is called Tarin.", key="user.dog")
    assert found(keeper) == []


def test_a_held_memory_that_no_version_knows_any_more_is_noted(keeper: Keeper) -> None:
    """As after a rollback and an erasure; it can be given back."""
    keeper.journal.set_live("v1")
    change(keeper, "UPDATE versions SET gone = 'erased' WHERE name = 'v2'")
    change(keeper, "UPDATE reflog SET old = NULL WHERE old = 'v2'")
    shutil.rmtree(keeper.store.folder("v2"))
    [problem] = check(keeper.journal, keeper.store)
    [held] = [m for m in keeper.journal.memories() if m.status == "held"]
    assert (problem.severity, problem.where) == ("note", f"memory {held.id}")
    assert held.id[:8] in problem.advice


def test_a_new_home_has_no_problem(home: Path) -> None:
    """There is no folder of versions yet."""
    assert found(Keeper(home)) == []


def test_a_version_that_learned_what_was_forgotten_is_noted(keeper: Keeper) -> None:
    """Each that did; the base serves meanwhile."""
    forget(keeper.journal, [keeper.journal.memories()[0].id])
    assert [(s, w) for s, w, _ in found(keeper)] == [("note", f"version v{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("statement", "where", "what"),
    [
        ("UPDATE pointers SET version = 'v9' WHERE name = 'live'", "live", "does not exist"),
        ("UPDATE pointers SET version = 'v3' WHERE name = 'live'", "live", "it is rejected"),
        ("UPDATE versions SET gone = 'collected' WHERE name = 'v2'", "live", "it is collected"),
        ("UPDATE pointers SET version = 'v1' WHERE name = 'live'", "live", "the last move went to v2"),
        ("INSERT INTO pointers VALUES ('default', 'good', 'v7')", "good", "does not exist"),
        ("UPDATE memories SET status = 'baked' WHERE key = 'user.town'", "memory", "in no version that serves"),
        ("UPDATE memories SET status = 'pending' WHERE key = 'user.dog'", "memory", "though the live version v2"),
        ("UPDATE memories SET status = 'held' WHERE key = 'user.dog'", "memory", "though the live version v2"),
        ("UPDATE memories SET status = 'superseded' WHERE key = 'user.dog'", "memory", "superseded by nothing"),
        ("UPDATE memories SET status = 'forgotten' WHERE key = 'user.town'", "memory", "its text is still there"),
        ("UPDATE versions SET id = '0123456789ab' WHERE name = 'v1'", "version v1", "which the journal names"),
        ("UPDATE versions SET parent = 'v8' WHERE name = 'v2'", "version v2", "parent v8 does not exist"),
        ("UPDATE versions SET base_fingerprint = 'x' WHERE name = 'v2'", "version v2", "its base is base-1"),
        ("UPDATE versions SET prompt_sha256 = 'x' WHERE name = 'v2'", "version v2", "its prompt is"),
        ("DELETE FROM version_memories WHERE version = 1", "version v1", "its memories is"),
        ("DELETE FROM memories WHERE key = 'user.town'", "journal", "points to nothing in memories"),
        ("UPDATE versions SET report = '{' WHERE name = 'v1'", "journal", "Version v1 in the journal cannot be read"),
        ("UPDATE versions SET report = '[]' WHERE name = 'v1'", "journal", "Version v1 in the journal cannot be read"),
        ("UPDATE versions SET settings = 'null' WHERE name = 'v1'", "journal", "Version v1 in the journal cannot be"),
        ("UPDATE versions SET name = 'vx' WHERE name = 'v1'", "journal", "'vx' for a version's name"),
        ("INSERT INTO receipts VALUES (1, 'default', '2026-01-01T00:00:00+00:00', 'x')", "journal", "A receipt in the"),
        ("DROP TABLE reflog", "journal", "no such table"),
    ],
)
def test_each_damage_of_the_journal_is_an_error(keeper: Keeper, statement: str, where: str, what: str) -> None:
    """It is named with its place and with what to do, and repair does not touch it."""
    change(keeper, statement)
    problems = check(keeper.journal, keeper.store, repair=True)
    assert any(p.severity == "error" and p.where.startswith(where) and what in p.what for p in problems), problems
    assert all(p.advice and p.repaired == p.repairable for p in problems)
    assert (keeper.store.folder("v1") / "manifest.json").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET report = '[]'", "UPDATE versions SET report = '{\"recalls\": [1]}'",
        "UPDATE versions SET settings = 'null'", "UPDATE versions SET settings = '[1]'",
        "INSERT INTO receipts VALUES (1, 'default', '2026-01-01T00:00:00+00:00', '[]')",
        "UPDATE versions SET name = 'vx' WHERE name = 'v2'", "UPDATE pointers SET version = 'v9'",
        "UPDATE versions SET parent = 'v9'", "UPDATE versions SET parent = 'v2'",
    ],
)  # fmt: skip
def test_whatever_reads_a_damaged_row_ends_or_says_so(versioned: Versioned, keeper: Keeper, statement: str) -> None:
    """Nothing raises what is not ours, and nothing goes round in circles."""
    change(keeper, statement)
    journal = keeper.journal
    uses: tuple[Callable[[], object], ...] = (
        versioned.versions, versioned.check, journal.state, journal.next_version_name, Ledger(journal).receipts,
        lambda: state_of(versioned.waiting(), {}, versioned.versions(), versioned.live), lambda: versioned.gc(1),
        lambda: versioned.why("dog"), lambda: versioned.diff("base", "v1"), lambda: versioned.rollback("base"),
    )  # fmt: skip
    for use in uses:
        with suppress(BakememError):
            use()


def test_what_is_advised_about_a_lost_candidate_can_be_done(keeper: Keeper) -> None:
    """It is no tag that could be deleted."""
    change(keeper, "UPDATE pointers SET version = 'v7' WHERE name = 'candidate'")
    [problem] = [p for p in check(keeper.journal, keeper.store) if p.where == "candidate"]
    assert "backup" in problem.advice


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(lambda page: bytes(len(page)), "malformed"), (lambda page: page.replace(b"user", b"usex"), "missing from index")],
)
def test_a_journal_with_a_spoilt_page_is_an_error(
    keeper: Keeper, home: Path, spoil: Callable[[bytes], bytes], what: str
) -> None:
    """SQLite's own check finds it, though the rest can be read."""
    keeper.journal.compact()
    with sqlite3.connect(home / "journal.db") as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'memories_by_source'"
        [number], [size] = connection.execute(query).fetchone(), connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    keeper.journal.close()
    with (home / "journal.db").open("r+b") as file:
        file.seek((number - 1) * size)
        page = file.read(size)
        file.seek((number - 1) * size)
        file.write(spoil(page))
    journal = Journal(home / "journal.db", readonly=True)
    problems = check(journal, keeper.store)
    journal.close()
    assert {(p.severity, p.where, what in p.what) for p in problems} == {("error", "journal", True)}


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (shutil.rmtree, "not a folder"),
        (lambda f: (f / WEIGHTS).unlink(), "incomplete"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-2] + b"\0\0"), "another hash"),
        (lambda f: (f / "manifest.json").unlink(), "nothing vouches"),
        (lambda f: (f / "notes.txt").write_text("mine"), "no part of an adapter"),
        (lambda f: os.replace(f / "manifest.json", f / "probes.json"), "nothing vouches"),
    ],
)
def test_each_damage_of_a_folder_is_an_error(keeper: Keeper, spoil: Callable[[Path], object], what: str) -> None:
    """For the live version the advice is to roll back, for another one to leave it; repair keeps the folder."""
    for name, advice in (("v2", "rollback"), ("v1", "leave it")):
        spoil(keeper.store.folder(name))
        before = sorted(keeper.store.folder("v1").parent.rglob("*"))
        problems = [p for p in check(keeper.journal, keeper.store, repair=True) if p.where == f"version {name}"]
        assert [(p.severity, what in p.what, advice in p.advice) for p in problems] == [("error", True, True)], problems
        assert sorted(keeper.store.folder("v1").parent.rglob("*")) == before


def test_damaged_probes_are_an_error(keeper: Keeper, home: Path) -> None:
    """Though they are what was baked."""
    keeper.bake(files={"probes.json": b'[{"turns": 1}]'})
    assert [(s, w) for s, w, _ in found(keeper)] == [("error", "version v4")]


def test_what_a_crash_left_is_noted_and_repair_removes_it(keeper: Keeper, versioned: Versioned) -> None:
    """Temporary folders, a version that was not committed, and what is left of a destroyed one; nothing else."""
    root = keeper.store.folder("v1").parent
    (root / ".tmp-v4-abc").mkdir()
    keeper.store.stage(root / "v1", dataclasses.replace(keeper.store.manifest("v1"), name="v4"))
    keeper.journal.destroyed(["v3"], "collected")
    problems = versioned.check()
    assert [(p.severity, Path(p.where).name, p.repairable, p.repaired) for p in problems] == [
        ("note", ".tmp-v4-abc", True, False), ("note", "v3", True, False), ("note", "v4", True, False),
    ]  # fmt: skip
    assert (root / "v4").exists()
    assert all(p.repaired for p in versioned.check(repair=True))
    assert sorted(p.name for p in root.iterdir()) == ["v1", "v2"]
    assert versioned.check() == []


def test_folders_of_a_newer_or_lost_journal_stay(keeper: Keeper, versioned: Versioned) -> None:
    """Whoever restores the journal needs them: no repair takes them, and no bake writes over them."""
    root = keeper.store.folder("v1").parent
    shutil.copytree(root / "v1", root / "v7")
    (root / "v8").mkdir()
    assert [(p.severity, p.repairable) for p in versioned.check(repair=True)] == [("note", False)] * 2
    assert strangers(keeper.journal, keeper.store) == {"v7", "v8"}
    assert keeper.journal.next_version_name(keeper.store.names()) == "v9"
    lost = Journal(keeper.home / "another.db")
    assert sweep(lost, keeper.store) == []
    assert strangers(lost, keeper.store) == {"v1", "v2", "v3", "v7", "v8"}
    lost.close()


def test_an_unpack_that_was_cut_short_is_removed_whatever_its_number(keeper: Keeper, versioned: Versioned) -> None:
    """Its text would outlive an erasure; what it was unpacked from is still there to be unpacked again."""
    root = keeper.store.folder("v1").parent
    packed = dataclasses.replace(keeper.store.manifest("v1"), name="v7", prompt=Prompt("- Rex.", ("ffff",)))
    keeper.store.stage(root / "v1", dataclasses.replace(packed, settings={ORIGIN: packed.id}))
    keeper.store.stage(root / "v1", dataclasses.replace(packed, name="v8"))
    keeper.store.settle("v8")
    assert strangers(keeper.journal, keeper.store) == {"v8"}
    assert [(Path(p.where).name, p.repaired) for p in versioned.check(repair=True)] == [("v7", True), ("v8", False)]
    assert sorted(p.name for p in root.iterdir()) == ["v1", "v2", "v3", "v8"]


def test_what_was_superseded_in_another_home_is_no_error(keeper: Keeper, tmp_path: Path) -> None:
    """What took its place stays there when an older version is packed, or a part of the memories exported."""
    keeper.remember("The user's dog is called Rex.", key="user.dog")
    old = keeper.journal.memories("superseded")
    lines = list(export(keeper.journal, [m.id for m in old]))
    for name in ("unpacked", "imported"):
        home = tmp_path / name
        home.mkdir(mode=0o700)
        journal = Journal(home / "journal.db")
        if name == "unpacked":
            packed = dataclasses.replace(keeper.store.manifest("v1"), parent=None)
            store = VersionStore(home)
            adopt(journal, store.stage(keeper.store.folder("v1"), packed).version(store.folder("v1")), lines)
        else:
            load(journal, lines)
        assert [m.superseded_by for m in journal.memories()] == [None]
        assert check(journal, VersionStore(home)) == []
        journal.close()


def test_a_home_that_others_may_read_is_noted(keeper: Keeper) -> None:
    """Whoever has an account on the machine could read the memories."""
    keeper.home.chmod(0o755)
    assert [(s, w) for s, w, _ in found(keeper)] == [("note", str(keeper.home))]


def test_a_writer_at_work_raises_no_alarm(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen half done and is whole the second time is no problem."""
    listed = VersionStore.orphans

    def late(store: VersionStore, known: list[str]) -> list[Path]:
        if len(known) == 3:  # the journal was read before the commit, the folders after it
            keeper.bake()
            shutil.rmtree(keeper.home / "source")
        return listed(store, known)

    monkeypatch.setattr(VersionStore, "orphans", late)
    assert found(keeper) == []
    assert len(keeper.journal.versions()) == 4


def test_gc_destroys_what_nothing_needs_and_keeps_its_row(keeper: Keeper, versioned: Versioned) -> None:
    """First only said, then done: folder gone, row and memories there, and the home is sound."""
    assert [v.name for v in versioned.gc(0)] == []  # live, candidate, and what the last move left
    for _ in range(3):
        keeper.bake()
    shutil.rmtree(keeper.home / "source")
    versioned.tag("good", "v1")
    memories = versioned.memories()
    assert [v.name for v in versioned.gc(1)] == ["v2", "v3", "v4"]
    assert keeper.store.folder("v2").exists()
    gone = versioned.gc(1, dry_run=False)
    assert [(v.name, v.gone) for v in gone] == [(n, "collected") for n in ("v2", "v3", "v4")]
    assert sorted(p.name for p in keeper.store.folder("v1").parent.iterdir()) == ["v1", "v5", "v6"]
    assert versioned.memories() == memories
    assert versioned.gc(1, dry_run=False) == []
    assert versioned.check() == []
    with pytest.raises(InputError, match="collected"):
        keeper.journal.set_live("v2")


def test_no_hash_of_what_is_forgotten_outlives_a_collected_version(keeper: Keeper, versioned: Versioned) -> None:
    """A guess could be held against it; what an older bakemem collected has one until something is forgotten."""
    [dog] = [m for m in keeper.journal.memories() if m.text == DOG]
    keeper.bake()
    assert [v.name for v in versioned.gc(0, dry_run=False)] == ["v1", "v3"]
    assert keeper.journal.version("v1").prompt_sha256 == ""
    change(keeper, "UPDATE versions SET prompt_sha256 = 'abc' WHERE name = 'v1'")
    forget(keeper.journal, [dog.id])
    assert keeper.journal.version("v1").prompt_sha256 == ""


def test_gc_says_why_it_keeps(keeper: Keeper) -> None:
    """Live, candidate, tagged, where a rollback came from, and what alone holds a held memory."""
    for _ in range(2):
        keeper.bake()  # v4, v5 with the town
    keeper.journal.set_live("v1")
    keeper.journal.tag("good", "v2")
    keeper.bake()  # v6 goes on from v1: the town and the instruction stay held
    keeper.bake(accepted=False)
    assert spared(keeper.journal.state(), 0) == {
        "v1": "rollback of the last move", "v2": "tagged good", "v6": "live", "v7": "candidate",
        "v5": spared(keeper.journal.state(), 0)["v5"],
    }  # fmt: skip
    assert "alone holds held memories" in spared(keeper.journal.state(), 0)["v5"]


def test_gc_of_fewer_than_none_is_an_error(versioned: Versioned) -> None:
    """Before anything is destroyed."""
    with pytest.raises(InputError, match="0 or more"):
        versioned.gc(-1, dry_run=False)


def test_a_gc_that_was_cut_short_is_finished(
    keeper: Keeper, versioned: Versioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal says gone first; the sweep at the next start removes the folder."""
    for _ in range(3):
        keeper.bake()

    def fail(store: VersionStore, name: str) -> None:
        raise HomeError("no permission")

    with monkeypatch.context() as patch:
        patch.setattr(VersionStore, "destroy", fail)
        with pytest.raises(HomeError):
            versioned.gc(1, dry_run=False)
    assert [p.severity for p in versioned.check()] == ["note"] * 4
    keeper.store.sweep([v.name for v in versioned.versions() if not v.gone])
    assert versioned.check() == []


def test_gc_and_repair_wait_for_no_bake(versioned: Versioned) -> None:
    """A running bake has folders that nothing names yet: both say so and do nothing, but looking is allowed."""
    entered, leave = threading.Event(), threading.Event()

    def bake() -> None:
        with versioned._one_change():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=bake)
    thread.start()
    entered.wait(10)
    try:
        with pytest.raises(BakeError):
            versioned.gc(dry_run=False)
        with pytest.raises(BakeError):
            versioned.check(repair=True)
        assert versioned.check() == []
        assert versioned.gc() == []
    finally:
        leave.set()
        thread.join()


def test_gc_leaves_to_erase_what_learned_something_forgotten(keeper: Keeper, versioned: Versioned) -> None:
    """Else no receipt would name it; and what the gate refused last is no candidate once it is destroyed."""
    town = next(m for m in keeper.journal.memories() if m.text == TOWN)
    forget(keeper.journal, [town.id])
    assert "bakemem erase" in spared(keeper.journal.state(), 0)["v3"]
    assert "v3" not in [v.name for v in versioned.gc(0, dry_run=False)]
    keeper.journal.destroyed(["v3"], "erased")
    assert "candidate" not in keeper.journal.state().pointers
