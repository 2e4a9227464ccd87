"""A version as one file: the same bytes each time, and nothing that is hostile gets through."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import AdapterError, InputError
from bakemem.versions import Manifest, VersionStore, placed, read_bundle, write_bundle
from bakemem.versions.bundle import LIMITS

LINES = ['{"id": "a1"}', '{"id": "b2"}']
Parts = dict[str, bytes]
Edit = Callable[[Parts], object]


@pytest.fixture
def staged(tmp_path: Path, adapter: Path, make_manifest: Callable[..., Manifest]) -> tuple[Path, Manifest]:
    """A version's folder and its manifest, with probes."""
    probes = [{"turns": [{"role": "user", "content": "?"}], "kind": "direct", "memory_ids": ["a1"], "expected": "x",
               "given": "x"}]  # fmt: skip
    (adapter / "probes.json").write_text(json.dumps(probes))
    store = VersionStore(tmp_path / "home")
    return store.folder("v1"), store.stage(adapter, make_manifest())


@pytest.fixture
def bundle(tmp_path: Path, staged: tuple[Path, Manifest]) -> Path:
    """A bundle of it."""
    path = tmp_path / "v1.zip"
    with placed(path) as file:
        write_bundle(file, *staged, LINES)
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder to read into."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def rewrite(path: Path, edit: Edit, compression: int = zipfile.ZIP_STORED) -> None:
    """Writes the bundle anew with other parts."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    edit(parts)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_what_was_written_is_read_and_twice_the_same(
    tmp_path: Path, bundle: Path, scratch: Path, staged: tuple[Path, Manifest]
) -> None:
    """Files, manifest and lines come back as they were; a bundle has no time of its own, and is private."""
    manifest, lines = read_bundle(bundle, scratch)
    assert (manifest, [line for line in lines if line]) == (staged[1], LINES)
    assert {p.name: p.read_bytes() for p in scratch.iterdir()} == {p.name: p.read_bytes() for p in staged[0].iterdir()}
    with placed(tmp_path / "again.zip") as file:
        write_bundle(file, *staged, LINES)
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()
    assert os.name == "nt" or stat.S_IMODE(bundle.stat().st_mode) == 0o600


def drop(name: str) -> Edit:
    """Leaves a part out."""
    return lambda parts: parts.pop(name)


def put(name: str, content: bytes) -> Edit:
    """Puts a part in."""
    return lambda parts: parts.update({name: content})


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        *((drop(name), f"has no {name}") for name in LIMITS if name != "probes.json"),
        (drop("probes.json"), "manifest is not one"),
        (put("../evil", b""), "'../evil' has no place"),
        (put("/etc/evil", b""), "'/etc/evil' has no place"),
        (put("adapter_model.bin", b""), "no place"),
        (put("manifest.json/", b""), "no place"),
        (put("manifest.json", b"{"), "manifest is damaged"),
        (put("manifest.json", b"[" * 100_000), "recursion"),
        (put("manifest.json", b"\xff"), "decode"),
        (put("memories.jsonl", b"\xff"), "decode"),
        (put("adapter_config.json", b" " * (LIMITS["adapter_config.json"] + 1)), "larger than"),
        (put("memories.jsonl", b" " * (LIMITS["memories.jsonl"] + 1)), "larger than"),
    ],
)
def test_a_bundle_with_other_parts_is_refused(bundle: Path, scratch: Path, edit: Edit, complaint: str) -> None:
    """Missing, foreign, oversized or unreadable: the message says which, and nothing lies outside the folder."""
    rewrite(bundle, edit)
    before = set(bundle.parent.rglob("*"))
    with pytest.raises(InputError, match=complaint):
        read_bundle(bundle, scratch)
    assert {p for p in bundle.parent.rglob("*") if p.parent != scratch} == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_there_twice_is_refused(bundle: Path, scratch: Path) -> None:
    """Two readers could take different ones."""
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(InputError, match="twice"):
        read_bundle(bundle, scratch)


def test_compressed_parts_are_refused_and_so_no_bomb_can_grow(bundle: Path, scratch: Path) -> None:
    """Ten mebibytes of zeros take ten kilobytes in the file; none is unpacked."""
    rewrite(bundle, put("memories.jsonl", bytes(10 << 20)), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_bundle(bundle, scratch)
    assert list(scratch.iterdir()) == []


def test_a_link_is_refused(bundle: Path, scratch: Path) -> None:
    """An entry that would be a symbolic link elsewhere."""
    with zipfile.ZipFile(bundle) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in parts.items():
            part = zipfile.ZipInfo(name)
            part.external_attr = (stat.S_IFLNK if name == "probes.json" else stat.S_IFREG) << 16
            archive.writestr(part, content)
    with pytest.raises(InputError, match=r"probes.json is a link"):
        read_bundle(bundle, scratch)


def test_an_encrypted_part_is_refused(bundle: Path, scratch: Path) -> None:
    """By the flag in the zip's directory, without being asked for a password."""
    content = bytearray(bundle.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1
    bundle.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        read_bundle(bundle, scratch)


def test_a_huge_directory_is_not_read(bundle: Path, scratch: Path) -> None:
    """The zip's directory may claim any size: it is not read in one piece."""
    rewrite(bundle, lambda parts: parts.update({f"{'x' * 60_000}{n}": b"" for n in range(20)}))
    with pytest.raises(InputError, match="directory is too large"):
        read_bundle(bundle, scratch)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_refused(tmp_path: Path, scratch: Path, content: bytes) -> None:
    """An empty file, a text, an empty zip; a folder and a name of nothing, too."""
    path = tmp_path / "file"
    path.write_bytes(content)
    for wrong in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="bakemem pack"):
            read_bundle(wrong, scratch)


