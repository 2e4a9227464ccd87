"""Whether a home is sound: what the journal says against what lies in the folders, and what `gc` leaves alone.

Reads, and with `repair` removes what a crash left. Knows no model and no index (a damaged one is rebuilt by itself).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bakemem.errors import BakememError, HomeCorruptError, HomeError, InputError
from bakemem.memory import Journal, Ledger, State, faults
from bakemem.types import Memory, Version
from bakemem.versions import VersionStore, check_adapter, kept

BACKUP = "restore a backup of the journal"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do. An `error` breaks a promise of the memory, a `note` does not.

    `repairable`: `check` with repair removes it, which loses nothing; `repaired`: it did.
    """

    severity: Literal["error", "note"]
    where: str
    what: str
    advice: str
    repairable: bool = False
    repaired: bool = False


def check(journal: Journal, store: VersionStore, *, repair: bool = False) -> list[Problem]:
    """What is wrong in one namespace; errors first. With `repair`, which only the home's owner may ask for, orphaned
    and temporary folders and those of destroyed versions are removed.

    Only reads else, and works beside a writer: what is not there a second time was a writer at work. Raises HomeError
    when the journal cannot be read at all, or a folder cannot be removed.
    """
    first = set(_examine(journal, store))
    found = [problem for problem in _examine(journal, store) if problem in first] if first else []
    if repair and any(problem.repairable for problem in found):
        sweep(journal, store)
        found = [dataclasses.replace(problem, repaired=problem.repairable) for problem in found]
    return sorted([*found, *_permissions(journal)], key=lambda problem: problem.severity)


def sweep(journal: Journal, store: VersionStore) -> list[Path]:
    """Remove what a crash left, and return it: temporary folders, versions whose commit or unpacking was cut short, and
    what is left of destroyed ones. Raises HomeError.

    Other folders that the journal knows nothing of mean that it is an older one, or lost: they stay for its restorer.
    """
    return store.sweep({*(v.name for v in journal.versions() if not v.gone), *strangers(journal, store)})


def strangers(journal: Journal, store: VersionStore) -> set[str]:
    """The version folders that neither the journal knows nor a crash left: a bake or an unpack that was cut short
    leaves one that is marked.
    """
    return {name for name in store.names() - {v.name for v in journal.versions()} if store.settled(name)}


def spared(state: State, keep: int) -> dict[str, str]:
    """The versions that `gc` leaves alone, with the reason. Raises InputError for a negative number."""
    if keep < 0:
        raise InputError(f"{keep} versions cannot be kept: give 0 or more.")
    moves = [move for move in state.reflog if move.action not in ("erase", "collect")]
    pinned = {moves[-1].old: "rollback of the last move"} if moves and moves[-1].old else {}
    pinned |= {name: pointer if pointer in ("live", "candidate") else f"tagged {pointer}"
               for pointer, name in sorted(state.pointers.items(), key=lambda item: item[0] == "live")}  # fmt: skip
    held = {memory.id for memory in state.memories if memory.status == "held"}
    to_erase = {v.name: "learned what was forgotten: for `bakemem erase`" for v in state.versions
                if v.name in state.tainted and not v.gone}  # fmt: skip
    return {**kept(state.versions, newest=keep, pinned=pinned, held=held, unfit=state.tainted), **to_erase}


def _examine(journal: Journal, store: VersionStore) -> list[Problem]:
    try:
        found = [Problem("error", "journal", text, BACKUP) for text in faults(journal)]
        state = journal.state()
        found += [*_pointers(state), *_memories(journal, state)]
        Ledger(journal).receipts()  # of these nothing is asked but that they can be read
        journal.next_version_name()
    except HomeCorruptError as error:
        return [Problem("error", "journal", str(error), BACKUP)]
    for version in state.versions:
        if not version.gone:
            found += _version(version, state, store)
    return [*found, *_leftovers(journal, state, store)]


def _permissions(journal: Journal) -> Iterator[Problem]:
    root = journal.root
    if os.name != "nt" and root.is_dir() and root.stat().st_mode & 0o077:
        yield Problem("note", str(root), "others on this machine may look into it", f"chmod 700 {root}")


def _pointers(state: State) -> Iterator[Problem]:
    versions = {v.name: v for v in state.versions}
    for pointer, name in state.pointers.items():
        version = versions.get(name)
        mends = {"live": "`bakemem rollback base`", "candidate": BACKUP}
        mend = mends.get(pointer, f"`bakemem tag --delete {pointer}`")
        if version is None:
            yield Problem("error", pointer, f"it names {name}, which does not exist", mend)
        elif pointer == "live" and (version.gone or version.status != "accepted" or name in state.tainted):
            why = version.gone or ("rejected" if version.status != "accepted" else "tainted by what was forgotten")
            yield Problem("error", pointer, f"it names {name}, which must not serve: it is {why}", mend)
        elif version.gone and pointer != "candidate":
            yield Problem("error", pointer, f"it names {name}, which was destroyed", mend)
    moves = [move for move in state.reflog if move.action not in ("erase", "collect")]
    last, live = moves[-1].new if moves else None, state.pointers.get("live")
    if last != live:
        yield Problem("error", "live", f"it is {live or 'base'}, but the last move went to {last or 'base'}",
                      f"`bakemem rollback {last or 'base'}`")  # fmt: skip


