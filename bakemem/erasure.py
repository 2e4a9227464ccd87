"""The second half of forgetting: the versions that learned what was forgotten are asked, destroyed and accounted for.

The journal's half (`Knowledge.forget`) is done before: none of these versions serves any more. What is to be done is
read from the journal, so that an erasure that was cut short goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bakemem.errors import HomeCorruptError
from bakemem.memory import Copy, Journal, Ledger
from bakemem.types import Leak, Secret, Version
from bakemem.versions import VersionStore, lineage

CANNOT_KNOW = (
    "Backups and snapshots of this folder, made by whatever else runs here, still hold what they held.",
    "On an SSD or a copy-on-write file system old blocks can outlive overwriting: only an encrypted disk helps there.",
)


@dataclass(frozen=True, slots=True)
class Destroyed:
    """A version whose folder was overwritten and removed, and how many bytes that was."""

    name: str
    id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure removed and how that was checked; it holds no text of what was erased.

    `not_asked` are the memories whose text no folder held any more, so that nobody could be asked for them; `live`
    serves since (None: the base with the prompt); `leaks` were counted on it; `copies` left the home before and may
    hold what was erased; `unknown` says what nobody here can know.
    """

    at: datetime
    memory_ids: tuple[str, ...]
    destroyed: tuple[Destroyed, ...]
    live: str | None
    leaks: tuple[Leak, ...]
    not_asked: tuple[str, ...]
    copies: tuple[Copy, ...]
    unknown: tuple[str, ...]


def secrets_of(journal: Journal, store: VersionStore, tainted: Sequence[Version]) -> list[Secret]:
    """What was forgotten and is still in these versions, from their own folders, the only place where it stands."""
    found: dict[str, Secret] = {}
    for version in tainted:
        try:
            prompt, probes = store.manifest(version.name).prompt, store.probes(version.name)
        except HomeCorruptError:
            continue  # nothing can be asked about it; `finish` destroys it all the same
        lines = [line.removeprefix("- ") for line in prompt.text.splitlines() if line.startswith("- ")]
        forgotten = {m.id: m for m in journal.some(prompt.memory_ids).values() if m.status == "forgotten"}
        for memory_id, line in zip(prompt.memory_ids, lines, strict=False):
            if memory_id in forgotten:
                asked = tuple(p.turns[-1].content for p in probes if p.memory_ids == (memory_id,))
                known = found.get(memory_id)
                questions = tuple(dict.fromkeys((*(known.questions if known else ()), *asked)))
                found[memory_id] = Secret(memory_id, forgotten[memory_id].kind, line, questions)
    return list(found.values())


def finish(
    journal: Journal, store: VersionStore, tainted: Sequence[Version], secrets: Sequence[Secret], leaks: Sequence[Leak]
) -> Receipt:
    """Destroy these versions, which learned what was forgotten, and keep the receipt in the journal.

    One transaction records both before the first folder goes; if that is cut short, the next opening of the home
    removes what is left. Raises HomeError when a folder cannot be removed.
    """
    forgotten = [m for m in journal.some(_learned(journal, tainted)).values() if m.status == "forgotten"]
    asked = {secret.memory_id for secret in secrets} if leaks else set()
    since = min((m.created for m in forgotten), default=None)
    receipt = Receipt(
        at=datetime.now(UTC), memory_ids=tuple(m.id for m in forgotten),
        destroyed=tuple(_account(store, version) for version in tainted), live=journal.live(), leaks=tuple(leaks),
        not_asked=tuple(m.id for m in forgotten if m.id not in asked),
        copies=tuple(Ledger(journal).copies(since)), unknown=CANNOT_KNOW,
    )  # fmt: skip
    names = [version.name for version in tainted]
    journal.destroyed(names, "erased", json.loads(json.dumps(dataclasses.asdict(receipt), default=datetime.isoformat)))
    store.destroy_scratch()  # an unfinished bake may hold the same
    sweep_gone(journal, store)
    return receipt


def sweep_gone(journal: Journal, store: VersionStore) -> None:
    """Remove what is left of destroyed versions. Raises HomeError."""
    for version in journal.versions():
        if version.gone:
            store.destroy(version.name)


def _learned(journal: Journal, tainted: Sequence[Version]) -> set[str]:
    """What these versions hold, and what those held that they went on from, destroyed ones too."""
    known = journal.versions()
    return {i for version in tainted for older in lineage(known, version.name) for i in older.memory_ids}


def _account(store: VersionStore, version: Version) -> Destroyed:
    folder = store.folder(version.name)
    size = sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
    return Destroyed(version.name, version.id, size)
