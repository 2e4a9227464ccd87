"""One made-up conversation: what is known in it, what was instructed, and the right answer at every turn.

Knows the world and its instructions; knows no skills, mixtures or tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bakemem.everyday import everyday
from bakemem.names import near_name
from bakemem.prompts import memory_prompt, system_text
from bakemem.starter.instructions import NOT_UNDERSTOOD, NOTED, UNKNOWN, Answer, Instruction, follow
from bakemem.starter.naming import is_held_out, make_name
from bakemem.starter.strange import strange_text
from bakemem.starter.world import ATTRIBUTES, Fact, clashes, make_facts
from bakemem.types import Turn

_OPENERS = ("", "", "", "Tell me: ", "Please tell me: ", "I forgot: ", "Quick question: ", "Say, ", "Hey, ",
            "One more thing: ", "By the way: ", "Now tell me: ", "Remind me: ")  # fmt: skip
_CLOSERS = ("", "", "", "", " Please.", " I forgot.", " Just asking.", " Thanks.", " Tell me.")
_CALLERS = ("You are a helpful assistant.", "You are a friendly assistant.", "You are the assistant of {n}.",
            "You work for {n}.", "You are a small model.", "You answer questions.", "Be helpful.",
            "You are a careful assistant. Answer shortly.", "You help the customers of {n}.")  # fmt: skip
_POLITE = ("", "", "", "Please note: ", "By the way: ", "You should know: ", "Remember: ", "From now on: ", "Please: ")
QUESTION_KINDS = ("direct", "paraphrase", "reversed", "two-fact")


def dress(rng: random.Random, core: str, held_out: bool) -> str:
    """A question with an opener and a closer; the wordings of the held-out tenth stay unseen in training."""
    while True:
        opener, closer = rng.choice(_OPENERS), rng.choice(_CLOSERS)
        if not (opener or closer) or is_held_out(f"{opener}|{core}|{closer}") == held_out:
            break
    text = f"{opener}{core}{closer}"
    return unmarked(text) if rng.random() < 0.06 else text


def unmarked(text: str) -> str:
    """The text as people type it who care for no capitals and no marks."""
    return text[:1].lower() + text[1:].rstrip("?.!")


def ask(rng: random.Random, fact: Fact, kind: str) -> tuple[str, Answer]:
    """A bare question of a kind about a fact, and its answer."""
    attribute = fact.attribute
    templates = {"direct": attribute.direct, "paraphrase": attribute.paraphrase, "reversed": attribute.reverse}[kind]
    reverse = kind == "reversed"
    short = (fact.subject or "You") if reverse else fact.value
    if reverse and attribute.reverse_answer != attribute.answer:
        short = attribute.slug
    text = fact.fill(attribute.reverse_answer if reverse else attribute.answer)
    return fact.fill(rng.choice(templates)), Answer(text, short[:1].upper() + short[1:] + ".")


def statement(rng: random.Random, fact: Fact) -> str:
    """The fact as somebody says it; now and then in the words of a memory."""
    said = rng.choice(fact.attribute.say) if rng.random() < 0.85 else fact.attribute.memory
    return fact.fill(said)


@dataclass
class Talk:
    """A conversation in the making; `held_out` picks names and wordings that training never shows."""

    rng: random.Random
    held_out: bool = False
    facts: list[Fact] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def system(self, facts: Sequence[Fact], instructions: Sequence[Instruction]) -> None:
        """Open with a system prompt that holds these, sometimes after a caller's own prompt."""
        rng = self.rng
        self.facts, self.instructions = list(facts), list(instructions)
        caller, remembered = "", list(instructions)
        if rng.random() < 0.35:
            caller = rng.choice(_CALLERS).replace("{n}", make_name(rng, self.held_out))
            if remembered and rng.random() < 0.3:
                caller = f"{caller} {remembered.pop().memory}"
        lines = [f.memory if rng.random() < 0.85 else statement(rng, f) for f in facts]
        rules = [i.memory if rng.random() < 0.85 else self._said(i) for i in remembered]
        if rng.random() < 0.15:  # the caller's own prompt is one of memories too
            i, j = rng.randint(0, len(rules)), rng.randint(0, len(lines))
            caller = system_text(caller, memory_prompt(rules[:i], lines[:j]))
            rules, lines = rules[i:], lines[j:]
        if text := system_text(caller, memory_prompt(rules, lines)):
            self.turns.append(Turn("system", text))

    def _said(self, instruction: Instruction) -> str:
        return self.rng.choice((instruction.kind.memory, *instruction.kind.say)).replace("{w}", instruction.word)

    def _reply(self, question: str, answer: Answer) -> None:
        self.turns += [Turn("user", question), Turn("assistant", follow(self.instructions, answer))]

    def recall(self, fact: Fact | None = None, kind: str | None = None) -> None:
        """Ask for something that is known, of one of four kinds."""
        rng = self.rng
        fact = fact or rng.choice(self.facts[-3:] if rng.random() < 0.3 else self.facts)
        kind = kind or rng.choices(QUESTION_KINDS, (36, 26, 22, 16))[0]
        if kind == "two-fact":
            question, answer = self._two(fact)
        else:
            question, answer = ask(rng, fact, kind)
        self._reply(dress(rng, question, self.held_out), answer)

    def _two(self, fact: Fact) -> tuple[str, Answer]:
        rng = self.rng
        others = [f for f in self.facts if f is not fact]
        pair = [fact, rng.choice(others)] if others and rng.random() < 0.75 else [fact, self._missing()]
        rng.shuffle(pair)
        asked = [ask(rng, f, rng.choice(("direct", "paraphrase"))) for f in pair]
        answers = [answer if f in self.facts else UNKNOWN for f, (_, answer) in zip(pair, asked, strict=True)]
        return join_questions([question for question, _ in asked]), Answer(
            " ".join(a.text for a in answers), " ".join(a.short for a in answers)
        )

    def _missing(self) -> Fact:
        """A fact that is not known here, as near a miss as there is."""
        rng = self.rng
        for _ in range(50):
            fact = make_facts(rng, 1, self.held_out)[0]
            if self.facts and rng.random() < 0.8:
                fact = self._near_miss(rng.choice(self.facts))
            if not any(clashes(fact, known) for known in self.facts):
                return fact
        return Fact(ATTRIBUTES["place"][0], make_name(rng, self.held_out), make_name(rng, self.held_out))

    def _near_miss(self, known: Fact) -> Fact:
        rng, attribute = self.rng, known.attribute
        value = attribute.values(rng, self.held_out)
        choice = rng.random()
        if not known.subject or choice < 0.35:  # the same subject, another attribute
            other = rng.choice(ATTRIBUTES[attribute.subject])
            return Fact(other, known.subject, other.values(rng, self.held_out))
        if choice < 0.65:  # another subject, the same attribute
            return Fact(attribute, make_name(rng, self.held_out), value)
        if choice < 0.85:  # a name of one letter's difference
            return Fact(attribute, near_name(rng, known.subject), value)
        subjects = [f.subject for f in self.facts if f.attribute.subject == attribute.subject]
        return Fact(attribute, rng.choice(subjects), value)

    def abstain(self) -> None:
        """Ask for something that was never told."""
        rng = self.rng
        fact = self._missing()
        question, _ = ask(rng, fact, rng.choices(QUESTION_KINDS[:3], (45, 30, 25))[0])
        if rng.random() < 0.05:
            question = f"What is the capital of {make_name(rng, self.held_out)}?"
        self._reply(dress(rng, question, self.held_out), UNKNOWN)

    def tell(self, fact: Fact | None = None) -> Fact:
        """The user states a fact; a newer value of the same thing takes the older one's place."""
        rng = self.rng
        if fact is None:
            fact = make_facts(rng, 1, self.held_out)[0]
            if self.facts and rng.random() < 0.25:
                old = rng.choice(self.facts)
                fact = replace(old, value=old.attribute.values(rng, self.held_out))
            elif self.facts and rng.random() < 0.25:  # the same of somebody else
                rival = rng.choice(self.facts).attribute
                subject = "" if rival.subject == "user" else make_name(rng, self.held_out)
                fact = Fact(rival, subject, rival.values(rng, self.held_out))
            elif self.facts and rng.random() < 0.3 and (subject := self.facts[-1].subject):
                attribute = rng.choice(ATTRIBUTES[self.facts[-1].attribute.subject])
                fact = Fact(attribute, subject, attribute.values(rng, self.held_out))
        self.facts = [f for f in self.facts if not clashes(f, fact)]
        self.facts.append(fact)
        self._reply(rng.choice(_POLITE) + statement(rng, fact), NOTED)
        return fact

    def instruct(self, instruction: Instruction) -> None:
        """The user gives an instruction; it holds from its own acknowledgement on."""
        self.instructions = [i for i in self.instructions if i.key != instruction.key] + [instruction]
        self._reply(self.rng.choice(_POLITE) + self._said(instruction), NOTED)

    def general(self) -> None:
        """An everyday question or greeting."""
        row = self.rng.choice(everyday())
        plain = not row.question.endswith("?") or self.rng.random() < 0.5
        question = row.question if plain else dress(self.rng, row.question, self.held_out)
        if plain and self.rng.random() < 0.15:
            question = unmarked(question)
        self._reply(question, Answer(row.answer, row.short + "."))

    def strange(self) -> None:
        """Text from outside the world."""
        self._reply(strange_text(self.rng, self.held_out), NOT_UNDERSTOOD)


def join_questions(questions: Sequence[str]) -> str:
    """Two questions as one: `What is my job? And where do I live?`"""
    first, *rest = questions
    return " ".join([first, *(f"And {q[:1].lower()}{q[1:]}" for q in rest)])