def _memories(journal: Journal, state: State) -> Iterator[Problem]:
    live = state.pointers.get("live")
    serve = {i for v in state.versions if v.status == "accepted" and not v.gone and v.name not in state.tainted
             for i in v.memory_ids}  # fmt: skip
    baked = {i for v in state.versions if v.name == live for i in v.memory_ids}
    known = {memory.id for memory in state.memories}
    mend = f"`bakemem rollback base`, then `bakemem rollback {live}`"
    for memory in state.memories:
        where = f"memory {memory.id}"
        if memory.status == "baked" and memory.id not in baked:
            yield Problem("error", where, "it is baked, but in no version that serves, so the agent does not know it",
                          "`bakemem bake --from-base` takes it in")  # fmt: skip
        elif memory.status in ("quarantined", "pending", "held") and memory.id in baked:
            yield Problem("error", where, f"it is {memory.status}, though the live version {live} holds it", mend)
        elif memory.status == "held" and memory.id not in serve:
            yield Problem("note", where, "it is held, and no version that may serve knows it",
                          f"`bakemem release {memory.id[:8]}` gives it back to the prompt")  # fmt: skip
        elif memory.status == "superseded" and memory.superseded_by not in known and not _came_so(journal, memory):
            yield Problem("error", where, "it is superseded by nothing that is there", BACKUP)
        elif memory.superseded_by == memory.id:
            yield Problem("error", where, "it is superseded by itself", BACKUP)
        elif memory.status == "forgotten" and (memory.text or memory.provenance.turn):
            yield Problem("error", where, "it is forgotten, but its text is still there", BACKUP)


def _came_so(journal: Journal, memory: Memory) -> bool:
    """Whether it was superseded already when it came from another home: what took its place may have stayed there."""
    history = journal.history(memory.id)
    return memory.superseded_by is None and any(e.old == e.new == "superseded" for e in history)


def _version(version: Version, state: State, store: VersionStore) -> Iterator[Problem]:
    where = f"version {version.name}"
    if version.parent is not None and version.parent not in {v.name for v in state.versions}:
        yield Problem("error", where, f"its parent {version.parent} does not exist", BACKUP)
    if version.name in state.tainted:
        yield Problem("note", where, "it learned what was forgotten since, and its folder is still there",
                      "`bakemem erase` destroys it")  # fmt: skip
    try:
        folder = store.folder(version.name)
        check_adapter(folder, version_id=version.id)
        stored = store.manifest(version.name).version(folder)
        store.probes(version.name)
    except (BakememError, OSError) as error:
        live = version.name == state.pointers.get("live")
        otherwise = "`bakemem rollback` to another version" if live else "leave it: it does not serve"
        yield Problem("error", where, str(error), f"put its folder back from a backup, or {otherwise}")
        return
    for name, mine, theirs in (
        ("namespace", version.namespace, stored.namespace), ("name", version.name, stored.name),
        ("parent", version.parent, stored.parent), ("status", version.status, stored.status),
        ("memories", version.memory_ids, stored.memory_ids), ("prompt", version.prompt_sha256, stored.prompt_sha256),
        ("base", version.adapter.base_fingerprint, stored.adapter.base_fingerprint),
    ):  # fmt: skip
        if mine != theirs:
            yield Problem("error", where, f"its {name} is {theirs} in the manifest, but {mine} in the journal", BACKUP)


def _leftovers(journal: Journal, state: State, store: VersionStore) -> Iterator[Problem]:
    gone = {v.name: v.gone for v in state.versions if v.gone}
    try:
        orphans, unknown = store.orphans([v.name for v in state.versions if not v.gone]), strangers(journal, store)
    except HomeError as error:
        yield Problem(
            "error", "versions", f"they cannot be listed ({error.__cause__})", "mend the permissions of the home"
        )
        return
    for path in orphans:
        if path.name in gone:
            what = f"it is left of a version that was {gone[path.name]}"
        elif path.name.startswith("."):
            what = "a bake is writing it, or was cut short"
        elif path.name in unknown:
            yield Problem("note", str(path), "the journal knows nothing of it", f"{BACKUP}, or remove the folder")
            continue
        else:
            what = "its commit was cut short"
        yield Problem("note", str(path), what, "`bakemem check --repair` removes it", repairable=True)
