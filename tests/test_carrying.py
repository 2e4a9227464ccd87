"""Versions carried from home to home: complete, checked, and never against what was forgotten."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bakemem.erasure import finish, secrets_of
from bakemem.errors import AdapterError, BakememError, HomeCorruptError, HomeError, InputError, NotFoundError
from bakemem.memory import Journal, Ledger, adopt, load, records
from bakemem.types import Version
from bakemem.upkeep import strangers, sweep
from bakemem.versions import VersionStore, check_adapter
from tests.carrying import DOG, TOWN, Home


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Home]:
    """A home whose v1 holds a dog, and v2, which is live, a town as well."""
    home = Home(tmp_path / "there")
    home.remember(DOG, key="user.dog")
    home.bake()
    home.remember(TOWN, key="user.town")
    home.bake()
    yield home
    home._close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Home]:
    """A home, of another namespace, with a memory of its own in the prompt."""
    home = Home(tmp_path / "here", "ours")
    home.remember("The user has a cat.", key="user.cat")
    yield home
    home._close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a version is packed."""
    return tmp_path / "version.zip"


def test_a_version_is_carried_to_another_home(there: Home, here: Home, file: Path) -> None:
    """Whole, under the next name, and not live; after a rollback to it its memories are baked, the others untouched."""
    packed = there.pack("live", file)
    came = here.unpack(file)
    assert (packed.name, came.name, came.namespace, came.parent, came.status) == ("v2", "v1", "ours", None, "accepted")
    assert (came.report, came.created, came.memory_ids) == (packed.report, packed.created, packed.memory_ids)
    assert came.settings == {**packed.settings, "unpacked_from": packed.id}
    check_adapter(here.store.folder("v1"), base_fingerprint="base-1")
    assert here.store.probes("v1") == there.store.probes("v2")
    assert here.live is None
    assert here.statuses() == {"The user has a cat.": "pending", DOG: "held", TOWN: "held"}
    here.journal.set_live("v1")
    assert here.statuses() == {"The user has a cat.": "pending", DOG: "baked", TOWN: "baked"}
    assert here.bake().parent == "v1"


def test_what_came_can_be_recalled(there: Home, here: Home, file: Path) -> None:
    """The index follows: once its version serves, a memory is found by its meaning."""
    here.recall("dog")  # opens the index
    there.pack("v1", file)
    came = here.unpack(file)
    here.journal.set_live(came.name)
    assert here.recall("What is the dog called?", 1)[0].text == DOG


def test_a_version_is_taken_in_once(there: Home, here: Home, file: Path, tmp_path: Path) -> None:
    """The same file, and the same version by way of a third home, give the version that is there."""
    there.pack("v1", file)
    came = here.unpack(file)
    state = here.state()
    assert here.unpack(file) == came
    assert there.unpack(file).name == "v1"
    here.pack(came.name, file, force=True)
    third = Home(tmp_path / "third")
    assert there.unpack(file).name == "v1"
    onward = third.unpack(file)
    third.pack(onward.name, file, force=True)
    assert here.unpack(file) == came
    assert here.state() == state
    third._close()


def test_a_version_that_was_collected_can_come_back(there: Home, file: Path) -> None:
    """Under a new name, with the parent that it had, so that what its parent learned is not lost sight of."""
    there.pack("v2", file)
    there.journal.set_live("v1")
    there.journal.destroyed(["v2"], "collected")
    there.store.destroy("v2")
    with pytest.raises(InputError, match=r"destroyed \(collected\)"):
        there.pack("v2", file, force=True)
    came = there.unpack(file)
    assert (came.name, came.parent) == ("v3", "v1")
    there.journal.set_live("v3")
    assert there.statuses() == {DOG: "baked", TOWN: "baked"}


@pytest.mark.parametrize("gone", ["", "collected", "erased"])
def test_what_was_forgotten_neither_leaves_nor_comes_back(there: Home, file: Path, gone: str) -> None:
    """A version that learned it, or went on from one that did, is not packed, and never unpacked."""
    there.pack("v2", file)
    [dog] = there.memories(text="dog")
    there.forget([dog.id])
    if gone:
        there.journal.destroyed(["v2"], gone)  # type: ignore[arg-type]
    state = there.state()
    with pytest.raises(InputError, match="bring that back"):
        there.unpack(file)
    with pytest.raises(InputError, match="destroyed" if gone else "must not leave"):
        there.pack("v2", file, force=True)
    assert there.state() == state


