"""What an agent knows: searched, corrected, decided on, forgotten, and carried out and in.

With `gathering.py` the half of `AgentMemory` that bakes nothing. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from bakemem.errors import InputError
from bakemem.gathering import Gathering
from bakemem.memory import INDEXED, Event, Ledger, clean_text, export, load, local
from bakemem.types import Draft, Kind, Memory, Provenance, Status


@dataclass(frozen=True, slots=True)
class Why:
    """A memory behind an answer: how near it is to the question, where the agent has it from, and where it is now.

    `versions` are those that were baked with it and can serve, oldest first; `live` says whether the one that serves
    is among them, else the memory is in the prompt.
    """

    memory: Memory
    score: float
    versions: tuple[str, ...]
    live: bool

    @property
    def span(self) -> str:
        """The versions in a few words: `v1, v2`, or `v25 … v365, 341 versions`."""
        some = self.versions
        return ", ".join(some) if len(some) <= 3 else f"{some[0]} … {some[-1]}, {len(some)} versions"


class Knowledge(Gathering):
    """The memories of one namespace in one home."""

    # ---- look

    def memories(
        self, status: Status | Sequence[Status] | None = None, *, kind: Kind | None = None,
        since: datetime | None = None, text: str | None = None, source: str | None = None, key: str | None = None,
    ) -> list[Memory]:  # fmt: skip
        """All memories, or those of a status, a kind, a source, a key, kept since, or holding a text; oldest first."""
        return self._journal.memories(status, kind=kind, since=since, text=text, source=source, key=key)

    def history(self, memory_id: str) -> list[Event]:
        """What happened to a memory, oldest first. Raises NotFoundError."""
        return self._journal.history(memory_id)

    def chain(self, memory_id: str) -> list[Memory]:
        """A memory and those that it superseded, newest first. Raises NotFoundError."""
        return self._journal.chain(memory_id)

    def recall(
        self, text: str, k: int = 5, *, kind: Kind | None = None, since: datetime | None = None,
        source: str | None = None,
    ) -> list[Memory]:  # fmt: skip
        """The pending and baked memories nearest in meaning to `text`, of a kind, a source, or kept since.

        A time without a zone is local time.
        """
        since = since and local(since)

        def wanted(memory: Memory) -> bool:
            fits = kind in (None, memory.kind) and source in (None, memory.provenance.source)
            return fits and (since is None or memory.created >= since)

        return [memory for memory, _ in self._shadow.recall(text, k, wanted)]

    def nearest(self, text: str, k: int) -> list[tuple[Memory, float]]:
        """As `recall`, with the cosine of each to the text."""
        return self._shadow.recall(text, k)

    def why(self, question: str, k: int = 3) -> list[Why]:
        """Which memories an answer to the question rests on, from which turns, and in which versions; nearest first.

        Found by meaning, not by asking the model: it tells what could have been known.
        """
        live, lost = self._journal.live(), {v.name for v in self._journal.tainted()}
        versions = [v for v in self._journal.versions() if v.status == "accepted" and not v.gone and v.name not in lost]

        def holding(memory: Memory) -> tuple[str, ...]:
            return tuple(v.name for v in versions if memory.id in v.memory_ids)

        found = self._shadow.recall(question, k)
        return [Why(m, score, holding(m), live in holding(m)) for m, score in found if score > 0]

    # ---- decide

    def approve(self, memory_ids: Sequence[str]) -> list[Memory]:
        """Let memories out of quarantine, as the operator. Raises NotFoundError, TransitionError."""
        with self._keeping, self._shadow.behind():
            approved = self._journal.approve(memory_ids)
            self._shadow.follow([m.id for m in approved])
        return approved

    def reject(self, memory_ids: Sequence[str]) -> list[Memory]:
        """Erase memories that are in quarantine; the tombstones. Raises NotFoundError, InputError for any other."""
        chosen = [self._journal.get(i) for i in memory_ids]
        if other := [m for m in chosen if m.status != "quarantined"]:
            raise InputError(f"Memory {other[0].id} is {other[0].status}, not in quarantine: use forget.")
        return self.forget([m.id for m in chosen])

    def release(self, memory_ids: Sequence[str]) -> list[Memory]:
        """Give held memories back to the prompt, each in place of the live one of its key, if there is one.

        They were in versions that a rollback left. Raises NotFoundError, TransitionError for one that is not held.
        """
        with self._keeping, self._shadow.behind():
            released = self._journal.release(memory_ids)
            self._shadow.follow([m.id for m in released])
        return released

    def edit(self, memory_id: str, text: str) -> Memory:
        """Say a memory in other words: a new one takes its place. Raises NotFoundError, and InputError."""
        old = self._journal.get(memory_id)
        if old.status not in INDEXED:
            raise InputError(f"Memory {old.id} is {old.status}: only what is pending, baked or held can be edited.")
        text = self._redact(clean_text(text))
        kept = self._keep(Draft(old.kind, old.key, text), Provenance("operator", "operator", "", text, "explicit"),
                          merge=False)  # fmt: skip
        assert kept is not None  # the operator's word never waits
        return kept

    def forget(
        self, memory_ids: Sequence[str] = (), *, conversation: str | None = None, source: str | None = None,
        everything: bool = False,
    ) -> list[Memory]:  # fmt: skip
        """Erase memories, or all of a conversation, of a source, or of this namespace; the tombstones are returned.

        Their text leaves journal, history, queue, index and logged conversations, with what they superseded. If the
        live version learned one, the base serves with the rest in its prompt until the next bake; versions that
        learned it never serve again. Raises NotFoundError, InputError when nothing is named, and HomeError, which says
        whether it is forgotten and traces of it stay in the files: then do it once more when there is space, or the
        index could not be built anew, which its next use does.
        """
        if not memory_ids and conversation is None and source is None and not everything:
            raise InputError("Say what to forget: ids, a conversation, a source, or everything.")
        return self._forget(memory_ids, conversation=conversation, source=source, everything=everything)

    # ---- move

    def export(self, place: str = "a program") -> Iterator[str]:
        """All memories with their history as JSON Lines, oldest first, without tombstones; `place` is noted down."""
        Ledger(self._journal).note_copy("memories", place)
        return export(self._journal)

    def load(self, lines: Iterable[str]) -> list[Memory]:
        """Take exported memories in, redacted, all or none; those that are here already are left alone.

        Raises InputError.
        """
        with self._keeping, self._shadow.behind():
            loaded = load(self._journal, lines, self._redact)
            self._shadow.follow([m.id for m in loaded])
        return loaded

    def reindex(self) -> int:
        """Build the meaning index anew from the journal; how many memories are in it."""
        with self._keeping:
            return self._shadow.rebuild()
