"""Experiment 9: fifty bakes in a row, four new memories each, some of which supersede older ones.

python -m benchmarks.science.sequence --rows rolling --seeds 1
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from bakemem.disk import write_whole
from bakemem.starter import Fact, make_facts
from bakemem.starter.evaluate import SKILLS
from bakemem.starter.world import clashes
from bakemem.types import Memory
from benchmarks.science.exam import KINDS, by_kind, questions, read_by, shards_of
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import Conversation, Lab, Taught, memories_of, rng_of
from benchmarks.science.side_effects import asks_for

EACH = 4  # new memories a bake
SUPERSEDES = 1 / 8
LENGTHS = {"rolling": 50, "no rehearsal": 10, "from base": 25}
LOOK_EVERY = 5
TALKS = 100


@dataclass(frozen=True)
class Told:
    """One memory of the sequence: in which bake it was new, and what it superseded."""

    fact: Fact
    memory: Memory
    generation: int
    before: Told | None = None


def life(rng: random.Random, n_bakes: int) -> list[Told]:
    """What is told over the bakes, `EACH` a bake; no question ever has two answers."""
    facts = make_facts(rng, EACH * n_bakes, held_out=True)
    told: list[Told] = []
    for i, memory in enumerate(memories_of(*facts)):
        generation, before = i // EACH, None
        if generation and rng.random() < SUPERSEDES:
            before, facts[i] = _changed(rng, told, facts, generation)
            memory = replace(memory, key=facts[i].key, text=facts[i].memory)
        told.append(Told(facts[i], memory, generation, before))
    return told


def _changed(rng: random.Random, told: Sequence[Told], facts: Sequence[Fact], generation: int) -> tuple[Told, Fact]:
    """One of an older generation, and the fact with another value, which clashes with no other that is ever told."""
    while True:
        before = rng.choice([t for t in living(told, generation) if t.generation < generation])
        fact = replace(before.fact, value=before.fact.attribute.values(rng, True))
        if not any(clashes(fact, other) for other in facts if other.key != fact.key) and fact not in facts:
            return before, fact


def living(told: Sequence[Told], generation: int) -> list[Told]:
    """What holds after the bake of that generation."""
    known = [t for t in told if t.generation <= generation]
    gone = {t.before.memory.id for t in known if t.before}
    return [t for t in known if t.memory.id not in gone]


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """Bake after bake, each kept; each fifth time everything that is known is asked for."""
    n_bakes = 3 if lab.quick else LENGTHS[row]
    told = life(rng_of("sequence", seed), max(LENGTHS.values()))  # the same for each row
    costs, looks, adapter = begun(lab)
    for generation in range(n_bakes):
        skipped = row == "from base" and generation + 1 < n_bakes and not lab.quick  # nothing goes on from those
        if skipped or (costs and generation < costs[-1]["bake"]):
            continue
        started = time.process_time()
        made = bake(lab, row, seed, told, generation, adapter)
        report = made.baked.report
        costs.append({"bake": generation + 1, "seconds": time.process_time() - started, "steps": report.steps,
                      "agreement": report.agreement, "drift": report.drift, "accepted": report.accepted})  # fmt: skip
        if adapter is not None:
            lab.base.adapters.detach(adapter)
        adapter = made.id
        if (generation + 1) % LOOK_EVERY == 0 or generation in (0, n_bakes - 1):
            exam = rng_of(f"sequence exam {row} {generation}", seed)
            looks.append(look(lab, told, generation, adapter, exam))
        keep(lab, made, costs, looks)
    if adapter is not None:
        lab.base.adapters.detach(adapter)
    rng = rng_of(f"sequence exam {row}", seed)
    return {"costs": costs, "looks": looks, "prompted": teacher(lab, living(told, n_bakes - 1), rng)}


def bake(lab: Lab, row: str, seed: int, told: Sequence[Told], generation: int, adapter: str | None) -> Taught:
    """The bake of one generation, on top of the adapter of the last one or from the base."""
    known = living(told, generation)
    memories = [t.memory for t in known]
    if row == "from base" or adapter is None:
        return lab.bake(memories, seed=seed)
    new = frozenset(t.memory.id for t in known if t.generation == generation)
    settings = lab.settings(memories, seed, fresh=new)
    if row == "no rehearsal":
        settings = replace(settings, rehearsal_questions=0)
    return lab.bake(memories, seed=seed, settings=settings, start=adapter, fresh=new)


def begun(lab: Lab) -> tuple[list[Figures], list[Figures], str | None]:
    """Costs and looks of the bakes that are kept, and the last one's adapter, attached; nothing where none is."""
    file = lab.kept / "bakes.json" if lab.kept else None
    if file is None or not file.exists():
        return [], [], None
    kept = json.loads(file.read_text(encoding="utf-8"))
    lab.base.adapters.attach("kept", file.parent / kept["adapter"])
    return kept["costs"], kept["looks"], "kept"


