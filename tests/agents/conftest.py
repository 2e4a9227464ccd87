"""Memories without a model for the tests of the agents' room: a scripted extractor, and an index in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.config import load_config
from bakemem.memory import HomeLock, Journal
from bakemem.opening import _redactor
from bakemem.serving import ServingModel
from bakemem.testing import MemoryIndex, ScriptedExtractor
from bakemem.types import Draft
from bakemem.versions import VersionStore

SCRIPT = {
    "My dog is called Bosuk.": [Draft("fact", "user.dog", "The user's dog is called Bosuk.")],
    "My dog is called Rex.": [Draft("fact", "user.dog", "The user's dog is called Rex.")],
    "I live in Tarn.": [Draft("fact", "user.town", "The user lives in Tarn.")],
    "Always answer in upper case.": [Draft("instruction", "style.case", "Always answer in upper case.")],
    "My mail is [REDACTED_EMAIL].": [Draft("fact", "user.mail", "The user's mail is [REDACTED_EMAIL].")],
}
Unloaded = Callable[..., AgentMemory]


def no_model() -> ServingModel:
    """Fails the test that would have loaded a model."""
    raise AssertionError("No model is loaded in this test.")


@pytest.fixture
def unloaded(tmp_path: Path) -> Iterator[Unloaded]:
    """Gives the memory of a namespace of one home, the same one each time."""
    opened: dict[str, AgentMemory] = {}

    def give(namespace: str = "default", **settings: object) -> AgentMemory:
        if namespace not in opened:
            config = load_config(tmp_path, **settings)
            opened[namespace] = AgentMemory(
                config, HomeLock(tmp_path, namespace).acquire(),
                Journal(tmp_path / "journal.db", namespace), VersionStore(tmp_path, namespace),
                load_serving=no_model, open_index=MemoryIndex, extractor=ScriptedExtractor(SCRIPT),
                redact=_redactor(config),
            )  # fmt: skip
        return opened[namespace]

    yield give
    for memory in opened.values():
        memory.close()


@pytest.fixture
def memory(unloaded: Unloaded) -> AgentMemory:
    """The memory of the default namespace."""
    return unloaded()
