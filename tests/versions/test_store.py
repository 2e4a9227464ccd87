"""Versions are stored whole, read back equal, and never mixed up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import AdapterError, HomeCorruptError, HomeError, InputError
from bakemem.versions import Manifest, VersionStore, check_adapter
from bakemem.versions.manifest import manifest_of

MakeManifest = Callable[..., Manifest]


def test_a_staged_version_is_read_back_whole(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """Files, hashes and manifest are there, it passes the check, and nothing else is left in the store."""
    store = VersionStore(tmp_path / "home")
    (adapter / "README.md").write_text("written by the trainer")
    staged = store.stage(adapter, make_manifest())
    assert not store.settled("v1")
    store.settle("v1")
    assert store.settled("v1")
    folder = store.folder("v1")
    assert folder == tmp_path / "home" / "versions" / "v1"
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "manifest.json",
    ]  # fmt: skip
    for name, digest in staged.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert store.manifest("v1") == staged
    check_adapter(folder, base_fingerprint="base-1")
    assert [p.name for p in (tmp_path / "home" / "versions").iterdir()] == ["v1"]


def test_the_id_is_short_and_covers_everything(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """The same bake has the same id; another seed, prompt or weight file another."""
    store = VersionStore(tmp_path)
    first = store.stage(adapter, make_manifest()).id
    assert len(first) == 12
    assert int(first, 16) >= 0
    assert store.stage(adapter, make_manifest()).id == first
    others = {store.stage(adapter, make_manifest(seed=1)).id, store.stage(adapter, make_manifest(text="Other.")).id}
    (adapter / "adapter_config.json").write_text("{}")
    others.add(store.stage(adapter, make_manifest()).id)
    assert len({first, *others}) == 4


def test_the_manifest_gives_the_version(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """Everything that the journal keeps comes from it."""
    store = VersionStore(tmp_path)
    manifest = store.stage(adapter, make_manifest())
    version = manifest.version(store.folder("v1"))
    assert (version.name, version.id, version.status) == ("v1", manifest.id, "accepted")
    assert version.memory_ids == ("a1", "b2")
    assert version.prompt_sha256 == manifest.prompt.sha256
    assert (version.adapter.folder, version.adapter.base_fingerprint) == (store.folder("v1"), "base-1")
    assert version.settings == {"rank": 2, "learning_rate": None, "seed": 0, "data_sha256": "d" * 64}
    refused = dataclasses.replace(manifest, report=dataclasses.replace(manifest.report, accepted=False))
    assert refused.version(store.folder("v1")).status == "rejected"


def test_a_person_can_read_the_manifest(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """It is indented JSON, with the prompt in plain letters of any script."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest(text="Der Hund heißt Bosuk. 🐕"))
    text = (store.folder("v1") / "manifest.json").read_text(encoding="utf-8")
    assert "Der Hund heißt Bosuk. 🐕" in text
    assert json.loads(text)["report"]["agreement"] == 0.98
    assert len(text.splitlines()) > 20


