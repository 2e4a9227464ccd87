"""A memory whose replies come from a function, for tests of long conversations: no weights, no index on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bakemem.agent_memory import AgentMemory
from bakemem.config import load_config
from bakemem.memory import HomeLock, Journal
from bakemem.memory.redact import Mode, redacted
from bakemem.rendering import Tool
from bakemem.serving import Reply, Request, Sampling, ServingModel
from bakemem.testing import FakeEngine, MemoryIndex, ScriptedExtractor
from bakemem.types import Draft, Turn
from bakemem.versions import VersionStore

DOG = Draft("fact", "user.dog", "The user's dog is called Bosuk.")


class FakeServing:
    """What `ServingModel` is to a memory, over a fake engine; the base serves and no adapter does."""

    live = base = None

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.asked: list[list[Turn]] = []

    def reply(
        self, turns: Sequence[Turn], *, adapter_id: str | None, strength: float, sampling: Sampling, too_long: Any,
        tools: Sequence[Tool] = (), prefix: str = "", grammar: str = "",
    ) -> Reply:  # fmt: skip
        """A reply of the engine's; what was asked is kept."""
        self.asked.append(list(turns))
        request = Request(tuple(turns), adapter_id, strength, sampling, "default", too_long, tools, prefix, grammar)
        return self.engine.submit(request)

    def close(self) -> None:
        """Ends the engine."""
        self.engine.close(0.1)


def echo(request: Request) -> str:
    """The reply to “X” is “You said X”."""
    return f"You said {request.turns[-1].content}"


def open_talk(
    home: Path, says: Mapping[str, Sequence[Draft]] | None = None, *, answer: Callable[[Request], str] = echo,
    pace: float = 0.0, redaction: Mode = "off",
) -> tuple[AgentMemory, FakeServing]:  # fmt: skip
    """A memory in that folder, which learns what `says` finds in a user's words, and what serves it."""
    serving = FakeServing(FakeEngine(answer, pace=pace))
    memory = AgentMemory(
        load_config(home), HomeLock(home).acquire(), Journal(home / "journal.db"), VersionStore(home),
        load_serving=lambda: cast(ServingModel, serving), open_index=MemoryIndex,
        extractor=ScriptedExtractor(says or {}), redact=lambda text: redacted(text, redaction),
    )  # fmt: skip
    return memory, serving
