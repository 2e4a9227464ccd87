"""7. Prompt Pursuit and re-prompting, on instructions in words that the model follows only now and then.

    python -m benchmarks.science.pursuit --rows "Speak twice." --seeds 1

The starter learned sixteen instructions in a few wordings each. These say three of them in words that it never saw,
chosen out of 87 by how often the prompted model of those days followed them: most it follows always, or never.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from math import inf
from pathlib import Path

from bakemem.baking import CANDIDATE, Pursuit, Round, output_head, pursue, rollout, share, teach
from bakemem.everyday import everyday_held_out
from bakemem.memory import consolidate
from bakemem.starter import UNKNOWN, Answer, Instruction, ask, follow, make_facts
from bakemem.starter.instructions import KINDS
from bakemem.starter.talk import dress
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import Lab, memories_of, rng_of

WEAK = {"Speak twice.": "twice", "No spaces, only dashes.": "dashes", "The user likes capitals.": "upper"}
"""What is said, and the kind of instruction that is meant."""
ROUNDS = 8
PRODUCT = 4  # rounds at most, where the product's own stop is shown
STYLES: dict[str, Callable[[str], bool]] = {
    "twice": lambda text: len(text.split()) > 1 and _halves(text),
    "dashes": lambda text: " " not in text,
    "upper": str.isupper,
}
"""Whether an answer looks as it should, whatever it says: the figure that also means something for other models."""


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """One instruction: prompted, baked, both, fine-tuned, and after each round of a pursuit that nothing stops."""
    kind = next(kind for kind in KINDS if kind.name == WEAK[row])
    rng = rng_of(f"pursuit:{row}", seed)
    rule = Instruction(replace(kind, memory=row))
    memories, exam = memories_of(rule), exam_of(rule, rng, 20 if lab.quick else 60)
    # A weak teacher answers by chance: the gate may refuse a bake that is as good as it is, and more would be tried.
    settings, prompt = replace(lab.settings(memories, seed), efforts=0), consolidate(memories).text

    def asked(adapter: str | None = None, prompt: str = "") -> Figures:
        given = lab.ask([question for question, _ in exam], adapter=adapter, prompt=prompt, seed=seed)
        right = [answer == text for answer, (_, text) in zip(given, exam, strict=True)]
        return {"right": share(right), "styled": share([STYLES[kind.name](answer) for answer in given]),
                "examples": given[:3]}  # fmt: skip

    stimuli = lab.stimuli(memories, settings, seed)
    ways = {"base": asked(), "prompted": asked(prompt=prompt)}
    with lab.taught(memories, seed=seed, stimuli=stimuli, way="fine-tuned") as tuned:
        ways["fine-tuned"] = asked(tuned.id)
    rounds = []

    def watch(done: Round) -> None:
        rounds.append({**asked(CANDIDATE), **asdict(done)})

    with lab.taught(memories, seed=seed, stimuli=stimuli, settings=settings) as baked:
        ways |= {"baked": asked(baked.id), "baked + prompted": asked(baked.id, prompt)}
        base, prompts = lab.base, [prompt] * len(stimuli.held_out)
        own = rollout(base.model, base.template, stimuli.held_out, prompts, temperature=0.0, lock=base.lock)
        free = Pursuit(2 if lab.quick else ROUNDS, min_changed=0.0, max_growth=inf, max_disfluency=inf, max_lost=inf)
        judged = teach(base.model, base.template, own, prompts, lock=base.lock)
        pursue(base.model, base.template, output_head(base.model), stimuli.train,
               lab.reads(stimuli.train, consolidate(memories)), judged, prompts, settings.recipe, free,
               start=baked.id, lock=base.lock, watch=watch)  # fmt: skip
    kept = kept_of(rounds, Pursuit(PRODUCT))
    ways["pursued"] = {**(rounds[kept - 1] if kept else ways["baked"]), "rounds": kept}
    return {**ways, "rounds": rounds}


def exam_of(rule: Instruction, rng: random.Random, n: int) -> list[tuple[str, str]]:
    """Everyday questions that no bake trains on, and as many about what nobody told, with their right answers."""
    rows = rng.sample(everyday_held_out(), min(n // 2, len(everyday_held_out())))
    known = [(row.question, follow([rule], Answer(row.answer, f"{row.short}."))) for row in rows]
    untold = [dress(rng, ask(rng, fact, "direct")[0], True) for fact in make_facts(rng, n // 2, held_out=True)]
    return known + [(question, follow([rule], UNKNOWN)) for question in untold]


def kept_of(rounds: Sequence[Figures], pursuit: Pursuit) -> int:
    """How many rounds the product keeps: those before the first that does not begin or hold."""
    previous = inf
    for done in rounds[: pursuit.rounds]:
        found = Round(*(done[field.name] for field in fields(Round)))
        if not pursuit.begins(found.changed, previous) or not found.holds(pursuit):
            return found.n - 1
        previous = found.changed
    return min(len(rounds), pursuit.rounds)


def _halves(text: str) -> bool:
    words = text.split()
    return words[: len(words) // 2] == words[len(words) // 2 :]


_WAYS = ("base", "prompted", "fine-tuned", "baked", "baked + prompted", "pursued")


def page(results: Results) -> Page:
    """A line an instruction, with every way and some rounds; then how fluent the rounds were."""
    shown = (1, 2, 4, ROUNDS)
    lines = []
    for row in results.rows():
        cells = [results.spread(row, way, "right").text(".0%") for way in _WAYS]
        kept = "/".join(str(n) for n in results.of(row, "pursued", "rounds"))
        rounds = [_round(results, row, n, "right", ".0%") for n in shown]
        left = [_round(results, row, n, "changed", ".0%") for n in shown]
        harm = [_round(results, row, n, "disfluency", ".2f") for n in shown]
        lines.append([row, *cells, kept, *rounds, *left, *harm])
    head = ["instruction", *_WAYS, "rounds kept", *(f"round {n}" for n in shown),
            *(f"prompt changes, before {n}" for n in shown), *(f"nats, round {n}" for n in shown)]  # fmt: skip
    rows = results.rows()
    seeds = range(min(len(results.of(row, "pursued", "right")) for row in rows))

    def mean(seed: int, way: str, what: str = "right") -> float:
        return sum(results.of(row, way, what)[seed] for row in rows) / len(rows)

    gains = spread([mean(s, "pursued") - mean(s, "prompted") for s in seeds])
    again = spread([mean(s, "baked + prompted") - mean(s, "prompted") for s in seeds])
    garbled = spread([mean(s, "pursued", "styled") - mean(s, "pursued") for s in seeds])
    return Page(table(head, lines), (
        Goal("right answers of the pursued over the prompted", gains, least=0.15, form="+.1%"),
        Goal("right answers of the re-prompted over the prompted", again, least=0.0, form="+.1%"),
        Goal("pursued answers that look as instructed and are wrong all the same", garbled, most=0.05),
    ))  # fmt: skip


def _round(results: Results, row: str, n: int, what: str, form: str) -> str:
    found = [rounds[n - 1][what] for rounds in results.of(row, "rounds") if len(rounds) >= n]
    return spread(found).text(form) if found else "–"


def plot(results: Results, path: Path) -> None:
    """Right answers by round, with the prompted model's as a line, and where the product stops."""
    import matplotlib.pyplot as plt

    rows = results.rows()
    figure, panels = plt.subplots(1, len(rows), figsize=(4.2 * len(rows), 3.6), sharey=True, squeeze=False)
    for axes, row in zip(panels[0], rows, strict=True):
        runs = [[baked["right"], *(r["right"] for r in rounds)]
                for baked, rounds in zip(results.of(row, "baked"), results.of(row, "rounds"), strict=True)]  # fmt: skip
        n = min(map(len, runs))
        means = [spread([run[i] for run in runs]).mean for i in range(n)]
        for run in runs:
            axes.plot(range(n), run[:n], color="#0072B2", alpha=0.25, linewidth=1)
        axes.plot(range(n), means, color="#0072B2", marker="o", linewidth=2)
        axes.text(n - 1, means[-1] + 0.03, "pursued", color="#0072B2", ha="right", fontsize=9)
        for way, colour in (("prompted", "#D55E00"), ("baked + prompted", "#009E73")):
            level = results.spread(row, way, "right").mean
            axes.axhline(level, color=colour, linestyle="--", linewidth=1)
            axes.text(n - 1, level + 0.01, way, color=colour, ha="right", va="bottom", fontsize=8)
        kept = results.spread(row, "pursued", "rounds").mean
        axes.axvline(kept, color="grey", linewidth=0.8, linestyle=":")
        axes.text(kept + 0.05, 0.02, "kept", color="grey", fontsize=8)
        axes.set_title(f"“{row}”", fontsize=10)
        axes.set_xlabel("rounds of pursuit after the bake")
        axes.set_ylim(0, 1.05)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("right answers")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


EXPERIMENT = Experiment(
    7, "pursuit", "Re-prompting and Prompt Pursuit",
    "Does a weakly followed instruction grow stronger when it is prompted again, or pursued, and when is it too much?",
    tuple(WEAK), measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