def test_a_damaged_version_is_not_packed(there: Home, file: Path) -> None:
    """Another version's folder, changed weights, no manifest: each is named, and no file and no note is left."""
    folder = there.store.folder("v2")
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(AdapterError, match="safetensors"):
        there.pack("v2", file)
    (folder / "manifest.json").write_bytes((there.store.folder("v1") / "manifest.json").read_bytes())
    with pytest.raises(HomeCorruptError, match="another version"):
        there.pack("v2", file)
    (folder / "manifest.json").unlink()
    with pytest.raises(HomeCorruptError, match="cannot be read"):
        there.pack("v2", file)
    with pytest.raises(NotFoundError):
        there.pack("v9", file)
    assert not file.exists()
    assert Ledger(there.journal).copies() == []


def test_copies_are_noted(there: Home, file: Path) -> None:
    """What was packed and exported and where to; a file that is not replaced is no copy."""
    there.pack("v1", file)
    with pytest.raises(InputError, match="there already"):
        there.pack("v2", file)
    there.pack("live", file, force=True)
    list(there.export())
    list(there.export("backup.jsonl"))
    assert [(c.what, c.place) for c in Ledger(there.journal).copies()] == [
        ("v1", str(file)), ("v2", str(file)), ("memories", "a program"), ("memories", "backup.jsonl"),
    ]  # fmt: skip


