"""Which turns of a conversation hold what is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bakemem.memory.unsaid import Unsaid
from bakemem.types import Memory, Provenance

MakeMemory = Callable[..., Memory]


@pytest.mark.parametrize(
    ("text", "turn", "holds"),
    [
        ("The user's dog is called Bosuk.", "I fed BOSUK today.", True),
        ("The user's dog is called Bosuk.", "Bosuks Napf ist leer.", True),
        ("The user's dog is called Bosuk.", "Your dog is called what you like.", True),
        ("The user's dog is called Bosuk.", "It rains.", False),
        ("The user's cat is called Ik.", "Ik sleeps.", True),
        ("The user's cat is called Ik.", "I like it.", False),
        ("The user was born in 1977.", "So 1977 it is.", True),
        ("The user was born in 1977.", "So 1978 it is.", False),
        ("my dog is called bosuk", "bosuk is hungry", True),
        ("The user drinks green tea.", "There is green soup.", True),
        ("The user drinks green tea.", "Who drinks milk?", False),
        ("用户的狗叫博苏克", "博苏克是我的狗叫什么", True),
        ("用户的狗叫博苏克", "今天下雨", False),
        ("Bosuk is the dog of Anna.", "Bosuk is ill.", True),
        ("Bosuk is Anna's dog.", "How is Bosuk today?", True),
        ("The dog of Anna is ill.", "The weather is fine.", False),
        ("The user's dog is called Bosuk.", "Bo\u200bsuk is ill.", True),
        ("Der Hund des Benutzers heißt Bosuk.", "Das sagt der Benutzer.", False),
        ("उपयोगकर्ता के कुत्ते का नाम बोसुक है।", "बोसुक बीमार है।", True),
        ("The user's brother is called José.", "Jose\u0301 is ill.", True),
        ("The user's brother is called Jose\u0301.", "José is ill.", True),
        ("Ann", "Ann, that is my sister.", True),
        ("Ann", "We are planning the annual report.", False),
        ("C++", "I like C++.", True),
        ("他是王", "我说他是王先生。", True),
        ("\ufeff", "It rains.", False),
    ],
)
def test_a_turn_that_holds_a_value_is_found(make_memory: MakeMemory, text: str, turn: str, holds: bool) -> None:
    """Names, numbers, what stands for them where there are none, and most of the telling words, in any case."""
    assert Unsaid([make_memory(text, key="user.thing")]).holds(turn) is holds


def test_a_first_word_said_in_small_letters_is_no_name(make_memory: MakeMemory) -> None:
    """Only the beginning of the sentence gave it its capital."""
    tea = make_memory("Tea is the favourite drink of the user.", key="user.drink")
    assert Unsaid([tea]).holds("We had tea.")
    told = replace(tea, provenance=Provenance(turn="My favourite drink is tea."))
    assert not Unsaid([told]).holds("We had tea.")


def test_an_instruction_is_found_by_most_of_its_words(make_memory: MakeMemory) -> None:
    """Single words of it are too ordinary to look for."""
    unsaid = Unsaid([make_memory("Always answer in upper case.", "instruction")])
    assert unsaid.holds("Please always answer in upper case, will you?")
    assert not unsaid.holds("In which case?")


def test_the_source_turn_goes_and_so_does_what_quotes_it(make_memory: MakeMemory) -> None:
    """A short one, such as yes, is compared as a whole."""
    unsaid = Unsaid([], ["yes", "It is about my neighbour."])
    assert unsaid.holds("Yes")
    assert not unsaid.holds("yesterday")
    assert unsaid.holds("You said: it is  about my neighbour. Go on.")


def test_nothing_holds_nothing(make_memory: MakeMemory) -> None:
    """Without a text there is nothing to look for."""
    assert not Unsaid([make_memory("")], ["", " "])
    assert not Unsaid([]).holds("anything")


def test_many_memories_are_found_as_each_of_them_is(make_memory: MakeMemory) -> None:
    """Whatever signs they share, and whichever were judged before; a text that was judged is judged the same again."""
    told = ["The user's dog is called Bosuk.", "The user drinks green tea.", "用户的狗叫博苏克", "Ik is ill."]
    memories = [make_memory(text, key=f"ik.{i}") for i, text in enumerate(told)]
    known = Unsaid(memories, ["My dog is Bosuk, I said."], Unsaid(memories[:2], ["So it is."]))
    turns = ["So it is.", "Who drinks milk?", "Green tea, please.", "Ik sleeps.", "I like it.", "博苏克是我的狗叫什么",
             "My dog is Bosuk, I said.", "My dog is called what?", "今天下雨", "The user is ill.", ""]  # fmt: skip
    each = [*(Unsaid([memory]) for memory in memories), Unsaid([], ["My dog is Bosuk, I said.", "So it is."])]
    expected = [any(one.holds(turn) for one in each) for turn in turns]
    assert {True, False} == set(expected)
    assert [known.holds(turn) for turn in turns + turns] == expected * 2
