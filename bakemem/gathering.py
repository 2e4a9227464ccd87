"""What an agent is told: taken in at once or read out of turns behind the chat, and let go of when it is taken back.

Ties the parts of the memory room together. Knows no model: the extractor and the index are given to it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from bakemem.config import Config
from bakemem.errors import BakememError, HomeError, InputError
from bakemem.memory import (
    INDEXED,
    READ,
    TEACHERS,
    Extractor,
    Gatherer,
    Index,
    Journal,
    Observed,
    Ruling,
    Shadow,
    TurnQueue,
    admit,
    clean_key,
    clean_text,
    forget,
    infer_kind,
    meant,
    once,
    retraction,
    slug_key,
)  # fmt: skip
from bakemem.types import Draft, Kind, Memory, Provenance, Role, Turn

NEAR = 0.8
"""From this cosine on, a new draft and a memory of another key may speak of the same thing."""


class Gathering:
    """Takes in what is told and observed in one namespace, and lets go of what is taken back."""

    def __init__(
        self, config: Config, journal: Journal, *, open_index: Callable[[], Index],
        make_extractor: Callable[[], Extractor], redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        self.config = config
        self._journal, self._make_extractor, self._redact = journal, make_extractor, redact
        self._shadow = Shadow(journal, open_index)
        self._keeping = threading.RLock()  # held by what writes
        self._gatherer = Gatherer(TurnQueue(journal), self._read, most_waiting=config.most_waiting_turns)
        self._rejected: Counter[str] = Counter()
        self.talked: datetime | None = None  # when somebody did last: a bake may wait until nobody does

    def redact(self, text: str) -> str:
        """The text as it may be stored, by the setting `redaction`; with `refuse` it raises InputError for a secret."""
        return self._redact(text)

    def remember(
        self, text: str, *, kind: Kind | None = None, key: str | None = None, role: Role = "user", source: str = "",
        conversation: str = "",
    ) -> Memory:  # fmt: skip
        """Keep one instruction or fact; a newer one with the same key supersedes the older.

        What is not given is inferred: the key by the extractor (else from the text), the kind by its wording. `role`
        says whose word it is: any but the user's and the operator's waits in quarantine, unless it is a fact from a
        trusted `source`. Raises InputError for text that cannot be kept.
        """
        text = self._redact(clean_text(text))
        if key and self._redact(key) != key:
            raise InputError("The key holds what redaction takes out of a text: give another one.")
        provenance = Provenance(role, source or role, conversation, text, "explicit")
        named = key is not None
        found = [] if key else self._extractor.extract(Turn("user", text))
        if len(found) == 1 and kind in (None, found[0].kind):
            kind, key = found[0].kind, found[0].key
        kind = kind or infer_kind(text)
        kept = self._keep(Draft(kind, key or slug_key(text, kind), text), provenance, merge=not named)
        if kept is None:
            raise InputError("No more is taken from there: approve or reject what waits, or see most_an_hour.")
        return kept

    def observe(self, turns: Sequence[Turn], conversation: str = "", *, message_id: str = "") -> None:
        """Take turns of a conversation; what should last is read out of them behind the chat (`flush` waits for it).

        The turns are written down before this returns. What the assistant said is left out; what tools, documents and
        pages say goes to quarantine. The message of a conversation that has this id is heard once in the same words,
        also when they were forgotten since. Raises InputError for text that cannot be stored.
        """
        self.talked = datetime.now(UTC)
        if self.config.auto_extract:
            heard = [t for t in turns if t.role in READ and t.content.strip()]
            written = [Turn(t.role, self._redact(t.content), t.source or t.role) for t in heard]
            named = message_id and conversation
            claim = once(self._journal, conversation, message_id, written) if named else None
            self._gatherer.offer(written, conversation, claim)

    def flush(self, timeout: float | None = None) -> list[Memory]:
        """Wait until the observed turns are read, at most `timeout` seconds; the memories found since the last flush.

        `unread` says what could not be read, or not yet. Raises HomeError when the queue cannot be used.
        """
        found = list(dict.fromkeys(memory.id for memory in self._gatherer.flush(timeout)))
        known = self._journal.some(found)  # as they are now: one may have been superseded or forgotten since
        return [known[i] for i in found if known[i].status != "forgotten"]

    def unread(self) -> list[Observed]:
        """Observed turns that wait or could not be read, with the error; they are tried again some minutes later.

        Not so one in whose reading the process died three times: it stays until `read_again` or until it is forgotten.
        """
        return TurnQueue(self._journal).waiting(1_000)

    def read_again(self) -> None:
        """Try all of `unread` once more behind the chat, also those in whose reading the process died three times."""
        self._gatherer.again()

    @property
    def rejected(self) -> Counter[str]:
        """What was dropped since this was opened, by reason.

        The extractor's proposals that failed a check (also where `remember` asked it for a key alone), and what came
        from a source that told too much.
        """
        return self._rejected + Counter(getattr(self._extractor, "rejected", {}))

    def _read(self, observed: Observed) -> list[Memory]:
        """What is found in a turn; nothing once the turn was forgotten, before it is read or meanwhile."""
        queue, turn = TurnQueue(self._journal), observed.turn
        if not queue.holds(observed):
            return []
        taken_back = retraction(turn.content) if turn.role in TEACHERS else None
        if taken_back:
            clear = self._take_back(observed, *taken_back)
            ends_instruction = taken_back[1]
            if clear or not ends_instruction:
                return []  # “forget that I live in Plinth” tells nothing, “stop using slang” may
        drafts = self._extractor.extract(turn)
        provenance = Provenance(turn.role, turn.source, observed.conversation, turn.content, "model")
        with self._keeping:
            if not queue.holds(observed):
                return []
            kept = [self._keep(draft, provenance, observed.at) for draft in drafts]
        return [memory for memory in kept if memory]

    def _take_back(self, observed: Observed, what: str, instruction: bool) -> bool:
        """Forgets what the user takes back, of what was known when it was said.

        Whether it was clear what; also when the turn itself was forgotten meanwhile, and nothing is to be done.
        """
        with self._keeping:
            if not TurnQueue(self._journal).holds(observed):
                return True
            now = datetime.now(UTC)  # a time yet to come is that of a clock that went wrong
            known = [m for m in self._journal.memories(INDEXED)
                     if not observed.at < (m.valid_from or m.created) <= now]  # fmt: skip
            found = meant(what, instruction, known)
            if found:
                self._forget([memory.id for memory in found], heard=observed)
            else:
                self._rejected["not clear what to forget"] += 1
        return bool(found)

    def _keep(
        self, draft: Draft, provenance: Provenance, said: datetime | None = None, merge: bool = True
    ) -> Memory | None:
        """The memory that holds the draft now; None when its source has told too much.

        With `merge` the draft may take the place of a memory of another key that speaks of the same thing.
        """
        draft = replace(draft, key=clean_key(draft.key))  # as it is kept: its rivals have it so
        with self._keeping:
            rivals = self._journal.memories(INDEXED, key=draft.key)
            ruling = admit(draft, provenance, trust=self.config.trust, rivals=rivals)
            if provenance.role not in TEACHERS and (flood := self._flooded(provenance.source, ruling)):
                self._rejected[flood] += 1
                return None
            if ruling.status == "pending" and merge and not rivals and (twin := self._twin(draft)):
                merged = Draft(draft.kind, twin.key, draft.text)
                rivals = self._journal.memories(INDEXED, key=twin.key)  # a rollback may hold one beside it
                ruling = admit(merged, provenance, trust=self.config.trust, rivals=rivals)
                draft = merged if ruling.status == "pending" else draft
            with self._shadow.behind():
                memory = self._journal.add(draft, provenance, ruling.status, reason=ruling.reason, valid_from=said)
                self._shadow.follow([memory.id])
            return memory

    def _flooded(self, source: str, ruling: Ruling) -> str:
        """Why no more is taken from a source that is no person; empty where it is."""
        if ruling.status == "quarantined" and self._journal.count("quarantined") >= self.config.most_quarantined:
            return "quarantine is full"
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        return "too many an hour" if self._journal.recent(source, an_hour_ago) >= self.config.most_an_hour else ""

    def _twin(self, draft: Draft) -> Memory | None:
        """The memory of another key that speaks of the same thing, if there is one."""
        for memory in self._journal.some(self._shadow.near(draft.text, 3, NEAR)).values():
            alive = memory.status in INDEXED and memory.kind == draft.kind
            if alive and self._extractor.same(draft, memory):
                return memory
        return None

    def _forget(
        self, memory_ids: Sequence[str] = (), *, conversation: str | None = None, source: str | None = None,
        everything: bool = False, heard: Observed | None = None,
    ) -> list[Memory]:  # fmt: skip
        with self._keeping, self._shadow.behind():
            try:
                gone = forget(self._journal, memory_ids, conversation=conversation, source=source,
                              everything=everything, actor="user" if heard else "operator", heard=heard)  # fmt: skip
            except HomeError:  # it may be forgotten all the same
                with suppress(Exception):  # the next opening tries again
                    self._shadow.rebuild()
                raise
            try:
                self._shadow.rebuild()  # also when an earlier try came only half of the way
            except BakememError as error:
                raise HomeError(
                    f"It is forgotten, but the index cannot be built anew ({error}): its next use tries it again."
                ) from error
        return gone

    # ---- the parts

    @cached_property
    def _extractor(self) -> Extractor:
        return self._make_extractor()

    def _close(self) -> None:
        with ExitStack() as ending:  # from the last to the first, and whatever fails, the rest is done
            ending.callback(self._journal.close)
            ending.callback(self._shadow.close)
            ending.callback(self._gatherer.close)
