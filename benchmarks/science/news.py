"""Experiment 5: two headlines baked one after the other, asked for in every way, near misses among the questions.

A headline is a fact about a place, a project or a person. The second bake goes on from the first. In the product its
teacher is the base with both headlines; in the paper, the model of the first bake with the second headline alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from bakemem.baking import CANDIDATE, rollout, same, share, teach
from bakemem.demo.story import Question
from bakemem.memory import consolidate
from bakemem.starter import Fact, Talk, make_facts
from bakemem.types import Memory, Stimulus
from benchmarks.science.draw import dots
from benchmarks.science.exam import trained_on
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of

EACH = {"u1": 16, "u2": 16, "both": 16, "negative": 32}
"""How many different questions of a sort: about one headline, about two things at once, near misses."""
KNOWN = ("u1", "u2", "both")
ITSELF = "u2 baked on u1, its own teacher"
STAGES = ("none", "u1 prompted", "u1 baked", "both prompted", "both baked")


def headlines(rng: random.Random) -> list[Fact]:
    """Two facts about different named subjects."""
    while True:
        first, second = make_facts(rng, 2, held_out=True)
        if first.subject and second.subject and first.subject != second.subject:
            return [first, second]


def questions(rng: random.Random, facts: Sequence[Fact], seen: Set[str]) -> list[Question]:
    """Different questions of each sort, in wordings that the starter's training never showed, none of them `seen`."""
    asked: dict[str, Question] = {}
    for sort, n in EACH.items():
        for i in range(40 * n):
            if sum(q.about == sort for q in asked.values()) == n:
                break
            talk = Talk(rng, True, list(facts))
            if sort == "negative":
                talk.abstain()
            elif sort == "both":
                talk.recall(facts[i % 2], "two-fact")
            else:
                talk.recall(facts[KNOWN.index(sort)], ("direct", "paraphrase", "reversed")[i % 3])
            question, answer = talk.turns
            value = " ".join(f.value for f in facts if f.value in answer.content)
            if question.content not in seen:
                asked.setdefault(question.content, Question(question.content, answer.content, sort, value))
    return list(asked.values())


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """The right answers of each sort, of base, prompted and baked models, after none, one and two headlines."""
    rng = rng_of("news", seed)
    facts = headlines(rng)
    first, second = memories_of(*facts)
    fresh = frozenset({second.id})
    of_first, of_second = (lab.stimuli([m], lab.settings([m], seed, row), seed) for m in (first, second))
    of_both = lab.stimuli([first, second], lab.settings([first, second], seed, row, fresh), seed, fresh)
    asked = questions(rng, facts, trained_on(of_first) | trained_on(of_second) | trained_on(of_both))
    one, two = (consolidate(memories).text for memories in ([first], [first, second]))

    def scores(prompt: str = "", adapter: str | None = None) -> Figures:
        answers = lab.ask([q.text for q in asked], prompt=prompt, adapter=adapter)
        return {sort: _score([(q, a) for q, a in zip(asked, answers, strict=True) if q.about in sorts])
                for sort, sorts in ({"known": KNOWN} | {sort: (sort,) for sort in EACH}).items()}  # fmt: skip

    made = {"none": scores(), "u1 prompted": scores(one), "both prompted": scores(two)}
    with lab.taught([first], seed=seed, way=row, stimuli=of_first) as warm:
        made["u1 baked"] = scores(adapter=warm.id)
        if row != "paper":
            with lab.taught([first, second], seed=seed, way=row, start=warm.id, fresh=fresh, stimuli=of_both) as both:
                made["both baked"] = scores(adapter=both.id)
                made["both baked and prompted"] = scores(two, both.id)
        if row != "fine-tuned":
            with _on_its_own_word(lab, second, seed, row, warm.id, of_second.train) as adapter:
                made[ITSELF] = scores(adapter=adapter)
    return {"headlines": [f.memory for f in facts], "asked": len(asked), "stages": made}


@contextmanager
def _on_its_own_word(
    lab: Lab, memory: Memory, seed: int, way: str, warm: str, stimuli: Sequence[Stimulus]
) -> Iterator[str]:  # fmt: skip
    """The paper's second bake: the teacher is the adapter `warm`, with the second headline in its prompt."""
    settings, base = lab.settings([memory], seed, way), lab.base
    prompts = lab.reads(stimuli, consolidate([memory]))
    told = rollout(base.model, base.template, stimuli, prompts, seed=seed, lock=base.lock, adapter_name=warm)
    answers = teach(base.model, base.template, told, prompts, lock=base.lock, adapter_name=warm)
    with lab.trained(answers, settings.recipe, start=warm):
        yield CANDIDATE


def _score(pairs: Sequence[tuple[Question, str]]) -> Figures:
    """The share that is right to the letter, and of the answers that hold every value that they should."""
    told = [all(value.lower() in answer.lower() for value in q.value.split()) for q, answer in pairs if q.value]
    return {"right": share([same(q.right, answer) for q, answer in pairs]), "value": share(told)}


def page(results: Results) -> Page:
    """Shares by stage, and whether what was baked equals what was prompted."""
    lines = []
    for row in results.rows():
        for stage in (s for s in results.of(row, "stages")[0] if row == "baked" or "baked" in s):
            cells = [results.spread(row, "stages", stage, sort, "right").text() for sort in ("known", *EACH)]
            named = f"{stage} ({row})" if "baked" in stage else stage
            lines.append([named, *cells, results.spread(row, "stages", stage, "known", "value").text()])
    head = ["", "positive", "about u1", "about u2", "two things", "negative", "value told"]
    return Page(table(head, lines), _goals(results), _verdict(results))


def _goals(results: Results) -> tuple[Goal, ...]:
    if "baked" not in results.rows():
        return ()
    parts = zip(*(results.of("baked", "stages", stage, "known", "right") for stage in ("both baked", "both prompted")),
                strict=True)  # fmt: skip
    return (
        Goal("both headlines baked in turn, right answers as a share of prompted", spread([b / p for b, p in parts]),
             least=0.98),
        Goal("negatives after both", results.spread("baked", "stages", "both baked", "negative", "right"), least=1.0),
    )  # fmt: skip


def _verdict(results: Results) -> str:
    if "baked" not in results.rows():
        return ""
    asked = results.of("baked", "asked")[0]
    kept, alone = (results.spread("baked", "stages", stage, "u1", "right").text() for stage in ("both baked", ITSELF))
    return (f"{asked} questions. After the second bake, questions about the first headline are answered right in "
            f"{kept}; in {alone} where the first bake's own model with the second headline was the teacher, as in the "
            "paper.")  # fmt: skip


def plot(results: Results, file: Path) -> None:
    """Positives and negatives by stage, of the product's bake; the other ways at the end."""
    shown = [*((stage, "baked") for stage in (*STAGES, ITSELF)), ("both baked", "fine-tuned"), (ITSELF, "paper")]
    rows = [(stage, row) for stage, row in shown if row in results.rows()]
    names = [stage if row == "baked" else f"{stage} ({row})" for stage, row in rows]
    shares = {what: [results.spread(row, "stages", stage, sort, "right").mean for stage, row in rows]
              for what, sort in (("positive questions", "known"), ("negative questions", "negative"))}  # fmt: skip
    dots(file, "Two headlines, one after the other", names, shares, wanted="right answers")


EXPERIMENT = Experiment(
    5, "news", "News", "Are two headlines that are baked one after the other known like prompted ones?", WAYS,
    measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
