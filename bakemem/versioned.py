"""The versions of an agent's memory: listed, named, compared. The part of `AgentMemory` that needs no model.

Ties the journal's rows to the store's folders.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from os import PathLike
from pathlib import Path

from bakemem.config import Config
from bakemem.conversing import Conversing
from bakemem.errors import BakeError, HomeCorruptError, InputError
from bakemem.memory import Extractor, Index, Jobs, Journal, Ledger, Observed, ReflogEntry, adopt, export, namespaces
from bakemem.types import Memory, Version
from bakemem.upkeep import Problem, check, spared
from bakemem.versions import (
    ORIGIN,
    Manifest,
    VersionDiff,
    VersionStore,
    check_adapter,
    diff,
    placed,
    read_bundle,
    write_bundle,
)  # fmt: skip


class Versioned(Conversing):
    """The memories of one namespace, with the versions that they were baked into."""

    def __init__(
        self, config: Config, journal: Journal, store: VersionStore, *, open_index: Callable[[], Index],
        make_extractor: Callable[[], Extractor], redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        super().__init__(config, journal, open_index=open_index, make_extractor=make_extractor, redact=redact)
        self._store = store
        self._changing = threading.Lock()
        self._changer: int | None = None  # the thread that holds it
        self._no_changes = threading.Event()

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """What moves the live pointer or destroys folders does so one at a time."""
        if not self._changing.acquire(blocking=False):
            raise BakeError("A bake is running on this memory; wait for it.")
        self._changer = threading.get_ident()
        try:
            yield
        finally:
            self._changer = None
            self._changing.release()

    def _end_changes(self) -> None:
        """Ends a bake at its next step, and waits until nothing moves or destroys versions but this thread."""
        self._no_changes.set()
        if self._changer != threading.get_ident():
            while not self._changing.acquire(timeout=0.2):  # in slices, so that Ctrl-C gets through everywhere
                pass
            self._changing.release()

    @property
    def home(self) -> Path:
        """The folder that the memory is kept in."""
        return self._store.home

    @property
    def namespace(self) -> str:
        """Whose memory this is, of those in the home."""
        return self._journal.namespace

    def namespaces(self) -> list[str]:
        """All namespaces of the home of which anything was ever kept."""
        return namespaces(self._journal)

    @property
    def busy(self) -> bool:
        """Whether a bake runs, or something else that moves the live version."""
        return self._changing.locked()

    def waiting(self) -> list[tuple[Memory, datetime]]:
        """The pending memories, and since when each of them has been so, the longest first."""
        return self._journal.waiting()

    @property
    def jobs(self) -> Jobs:
        """When each job of the schedule ran last, and how it ended."""
        return Jobs(self._journal)

    @property
    def live(self) -> str | None:
        """The name of the version that serves; None is the base with the prompt."""
        return self._journal.live()

    def versions(self) -> list[Version]:
        """All versions of this namespace, rejected and destroyed ones too, oldest first."""
        return self._journal.versions()

    def servable(self, version: str) -> Version:
        """The version of that name, tag, beginning of an id, or `live`.

        Raises NotFoundError, and InputError for one that may not serve.
        """
        return self._journal.servable(version)

    def name_of(self, version_id: str) -> str | None:
        """The name of the version with that id, as a reply has it; None where there is none."""
        return self._journal.name_of(version_id)

    def reflog(self) -> list[ReflogEntry]:
        """Every move of the live pointer, and every version that was destroyed, oldest first."""
        return self._journal.reflog()

    def to_erase(self) -> list[Version]:
        """The versions that learned what was forgotten since: none of them serves, and `erase` destroys them."""
        return self._journal.tainted()

    def tag(self, tag: str, version: str = "live") -> Version:
        """Give a version a name of your own, which `gc` then keeps. Raises InputError, NotFoundError."""
        return self._journal.tag(tag, version)

    def untag(self, tag: str) -> None:
        """Take such a name away. Raises NotFoundError."""
        self._journal.untag(tag)

    def tags(self) -> dict[str, str]:
        """The names of your own, and the versions that they are for."""
        return self._journal.tags()

    def diff(self, old: str, new: str) -> VersionDiff:
        """What changed from one version to another, `base` being the empty one: memories, scores, answers and weights.

        Names may be tags or beginnings of ids. What cannot be read is left out, and `problems` says why.
        Raises NotFoundError.
        """
        return compare(self._journal, self._store, old, new)

    def pack(self, version: str, path: str | PathLike[str], *, force: bool = False) -> Version:
        """Write a version with its memories into one file, which `unpack` takes in elsewhere; the copy is noted down.

        Raises NotFoundError, InputError when the file is there already (unless `force`), cannot be written, or when
        the version was destroyed or learned what was forgotten, AdapterError and HomeCorruptError when it is damaged.
        """
        target = Path(path).absolute()
        with self._keeping:
            found = self._journal.version(version)
            if found.gone:
                raise InputError(f"Version {found.name} was destroyed ({found.gone}): there is nothing left to pack.")
            if found.name in {v.name for v in self._journal.tainted()}:
                raise InputError(f"Version {found.name} learned what was forgotten since: it must not leave this home.")
            manifest = self._store.manifest(found.name)
            if manifest.id != found.id:
                raise HomeCorruptError(f"The folder of {found.name} holds another version, {manifest.id}: restore it.")
            check_adapter(self._store.folder(found.name))  # nothing is noted of one that cannot be packed
            with placed(target, force=force) as file:
                Ledger(self._journal).note_copy(found.name, str(target))  # before a byte is: never a copy unknown
                memories = export(self._journal, found.memory_ids)
                write_bundle(file, self._store.folder(found.name), manifest, memories)
        return found

    def unpack(self, path: str | PathLike[str]) -> Version:
        """Take in a version that `pack` wrote, under the next name; roll back to it to let it serve.

        Its memories arrive held, with their history, or superseded, where they were that in the other home or another
        memory has their key here. One that is here already is returned. Whether it fits the base is seen when it is
        loaded. Raises InputError for a file that is damaged, holds what redaction refuses (what it would mask comes as
        it is: the version learned it), or would bring back what was forgotten, AdapterError, and BakeError while a bake
        runs; then nothing has changed.
        """
        with self._one_change(), self._keeping, self._store.room() as scratch:
            packed, memories = read_bundle(Path(path), scratch)
            origin = str(packed.settings.get(ORIGIN) or packed.id)
            same = [v for v in self._journal.versions() if origin in (v.id, v.settings.get(ORIGIN))]
            tainted = {v.name for v in self._journal.tainted()}
            if lost := [v.name for v in same if v.gone == "erased" or v.name in tainted]:
                raise InputError(
                    f"{path} is {lost[0]}, which learned what was forgotten here: it would bring that back. "
                    "Nothing was taken in."
                )
            if here := [v for v in same if not v.gone]:
                return here[0]
            return self._take_in(scratch, dataclasses.replace(
                packed, name=self._journal.next_version_name(self._store.names()), namespace=self._journal.namespace,
                parent=same[-1].parent if same else None, settings={**packed.settings, ORIGIN: origin},
            ), memories)  # fmt: skip

    def _take_in(self, source: Path, manifest: Manifest, memories: list[str]) -> Version:
        name, redact = manifest.name, self._redact if self.config.redaction == "refuse" else str
        try:
            version = self._store.stage(source, manifest).version(self._store.folder(name))
            with self._shadow.behind():
                adopt(self._journal, version, memories, redact)
                self._shadow.follow(version.memory_ids)
        finally:
            # Ctrl-C can land between the commit and here: what the journal names is never discarded.
            if name not in {v.name for v in self._journal.versions()}:
                self._store.destroy(name)
            self._store.settle(name)
        return self._journal.version(name)

    def gc(self, keep: int = 5, *, dry_run: bool = True) -> list[Version]:
        """Destroy the adapters of old versions; their rows stay. What is, or with `dry_run` would be, destroyed.

        Kept are what is live, what the gate refused last, what has a tag, what a rollback of the last move leads to,
        the newest `keep`, the newest that holds a held memory, and what `erase` is to destroy. Memories stay as they
        are.
        Raises InputError for a negative `keep`, BakeError while a bake runs, HomeError when a folder cannot be removed.
        """
        if dry_run:
            return self._collectable(keep)
        with self._one_change():
            doomed = [version.name for version in self._collectable(keep)]
            self._journal.destroyed(doomed, "collected")  # first: a crash from here on is finished when it is opened
            destroyed = [self._journal.version(name) for name in doomed]
            self._let_go(destroyed)
            for name in doomed:
                self._store.destroy(name)
        return destroyed

    def rollback(self, version: str) -> list[Memory]:
        """Serve another version, or `base`. Destroys nothing; returns the memories whose status it changed.

        Memories that only the left version holds become held; what they superseded comes back if the new one holds it.

        Raises NotFoundError, InputError for a rejected version, AdapterError for one whose adapter is damaged or gone,
        and BakeError while a bake runs (it would undo this).
        """
        with self._one_change():
            target = self._journal.servable(version) if version != "base" else None
            with self._ready(target), self._keeping, self._shadow.behind():
                moved = self._journal.set_live(version)
                self._serve_live()
                self._shadow.follow([m.id for m in moved if m.superseded_by])  # what comes back, or leaves again
        return moved

    def _forget(
        self, memory_ids: Sequence[str] = (), *, conversation: str | None = None, source: str | None = None,
        everything: bool = False, heard: Observed | None = None,
    ) -> list[Memory]:  # fmt: skip
        for memory_id in memory_ids:
            self._journal.get(memory_id)  # an unknown one changes nothing
        self._drop_traces()  # before the journal forgets
        try:
            return super()._forget(memory_ids, conversation=conversation, source=source, everything=everything,
                                   heard=heard)  # fmt: skip
        finally:
            try:
                self._drop_traces()  # of what began meanwhile
            finally:
                self._serve_live()  # what learned it serves no more

    def close(self) -> None:
        """Let go of journal and index; what was observed and is not read yet stays in the queue."""
        self._close()

    def _drop_traces(self) -> None:
        """Destroys what holds memories' text outside the journal: an unfinished bake."""
        self._store.destroy_scratch()

    # ---- what is loaded: nothing, where no model is

    @contextmanager
    def _ready(self, version: Version | None) -> Iterator[None]:
        """Inside, a version can serve. Raises AdapterError when its adapter is damaged or gone."""
        if version is not None:  # whether it fits the base is not known, as none is loaded
            check_adapter(self._store.folder(version.name), version_id=version.id)
        yield

    def _serve_live(self) -> None:
        """Has the model serve what the journal says is live."""

    def _let_go(self, destroyed: Sequence[Version]) -> None:
        """Frees what is loaded of versions that are destroyed."""

    def _collectable(self, keep: int) -> list[Version]:
        state = self._journal.state()
        stay = spared(state, keep)
        return [v for v in state.versions if not v.gone and v.name not in stay]

    def check(self, *, repair: bool = False) -> list[Problem]:
        """What is wrong in this home, as far as it can be seen without a model; nothing is the best answer.

        With `repair` what a crash left is removed, and nothing else. Raises BakeError for that while a bake runs.
        """
        if not repair:
            return check(self._journal, self._store)
        with self._one_change():
            return check(self._journal, self._store, repair=True)


def compare(journal: Journal, store: VersionStore, old: str, new: str) -> VersionDiff:
    """As `Versioned.diff`, for whoever reads beside the owner of the home."""
    a, b = (None if name == "base" else journal.version(name) for name in (old, new))
    return diff(a, b, journal.memories(), store, tainted={v.name for v in journal.tainted()})
