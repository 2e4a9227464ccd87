"""Experiment 9: fifty bakes in a row, four new memories each, some of which supersede older ones.

python -m benchmarks.science.sequence --rows rolling --seeds 1
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bakemem.starter import Fact, make_facts
from bakemem.starter.world import clashes
from bakemem.types import Memory
from benchmarks.science.exam import Question, questions
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, Spread, main, table
from benchmarks.science.lab import Lab, memories_of, prompted, rng_of

EACH = 4  # new memories a bake
SUPERSEDES = 1 / 8
LENGTHS = {"rolling": 50, "no rehearsal": 10, "from base": 25}
COLD_AT = (10, 25)
LOOK_EVERY = 5
KINDS = ("direct", "paraphrase", "reversed")


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
    """Bake after bake; each fifth time everything that is known is asked for."""
    n_bakes = 3 if lab.quick else LENGTHS[row]
    told, rng = life(rng_of("sequence", seed), n_bakes), rng_of(f"sequence exam {row}", seed)
    looks, costs = [], []
    adapter: str | None = None
    for generation in range(n_bakes):
        if row == "from base" and generation + 1 not in COLD_AT and not lab.quick:
            continue
        known = living(told, generation)
        memories = [t.memory for t in known]
        new = frozenset(t.memory.id for t in known if t.generation == generation)
        started = time.monotonic()
        if row == "from base" or adapter is None:
            made = lab.bake(memories, seed=seed)
        else:
            settings = lab.settings(memories, seed, fresh=new)
            if row == "no rehearsal":
                settings = replace(settings, rehearsal_questions=0)
            made = lab.bake(memories, seed=seed, settings=settings, start=adapter, fresh=new)
        report = made.baked.report
        costs.append({"bake": generation + 1, "seconds": time.monotonic() - started, "steps": report.steps,
                      "agreement": report.agreement, "drift": report.drift, "accepted": report.accepted})  # fmt: skip
        if adapter is not None:
            lab.serving.detach(adapter)
        adapter = made.id
        if (generation + 1) % LOOK_EVERY == 0 or generation in (0, n_bakes - 1):
            looks.append(look(lab, told, generation, adapter, rng))
    lab.serving.detach(made.id)
    return {"costs": costs, "looks": looks, "prompted": teacher(lab, living(told, n_bakes - 1), rng)}


def look(lab: Lab, told: Sequence[Told], generation: int, adapter: str, rng: random.Random) -> Figures:
    """Recall of each generation that is known after a bake, and how often a superseded value comes back."""
    known = living(told, generation)
    asked = questions(rng, [t.fact for t in known], [t.memory for t in known], KINDS)
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
        "kinds": {kind: _share([q.judge(a)[0] for q, a in zip(asked, answers, strict=True) if q.kind == kind])
                  for kind in KINDS},
        "old values": sum(back), "asked for superseded": len(back),
    }  # fmt: skip


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def teacher(lab: Lab, known: Sequence[Told], rng: random.Random) -> float:
    """Recall of the prompted base, which reads the shard that holds the memory."""
    shard_of = {i: shard.text for shard in lab.prompts([t.memory for t in known]) for i in shard.memory_ids}
    asked: list[Question] = questions(rng, [t.fact for t in known], [t.memory for t in known], KINDS)
    answers = lab.ask([prompted_by(q, shard_of) for q in asked])
    return _share([q.judge(a)[0] for q, a in zip(asked, answers, strict=True)])