def test_an_orphan_of_the_same_name_is_replaced(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """What a crash left under the name does not stand in the way, whatever it holds."""
    store = VersionStore(tmp_path)
    store.folder("v1").mkdir(parents=True)
    (store.folder("v1") / "half.bin").write_text("half")
    staged = store.stage(adapter, make_manifest())
    assert store.manifest("v1") == staged
    assert store.orphans(["v1"]) == []


def test_orphans_are_what_the_journal_does_not_name(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """Temporary and uncommitted folders are swept; versions, other namespaces and strangers' files are not."""
    store, other = VersionStore(tmp_path), VersionStore(tmp_path, "someone else")
    for name in ("v1", "v2", "v10"):
        store.stage(adapter, make_manifest(name))
    other.stage(adapter, make_manifest("v1", namespace="someone else"))
    root = store.folder("v1").parent
    (root / ".tmp-v3-abc").mkdir()
    (root / "notes.txt").write_text("mine")
    assert [p.name for p in store.orphans(["v1", "v2"])] == [".tmp-v3-abc", "v10"]
    assert len(store.sweep(["v1", "v2"])) == 2
    assert store.orphans(["v1", "v2"]) == []
    assert other.manifest("v1").namespace == "someone else"
    assert (root / "notes.txt").exists()
    assert VersionStore(tmp_path / "new").orphans([]) == []


def test_namespaces_have_folders_of_their_own(tmp_path: Path) -> None:
    """Also where their names look alike or hold signs that folders cannot."""
    folders = {VersionStore(tmp_path, n).folder("v1") for n in ("default", "Ä/b", "ä b", "a-b", "v1", "..", "../..")}
    assert len(folders) == 7
    assert all(f.resolve().is_relative_to(tmp_path / "versions") for f in folders)


def test_a_discarded_version_is_gone(tmp_path: Path, adapter: Path, make_manifest: MakeManifest) -> None:
    """Its folder is removed; discarding nothing is no error."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest())
    store.destroy("v1")
    store.destroy("v1")
    with pytest.raises(HomeCorruptError, match="v1"):
        store.manifest("v1")


@pytest.mark.parametrize("name", ["", "v0", "v01", "V1", "live", "../v1", "v1/..", "v1\n", ".tmp-v1"])
def test_only_version_names_name_folders(tmp_path: Path, name: str) -> None:
    """Nothing outside the store can be reached."""
    with pytest.raises(InputError):
        VersionStore(tmp_path).folder(name)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_bake_is_not_staged(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, missing: str
) -> None:
    """The store stays empty."""
    (adapter / missing).unlink()
    store = VersionStore(tmp_path)
    with pytest.raises(AdapterError, match=missing):
        store.stage(adapter, make_manifest())
    assert store.orphans([]) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-20], lambda text: "", lambda text: "[]", lambda text: text.replace("Bosuk", "Rex"),
        lambda text: text.replace('"seed": 0', '"seed": 1'), lambda text: text.replace('"files"', '"file"'),
    ],
)  # fmt: skip
def test_a_changed_manifest_is_noticed(
    tmp_path: Path, adapter: Path, make_manifest: MakeManifest, spoil: Callable[[str], str]
) -> None:
    """Damage and edits by hand are HomeCorruptErrors."""
    store = VersionStore(tmp_path)
    store.stage(adapter, make_manifest())
    path = store.folder("v1") / "manifest.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(HomeCorruptError):
        store.manifest("v1")


FIRST = json.dumps({
    "id": "ea86af15e911", "format": 1, "name": "v1", "namespace": "default", "parent": None,
    "created": "2026-01-01T00:00:00+00:00", "base_fingerprint": "base-1", "seed": 0, "data_sha256": "0",
    "prompt": "- A.", "prompt_sha256": "1", "memory_ids": ["a1"], "settings": {"rank": 2}, "files": {},
    "report": {"kl_before": 4.0, "kl_after": 0.05, "agreement": 0.98, "recall": 0.99, "abstention": 1.0, "drift": 0.0,
               "steps": 60, "seconds": 14.5, "accepted": True, "reasons": []},
})  # fmt: skip
"""A manifest of a bakemem whose reports had fewer figures, as it stood on the disk."""


def test_a_manifest_of_another_bakemem_is_read(tmp_path: Path) -> None:
    """Its id is the hash over what it says itself, and it is handed on as it is."""
    read = manifest_of(FIRST)
    assert (read.id, read.report.steps, read.to_json()) == ("ea86af15e911", 60, FIRST)
    newer = {**json.loads(FIRST), "surprise": 1}
    assert manifest_of(signed(newer)).id == json.loads(signed(newer))["id"] != read.id
    with pytest.raises(HomeCorruptError, match="it was changed"):
        manifest_of(FIRST.replace("base-1", "base-2"))
    with pytest.raises(HomeCorruptError, match="written by a newer bakemem: upgrade"):
        manifest_of(signed({**newer, "format": 2}))
    assert dataclasses.replace(read, seed=1).id != read.id


def signed(values: dict[str, Any]) -> str:
    """A manifest with the id that fits it."""
    rest = {key: value for key, value in values.items() if key != "id"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"id": hashlib.sha256(canonical.encode()).hexdigest()[:12], **rest})


def test_versions_that_cannot_be_listed_are_a_home_error(tmp_path: Path) -> None:
    """Such as those that another user's bake made."""
    (tmp_path / "versions").write_text("")
    store = VersionStore(tmp_path)
    for list_them in (store.names, lambda: store.orphans([]), lambda: store.sweep([])):
        with pytest.raises(HomeError, match="cannot be listed"):
            list_them()


@pytest.mark.parametrize("namespace", ["default", "A user"])
def test_the_scratch_folder_is_private_and_outlives_a_sweep(tmp_path: Path, namespace: str) -> None:
    """Only its owner can read it, each namespace has its own, and it is no orphan."""
    store = VersionStore(tmp_path, namespace)
    assert not store.unfinished()
    folder = store.scratch()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not store.unfinished()
    (folder / "checkpoint.json").write_text("{}")
    assert store.sweep([]) == []
    assert store.scratch() == folder
    assert store.unfinished()
    other = VersionStore(tmp_path, "another")
    other.destroy_scratch()  # there is none
    assert not other.unfinished()
    assert (folder / "checkpoint.json").exists()


def test_the_scratch_folder_is_overwritten_before_it_is_removed(tmp_path: Path) -> None:
    """Whoever still holds the file reads zeros, and nothing is left in the store."""
    store = VersionStore(tmp_path)
    (store.scratch() / "inner").mkdir()
    for name in ("checkpoint.json", "inner/more"):
        (store.scratch() / name).write_text("The user's dog is called Bosuk.")
    with (store.scratch() / "checkpoint.json").open("rb") as held:
        store.destroy_scratch()
        assert held.read() == bytes(31)
    assert list((tmp_path / "versions").iterdir()) == []


def test_a_scratch_folder_without_room_is_a_home_error(tmp_path: Path) -> None:
    """A file in its place cannot be used, and the message says where."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / ".bake").write_text("")
    with pytest.raises(HomeError, match="no room in .*bake"):
        VersionStore(tmp_path).scratch()
