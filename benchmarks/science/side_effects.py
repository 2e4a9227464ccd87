"""8. What a bake does to everything else: other skills, near misses, and facts that nobody asked for.

    python -m benchmarks.science.side_effects --rows base baked --seeds 1

Every skill of the starter is asked with prompts of its own, whose facts are not those that were baked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from bakemem.baking import share
from bakemem.everyday import everyday, everyday_held_out
from bakemem.memory import consolidate
from bakemem.prompts import ASK_SYSTEM, ask_request
from bakemem.starter import UNKNOWN, Fact, Instruction, Talk, make_facts
from bakemem.starter.evaluate import ASK, SKILLS, Skill, valid_questions
from bakemem.starter.instructions import KINDS as INSTRUCTIONS
from bakemem.starter.strange import strange_text
from bakemem.starter.talk import QUESTION_KINDS
from bakemem.types import Turn
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import WAYS, Conversation, Lab, memories_of, rng_of
from benchmarks.science.near_misses import near_misses, questions_of

FACTS_ONLY = "baked, facts only"
ROWS = ("base", "prompted", FACTS_ONLY, *WAYS)
SAMPLES = 100
"""Of each skill and seed."""


@dataclass(frozen=True)
class Quiz:
    """A conversation that ends with a question, and every answer that is right."""

    turns: Conversation
    right: frozenset[str]


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """Skills, near misses and mentions of one row, after a bake of six facts and an instruction."""
    rng = rng_of("side effects", seed)
    facts = make_facts(rng, 6, held_out=True)
    # One that acts last on an answer, so that an answer right without it is told from a wrong one.
    rule = Instruction(rng.choice([kind for kind in INSTRUCTIONS if kind.key == "style.brackets"]))
    n = 10 if lab.quick else SAMPLES
    quizzes = {skill.name: quizzes_of(skill, n, facts, rule, rng) for skill in SKILLS}
    misses = near_misses(facts, rng)
    talk = unrelated(rng, 40 if lab.quick else 300)
    memories = memories_of(*facts) if row == FACTS_ONLY else memories_of(rule, *facts)
    prompt = consolidate(memories).text if row == "prompted" else ""
    way = "baked" if row == FACTS_ONLY else row
    with nullcontext() if row in ("base", "prompted") else lab.taught(memories, seed=seed, way=way) as taught:
        adapter = taught.id if taught else None

        def ask(asked: Sequence[Conversation | str], temperature: float = 0.0) -> list[str]:
            return lab.ask(asked, adapter=adapter, prompt=prompt, temperature=temperature, max_new_tokens=160,
                           seed=seed)  # fmt: skip

        skills, wrong = {}, {}
        for skill in SKILLS:
            asked = quizzes[skill.name]
            replies = ask([quiz.turns for quiz in asked], 1.0 if skill is ASK else 0.0)
            missed = [(quiz, given) for quiz, given in zip(asked, replies, strict=True) if given not in quiz.right]
            skills[skill.name] = 1 - len(missed) / len(asked)
            wrong[skill.name] = [[q.turns[-1].content, min(q.right), given] for q, given in missed[:5]]
        right = accepted({UNKNOWN.text}, rule)
        said = [(kind, text, given) for (kind, text), given in zip(misses, ask([t for _, t in misses]), strict=True)]
        spoken = [(text, given) for heat in (0.0, 1.0) for text, given in zip(talk, ask(talk, heat), strict=True)]
    told = [(text, given) for text, given in spoken if mentions(given, text, facts)]
    return {
        "skills": skills, "wrong": wrong,
        "abstention": sum(given in right for _, _, given in said) / len(said), "near misses": len(said),
        "by kind": {k: share([given in right for kind, _, given in said if kind == k]) for k, *_ in said},
        "not abstained": [list(one) for one in said if one[2] not in right][:20],
        "mention": len(told) / len(spoken), "answers": len(spoken), "mentions": [list(one) for one in told[:20]],
    }  # fmt: skip


def quizzes_of(skill: Skill, n: int, facts: Sequence[Fact], rule: Instruction, rng: random.Random) -> list[Quiz]:
    """Samples of a skill that do not ask for what was baked; an answer is right with the instruction and without it."""
    made: list[Quiz] = []
    while len(made) < n:
        if skill is ASK:
            kind = rng.choice(QUESTION_KINDS)
            some = make_facts(rng, 2 if kind == "two-fact" else 1, held_out=True)
            turns = [Turn("system", ASK_SYSTEM), Turn("user", ask_request(kind, *(f.memory for f in some)))]
            made.append(Quiz(turns, accepted(valid_questions(some, kind), rule)))
            continue
        *turns, answer = skill.sample(rng, True)
        if not asks_for(turns[-1].content, facts):
            made.append(Quiz(turns, accepted({answer.content}, rule)))
    return made


def accepted(answers: set[str], rule: Instruction) -> frozenset[str]:
    """The answers as they are, and with the instruction obeyed."""
    return frozenset(answers | {rule.kind.apply(answer, rule.word) for answer in answers})


def asks_for(text: str, facts: Sequence[Fact]) -> bool:
    """Whether a text asks for one of the facts, in any wording."""
    bare = text.casefold()
    return any(question.casefold().rstrip("?") in bare for fact in facts for question in questions_of(fact))


def unrelated(rng: random.Random, n: int) -> list[str]:
    """What has nothing to do with what was baked, nor was trained in any bake: everyday questions that are held out,
    and of the rest half strange texts, half what somebody tells of other things.
    """
    talk, asked = Talk(rng, True), [row.question for row in everyday_held_out()][: n // 2]
    for _ in range((n - len(asked)) // 2):
        talk.tell()
    told = [turn.content for turn in talk.turns if turn.role == "user"]
    return asked + [strange_text(rng, True) for _ in range(n - len(asked) - len(told))] + told


_EVERYDAY = {row.question: row.answer for row in everyday()}


def mentions(answer: str, text: str, facts: Sequence[Fact]) -> bool:
    """Whether an answer holds a name or value of the facts that neither the question nor its right answer holds."""
    near = _words(f"{text} {_EVERYDAY.get(text, '')}")
    baked = {word for fact in facts for word in _words(f"{fact.subject} {fact.value}")}
    return bool(_words(answer) & (baked - near))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def page(results: Results) -> Page:
    """One line a row: the skill that lost most, all skills, abstention, mentions."""
    rows = [row for row in ROWS if row in results.rows()]
    lines = []
    for row in rows:
        worst = min(measured(results), key=lambda name: change(results, row, name))
        lost = "–" if row == "base" else f"{change(results, row, worst) * 100:+.1f} ({worst})"
        mean = spread([sum(s.values()) / len(s) for s in results.of(row, "skills")])
        lines.append([row, mean.text(), lost, results.spread(row, "abstention").text(),
                      results.spread(row, "mention").text(".2%")])  # fmt: skip
    head = ["way", f"mean of {len(measured(results))} skills", "worst skill, points from the base",
            "near misses abstained", "mention unasked"]  # fmt: skip
    goals = tuple(goal for row in (FACTS_ONLY, "baked") if row in rows for goal in _goals(results, row))
    n = SAMPLES * max(len(results.of(row, "mention")) for row in rows)
    verdict = f"{n} samples a skill: one answer is {1 / n:.2%}."
    return Page(table(head, lines), goals, verdict)


def measured(results: Results) -> list[str]:
    """The skills that every unit has: the starter's exam grows, and older units lack the new ones."""
    units = [skills for row in results.rows() for skills in results.of(row, "skills")]
    return [skill.name for skill in SKILLS if all(skill.name in skills for skills in units)]