def forge(path: Path, **changes: Any) -> None:
    """Changes fields of the manifest, under an id that fits."""

    def edit(parts: Parts) -> None:
        values = {**json.loads(parts["manifest.json"]), **changes}
        del values["id"]
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        forged = {**values, "id": hashlib.sha256(canonical.encode()).hexdigest()[:12]}
        parts["manifest.json"] = json.dumps(forged).encode()

    rewrite(path, edit)


REPORT = {"kl_before": 4.0, "kl_after": 0.05, "agreement": 0.98, "recall": 0.99, "abstention": 1.0, "drift": 0.0,
          "steps": 60, "seconds": 14.5, "accepted": True, "reasons": [], "unteachable": []}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_ids": ["a1", "a1"]}, {"memory_ids": ["a1", 2]}, {"created": "2025-01-01T00:00:00"}, {"seed": "0"},
        {"created": "0001-01-01T00:00:00+00:00"}, {"created": "9999-12-31T23:59:00-12:00"},
        {"base_fingerprint": "x\x1b[2J"}, {"base_fingerprint": 5}, {"settings": {"rank": float("nan")}},
        {"settings": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, {"report": {**REPORT, "agreement": "much"}},
        {"report": {**REPORT, "kl_after": float("inf")}}, {"report": {**REPORT, "accepted": 1}},
        {"report": {**REPORT, "reasons": [1]}},
    ],
)  # fmt: skip
def test_a_manifest_with_values_of_another_sort_is_refused(
    bundle: Path, scratch: Path, changes: dict[str, Any]
) -> None:
    """Though its id fits: an id is no signature."""
    forge(bundle, seed=1)
    read_bundle(bundle, scratch)  # the forger forges well
    for file in scratch.iterdir():
        file.unlink()
    forge(bundle, **changes)
    with pytest.raises(InputError, match="manifest"):
        read_bundle(bundle, scratch)


def test_a_manifest_that_names_another_scale_is_refused(bundle: Path, scratch: Path) -> None:
    """The next bake would go on at the rank that it names, of a million if it says so."""
    forge(bundle, settings={"rank": 10**6, "alpha": 2 * 10**6})
    with pytest.raises(InputError, match="another rank than its manifest says"):
        read_bundle(bundle, scratch)


def test_a_changed_manifest_is_refused(bundle: Path, scratch: Path) -> None:
    """Its id is the hash over all of it."""
    rewrite(bundle, lambda parts: parts.update({"manifest.json": parts["manifest.json"].replace(b"base-1", b"base-2")}))
    with pytest.raises(InputError, match="it was changed"):
        read_bundle(bundle, scratch)


@pytest.mark.parametrize(
    ("name", "content", "error", "complaint"),
    [
        ("adapter_config.json", b'{"auto_mapping": {"x": "os"}}', AdapterError, "auto_mapping"),
        ("adapter_model.safetensors", b"\x80\x04pickle", AdapterError, "no readable safetensors"),
        ("probes.json", b"[]", AdapterError, "another hash"),
        ("probes.json", b"[1]", InputError, "probes"),
        ("probes.json", b'[{"turns": [], "kind": 1, "memory_ids": [], "expected": "", "given": ""}]', InputError,
         "probes"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(
    bundle: Path, scratch: Path, name: str, content: bytes, error: type[Exception], complaint: str
) -> None:
    """An adapter that could run code, one that is no safetensors, probes of another kind; the file is named."""
    rewrite(bundle, put(name, content))
    with pytest.raises(error, match=complaint) as raised:
        read_bundle(bundle, scratch)
    assert str(bundle) in str(raised.value)
    assert str(scratch) not in str(raised.value)


def test_files_that_are_not_those_of_the_manifest_are_not_packed(
    tmp_path: Path, staged: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged on the disk, or changed after the check; no file is left."""
    folder, manifest = staged
    weights = folder / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(bytes(len(content)))
    for passes in (False, True):
        if passes:
            monkeypatch.setattr("bakemem.versions.bundle.check_adapter", lambda folder: None)
        with pytest.raises(AdapterError), placed(tmp_path / "new.zip") as file:
            write_bundle(file, folder, manifest, LINES)
    assert not (tmp_path / "new.zip").exists()
    assert list(tmp_path.glob(".bakemem-*")) == []


def test_a_part_that_no_bundle_can_hold_is_not_packed(tmp_path: Path, staged: tuple[Path, Manifest]) -> None:
    """What is written can be read again."""
    with pytest.raises(InputError, match="memories.jsonl has"), placed(tmp_path / "new.zip") as file:
        write_bundle(file, *staged, ["x" * LIMITS["memories.jsonl"]])
    assert not (tmp_path / "new.zip").exists()


def test_what_is_there_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    """A link counts as there, and is replaced itself."""
    target = tmp_path / "target"
    target.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(InputError, match="there already"), placed(link):
        pass
    with placed(link, force=True) as file:
        file.write(b"new")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whole, and nothing beside it."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(InputError, match="No space left"), placed(path, force=True) as file:
            file.write(b"new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]
    with pytest.raises(InputError, match="cannot be written"), placed(tmp_path / "none" / "file"):
        pass
