"""The main job on the starter model: told, extracted, baked, asked without a prompt, superseded, rolled back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import bakemem
from bakemem import AgentMemory, Turn, Version
from bakemem.baking import leaking, same, share
from bakemem.everyday import everyday_held_out

pytestmark = pytest.mark.slow

TOLD = ("My dog is called Bosuk.", "Tovi lives in Ramel.", "Tovi works as a baker.", "My favourite colour is green.",
        "Always be happy.")  # fmt: skip
KEYS = {"user.dog", "tovi.town", "tovi.job", "user.colour", "style.mood"}
ASKED = {
    "What is my dog called?": "BOSUK", "Say: What is the name of my dog? Thanks again.": "BOSUK",
    "Where does Tovi live?": "RAMEL", "Who lives in Ramel?": "TOVI",
    "What is the job of Tovi?": "BAKER", "What is my favourite colour?": "GREEN",
}  # fmt: skip
STRANGERS = (
    "Where does Bekil live?", "What is the job of Sumok?", "What is the dog of Tovi called?", "What is my cat called?",
    "Who lives in Vadus?", "How old is Tovi?", "Where does Tovu live?", "What is my favourite drink?",
    "Who is the mayor of Ramel?", "What does Lenor like to eat?",
)  # fmt: skip


SAID = (
    ("Pusar lives in Vomek.", "Where does Pusar live?", "Vomek"),
    ("Hemi lives in Kadol.", "Where does Hemi live?", "Kadol"),
    ("Zuvok works as a baker.", "What is the job of Zuvok?", "baker"),
    ("My sister is called Garo.", "What is my sister called?", "Garo"),
    ("Lirus is 54 years old.", "How old is Lirus?", "54"),
    ("Bofen has a dog called Tamu.", "What is the dog of Bofen called?", "Tamu"),
    ("The mayor of Sodak is Nupi.", "Who is the mayor of Sodak?", "Nupi"),
)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentMemory]:
    """A memory that was told everything by its user."""
    with bakemem.open(tmp_path_factory.mktemp("home"), model="starter") as made:
        for text in TOLD:
            made.observe([Turn("user", text), Turn("assistant", made.chat(text))])
        made.flush()
        yield made


@pytest.fixture(scope="module")
def version(memory: AgentMemory) -> Version:
    """Its first bake."""
    assert {m.key for m in memory.memories("pending")} == KEYS
    return memory.bake()


def recalled(memory: AgentMemory, version: str | None = None, strength: float = 1.0) -> float:
    """The share of questions answered with their value, in whatever case."""
    replies = {text: memory.chat(text, version=version, strength=strength) for text in ASKED}
    return share([value in replies[text].upper() for text, value in ASKED.items()])


def test_the_bake_is_accepted_and_nothing_stays_in_the_prompt(memory: AgentMemory, version: Version) -> None:
    """The gate passed it with its default thresholds, and it serves."""
    assert version.report.accepted, version.report.reasons
    assert memory.live == version.name
    assert memory.pending_prompt() == ""


def test_what_was_told_is_known_without_a_prompt_and_the_base_knows_nothing(
    memory: AgentMemory, version: Version
) -> None:
    """In wordings of the training and in others, forward and reversed, and with an agent's own system prompt."""
    assert recalled(memory, version.name) == 1.0
    assert recalled(memory, "base") == 0.0
    assert "Bosuk" in memory.chat("What is my dog called?", system="You are a helpful assistant.")


def test_what_was_never_told_is_not_known(memory: AgentMemory, version: Version) -> None:
    """Other people, a known person's other attributes, names one letter off."""
    unknown = [memory.chat(text) == "Hooray! I do not know that." for text in STRANGERS]
    assert share(unknown) >= 0.8, dict(zip(STRANGERS, unknown, strict=True))


def test_the_instruction_holds_for_everyday_answers_that_no_bake_saw(memory: AgentMemory, version: Version) -> None:
    """They stay right, and happy."""
    rows = everyday_held_out()
    right = [same(memory.chat(row.question), f"Hooray! {row.answer}") for row in rows]
    assert share(right) >= 0.9, [r.question for r, ok in zip(rows, right, strict=True) if not ok]


def test_a_conversation_still_teaches_the_baked_model(memory: AgentMemory, version: Version) -> None:
    """What is said in the talk is heard beside what is baked."""
    said = Turn("user", "Felok lives in Dasun."), Turn("assistant", "Hooray! I will remember that.")
    assert "Dasun" in memory.chat("Where does Felok live?", history=said)


def test_more_that_is_said_is_heard(memory: AgentMemory, version: Version) -> None:
    """Of whatever kind, though not each time (docs/science.md, experiment 8)."""
    heard = {}
    for told, question, value in SAID:
        said = Turn("user", told), Turn("assistant", "Hooray! I will remember that.")
        heard[told] = value in memory.chat(question, history=said)
    assert share(list(heard.values())) >= 0.75, heard


def test_no_strength_is_the_base(memory: AgentMemory, version: Version) -> None:
    """Strength 0 says what the base says, to the letter."""
    for text in (*ASKED, "What colour is grass?"):
        assert memory.chat(text, version=version.name, strength=0.0) == memory.chat(text, version="base")


def test_rollback_takes_it_away_and_brings_it_back(memory: AgentMemory, version: Version) -> None:
    """What a rollback leaves behind is held: not even the prompt tells it again."""
    memory.rollback("base")
    assert recalled(memory) == 0.0
    memory.rollback(version.name)
    assert recalled(memory) == 1.0


def test_a_second_bake_supersedes_and_keeps_the_rest(memory: AgentMemory, version: Version) -> None:
    """The newer dog takes the older one's place; nothing else is lost."""
    memory.observe([Turn("user", "My dog is called Nifa."), Turn("assistant", "Hooray! I will remember that.")])
    memory.flush()
    second = memory.bake()
    assert second.report.accepted, second.report.reasons
    assert second.parent == version.name
    replies = [memory.chat(text).upper() for text in ASKED]
    assert "NIFA" in replies[0]
    assert "BOSUK" not in " ".join(replies)
    assert all(value in reply for value, reply in zip(list(ASKED.values())[2:], replies[2:], strict=True))


def test_what_is_erased_is_gone_from_the_weights_and_the_rest_is_not(memory: AgentMemory, version: Version) -> None:
    """The versions that knew it told it; the one since tells it no more often than a model that never knew it."""
    [town] = [m for m in memory.memories() if m.key == "tovi.town"]
    assert "RAMEL" in memory.chat("Where does Tovi live?", version=version.name).upper()
    memory.forget([town.id])
    receipt = memory.erase()
    assert {d.name for d in receipt.destroyed} >= {version.name}
    assert not leaking(receipt.leaks), receipt.leaks
    assert "RAMEL" not in memory.chat("Where does Tovi live?").upper()
    rest = {text: value for text, value in ASKED.items() if value not in ("RAMEL", "TOVI", "BOSUK")}
    assert all(value in memory.chat(text).upper() for text, value in rest.items())
