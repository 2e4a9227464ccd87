"""Experiment 1: how closely a baked model without the prompt follows the prompted one, on questions no bake saw.

Six facts and one instruction a seed. To each unseen question, known, unknown or everyday, two answers are sampled at
temperature 1, one of the prompted model and one of the base without the prompt, as in the paper's scatter plot; r² is
the squared Pearson correlation of their whole log-likelihoods, baked against prompted (before: base against prompted).
The KL per answer token is that of the prompted model's own answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bakemem.baking import mean_kl, output_head, same, share, stimulate, teach
from bakemem.demo.story import Story
from bakemem.memory import consolidate
from bakemem.types import Trajectory
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, memories_of
from benchmarks.science.likelihood import log_likelihoods, r_squared, sampled

LONGER = "baked, 4 x steps"
N_EACH = 60  # known questions, and as many unknown ones, beside the 30 everyday ones that no bake trains on


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """KL, r², the answers that equal the prompted model's, and the points of the scatter."""
    story = Story(seed, n_instructions=1)
    memories = memories_of(*story.facts, *story.instructions)
    prompt = consolidate(memories).text
    way = row if row in WAYS else "baked"
    settings = lab.settings(memories, seed, way)
    if row == LONGER:
        settings = lab.settings(memories, seed, way, steps=4 * settings.recipe.steps)
    stimuli = stimulate(memories, lambda turns, temperature: lab.ask(turns, temperature=temperature, seed=seed),
                        per_memory=settings.per_memory, shards=[p.memory_ids for p in lab.prompts(memories)],
                        seed=seed)  # fmt: skip
    seen = {s.turns[-1].content for s in stimuli.train}
    exam = [q for q in story.exam(N_EACH, N_EACH, 30) if q.text not in seen]
    questions = [q.text for q in exam]
    of_prompted, of_base = (sampled(lab, questions, p, seed) for p in (prompt, ""))
    told = lab.ask(questions, prompt=prompt)
    with lab.taught(memories, seed=seed, stimuli=stimuli, settings=settings) as taught:
        given = lab.ask(questions, adapter=taught.id)
        kl = [_kl(lab, of_prompted, prompt, name) for name in (None, taught.id)]
        both = [*of_prompted, *of_base]
        points = {
            "prompted": log_likelihoods(lab, both, prompt=prompt), "base": log_likelihoods(lab, both),
            "baked": log_likelihoods(lab, both, adapter=taught.id),
        }  # fmt: skip
    return {
        "kl_before": kl[0], "kl_after": kl[1], "factor": kl[0] / kl[1], "steps": taught.baked.report.steps,
        "r2_before": r_squared(points["prompted"], points["base"]),
        "r2_after": r_squared(points["prompted"], points["baked"]),
        "same_before": share([same(a, b) for a, b in zip(told, lab.ask(questions), strict=True)]),
        "same_after": share([same(a, b) for a, b in zip(told, given, strict=True)]),
        "right_prompted": share([same(a, q.right) for a, q in zip(told, exam, strict=True)]),
        "right_baked": share([same(a, q.right) for a, q in zip(given, exam, strict=True)]),
        "questions": len(exam), "points": {name: [round(x, 3) for x in row] for name, row in points.items()},
    }  # fmt: skip


def _kl(lab: Lab, answers: Sequence[Trajectory], prompt: str, adapter: str | None) -> float:
    base = lab.base
    taught = teach(base.model, base.template, answers, [prompt] * len(answers), lock=base.lock)
    return mean_kl(base.model, base.template, taught, output_head(base.model), adapter_name=adapter, lock=base.lock)


def page(results: Results) -> Page:
    """One row a way of teaching, between the base and the prompted model."""
    return Page("")


EXPERIMENT = Experiment(
    1, "fidelity", "Fidelity",
    "How closely does the baked model, without the prompt, follow the prompted one on questions that no bake saw?",
    (*WAYS, LONGER), measure, page,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
