"""The starter's world: what it teaches is right, endless and the same for the same seed."""

from __future__ import annotations

import json
import random

import pytest
from transformers import PreTrainedTokenizerBase

from bakemem.everyday import everyday
from bakemem.names import made_up_name
from bakemem.prompts import EXTRACT_SYSTEM
from bakemem.starter import UNKNOWN, Answer, Talk, follow, make_facts, make_instructions
from bakemem.starter.curriculum import conversation, extract, few_shot, long_talk, mixture
from bakemem.starter.evaluate import valid_questions
from bakemem.starter.instructions import KINDS, NOTED, Instruction
from bakemem.starter.naming import is_held_out
from bakemem.starter.talk import QUESTION_KINDS
from bakemem.starter.world import clashes
from bakemem.types import Turn

BY_NAME = {kind.name: kind for kind in KINDS}
ANSWER = Answer("Tarn is 42 years old.", "42.")


@pytest.mark.parametrize(("names", "said"), [
    (["upper"], "TARN IS 42 YEARS OLD."),
    (["one word"], "42."),
    (["digits"], "Tarn is four two years old."),
    (["exclaim", "square"], "[Tarn is 42 years old!]"),
    (["address"], "Tarn is 42 years old, Ahoy."),
    (["prefix", "lower"], "ahoy: tarn is 42 years old."),
    (["suffix", "sad"], "Alas! Tarn is 42 years old. Ahoy."),
    (["thanks", "stars"], "*Tarn is 42 years old. Thank you.*"),
    (["twice", "one word"], "42. 42."),
    (["dashes", "happy"], "Hooray!-Tarn-is-42-years-old."),
    (["angry"], "Grr! Tarn is 42 years old."),
])  # fmt: skip
def test_instructions_do_what_they_say(names: list[str], said: str) -> None:
    """Alone and together, in the order in which they act."""
    assert follow([Instruction(BY_NAME[name], "Ahoy") for name in names], ANSWER) == said


def test_there_are_a_dozen_kinds_of_instruction_and_more() -> None:
    """Each with its own name."""
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 12


def test_a_hundred_and_fifty_everyday_questions() -> None:
    """All different."""
    assert len({row.question for row in everyday()}) == 150


def test_the_same_seed_gives_the_same_samples() -> None:
    """Training can be repeated."""
    first, second = ([mixture(random.Random(f"{i}"), i / 50) for i in range(50)] for _ in range(2))
    assert first == second


def test_facts_of_one_context_never_answer_one_question() -> None:
    """No two of the same subject and attribute, nor of one value asked in reverse."""
    rng = random.Random(1)
    for _ in range(30):
        facts = make_facts(rng, 12)
        assert not any(clashes(a, b) for i, a in enumerate(facts) for b in facts[:i])


def test_held_out_names_and_wordings_never_meet_training() -> None:
    """Names of the tests are of the tenth that training leaves out."""
    rng = random.Random(2)
    named = [f for f in make_facts(rng, 20, held_out=True) if f.subject]
    assert named
    assert all(is_held_out(f.subject) for f in named)
    assert not any(is_held_out(f.subject) for f in make_facts(rng, 20) if f.subject)


def test_abstention_is_about_what_was_not_told() -> None:
    """The answer to a near miss is that it is not known, and recall holds the value."""
    rng = random.Random(3)
    for _ in range(100):
        talk = Talk(rng, False, make_facts(rng, 6))
        talk.abstain()
        assert talk.turns[-1].content == UNKNOWN.text
        asked = talk.turns[0].content
        answerable = {q for f in talk.facts for kind in QUESTION_KINDS[:3] for q in valid_questions([f], kind)}
        assert asked not in answerable


def test_a_newer_value_takes_the_olders_place() -> None:
    """In the talk as in the journal."""
    rng = random.Random(4)
    talk = Talk(rng)
    talk.tell()
    for _ in range(40):
        talk.tell()
        keys = [fact.key for fact in talk.facts]
        assert len(set(keys)) == len(keys)


def test_extraction_samples_are_json_lines_or_none() -> None:
    """Each line has a kind, a key and a text, and everything starts with the library's own prompt."""
    rng = random.Random(5)
    for _ in range(200):
        system, *turns = extract(rng, False, 3)
        assert system == Turn("system", EXTRACT_SYSTEM)
        for answer in turns[1::2]:
            if answer.content != "none":
                for line in answer.content.splitlines():
                    assert set(json.loads(line)) == {"kind", "key", "text"}


def test_few_shot_queries_are_not_among_the_examples() -> None:
    """Or copying would do."""
    rng = random.Random(6)
    for _ in range(100):
        system, query, _ = few_shot(rng, True)
        assert f"\n{query.content}" not in system.content


def test_conversations_fit_the_context(tokenizer: PreTrainedTokenizerBase) -> None:
    """What has a prompt stays far below 2,048 tokens: longer talk is where prompts are forgotten."""
    rng = random.Random(7)
    lengths = [len(tokenizer("".join(t.content for t in conversation(rng, False))).input_ids) for _ in range(200)]
    assert max(lengths) < 1024


def test_long_talks_have_no_prompt_and_fit_the_context(tokenizer: PreTrainedTokenizerBase) -> None:
    """And end with a question whose answer was said a few facts before."""
    rng = random.Random(10)
    for turns in (long_talk(rng, False, 64) for _ in range(10)):
        assert len(turns) == 128
        assert {turn.role for turn in turns} == {"user", "assistant"}
        assert len(tokenizer("".join(t.content for t in turns)).input_ids) < 1900
        assert turns[-1].content not in {UNKNOWN.text, NOTED.text}


def test_any_text_tokenizes_and_comes_back(tokenizer: PreTrainedTokenizerBase) -> None:
    """Byte-level: nothing is lost."""
    for text in ("Ünïcode 😀 \x00 hi  there\n\n 42 it's", "日本語", " ", "BOSUK bosuk Bosuk"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_names_are_cut_alike_in_every_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Those made of syllables into whole ones, so that upper case is a table and not spelling."""
    rng = random.Random(8)
    instructions = make_instructions(rng, 2)
    assert len(instructions) == 2
    for name in (made_up_name(rng) for _ in range(50)):
        counts = {len(tokenizer.tokenize(form)) for form in (name, name.upper(), f" {name}", f" {name.upper()}")}
        assert max(counts) <= 5
