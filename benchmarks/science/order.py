"""Experiment 11: what was true is baked, then what is true now; in both orders, with and without superseding.

Six facts change their values all at once, two stay. In the product a newer memory of the same key supersedes the older
one, so that the second bake reads the new values only; `both kept` reads both, as a memory would that only gathers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bakemem.baking import same, share
from bakemem.memory import consolidate
from bakemem.starter import UNKNOWN, Fact, Talk, make_facts
from benchmarks.science.draw import dots
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of

N_CHANGED, N_KEPT = 6, 2
SORTS = ("newest", "reversed", "old reversed", "kept")
"""What is asked: the changed fact, whose the new value is, whose the old one was (nobody's), and what never changed."""


@dataclass(frozen=True)
class Asked:
    """A question with its right answer after the change, and the values that count."""

    sort: str
    text: str
    right: str
    newest: str
    old: str


def changed(rng: random.Random, facts: Sequence[Fact]) -> list[Fact]:
    """The same facts with other values, none of which any of them has or had."""
    used, new = {f.value for f in facts}, []
    for fact in facts:
        while (value := fact.attribute.values(rng, True)) in used:
            pass
        used.add(value)
        new.append(replace(fact, value=value))
    return new


def questions(rng: random.Random, old: Sequence[Fact], new: Sequence[Fact], kept: Sequence[Fact]) -> list[Asked]:
    """Four wordings about each changed fact, two of each other sort."""
    asked: dict[str, Asked] = {}

    def ask(sort: str, known: Fact, kind: str, before: str, right: str = "") -> None:
        talk = Talk(rng, True, [known])
        talk.recall(known, kind)
        question, answer = talk.turns
        asked.setdefault(question.content, Asked(sort, question.content, right or answer.content, known.value, before))

    for was, now in zip(old, new, strict=True):
        for kind in ("direct", "paraphrase", "paraphrase", "paraphrase"):
            ask("newest", now, kind, was.value)
        for _ in range(2):
            ask("reversed", now, "reversed", was.value)
            ask("old reversed", was, "reversed", was.value, UNKNOWN.text)
    for fact in kept:
        for kind in ("direct", "paraphrase", "reversed"):
            ask("kept", fact, kind, "")
    return list(asked.values())


def says(answer: str, value: str) -> bool:
    """Whether the answer holds the value as a word of its own."""
    return re.search(rf"\b{re.escape(value)}\b", answer, re.IGNORECASE) is not None


def score(asked: Sequence[Asked], answers: Sequence[str]) -> Figures:
    """Right answers of each sort; how often the newest and the old value are said when the changed fact is asked."""
    pairs = list(zip(asked, answers, strict=True))
    told = [(q, a) for q, a in pairs if q.sort == "newest"]
    return {
        **{sort: share([same(q.right, a) for q, a in pairs if q.sort == sort]) for sort in SORTS},
        "newest said": share([says(a, q.newest) for q, a in told]),
        "old said": share([says(a, q.old) for q, a in told]),
    }  # fmt: skip


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """Base, prompted and baked in turn: first A then B; with the product's own way also B then A, and both kept."""
    rng = rng_of("order", seed)
    facts = make_facts(rng, N_CHANGED + N_KEPT, held_out=True)
    a, kept = facts[:N_CHANGED], facts[N_CHANGED:]
    b = changed(rng, facts)[:N_CHANGED]
    made: Figures = {"changed": [[was.memory, now.memory] for was, now in zip(a, b, strict=True)], "models": {}}
    for name, old, new in (("A then B", a, b), ("B then A", b, a))[: 2 if row == "baked" else 1]:
        asked = questions(rng, old, new, kept)
        made["models"] |= {f"{model}, {name}": figures
                           for model, figures in _in_turn(lab, row, seed, asked, (old, new, kept)).items()}  # fmt: skip
    return made


def _in_turn(
    lab: Lab, row: str, seed: int, asked: Sequence[Asked], facts: tuple[Sequence[Fact], Sequence[Fact], Sequence[Fact]]
) -> Figures:  # fmt: skip
    """One order: the old values are baked, then the new ones on top of them."""
    old, new, kept = facts
    before = memories_of(*kept, *old)
    newest = memories_of(*new, first=len(before))
    now, whole = [*before[: len(kept)], *newest], [*before, *newest]

    def scores(prompt: str = "", adapter: str | None = None) -> Figures:
        return score(asked, lab.ask([q.text for q in asked], prompt=prompt, adapter=adapter))

    made = {
        "base": scores(), "prompted": scores(consolidate(now).text),
        "both in one prompt": scores(consolidate(whole).text),
    }  # fmt: skip
    fresh = frozenset(m.id for m in newest)
    with lab.taught(before, seed=seed, way=row) as warm:
        made["first bake"] = scores(adapter=warm.id)
        with lab.taught(now, seed=seed, way=row, start=warm.id, fresh=fresh) as taught:
            made["superseded"] = scores(adapter=taught.id)
        if row == "baked":
            with lab.taught(whole, seed=seed, way=row, start=warm.id, fresh=fresh) as taught:
                made["both kept"] = scores(adapter=taught.id)
    return made


_SHOWN = ("newest", "newest said", "old said", "reversed", "old reversed", "kept")


def page(results: Results) -> Page:
    """Which value wins, by model and order."""
    lines = []
    for row in results.rows():
        for model in results.of(row, "models")[0]:
            kind = model.partition(",")[0]
            if row == "baked" or kind == "superseded":
                named = f"{model} ({row})" if kind in ("first bake", "superseded", "both kept") else model
                lines.append([named, *(results.spread(row, "models", model, what).text() for what in _SHOWN)])
    head = ["", "newest value", "newest said", "old value said", "reversed", "old one reversed is unknown",
            "unchanged facts"]  # fmt: skip
    goals = tuple(
        Goal(f"newest wins, {order}", results.spread("baked", "models", f"superseded, {order}", "newest"), least=0.99)
        for order in ("A then B", "B then A") if "baked" in results.rows()
    )  # fmt: skip
    return Page(table(head, lines), goals, _verdict(results))


def _verdict(results: Results) -> str:
    if "baked" not in results.rows():
        return ""
    superseded, both, prompt = (
        results.spread("baked", "models", f"{model}, A then B", "old said").text()
        for model in ("superseded", "both kept", "both in one prompt")
    )
    return (f"Asked for what changed, the old value is said in {superseded} of the answers where it was superseded, in "
            f"{both} where both were kept and baked, and in {prompt} where both stand in one prompt.")  # fmt: skip


def plot(results: Results, file: Path) -> None:
    """How often the newest and the old value are said, by model, in the order A then B."""
    models = ("prompted", "both in one prompt", "first bake", "superseded", "both kept")
    shown = [*((model, "baked") for model in models), ("superseded", "paper"), ("superseded", "fine-tuned")]
    rows = [(model, row) for model, row in shown if row in results.rows()]
    names = [model if row == "baked" else f"{model} ({row})" for model, row in rows]
    shares = {
        f"the {value} value is said":
            [results.spread(row, "models", f"{model}, A then B", f"{value} said").mean for model, row in rows]
        for value in ("newest", "old")
    }  # fmt: skip
    dots(file, "What was true, then what is true now", names, shares, wanted="answers about facts that changed")


EXPERIMENT = Experiment(
    11, "order", "Order and contradiction", "Does the newest value win, whichever was baked first?", WAYS, measure,
    page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
