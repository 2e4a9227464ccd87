"""Conversations that are logged: what is said in them is observed once, and what changes in the memory can be followed.

The part of `AgentMemory` that a long-lived assistant stands on. Knows no model.
"""

from __future__ import annotations

from functools import cached_property

from bakemem.knowledge import Knowledge
from bakemem.memory import Conversations, Event, Exchange
from bakemem.types import Memory, Turn


class Conversing(Knowledge):
    """The memories of one namespace, with the log of its conversations."""

    @cached_property
    def conversations(self) -> Conversations:
        """What was said in conversations, redacted as what is observed."""
        return Conversations(self._journal, self._redact)

    def hear(self, asked: Exchange) -> None:
        """Observe what a user said in a logged conversation: once, whatever crashes meanwhile, and never once erased.

        What was replied is not observed.
        """
        if self.config.auto_extract:
            turn = Turn("user", asked.text, "user")
            self._gatherer.offer([turn], asked.conversation, self.conversations.claim(asked))
        else:
            self.conversations.heard(asked)

    def changes(self, after: int | None = None) -> tuple[int, list[tuple[Event, Memory]]]:
        """A number for the present moment, and what happened since the moment with that number (None: nothing), oldest
        first, each with the memory as it is now.
        """
        mark, events = self._journal.changes(after)
        known = self._journal.some({event.memory_id for event in events})
        return mark, [(event, known[event.memory_id]) for event in events]