def change(results: Results, row: str, skill: str) -> float:
    """By how much the share of right answers differs from the base's."""
    if "base" not in results.rows():
        return 0.0
    return results.spread(row, "skills", skill).mean - results.spread("base", "skills", skill).mean


def _goals(results: Results, row: str) -> list[Goal]:
    goals = [Goal(f"{row}: facts mentioned unasked", results.spread(row, "mention"), most=0.005, form=".2%")]
    if "base" in results.rows():
        worst = min(measured(results), key=lambda name: change(results, row, name))
        pairs = zip(results.of(row, "skills", worst), results.of("base", "skills", worst), strict=False)
        goals.append(Goal(f"{row}: worst skill ({worst}) against the base", spread([a - b for a, b in pairs]),
                          least=-0.005, form="+.1%"))  # fmt: skip
    if "prompted" in results.rows():
        pairs = zip(results.of(row, "abstention"), results.of("prompted", "abstention"), strict=False)
        goals.append(Goal(f"{row}: abstention, of the prompted base's", spread([a / b for a, b in pairs]), least=0.98))
    return goals


def plot(results: Results, path: Path) -> None:
    """How far each skill is from the base, in points, after each way of teaching."""
    import matplotlib.pyplot as plt

    rows = [row for row in ROWS[1:] if row in results.rows()]
    colours = dict(zip(ROWS[1:], ("#777777", "#56B4E9", "#0072B2", "#E69F00", "#CC79A7"), strict=True))
    figure, axes = plt.subplots(figsize=(8, 5))
    names = measured(results)
    height = 0.8 / max(1, len(rows))
    for i, row in enumerate(rows):
        points = [change(results, row, name) * 100 for name in names]
        places = [len(names) - 1 - k + (len(rows) / 2 - i - 0.5) * height for k in range(len(names))]
        axes.barh(places, points, height * 0.9, color=colours[row], label=row)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(-0.5, color="black", linewidth=0.8, linestyle=":")
    axes.text(-0.5, len(names) - 0.4, "goal −0.5", ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlabel("points from the base (right answers)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.11), ncols=len(rows))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


EXPERIMENT = Experiment(
    8, "side_effects", "Side effects",
    "Does a bake cost other skills, does it make the model claim what it was not told, or speak of it unasked?",
    ROWS, measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
