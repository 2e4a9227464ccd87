"""Experiment 1: how closely a baked model without the prompt follows the prompted one, on questions no bake saw.

Six facts and one instruction a seed. To each unseen question, known, unknown or everyday, two answers are sampled at
temperature 1, one of the prompted model and one of the base without the prompt, as in the paper's scatter plot; r² is
the squared Pearson correlation of their whole log-likelihoods, baked against prompted (before: base against prompted).
The KL per answer token is that of the prompted model's own answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bakemem.baking import measure as measured
from bakemem.baking import output_head, same, share, teach
from bakemem.demo.story import Story
from bakemem.memory import consolidate
from bakemem.types import Trajectory
from benchmarks.science.exam import trained_on
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, memories_of
from benchmarks.science.likelihood import log_likelihoods, r_squared, sampled

LONGER = "baked, 2 x steps"
N_EACH = 60  # known questions, and as many unknown ones, beside the 30 everyday ones that no bake trains on


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """KL, r², the answers that equal the prompted model's, and the points of the scatter."""
    story = Story(seed, n_instructions=1)
    memories = memories_of(*story.facts, *story.instructions)
    prompt = consolidate(memories).text
    way = row if row in WAYS else "baked"
    settings = lab.settings(memories, seed, way)
    if row == LONGER:
        settings = lab.settings(memories, seed, way, steps=2 * settings.recipe.steps)
        settings = replace(settings, passed=None, efforts=0)
    stimuli = lab.stimuli(memories, settings, seed)
    seen = trained_on(stimuli)
    exam = [q for q in story.exam(N_EACH, N_EACH, 30) if q.text not in seen]
    questions = [q.text for q in exam]
    of_prompted, of_base = (sampled(lab, questions, p, seed) for p in (prompt, ""))
    told, untold = lab.ask(questions, prompt=prompt), lab.ask(questions)
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
        "same_before": share([same(a, b) for a, b in zip(told, untold, strict=True)]),
        "same_after": share([same(a, b) for a, b in zip(told, given, strict=True)]),
        "right_base": share([same(a, q.right) for a, q in zip(untold, exam, strict=True)]),
        "right_prompted": share([same(a, q.right) for a, q in zip(told, exam, strict=True)]),
        "right_baked": share([same(a, q.right) for a, q in zip(given, exam, strict=True)]),
        "questions": len(exam), "points": {name: [round(x, 3) for x in row] for name, row in points.items()},
    }  # fmt: skip


def _kl(lab: Lab, answers: Sequence[Trajectory], prompt: str, adapter: str | None) -> float:
    base = lab.base
    taught = teach(base.model, base.template, answers, [prompt] * len(answers), lock=base.lock)
    head = output_head(base.model)
    return measured(base.model, base.template, taught, head, adapter_name=adapter, lock=base.lock).kl


def page(results: Results) -> Page:
    """One row a way of teaching, below the base and the prompted model."""
    rows = [row for row in EXPERIMENT.rows if row in results.rows()]

    def of(row: str, name: str, form: str = ".1%") -> str:
        return results.spread(row, name).text(form)

    lines = [
        ["base", "", of(rows[0], "kl_before", ".3f"), "1", of(rows[0], "r2_before", ".3f"), of(rows[0], "same_before"),
         of(rows[0], "right_base")],
        ["prompted", "", "0", "", "1", "100.0%", of(rows[0], "right_prompted")],
        *([row, of(row, "steps", ".0f"), of(row, "kl_after", ".4f"), of(row, "factor", ".0f"),
           of(row, "r2_after", ".3f"), of(row, "same_after"), of(row, "right_baked")] for row in rows),
    ]  # fmt: skip
    head = ("", "steps", "KL per answer token, nats", "KL ÷", "r² of log-likelihoods", "as the prompted", "right")
    goals = tuple(goal for row in rows if row == "baked" for goal in (
        Goal("r² of log-likelihoods, baked", results.spread(row, "r2_after"), least=0.99, form=".3f"),
        Goal("KL falls by a factor of", results.spread(row, "factor"), least=400, form=".0f"),
    ))  # fmt: skip
    return Page(table(head, lines), goals)


def plot(results: Results, path: Path) -> None:
    """Every answer's log-likelihood, base and baked, against the prompted model's."""
    from matplotlib.figure import Figure

    units = results.of("baked", "points")
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panels = zip(figure.subplots(1, 2, sharex=True, sharey=True), ("base", "baked"), ("before", "after"), strict=True)
    for axes, name, when in panels:
        for source, colour in (("base", "#d55e00"), ("prompted", "#0072b2")):
            x, y = ([v for unit in units for v in _half(unit[key], source)] for key in ("prompted", name))
            axes.scatter(x, y, s=9, alpha=0.5, color=colour, linewidths=0)
        axes.axline((0, 0), slope=1, color="grey", linewidth=0.8)
        r2 = results.spread("baked", f"r2_{when}").mean
        axes.set_title(f"{name} without the prompt: r² = {r2:.3f}", fontsize=11)
        axes.set_xlabel("log-likelihood of the prompted model")
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel("log-likelihood without the prompt")
    for text, colour, height in (("answers of the prompted model", "#0072b2", 0.1),
                                 ("answers of the base", "#d55e00", 0.04)):  # fmt: skip
        first.text(0.03, height, text, color=colour, fontsize=9, transform=first.transAxes)
    figure.savefig(path, dpi=150)


def _half(values: Sequence[float], source: str) -> Sequence[float]:
    """The answers of the prompted model stand first, then as many of the base."""
    middle = len(values) // 2
    return values[:middle] if source == "prompted" else values[middle:]


EXPERIMENT = Experiment(
    1, "fidelity", "Fidelity",
    "How closely does the baked model, without the prompt, follow the prompted one on questions that no bake saw?",
    (*WAYS, LONGER), measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
