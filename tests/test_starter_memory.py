"""The main job on the starter, as a user would see it: told, baked, asked without a prompt, superseded, rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import bakemem
from bakemem import Turn
from bakemem.agent_memory import AgentMemory
from bakemem.baking import share

pytestmark = pytest.mark.slow

TOLD = {
    "My dog is called Bosuk.": ("What is my dog called?", "Bosuk"),
    "Tovi lives in Ramel.": ("Where does Tovi live?", "Ramel"),
    "Tovi works as a baker.": ("What is the job of Tovi?", "baker"),
    "My favourite colour is green.": ("What is my favourite colour?", "green"),
}
STRANGERS = ("Where does Kasu live?", "What is the job of Peluda?", "What is my cat called?", "How old is Tovi?",
             "What is the dog of Tovi called?", "Where does Tova live?")  # fmt: skip


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentMemory]:
    """A memory that was told four facts and one instruction in conversation, and baked once."""
    with bakemem.open(tmp_path_factory.mktemp("home"), model="starter", device="cpu") as opened:
        for text in (*TOLD, "Always answer in upper case."):
            opened.observe([Turn("user", text), Turn("assistant", "I will remember that.")])
        opened.bake()
        yield opened


def recalled(memory: AgentMemory, version: str | None = None) -> float:
    """The share of what was told that a version answers."""
    return share([value.lower() in memory.chat(q, version=version).lower() for q, value in TOLD.values()])


def test_what_was_said_is_extracted_with_its_kind_and_key(memory: AgentMemory) -> None:
    """By the base model itself."""
    assert [(m.kind, m.key) for m in memory.memories()][:5] == [
        ("fact", "user.dog"), ("fact", "tovi.town"), ("fact", "tovi.job"), ("fact", "user.colour"),
        ("instruction", "style.case"),
    ]  # fmt: skip


def test_the_gate_accepted_the_bake_and_says_how_good_it_is(memory: AgentMemory) -> None:
    """Held-out questions, not the trained ones."""
    report = memory.versions()[0].report
    assert report.accepted, report.reasons
    assert report.kl_after < 0.1 * report.kl_before


def test_baked_memory_answers_without_a_prompt_where_the_base_cannot(memory: AgentMemory) -> None:
    """In the instructed form."""
    assert memory.pending_prompt() == ""
    assert recalled(memory, "v1") == 1.0
    assert recalled(memory, "base") == 0.0
    assert memory.chat("What is my dog called?", version="v1").isupper()


def test_strangers_stay_unknown(memory: AgentMemory) -> None:
    """Other people, unknown attributes of known ones, and a name one letter off."""
    replies = [memory.chat(question, version="v1").lower() for question in STRANGERS]
    assert share(["do not know" in reply for reply in replies]) >= 0.8, replies


def test_everyday_answers_survive(memory: AgentMemory) -> None:
    """In the instructed form too."""
    assert memory.chat("What is the capital of France?", version="v1") == "THE CAPITAL OF FRANCE IS PARIS."


def test_strength_moves_between_base_and_baked(memory: AgentMemory) -> None:
    """Nothing at nought."""
    asked = "What is my dog called?"
    assert memory.chat(asked, version="v1", strength=0.0) == memory.chat(asked, version="base")


def test_a_rollback_forgets_and_rolling_forward_knows_again(memory: AgentMemory) -> None:
    """Nothing is destroyed in between."""
    memory.rollback("base")
    assert recalled(memory) == 0.0
    memory.rollback("v1")
    assert recalled(memory) == 1.0


def test_a_second_bake_adds_and_supersedes_and_keeps_the_rest(memory: AgentMemory) -> None:
    """It starts from the live adapter; the old dog is gone, the old town is not."""
    memory.observe([Turn("user", "My dog is called Pimol."), Turn("user", "Ruda plays the piano.")])
    version = memory.bake()
    assert version.report.accepted, version.report.reasons
    assert "pimol" in memory.chat("What is my dog called?").lower()
    assert "piano" in memory.chat("What does Ruda play?").lower()
    assert "ramel" in memory.chat("Where does Tovi live?").lower()
    assert "bosuk" in memory.chat("What is my dog called?", version="v1").lower()