def keep(lab: Lab, made: Taught, costs: Sequence[Figures], looks: Sequence[Figures]) -> None:
    """A long sequence that is stopped goes on behind its last bake."""
    if lab.kept is None:
        return
    folder = lab.kept / f"after-{costs[-1]['bake']}"
    folder.mkdir(parents=True, exist_ok=True)
    made.baked.save(folder)
    write_whole(lab.kept / "bakes.json", json.dumps({"adapter": folder.name, "costs": costs, "looks": looks}).encode())
    for older in lab.kept.glob("after-*"):
        if older != folder:
            shutil.rmtree(older)


def look(lab: Lab, told: Sequence[Told], generation: int, adapter: str, rng: random.Random) -> Figures:
    """Recall of each generation that is known after a bake, and how often a superseded value comes back."""
    known = living(told, generation)
    asked = questions(rng, [t.fact for t in known], [t.memory for t in known])
    answers = lab.ask([q.text for q in asked], adapter=adapter)
    of = {t.memory.id: t.generation for t in known}
    right: dict[int, list[tuple[bool, bool]]] = {}
    for question, answer in zip(asked, answers, strict=True):
        right.setdefault(of[question.memory], []).append(question.judge(answer))
    old = {t.memory.id: t.before.fact.value.lower() for t in known if t.before}
    back = [old[q.memory] in a.lower() for q, a in zip(asked, answers, strict=True)
            if q.memory in old and q.kind != "reversed"]  # fmt: skip
    exact = [flag for flags in right.values() for flag, _ in flags]
    return {
        "bake": generation + 1, "memories": len(known), "recall": sum(exact) / len(exact),
        "generations": {str(g + 1): sum(e for e, _ in flags) / len(flags) for g, flags in sorted(right.items())},
        "values": {str(g + 1): sum(v for _, v in flags) / len(flags) for g, flags in sorted(right.items())},
        "kinds": by_kind(asked, answers), "old values": sum(back), "asked for superseded": len(back),
        "heard": heard(lab, [t.fact for t in known], adapter, rng),
    }  # fmt: skip


def heard(lab: Lab, facts: Sequence[Fact], adapter: str | None, rng: random.Random) -> float:
    """The share of right answers about what was told a few turns before, none of which is baked."""
    skill = next(skill for skill in SKILLS if skill.name == "in-talk")
    quizzes: list[Conversation] = []
    while len(quizzes) < TALKS:
        quiz = skill.sample(rng, True)
        if not asks_for(quiz[-2].content, facts):
            quizzes.append(quiz)
    answers = lab.ask([turns for *turns, _ in quizzes], adapter=adapter)
    return _share([answer == quiz[-1].content for answer, quiz in zip(answers, quizzes, strict=True)])


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def teacher(lab: Lab, known: Sequence[Told], rng: random.Random) -> dict[str, float]:
    """Recall of the prompted base, which reads the shard that holds the memory, by the kind of question."""
    memories = [t.memory for t in known]
    asked, shard_of = questions(rng, [t.fact for t in known], memories), shards_of(lab, memories)
    return by_kind(asked, lab.ask([read_by(shard_of, q) for q in asked]))


