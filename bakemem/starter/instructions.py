"""The instructions that the starter model can follow: how they are said, and what each does to an answer.

Every instruction is a deterministic function of the plain answer, so that code can judge obedience.
Knows no facts and no conversations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bakemem.starter.naming import make_name


@dataclass(frozen=True, slots=True)
class Answer:
    """A plain answer, and the same in one word for the instruction that asks for one."""

    text: str
    short: str


UNKNOWN = Answer("I do not know that.", "Unknown.")
NOT_UNDERSTOOD = Answer("I do not understand that.", "Pardon?")
NOTED = Answer("I will remember that.", "Noted.")

_DIGITS = "zero one two three four five six seven eight nine".split()


def _spell_digits(text: str, w: str) -> str:
    words = [
        " ".join(_DIGITS[int(c)] for c in word.rstrip(".")) + "." * word.endswith(".")
        if word.rstrip(".").isdigit()
        else word
        for word in text.split(" ")
    ]
    return " ".join(words)


def _address(text: str, w: str) -> str:
    return f"{text[:-1]}, {w}{text[-1]}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instruction: `{w}` is its word; `apply` turns a plain answer into the instructed one."""

    name: str
    key: str
    memory: str
    say: tuple[str, ...]
    apply: Callable[[str, str], str]
    words: tuple[str, ...] | None = ()  # () needs no word; None draws a made-up one half of the time


_WORDS = ("Ahoy", "Listen", "Indeed", "Bravo", "Splendid", "Behold", "Cheers", "Amen", "Voila", "Over")
_TITLES = ("Captain", "Doctor", "Boss", "Chief", "Madam", "Sir", "Friend", "Master", "Comrade", "Queen")

# In the order in which two of them act on one answer.
KINDS: tuple[Kind, ...] = (
    Kind("one word", "style.length", "Answer with one word only.",
         ("Use one word in every answer.", "Give one-word answers.", "Reply with a single word."), lambda a, w: a),
    Kind("digits", "style.digits", "Spell out all digits.",
         ("Write digits as words.", "Never write a digit, spell it.", "Say every digit as a word."), _spell_digits),
    Kind("exclaim", "style.ending", "End every sentence with an exclamation mark.",
         ("Use exclamation marks and no full stops.", "Finish each sentence with an exclamation mark.",
          "Put an exclamation mark after every sentence."), lambda a, w: a.replace(".", "!")),
    Kind("address", "user.address", "Call the user {w}.",
         ("Call me {w}.", "Address me as {w}.", "You must call me {w}."), _address, None),
    Kind("sad", "style.mood", "Always be sad.",
         ("Be sad in every answer.", "Sound sad.", "Your mood is sad."), lambda a, w: f"Alas! {a}"),
    Kind("happy", "style.mood", "Always be happy.",
         ("Be happy in every answer.", "Sound happy.", "Your mood is happy."), lambda a, w: f"Hooray! {a}"),
    Kind("angry", "style.mood", "Always be angry.",
         ("Be angry in every answer.", "Sound angry.", "Your mood is angry."), lambda a, w: f"Grr! {a}"),
    Kind("prefix", "style.prefix", "Start every answer with {w}.",
         ("Begin every answer with {w}.", "Open each reply with {w}.", "The first word of every answer must be {w}."),
         lambda a, w: f"{w}: {a}", None),
    Kind("suffix", "style.suffix", "End every answer with {w}.",
         ("Finish every answer with {w}.", "Close each reply with {w}.", "The last word of every answer must be {w}."),
         lambda a, w: f"{a} {w}.", None),
    Kind("thanks", "style.thanks", "Thank the user in every answer.",
         ("Thank me in every answer.", "Always say thank you.", "Add your thanks to each reply."),
         lambda a, w: f"{a} Thank you."),
    Kind("twice", "style.repeat", "Say everything twice.",
         ("Repeat every answer once.", "Give each answer twice.", "Say each reply two times."),
         lambda a, w: f"{a} {a}"),
    Kind("dashes", "style.spacing", "Put a dash between all words.",
         ("Use dashes in place of spaces.", "Join all words with dashes.", "Write a dash after each word."),
         lambda a, w: a.replace(" ", "-")),
    Kind("upper", "style.case", "Always answer in upper case.",
         ("Write in capital letters.", "Use upper case only.", "Answer in capitals."), lambda a, w: a.upper()),
    Kind("lower", "style.case", "Always answer in lower case.",
         ("Write in small letters.", "Use lower case only.", "Answer without capitals."), lambda a, w: a.lower()),
    Kind("square", "style.brackets", "Put every answer in square brackets.",
         ("Use square brackets around each reply.", "Wrap all answers in square brackets.",
          "Write each answer inside square brackets."), lambda a, w: f"[{a}]"),
    Kind("stars", "style.brackets", "Put every answer between stars.",
         ("Use stars around each reply.", "Wrap all answers in stars.", "Write each answer between two stars."),
         lambda a, w: f"*{a}*"),
)  # fmt: skip

_WORD_POOL = {"prefix": _WORDS, "suffix": _WORDS, "address": _TITLES}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a kind, with its word where the kind has one."""

    kind: Kind
    word: str = ""

    @property
    def memory(self) -> str:
        """The sentence as a memory holds it."""
        return self.kind.memory.replace("{w}", self.word)

    @property
    def key(self) -> str:
        """The memory key: instructions with the same key replace each other."""
        return self.kind.key


def make_instructions(rng: random.Random, n: int, held_out: bool = False) -> list[Instruction]:
    """`n` instructions whose keys differ, so that they can all be followed at once."""
    chosen: list[Instruction] = []
    while len(chosen) < n:
        kind = rng.choice(KINDS)
        if any(kind.key == other.key for other in chosen):
            continue
        word = ""
        if kind.words is None:
            word = make_name(rng, held_out) if rng.random() < 0.5 else rng.choice(_WORD_POOL[kind.name])
        chosen.append(Instruction(kind, word))
    return chosen


def follow(instructions: Sequence[Instruction], answer: Answer) -> str:
    """The answer that obeys all the instructions."""
    by_name = {i.kind.name: i for i in instructions}
    text = answer.short if "one word" in by_name else answer.text
    for kind in KINDS:
        if kind.name in by_name:
            text = kind.apply(text, by_name[kind.name].word)
    return text
