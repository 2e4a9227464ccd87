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
from bakemem.starter import Fact, Instruction, make_facts
from bakemem.starter.instructions import KINDS
from benchmarks.science.exams import instruction_of, obeys, story_of
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of

TWELVE = tuple({kind.key: kind.name for kind in reversed(KINDS)}.values())[::-1]
A_SEED = 4
CASES = ("base", "prompted", "baked", "both")
"""The base alone, with the prompt, the adapter alone, and the adapter with the prompt."""


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
    return Page("")


EXPERIMENT = Experiment(
    3, "instructions", "Instructions", "Is a baked instruction obeyed without a prompt as the prompted model obeys it?",
    WAYS, measure, page,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
