"""Forgetting reaches the weights: versions that learned it are destroyed, accounted for, and never come back."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.erasure import secrets_of
from bakemem.errors import BakeError, InputError
from bakemem.memory import Ledger
from bakemem.testing import ScriptedExtractor
from bakemem.types import Draft, Leak, Turn, Version
from tests.tiny import BakeHome, OpenMemory

DOG, TOWN = "The user's dog is called Bosuk.", "The user lives in Plinth."


@pytest.fixture(scope="module")
def baked_home(bake_home: BakeHome) -> Path:
    """A dog and a town in v1, and a dog, a town and a tea in v2, which is live."""
    return bake_home({"user.dog": DOG, "user.town": TOWN}, {"user.tea": "The user drinks Tarnish tea."})


@pytest.fixture
def baked(baked_home: Path, tmp_path: Path, open_memory: OpenMemory) -> AgentMemory:
    """The memory of a copy of that home."""
    shutil.copytree(baked_home, tmp_path, dirs_exist_ok=True)
    return open_memory()


def traces(home: Path, text: str) -> list[str]:
    """The files of the home that hold a text."""
    return [str(p) for p in home.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_an_erasure_destroys_what_learned_it_after_a_bake_without_it(baked: AgentMemory, tmp_path: Path) -> None:
    """The receipt names the versions, what was asked and what serves since; nothing of the text is left in the home."""
    [dog] = [m for m in baked.memories() if m.key == "user.dog"]
    baked.forget([dog.id])
    assert baked.live is None
    assert traces(tmp_path, "Bosuk")  # the old folders, which serve no more
    receipt = baked.erase()
    assert (receipt.memory_ids, receipt.live) == ((dog.id,), "v3")
    assert [d.name for d in receipt.destroyed] == ["v1", "v2"]
    assert all(d.bytes > 1_000 for d in receipt.destroyed)
    assert sum(leak.asked for leak in receipt.leaks) > 50
    assert {v.name: v.gone for v in baked.versions()} == {"v1": "erased", "v2": "erased", "v3": ""}
    assert baked.versions()[2].parent is None
    baked.close()
    assert traces(tmp_path, "Bosuk") == []
    assert not (tmp_path / "versions" / "v1").exists()


def test_an_erasure_takes_another_seed_and_leaves_what_was_found(
    baked: AgentMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed is that of its bake; what was read before it is still there for the next flush."""
    cat = Draft("fact", "user.cat", "The user's cat is called Nebi.")
    monkeypatch.setattr(AgentMemory, "_model_extractor", lambda _: ScriptedExtractor({"My cat is called Nebi.": [cat]}))
    [dog] = [m for m in baked.memories() if m.key == "user.dog"]
    baked.forget([dog.id])
    baked.observe([Turn("user", "My cat is called Nebi.")])
    baked.erase(seed=3)
    assert baked._store.manifest("v3").seed == 3
    assert [m.text for m in baked.flush()] == [cat.text]


def test_a_destroyed_version_is_a_clear_error_everywhere(baked: AgentMemory) -> None:
    """It can be listed, and cannot serve, be asked or be named; the reflog keeps its tombstone."""
    baked.tag("good", "v1")
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    baked.erase()
    for act in (baked.rollback, baked.verify, lambda v: baked.chat("Hello?", version=v)):
        with pytest.raises(InputError):
            act("v1")
    assert baked.tags() == {}
    assert [(e.action, e.old) for e in baked.reflog()][-2:] == [("erase", "v1"), ("erase", "v2")]


def test_a_bake_after_forgetting_erases_too(baked: AgentMemory) -> None:
    """One need not know the word erase."""
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    assert baked.bake().name == "v3"
    assert [v.gone for v in baked.versions()] == ["erased", "erased", ""]
    [receipt] = Ledger(baked._journal).receipts()
    assert receipt["destroyed"][0]["name"] == "v1"
    assert "Bosuk" not in str(receipt)


def test_a_refused_bake_destroys_nothing_and_serves_nothing_of_it(baked: AgentMemory, open_memory: OpenMemory) -> None:
    """The erasure stays open, and goes on when it is asked for again."""
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    baked.close()
    strict = open_memory(min_agreement=1.0)
    with pytest.raises(BakeError, match="The gate refused v3"):
        strict.erase()
    assert strict.live is None
    assert len(secrets_of(strict._journal, strict._store, strict.to_erase())) == 1
    strict.close()
    again = open_memory()
    assert [d.name for d in again.erase().destroyed] == ["v1", "v2"]


