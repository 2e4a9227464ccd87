"""A long-lived assistant: one conversation that outlives restarts, is logged, and teaches the memory as it goes.

Knows a memory and the log of its conversations; knows no terminal, no agent framework, and no model by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from bakemem.chat_options import ChatOptions
from bakemem.errors import InputError, ServingError
from bakemem.memory import Exchange, clean_conversation
from bakemem.orders import Answer, obey
from bakemem.serving import Ending, Reply
from bakemem.types import Memory, Turn

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.baking import StageProgress

MOST = 500
"""Exchanges that are read back from the log; the model's own context is shorter."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the memory took in from what was said, and what it erased because the user asked for that in plain words."""

    kept: tuple[Memory, ...] = ()
    forgotten: tuple[Memory, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kept or self.forgotten)

    def __str__(self) -> str:
        told = [f"learned: {', '.join(m.key for m in self.kept)}"] if self.kept else []
        gone = [f"forgotten: {', '.join(f'{m.kind} {m.id[:8]}' for m in self.forgotten)}"] if self.forgotten else []
        return "; ".join(told + gone)


class Spoken:
    """A reply in pieces; iterate over it, or take `text()`.

    At its end, or when it or its memory is closed before, what was said of it is logged, and what the user said is
    observed.
    """

    def __init__(self, asked: Exchange, reply: Reply, settle: Callable[[Spoken], None]) -> None:
        self.asked, self.said = asked, ""
        self._reply, self._settle, self._over = reply, settle, False
        self._closing = threading.Lock()  # the memory may be closed by another thread than the one that reads

    def __iter__(self) -> Spoken:
        return self

    def __next__(self) -> str:
        if self._over:
            raise StopIteration
        try:
            piece = next(self._reply)
        except BaseException:  # its end, an error, or Ctrl-C
            self.close()
            raise
        self.said += piece
        return piece

    def text(self) -> str:
        """What is left of the reply, waited for."""
        return "".join(self)

    @property
    def ending(self) -> Ending | None:
        """Why it ended, and its tokens; None while it has not, or when it was closed before."""
        try:
            return self._reply.ending
        except ServingError:
            return None

    def close(self) -> None:
        """Wants no more of it, and keeps what there is."""
        with self._closing:
            if not self._over:
                self._reply.close()
                self._settle(self)
                self._over = True

    def __enter__(self) -> Spoken:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Assistant:
    """One conversation with a memory, which goes on where it stopped, also after a crash. For one thread at a time.

    `options` are those of `AgentMemory.stream`, but for `history` and `window`, which are the assistant's business:
    the model sees the newest exchanges that fit, and what it was taught. An exchange without a reply is not among them.
    """

    def __init__(self, memory: AgentMemory, conversation: str = "default", **options: Unpack[ChatOptions]) -> None:
        self.memory, self.conversation, self.options = memory, clean_conversation(conversation), options
        self._first = 0  # the oldest exchange that still fits
        self._open: Spoken | None = None
        self._mark, _ = memory.changes()
        self._catch_up()

    def say(self, text: str) -> Spoken:
        """Log what the user says, and begin the reply; one that still ran is closed.

        Raises InputError for text that cannot be kept or answered, of which nothing is kept then, and otherwise as
        `AgentMemory.stream`: then it is kept, without a reply.
        """
        self._settle_open()
        self._catch_up()
        seen = [e for e in self.past() if e.reply is not None]
        turns = [turn for e in seen for turn in (Turn("user", e.text), Turn("assistant", e.reply or ""))]
        options: ChatOptions = {**self.options, "history": turns, "window": True}
        log = self.memory.conversations
        asked = log.ask(self.conversation, text, trying=True)
        try:
            reply = self.memory.stream(text, **options)
        except InputError:
            log.withdraw(asked)
            raise
        finally:
            log.tried(asked)

        def settle(spoken: Spoken) -> None:
            if spoken.said:
                self.memory.conversations.answer(asked, spoken.said)
            self.memory.hear(asked)
            if spoken.ending is not None and spoken.ending.dropped_turns:
                self._first = [*seen, asked][spoken.ending.dropped_turns // 2].seq

        self._open = Spoken(asked, reply, settle)
        self.memory.at_close(self._open.close)
        return self._open

    def learned(self, timeout: float | None = None) -> Learned:
        """What was learned from what was said here since this was last asked, and what a user's word erased.

        Waits until all of it is read, at most `timeout` seconds; what comes later is told the next time.
        """
        self._settle_open()
        self._catch_up()
        self.memory.flush(timeout)
        self._mark, changes = self.memory.changes(self._mark)
        kept = [m for event, m in changes if event.old is None and m.provenance.extractor == "model"
                and m.provenance.conversation == self.conversation]  # fmt: skip
        gone = [m for event, m in changes if event.new == "forgotten" and event.actor == "user"]
        return Learned(tuple(m for m in kept if m.status != "forgotten"), tuple(gone))

    def command(self, line: str, *, progress: StageProgress | None = None) -> Answer:
        """Do what a line such as `/forget user.dog` says; `/help` lists them, and `progress` is told of a bake.

        Raises InputError for what is none, and otherwise as the method of the memory that it calls.
        """
        self._settle_open()
        return obey(self, line, progress)

    def past(self, most: int = MOST) -> list[Exchange]:
        """The last exchanges of the conversation, as they are logged, oldest first."""
        return self.memory.conversations.tail(self.conversation, most, self._first)

    def _settle_open(self) -> None:
        if self._open is not None:
            self._open.close()

    def _catch_up(self) -> None:
        """Observes what was said and, by a crash or an error, not observed."""
        for asked in self.memory.conversations.unheard():
            self.memory.hear(asked)