def page(results: Results) -> Page:
    """What is left of the first generation, of all, and what a bake costs."""
    rows = []
    for row in results.rows():
        units = results.of(row)
        looks = [unit["looks"][-1] for unit in units]
        rows.append([
            row, str(looks[0]["bake"]), str(looks[0]["memories"]),
            spread([oldest(look) for look in looks]).text(), spread([lk["recall"] for lk in looks]).text(),
            *(spread([look["kinds"][kind] for look in looks]).text() for kind in KINDS),
            spread([mean(unit["prompted"].values()) for unit in units]).text(),
            f"{sum(lk['old values'] for lk in looks)} of {sum(lk['asked for superseded'] for lk in looks)}",
            " → ".join(spread([unit["looks"][i]["heard"] for unit in units]).text(".0%") for i in (0, -1)),
            " / ".join(f"{mean(u['costs'][n - 1]['seconds'] for u in units):.0f}" for n in _shown(units)),
            spread([_share([c["accepted"] for c in unit["costs"]]) for unit in units]).text(".0%"),
        ])  # fmt: skip
    head = ["bakes", "after", "memories", "oldest generation", "all", *KINDS, "prompted, all", "old values told",
            "told a few turns before, after the first and the last bake",
            "CPU seconds of a bake: first (cold), second, middle, last",
            "accepted by the gate"]  # fmt: skip
    rolling = results.of("rolling")
    goals: list[Goal] = []
    if rolling:
        first = spread([oldest(unit["looks"][-1]) for unit in rolling])
        cost = spread([unit["costs"][-1]["seconds"] / unit["costs"][0]["seconds"] for unit in rolling])
        goals = [Goal("recall of the oldest generation that holds, after the last bake", first, least=0.97),
                 Goal("cost of the last bake, of the first one's", cost, most=1.5, form=".2f")]  # fmt: skip
    return Page(table(head, rows), tuple(goals), verdict(results))


def oldest(look: Figures) -> float:
    """Recall of the first generation that was not superseded whole."""
    generations: dict[str, float] = look["generations"]
    return generations[min(generations, key=int)]


def _shown(units: Sequence[Figures]) -> tuple[int, ...]:
    """The bakes whose cost is shown, counted from 1."""
    last = min(len(unit["costs"]) for unit in units)
    return tuple(dict.fromkeys((1, min(2, last), (last + 1) // 2, last)))


def verdict(results: Results) -> str:
    """What rolling costs against baking everything anew, where both were measured."""
    rolling, cold = results.of("rolling"), results.of("from base")
    if not rolling or not cold:
        return ""
    n = cold[0]["looks"][-1]["bake"]
    same = [look["recall"] for unit in rolling for look in unit["looks"] if look["bake"] == n]
    if not same:
        return ""
    return (f"After {n} bakes the rolling adapter recalls {mean(same):.1%} of what is asked, one baked from the base "
            f"{mean(unit['looks'][-1]['recall'] for unit in cold):.1%}, in "
            f"{mean(unit['costs'][-1]['seconds'] for unit in cold):.0f} CPU seconds in place of "
            f"{mean(unit['costs'][n - 1]['seconds'] for unit in rolling):.0f}.")  # fmt: skip


def plot(results: Results, path: Path) -> None:
    """A heat map: recall of each generation (down) after each bake that was looked at (across), mean of the seeds."""
    import matplotlib.pyplot as plt

    rows = [row for row in ("rolling", "no rehearsal") if results.of(row)]
    figure, axes = plt.subplots(1, len(rows), figsize=(10, 5), squeeze=False, layout="constrained",
                                width_ratios=[3, 1][: len(rows)])  # fmt: skip
    for axis, row in zip(axes[0], rows, strict=True):
        units = results.of(row)
        bakes = [look["bake"] for look in units[0]["looks"]]
        grid = [[cell(units, i, str(g)) for i in range(len(bakes))] for g in range(1, bakes[-1] + 1)]
        image = axis.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest",
                            extent=(-0.5, len(bakes) - 0.5, bakes[-1] + 0.5, 0.5))  # fmt: skip
        axis.set_xticks(range(len(bakes)), [str(b) for b in bakes])
        axis.set_title(f"{row}: all {mean(unit['looks'][-1]['recall'] for unit in units):.0%}, "
                       f"oldest {mean(oldest(unit['looks'][-1]) for unit in units):.0%}")  # fmt: skip
        axis.set_xlabel("after bake")
        axis.set_ylabel("memories that were new in bake")
    figure.colorbar(image, ax=axes[0], label="recall")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def cell(units: Sequence[Figures], i: int, generation: str) -> float:
    """Recall of a generation at the i-th look, mean over the seeds that still hold some of it."""
    found = [unit["looks"][i]["generations"].get(generation) for unit in units]
    kept = [value for value in found if value is not None]
    return mean(kept) if kept else float("nan")


EXPERIMENT = Experiment(
    9, "sequence", "Fifty bakes in a row", "Does the first memory outlive the fiftieth bake, and what does each cost?",
    tuple(LENGTHS), measure, page, plot, seeds=1,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
