"""The demo's made-up user: six facts, two instructions, what is said of them, and questions with known right answers.

All of it is drawn from the seed, in names that the starter model has never seen. Knows no memory and no model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bakemem.everyday import everyday
from bakemem.starter import UNKNOWN, Answer, Fact, Instruction, Talk, follow, make_facts, make_instructions, statement


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
            # One-word answers would hide what the table and the curve are to show.
            if own in (self.n_facts // 2, self.n_facts // 2 + 1) and all(
                i.kind.name not in ("one word", "dashes") for i in self.instructions
            ):
                return

    def said(self) -> list[str]:
        """What the user says, one message a memory."""
        rng = random.Random(f"said:{self.seed}")
        told = [statement(rng, fact) for fact in self.facts]
        asked = [instruction.memory.replace("the user", "me") for instruction in self.instructions]
        return [*told, *asked]

    def exam(self, n_known: int, n_unknown: int, n_general: int) -> list[Question]:
        """Questions in wordings that neither the starter's training nor the bake has seen, with the right answers."""
        rng = random.Random(f"exam:{self.seed}")
        questions = []
        for about, n in (("known", n_known), ("unknown", n_unknown)):
            for i in range(n):
                talk = Talk(rng, True, list(self.facts), list(self.instructions))
                fact = self.facts[i % len(self.facts)]
                if about == "known":
                    talk.recall(fact)
                else:
                    talk.abstain()
                asked, answer = talk.turns
                questions.append(Question(asked.content, answer.content, about, fact.value if about == "known" else ""))
        rows = rng.sample(everyday(), n_general)
        return questions + [self.general(row.question, row.answer, row.short) for row in rows]

    def general(self, question: str, answer: str, short: str) -> Question:
        """An everyday question with the right answer under the story's instructions."""
        return Question(question, follow(self.instructions, Answer(answer, f"{short}.")), "general")

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
        """One direct question a fact, for the table."""
        rng = random.Random(f"plain:{self.seed}")
        questions = []
        for fact in self.facts:
            talk = Talk(rng, False, list(self.facts), list(self.instructions))
            talk.recall(fact, "direct")
            right = talk.turns[1].content
            questions.append(Question(fact.fill(fact.attribute.direct[0]), right, "known", fact.value))
        return questions