def test_a_copy_that_cannot_be_noted_is_not_made(there: Home, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never is a copy out there that the home does not know of."""

    def fail(self: Ledger, what: str, place: str) -> None:
        raise HomeCorruptError("damaged")

    monkeypatch.setattr(Ledger, "note_copy", fail)
    with pytest.raises(HomeCorruptError):
        there.pack("v1", file)
    assert list(file.parent.glob("*.zip")) == list(file.parent.glob(".bakemem-*")) == []


def test_a_copy_is_noted_before_a_byte_of_it_is_there(there: Home, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed on the way leaves a file beside it that nobody would know of."""
    sizes = list[int]()

    def note(self: Ledger, what: str, place: str) -> None:
        sizes.extend(p.stat().st_size for p in file.parent.glob(".bakemem-*"))

    monkeypatch.setattr(Ledger, "note_copy", note)
    there.pack("v1", file)
    assert sizes == [0]


def test_a_copy_is_no_older_than_what_it_holds(there: Home, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was ahead when it was remembered: the receipt of its erasure names the copy all the same."""
    ahead = records.now() + timedelta(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(records, "now", lambda: ahead)
        cat = there.remember("The user has a cat.", key="user.cat")
    there.bake()
    there.pack("v3", file)
    there.forget([cat.id])
    tainted = there.to_erase()
    receipt = finish(there.journal, there.store, tainted, secrets_of(there.journal, there.store, tainted), ())
    assert [c.what for c in receipt.copies] == ["v3"]


def test_an_error_in_the_journal_leaves_no_folder(there: Home, here: Home, file: Path) -> None:
    """What was staged goes again."""
    there.pack("v1", file)
    there.remember("The user's dog is called Tarin.", key="user.dog")
    other = Home(here.home, "theirs")
    other.unpack(file)
    with pytest.raises(InputError, match="another namespace"):
        here.unpack(file)
    assert here.versions() == []
    assert here.store.orphans([]) == []
    other._close()


def test_a_version_with_a_secret_is_refused_or_comes_as_it_is(there: Home, tmp_path: Path, file: Path) -> None:
    """Masked, its texts would no longer be those that it learned."""
    mail = "The user's mail is ann@example.com."
    there.remember(mail, key="user.mail")
    there.bake()
    there.pack("live", file)
    refusing = Home(tmp_path / "refusing", redaction="refuse")
    with pytest.raises(InputError, match=r"email.*Nothing was taken in"):
        refusing.unpack(file)
    assert (refusing.memories(), refusing.versions(), refusing.store.names()) == ([], [], set())
    refusing._close()
    masking = Home(tmp_path / "masking", redaction="mask")
    masking.unpack(file)
    assert masking.statuses()[mail] == "held"
    masking._close()


class Killed(BaseException):
    """What a kill looks like from inside: nothing is tidied up."""


def test_a_crash_between_files_and_journal_leaves_the_old_state(
    there: Home, here: Home, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that the journal does not name is swept at the next start, and the version can be taken in again."""

    def killed(*arguments: object) -> None:
        raise Killed

    there.pack("v2", file)
    before = (here.memories(), here.versions())
    with monkeypatch.context() as patch:
        patch.setattr("bakemem.versioned.adopt", killed)
        patch.setattr(VersionStore, "destroy", killed)
        with pytest.raises(Killed):
            here.unpack(file)
    assert (here.memories(), here.versions()) == before
    assert [p.name for p in here.store.sweep([v.name for v in here.versions()])] == ["v1"]
    assert here.unpack(file).name == "v1"


def test_a_ctrl_c_after_the_commit_keeps_the_version(
    there: Home, here: Home, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the journal names keeps its folder."""
    there.pack("v2", file)

    def interrupted(
        journal: Journal, version: Version, memories: list[str], redact: Callable[[str], str]
    ) -> None:  # fmt: skip
        adopt(journal, version, memories, redact)
        raise KeyboardInterrupt

    monkeypatch.setattr("bakemem.versioned.adopt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        here.unpack(file)
    assert [v.name for v in here.versions()] == ["v1"]
    check_adapter(here.store.folder("v1"))


@pytest.mark.parametrize("crash", [False, True])
def test_what_was_unpacked_stays_when_an_older_journal_is_put_back(
    there: Home, here: Home, file: Path, monkeypatch: pytest.MonkeyPatch, crash: bool
) -> None:
    """Also when that one has its memories, or the process died after the commit and the home was opened since."""

    def killed(*arguments: object) -> None:
        raise Killed

    there.pack("v2", file)
    with monkeypatch.context() as patch, pytest.raises(Killed) if crash else nullcontext():
        if crash:
            patch.setattr(VersionStore, "settle", killed)
        here.unpack(file)
    assert sweep(here.journal, here.store) == []
    older = Journal(here.home / "older.db", "ours")
    load(older, there.export())
    assert sweep(older, here.store) == []
    assert strangers(older, here.store) == {"v1"}
    older.close()
    check_adapter(here.store.folder("v1"))


@pytest.mark.parametrize("fails", ["adopt", "VersionStore.stage"])
def test_of_an_unpack_that_fails_nothing_stays(
    there: Home, here: Home, file: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Neither folder nor mark, also where the disk failed when the folder was in its place."""
    stage = VersionStore.stage

    def full(*arguments: Any) -> None:
        if fails != "adopt":
            stage(*arguments)
        raise HomeError("disk full")

    there.pack("v2", file)
    before = here.state()
    monkeypatch.setattr(f"bakemem.versioned.{fails}", full)
    with pytest.raises(HomeError, match="disk full"):
        here.unpack(file)
    assert here.state() == before


@pytest.fixture(scope="module")
def packed() -> Iterator[bytes]:
    """The bytes of a packed version."""
    with TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.remember(DOG, key="user.dog")
        home.bake()
        home.pack("v1", Path(folder) / "file")
        home._close()
        yield (Path(folder) / "file").read_bytes()


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_an_error_or_makes_no_difference(packed: bytes, data: st.DataObject) -> None:
    """A few bytes changed, cut out, put in or cut off anywhere: nothing is taken in, or exactly what was packed."""
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1) | st.integers(max(0, len(damaged) - 400), len(damaged) - 1))
        match data.draw(st.sampled_from(["flip", "flip", "cut out", "put in", "cut off"])):
            case "flip":
                damaged[at] ^= data.draw(st.integers(1, 255))
            case "cut out":
                del damaged[at : at + data.draw(st.integers(1, 40))]
            case "put in":
                damaged[at:at] = random.Random(at).randbytes(data.draw(st.integers(1, 40)))
            case _:
                del damaged[max(at, 1) :]
        if not damaged:
            break
    with TemporaryDirectory() as folder:
        file, home = Path(folder) / "file", Home(Path(folder) / "home")
        file.write_bytes(damaged)
        try:
            came = home.unpack(file)
        except BakememError:
            assert home.state() == ([], [], [], [], [])
            assert home.store.orphans([]) == []
        else:
            check_adapter(came.adapter.folder)
            with zipfile.ZipFile(io.BytesIO(packed)) as whole:
                for name in ("adapter_config.json", "adapter_model.safetensors", "probes.json"):
                    assert (came.adapter.folder / name).read_bytes() == whole.read(name)
                memory = json.loads(whole.read("memories.jsonl"))
            assert (came.status, home.statuses()) == ("accepted", {DOG: "held"})
            assert (home.memories()[0].id, came.memory_ids) == (memory["id"], (memory["id"],))
        home._close()
