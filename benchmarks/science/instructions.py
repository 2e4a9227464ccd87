"""Experiment 3: twelve kinds of instruction, each baked on its own: is it obeyed without a prompt as with it?

One kind for each memory key of the starter's world (of three moods the first). Beside each two facts are baked, so that
there is something known to ask; the rest of the questions, which no bake saw, are about what was never told and about
everyday things. Only questions whose right answer the instruction changes are asked, and an answer counts as obeyed if
it is that answer to the letter. `form` is the share that looks obedient whatever it says, for models whose plain answer
is not known. A seed bakes four kinds, so three seeds bake all twelve.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path

from bakemem.baking import same, share
from bakemem.memory import consolidate
from bakemem.starter import Fact, make_facts
from bakemem.starter.instructions import KINDS
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of
from benchmarks.science.obedience import instruction_of, obeys, story_of

TWELVE = tuple({kind.key: kind.name for kind in reversed(KINDS)}.values())[::-1]
A_SEED = 4
CASES = ("base", "prompted", "baked", "both")
"""The base alone, with the prompt, the adapter alone, and the adapter with the prompt."""
HEAD = ("base", "prompted", "baked", "baked + prompted")


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """For each kind of the seed (of the baselines: for the first of them) the obeyed share in each case."""
    first = seed * A_SEED % len(TWELVE)
    kinds = TWELVE[first : first + (A_SEED if row == "baked" else 1)]
    measured = {kind: _measure(lab, row, seed, kind) for kind in kinds}
    mean = {case: {name: statistics.mean(m[case][name] for m in measured.values()) for name in ("obeyed", "form")}
            for case in CASES}  # fmt: skip
    return {"kinds": measured, **mean}


def _measure(lab: Lab, row: str, seed: int, kind: str) -> Figures:
    rng = rng_of(f"instructions:{kind}", seed)
    instruction, facts = instruction_of(rng, kind), _facts(rng, kind)
    memories = memories_of(instruction, *facts)
    plain, obeying = (story_of(seed, facts, i).exam(30, 30, 30) for i in ([], [instruction]))
    exam = [o for p, o in zip(plain, obeying, strict=True) if o.right != p.right]
    prompt = consolidate(memories).text
    with lab.taught(memories, seed=seed, way=row) as taught:
        told = {
            case: lab.ask([q.text for q in exam], prompt=prompt if case in ("prompted", "both") else "",
                          adapter=taught.id if case in ("baked", "both") else None)
            for case in CASES
        }  # fmt: skip
    scores = {
        case: {"obeyed": share([same(a, q.right) for a, q in zip(answers, exam, strict=True)]),
               "form": share([obeys(instruction, a) for a in answers])}
        for case, answers in told.items()
    }  # fmt: skip
    return {"instruction": instruction.memory, "questions": len(exam), **scores}


def _facts(rng: random.Random, kind: str) -> list[Fact]:
    """Two facts; of numbers, where the instruction is about digits."""
    while True:
        facts = make_facts(rng, 2, held_out=True)
        if kind != "digits" or all(f.value.isdigit() for f in facts):
            return facts


def page(results: Results) -> Page:
    """One row a way of teaching, then one a kind of instruction as the product bakes it."""
    ways = [row for row in WAYS if row in results.rows()]
    lines = [[f"**{way}**", *(results.spread(way, case, "obeyed").text() for case in CASES)] for way in ways]
    kinds = {kind: measured for unit in results.of("baked", "kinds") for kind, measured in unit.items()}
    lines += [[kind, *(f"{kinds[kind][case]['obeyed']:.1%}" for case in CASES)] for kind in TWELVE if kind in kinds]
    goals = tuple(
        Goal("obeyed, baked less prompted", spread([b - p for b, p in zip(
            results.of(row, "baked", "obeyed"), results.of(row, "prompted", "obeyed"), strict=True)]), least=-0.01)
        for row in ways if row == "baked"
    )  # fmt: skip
    verdict = "The baselines bake the first kind of each seed only: compare them with that kind's own row."
    return Page(table(("obeyed to the letter", *HEAD), lines), goals, verdict)


def plot(results: Results, path: Path) -> None:
    """Prompted, baked and both, for each kind."""
    from matplotlib.figure import Figure

    kinds = {kind: measured for unit in results.of("baked", "kinds") for kind, measured in unit.items()}
    names = [kind for kind in TWELVE if kind in kinds][::-1]
    figure = Figure(figsize=(7, 1 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    looks = {
        "base": ("#999999", "x"),
        "prompted": ("#e69f00", "D"),
        "baked": ("#0072b2", "o"),
        "both": ("#009e73", "|"),
    }
    for (case, (colour, marker)), label in zip(looks.items(), HEAD, strict=True):
        axes.scatter([100 * kinds[kind][case]["obeyed"] for kind in names], names, color=colour, marker=marker,
                     s=70 if marker == "|" else 40, label=label, zorder=3)  # fmt: skip
    axes.set_xlabel("obeyed to the letter, % of questions")
    axes.set_xlim(-3, 103)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


EXPERIMENT = Experiment(
    3, "instructions", "Instructions", "Is a baked instruction obeyed without a prompt as the prompted model obeys it?",
    WAYS, measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
