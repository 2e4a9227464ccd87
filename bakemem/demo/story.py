"""The demo's made-up user: six facts, two instructions, what is said of them, and questions with known right answers.

All of it is drawn from the seed, in names that the starter model has never seen. Knows no memory and no model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bakemem.everyday import Everyday, everyday_held_out
from bakemem.starter import UNKNOWN, Answer, Fact, Instruction, Talk, follow, make_facts, make_instructions, statement

# Kinds that hide a value from the probes (one word, digits, dashes), or that make 64 turns longer than 2,048 tokens.
_UNFIT = ("one word", "digits", "dashes", "twice", "upper")


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the right answer with the instructions obeyed, and what it is about: known, unknown or general."""

    text: str
    right: str
    about: str
    value: str = ""


@dataclass
class Story:
    """One user, drawn from a seed."""

    seed: int
    n_facts: int = 6
    n_instructions: int = 2
    facts: list[Fact] = field(init=False)
    instructions: list[Instruction] = field(init=False)

    def __post_init__(self) -> None:
        """Draw them; half of the facts are the user's own, half are about named people and things."""
        rng = random.Random(f"story:{self.seed}")
        while True:
            self.facts = make_facts(rng, self.n_facts, held_out=True)
            self.instructions = make_instructions(rng, self.n_instructions, held_out=True)
            own = sum(not fact.subject for fact in self.facts)
            if own in (self.n_facts // 2, self.n_facts // 2 + 1) and all(
                i.kind.name not in _UNFIT for i in self.instructions
            ):
                return

    def said(self) -> list[str]:
        """What the user says, one message a memory."""
        rng = random.Random(f"said:{self.seed}")
        told = [statement(rng, fact) for fact in self.facts]
        asked = [instruction.memory.replace("the user", "me") for instruction in self.instructions]
        return [*told, *asked]

    def exam(self, n_known: int, n_unknown: int, n_general: int) -> list[Question]:
        """Different questions with their right answers: about memories and near misses in wordings that the starter's
        training never showed, and everyday ones that no bake trains on.
        """
        rng = random.Random(f"exam:{self.seed}")
        questions: dict[str, Question] = {}
        for about, n in (("known", n_known), ("unknown", n_unknown)):
            for i in range(10 * n):
                if sum(q.about == about for q in questions.values()) == n:
                    break
                talk = Talk(rng, True, list(self.facts), list(self.instructions))
                fact = self.facts[i % len(self.facts)]
                if about == "known":
                    talk.recall(fact)
                else:
                    talk.abstain()
                asked, answer = talk.turns
                value = fact.value if about == "known" else ""
                questions.setdefault(asked.content, Question(asked.content, answer.content, about, value))
        rows = rng.sample(everyday_held_out(), n_general)
        return [*questions.values(), *(self.general(row) for row in rows)]

    def general(self, row: Everyday) -> Question:
        """An everyday question with the right answer under the story's instructions."""
        return Question(row.question, follow(self.instructions, Answer(row.answer, f"{row.short}.")), "general")

    def strangers(self, n: int = 12) -> list[Question]:
        """Direct questions about people whom the story never mentions."""
        rng = random.Random(f"strangers:{self.seed}")
        mentioned = {name for fact in self.facts for name in (fact.subject, fact.value)}
        questions: list[Question] = []
        while len(questions) < n:
            fact = make_facts(rng, 1, held_out=True)[0]
            if fact.attribute.subject == "person" and fact.subject not in mentioned:
                asked = fact.fill(fact.attribute.direct[0])
                questions.append(Question(asked, follow(self.instructions, UNKNOWN), "unknown"))
        return questions

    def plain(self) -> list[Question]:
        """One direct question a fact, in a wording that the starter's training never showed."""
        rng = random.Random(f"plain:{self.seed}")
        questions = []
        for fact in self.facts:
            talk = Talk(rng, True, list(self.facts), list(self.instructions))
            talk.recall(fact, "direct")
            asked, answer = talk.turns
            questions.append(Question(asked.content, answer.content, "known", fact.value))
        return questions
