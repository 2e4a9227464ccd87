"""What changed between two versions is told in memories, scores, answers and weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bakemem.types import Memory, Prompt, Version
from bakemem.versions import AnswerChange, Manifest, VersionStore, diff

Stage = Callable[..., Version]

WEIGHTS = "adapter_model.safetensors"
TIME = datetime(2025, 1, 1, tzinfo=UTC)
MEMORIES = [Memory(i, "default", "fact", i, f"Text {i}.", "baked", TIME) for i in ("a", "b", "c")]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """An empty store."""
    return VersionStore(tmp_path / "home")


@pytest.fixture
def stage(
    store: VersionStore, adapter: Path, shapes: dict[str, tuple[int, ...]], write_weights: Callable[..., None],
    make_manifest: Callable[..., Manifest],
) -> Stage:  # fmt: skip
    """Stores a version of some memories, all of whose weights are the number with these bits."""

    def make(
        name: str, memory_ids: tuple[str, ...] = (), *, bits: int = 0x3F80, answers: Mapping[str, str] | None = None,
        agreement: float = 0.98, base: str = "base-1",
    ) -> Version:  # fmt: skip
        write_weights(adapter / WEIGHTS, shapes, "BF16", bits)
        probes = [
            {"turns": [{"role": "user", "content": "Hello."}, {"role": "user", "content": question}], "kind": "direct",
             "memory_ids": [], "expected": "yes", "given": given}
            for question, given in (answers or {}).items()
        ]  # fmt: skip
        (adapter / "probes.json").write_text(json.dumps(probes))
        manifest = make_manifest(name)
        manifest = dataclasses.replace(
            manifest, prompt=Prompt("", memory_ids), base_fingerprint=base,
            report=dataclasses.replace(manifest.report, agreement=agreement),
        )  # fmt: skip
        return store.stage(adapter, manifest).version(store.folder(name))

    return make


def superseding(*newer: str | None) -> list[Memory]:
    """a, b, c …, each superseded by the memory that is named, if any."""
    return [
        dataclasses.replace(MEMORIES[0], id=i, text=f"Text {i}.", superseded_by=by)
        for i, by in zip("abcd", newer, strict=False)
    ]


def test_added_and_removed_memories_and_score_changes(stage: Stage, store: VersionStore) -> None:
    """In the order of the given memories; what was erased is not listed, whether a tombstone is left or not."""
    tomb = Memory("tomb", "default", "fact", "", "", "forgotten", TIME)
    versions = stage("v1", ("a", "b", "tomb")), stage("v2", ("c", "b", "erased"), agreement=0.93)
    change = diff(*versions, [*MEMORIES, tomb], store)
    assert (change.old, change.new) == ("v1", "v2")
    assert [m.id for m in change.added] == ["c"]
    assert [m.id for m in change.removed] == ["a"]
    assert change.superseded == ()
    assert change.scores["agreement"] == pytest.approx(-0.05)
    assert change.scores["recall"] == 0


def test_a_superseded_memory_stands_beside_what_took_its_place(stage: Stage, store: VersionStore) -> None:
    """Also when one that neither version holds came between; neither of the pair is listed as added or removed."""
    memories = superseding("c", None, "d", None)
    change = diff(stage("v1", ("a", "b")), stage("v2", ("d",)), memories, store)
    assert [(old.id, new.id) for old, new in change.superseded] == [("a", "d")]
    assert change.added == ()
    assert [m.id for m in change.removed] == ["b"]


def test_the_pair_is_of_the_nearest_successor(stage: Stage, store: VersionStore) -> None:
    """When the new version holds several successors, the first counts and the others are added."""
    change = diff(stage("v1", ("a",)), stage("v2", ("b", "c")), superseding("b", "c", None), store)
    assert [(old.id, new.id) for old, new in change.superseded] == [("a", "b")]
    assert [m.id for m in change.added] == ["c"]


def test_a_memory_whose_successor_is_not_in_the_new_version_is_removed(stage: Stage, store: VersionStore) -> None:
    """Neither a successor elsewhere nor memories that name each other in a circle make a pair."""
    change = diff(stage("v1", ("a", "b")), stage("v2"), superseding("b", "c", "b", None), store)
    assert [m.id for m in change.removed] == ["a", "b"]
    assert change.superseded == ()


def test_answers_that_changed(stage: Stage, store: VersionStore) -> None:
    """Only questions that both were asked, with the last turn's words, in the old version's order."""
    old = stage("v1", answers={"Dog?": "Bosuk.", "Town?": "Plinth.", "Old?": "Yes.", "Cat?": "None."})
    new = stage("v2", answers={"Cat?": "Mia.", "Town?": "Plinth.", "New?": "Yes.", "Dog?": "Rex."})
    change = diff(old, new, MEMORIES, store)
    assert change.answers == (AnswerChange("Dog?", "Bosuk.", "Rex."), AnswerChange("Cat?", "None.", "Mia."))
    assert change.problems == ()


def test_layers_that_changed(stage: Stage, store: VersionStore) -> None:
    """An adapter of ones against one of twos: B·A is (2 · 1)·2, then (2 · 4)·2, in each of 64 places."""
    change = diff(stage("v1"), stage("v2", bits=0x4000), MEMORIES, store)
    (layer,) = change.layers
    assert layer.module == "model.layers.0.self_attn.q_proj"
    assert (layer.old, layer.new, layer.change) == pytest.approx((4 * 8, 16 * 8, 12 * 8))


def test_the_base_holds_nothing(stage: Stage, store: VersionStore) -> None:
    """From the base everything is added and changed, to it all removed; scores and answers have nothing beside them."""
    version = stage("v1", ("a", "b"), answers={"Dog?": "Bosuk."})
    up, down = diff(None, version, MEMORIES, store), diff(version, None, MEMORIES, store)
    assert [m.id for m in up.added] == [m.id for m in down.removed] == ["a", "b"]
    assert up.removed == down.added == up.answers == down.answers == up.problems == down.problems == ()
    assert up.scores == down.scores == {}
    assert up.layers[0].change == up.layers[0].new == down.layers[0].old == pytest.approx(4 * 8)
    assert up.layers[0].old == 0
    nothing = diff(None, None, MEMORIES, store)
    assert nothing.added == nothing.layers == nothing.problems == ()


@pytest.mark.parametrize("why", ["collected", "erased"])
def test_a_destroyed_version_is_compared_by_the_journal(stage: Stage, store: VersionStore, why: str) -> None:
    """Memories and scores stay, answers and layers are empty, and the reason is told once."""
    old, new = stage("v1", ("a",), answers={"Dog?": "Bosuk."}), stage("v2", ("b",), answers={"Dog?": "Rex."})
    gone = dataclasses.replace(old, gone=why)  # type: ignore[arg-type]
    store.destroy("v1")
    change = diff(gone, new, MEMORIES, store)
    assert ([m.id for m in change.added], [m.id for m in change.removed]) == (["b"], ["a"])
    assert change.scores["recall"] == 0
    assert change.answers == change.layers == ()
    assert len(change.problems) == 1
    assert f"v1 was {why}" in change.problems[0]
    assert len(diff(gone, gone, MEMORIES, store).problems) == 1


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json", "probes.json", "manifest.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff{[1]", np.zeros(100).tobytes()], ids="none empty odd nul".split())
def test_damaged_files_are_a_problem_and_no_error(
    stage: Stage, store: VersionStore, file: str, content: bytes | None
) -> None:
    """Whatever file is missing or damaged: the memories are compared, the files are not, and the version is named."""
    old, new = stage("v1", ("a",), answers={"Dog?": "Bosuk."}), stage("v2", ("b",), answers={"Dog?": "Rex."})
    path = store.folder("v2") / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    change = diff(old, new, MEMORIES, store)
    assert [m.id for m in change.added] == ["b"]
    assert change.answers == change.layers == ()
    assert len(change.problems) == 1
    assert "v2" in change.problems[0]


def test_weights_of_different_bases_are_not_compared(stage: Stage, store: VersionStore) -> None:
    """The answers are; the numbers of two models mean nothing beside each other."""
    old, new = stage("v1", answers={"Dog?": "Bosuk."}), stage("v2", answers={"Dog?": "Rex."}, base="base-2")
    change = diff(old, new, MEMORIES, store)
    assert len(change.answers) == 1
    assert change.layers == ()
    assert "different bases" in change.problems[0]


def test_answers_that_know_what_was_forgotten_are_not_shown(stage: Stage, store: VersionStore) -> None:
    """They could hold the forgotten text; the way out is named, and the weights' norms tell nothing of it."""
    old, new = stage("v1", answers={"Dog?": "Bosuk."}), stage("v2", answers={"Dog?": "Rex."})
    change = diff(old, new, MEMORIES, store, tainted={"v2"})
    assert change.answers == ()
    assert len(change.layers) == 1
    assert "v2 learned what was forgotten since" in change.problems[0]
    assert "bakemem erase" in change.problems[0]


def test_a_version_that_kept_no_answers_says_so(stage: Stage, store: VersionStore) -> None:
    """An empty list of changed answers is never mistaken for equal ones."""
    change = diff(stage("v1"), stage("v2", answers={"Dog?": "Rex."}), MEMORIES, store)
    assert change.answers == ()
    assert len(change.problems) == 1
    assert "v1 was baked without keeping its answers" in change.problems[0]
