"""Homes with made-up versions in them, without any model, and what must hold in every home at every time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bakemem import upkeep
from bakemem.memory import LIVE, Journal, consolidate
from bakemem.types import Draft, Memory, Provenance, Report, Version
from bakemem.versions import Manifest, VersionStore, check_adapter

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
BASE = "base-1"


def write_adapter(folder: Path, seed: int = 0) -> Path:
    """Fills a folder as a bake does: a small adapter with random weights, and no probes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    weights = {f"{LAYER}.lora_{side}.weight": rng.normal(size=shape).astype(np.float32)
               for side, shape in (("A", (2, 8)), ("B", (8, 2)))}  # fmt: skip
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "probes.json").write_text("[]", encoding="utf-8")
    return folder


def remember(journal: Journal, text: str, key: str) -> Memory:
    """Keeps one fact that the user told."""
    return journal.add(Draft("fact", key, text), Provenance(turn=text))


def fake_bake(
    journal: Journal, store: VersionStore, source: Path, *, accepted: bool = True, from_base: bool = False
) -> Version:
    """Commits the adapter in `source` as a version of all that is pending or baked, in the order of the real cycle."""
    name = journal.next_version_name()
    report = Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, accepted, () if accepted else ("agreement is 50%",))
    manifest = Manifest(
        name=name, namespace=journal.namespace, parent=None if from_base else journal.live(),
        created=datetime(2026, 1, 1, tzinfo=UTC), prompt=consolidate(journal.memories(LIVE)), base_fingerprint=BASE,
        report=report, seed=0, data_sha256="0" * 64, settings={"rank": 2},
    )  # fmt: skip
    version = store.stage(source, manifest).version(store.folder(name))
    try:
        check_adapter(version.adapter.folder, base_fingerprint=BASE)
        journal.commit_version(version, accepted=accepted)
    except BaseException:
        if name not in {v.name for v in journal.versions()}:
            store.destroy(name)
        store.settle(name)
        raise
    store.settle(name)
    return version


def let_go(journal: Journal, store: VersionStore, names: Sequence[str], why: str = "collected") -> None:
    """Destroys versions in the order of the real thing: the journal first, then the folders."""
    journal.destroyed(names, "erased" if why == "erased" else "collected")
    for name in names:
        store.destroy(name)


@contextmanager
def opened(home: Path, namespace: str = "default", *, sweep: bool = True) -> Iterator[tuple[Journal, VersionStore]]:
    """Journal and store as `bakemem.open` opens them: what a crash left is swept."""
    home.mkdir(exist_ok=True)
    journal = Journal(home / "journal.db", namespace)
    try:
        store = VersionStore(home, namespace)
        if sweep:
            upkeep.sweep(journal, store)
        yield journal, store
    finally:
        journal.close()


@dataclass(frozen=True)
class State:
    """All that the journal holds to be true, without the times."""

    live: str | None
    statuses: dict[str, str]
    texts: dict[str, str]
    versions: tuple[tuple[str, str, str, tuple[str, ...]], ...]
    tags: dict[str, str]
    reflog: tuple[tuple[str, str | None, str | None], ...]


def state_of(journal: Journal) -> State:
    """What a journal says now."""
    memories = journal.memories()
    return State(
        live=journal.live(), statuses={m.id: m.status for m in memories}, texts={m.id: m.text for m in memories},
        versions=tuple((v.name, v.status, v.gone, v.memory_ids) for v in journal.versions()), tags=journal.tags(),
        reflog=tuple((e.action, e.old, e.new) for e in journal.reflog()),
    )  # fmt: skip


def assert_sound(state: State, store: VersionStore) -> None:
    """The rules of a home that was just opened; raises AssertionError or AdapterError with what is broken.

    Every version that the journal counts on is whole on the disk, no other folder is there, what is baked is in the
    live version and what is pending is not, and the live version may serve.
    """
    kept = [name for name, _, gone, _ in state.versions if not gone]
    for name in kept:
        check_adapter(store.folder(name), base_fingerprint=BASE)
    root = store.folder("v1").parent
    on_disk = {p.name for p in root.iterdir() if p.name[0] in "v."} if root.is_dir() else set()
    assert on_disk == set(kept), f"the journal counts on {kept}, the disk holds {sorted(on_disk)}"
    inside = next((ids for name, _, _, ids in state.versions if name == state.live), ())
    for memory_id, status in state.statuses.items():
        assert (status == "baked") <= (memory_id in inside), f"{memory_id} is baked, but not in {state.live}"
        assert (status == "pending") <= (memory_id not in inside), f"{memory_id} is pending, but {state.live} has it"
    statuses = {name: (status, gone) for name, status, gone, _ in state.versions}
    assert state.live is None or statuses[state.live] == ("accepted", ""), f"{state.live} is live and may not serve"
    assert not {i for i, status in state.statuses.items() if status == "forgotten"} & set(inside)