def test_a_candidate_that_tells_it_is_refused(baked: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the gate finds: the reason is in the report."""
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    room = sys.modules["bakemem.baking.attempts"]  # the package has a function of that name
    monkeypatch.setattr(room, "leaks", lambda *args, **options: [Leak("direct", 60, 30, 0)])
    with pytest.raises(BakeError, match="30 of 60 answers tell what was forgotten"):
        baked.erase()
    assert [v.gone for v in baked.versions()] == ["", "", ""]


def test_without_a_bake_they_are_destroyed_at_once(baked: AgentMemory) -> None:
    """The rest waits in the prompt, and the receipt says that nobody was asked."""
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    receipt = baked.erase(bake=False)
    assert (receipt.live, receipt.leaks, len(receipt.destroyed)) == (None, (), 2)
    assert {m.key for m in baked.memories("pending")} == {"user.town", "user.tea"}


def test_nothing_left_to_know_needs_no_bake(baked: AgentMemory) -> None:
    """Everything forgotten: the base serves."""
    baked.forget(everything=True)
    receipt = baked.erase()
    assert (receipt.live, len(receipt.memory_ids), len(receipt.destroyed)) == (None, 3, 2)


def test_a_version_that_never_knew_it_goes_on_serving(baked: AgentMemory) -> None:
    """Only those that learned it are destroyed; the live one is asked as it is."""
    baked.rollback("v1")
    [tea] = [m for m in baked.memories() if m.key == "user.tea"]
    baked.forget([tea.id])
    receipt = baked.erase()
    assert (receipt.live, [d.name for d in receipt.destroyed]) == ("v1", ["v2"])
    assert receipt.leaks


def test_what_cannot_be_reached_is_listed(baked: AgentMemory) -> None:
    """Copies that left the home after the memory was kept, and what nobody here can know."""
    Ledger(baked._journal).note_copy("v1", "/elsewhere/v1.zip")
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    receipt = baked.erase(bake=False)
    assert [(copy.what, copy.place) for copy in receipt.copies] == [("v1", "/elsewhere/v1.zip")]
    assert receipt.unknown


def test_an_unreadable_version_is_destroyed_all_the_same(baked: AgentMemory, tmp_path: Path) -> None:
    """Nothing can be asked about it, and it goes."""
    (tmp_path / "versions" / "v1" / "manifest.json").write_text("{}")
    (tmp_path / "versions" / "v2" / "manifest.json").unlink()
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    assert secrets_of(baked._journal, baked._store, baked.to_erase()) == []
    baked.erase(bake=False)
    assert not list((tmp_path / "versions").iterdir())


def test_nothing_to_erase_is_said(baked: AgentMemory) -> None:
    """No memory was forgotten that a version learned."""
    with pytest.raises(InputError, match="nothing to erase"):
        baked.erase()


def test_a_version_can_be_verified_and_an_answer_explained(baked: AgentMemory) -> None:
    """The same model gives the same answers again; each memory has its part in an answer."""
    found = baked.verify()
    assert (found.version, found.as_baked, found.changed) == ("v2", 1.0, ())
    assert found.asked == len(baked._store.probes("v2")) > 20
    blamed = baked.blame("What is my dog called?", answer="Bosuk.")
    assert {b.memory.key for b in blamed} == {"user.dog", "user.town", "user.tea"}
    assert [b.nats for b in blamed] == sorted((b.nats for b in blamed), reverse=True)
    with pytest.raises(InputError, match="no answer to explain"):
        baked.blame("What?", answer=" ")


def test_the_version_that_turned_an_answer_is_found(baked: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along the parents of the live one, with the base before them."""
    asked: list[str | None] = []

    def chat(question: str, *, version: str | None = None, temperature: float | None = None) -> str:
        asked.append(version)
        return "It is Bosuk." if version == "v2" else "No idea."

    monkeypatch.setattr(baked, "chat", chat)
    found = baked.bisect("What is my dog called?", bad="bosuk")
    assert (found.first_wrong, found.last_right) == ("v2", "v1")
    assert set(asked) <= {"base", "v1", "v2"}


def test_what_a_collected_ancestor_knew_is_named_though_nobody_can_be_asked(baked: AgentMemory) -> None:
    """Its descendant learned it too; the receipt says that the text was nowhere any more."""
    [old] = [m for m in baked.memories() if m.key == "user.dog"]
    baked.remember("The user's dog is called Mirko.", kind="fact", key="user.dog")
    baked.bake()
    assert [v.name for v in baked.gc(1, dry_run=False)] == ["v1"]
    baked._journal.destroyed(["v2"], "collected")
    baked._store.destroy("v2")
    baked.forget([old.id])
    receipt = baked.erase(bake=False)
    assert ([d.name for d in receipt.destroyed], receipt.memory_ids) == (["v3"], (old.id,))
    assert receipt.not_asked == (old.id,)


def test_an_erasure_that_was_cut_short_goes_on(baked: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the journal and the folders: the next call removes what is left, though none is named."""
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])

    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(baked._store, "destroy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            baked.erase(bake=False)
    assert baked._store.names() == {"v1", "v2"}
    with pytest.raises(InputError, match="nothing to erase"):
        baked.erase()
    assert baked._store.names() == set()


def test_a_reply_never_comes_from_what_was_forgotten_meanwhile(
    baked: AgentMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forget between the reading of the live pointer and the reply: the base answers, with the rest in its prompt."""
    held = baked._held
    [dog] = [m for m in baked.memories() if m.key == "user.dog"]

    def late(version: Version | None) -> AbstractContextManager[str | None]:
        monkeypatch.setattr(baked, "_held", held)
        baked.forget([dog.id])
        return held(version)

    baked.chat("Hello?")
    monkeypatch.setattr(baked, "_held", late)
    with baked._now() as (waiting, answering):
        assert answering is None
        assert TOWN in waiting
        assert "Bosuk" not in waiting


def test_a_destroyed_version_is_not_kept_in_memory(baked: AgentMemory) -> None:
    """Its weights leave the model when the last reply that had begun on it has ended, and none begins any more."""
    ids = {v.id for v in baked.versions()}
    for name in ("v1", "v2"):
        baked.chat("Hello?", version=name)
    begun = baked.stream("What do you know?", version="v1")
    baked.forget([m.id for m in baked.memories() if m.key == "user.dog"])
    baked.erase(bake=False)
    begun.text()
    deadline = time.monotonic() + 5
    while ids & set(getattr(baked.base.model, "peft_config", {})):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(InputError):
        baked.chat("Hello?", version="v1")


def test_a_bake_leaves_nothing_outside_the_home(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No erasure could reach it there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    made: list[str] = []
    make = os.mkdir
    monkeypatch.setattr(
        os, "mkdir", lambda path, *rest, **options: (made.append(str(path)), make(path, *rest, **options))
    )
    memory = open_memory()
    memory.remember(DOG, kind="fact", key="user.dog")
    memory.bake()
    assert not [path for path in made if path.startswith(str(elsewhere))]
