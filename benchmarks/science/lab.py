"""What every experiment stands on: a base model, memories from a made-up world, and the ways to teach a prompt.

Knows the public `bakemem.baking`; knows no experiment.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bakemem.baking import (
    CANDIDATE,
    Baked,
    Recipe,
    Settings,
    StageProgress,
    Stimuli,
    bake,
    generate,
    output_head,
    prompts_for,
    rollout,
    spoiled,
    stimulate,
    teach,
    train,
)  # fmt: skip
from bakemem.baking import Taught as Answer
from bakemem.baking import prompted as as_taught
from bakemem.config import Config
from bakemem.cycle import prompts_of, settings_of
from bakemem.memory import consolidate
from bakemem.serving import Base, load_base
from bakemem.starter import STARTER, Fact, Instruction
from bakemem.types import Memory, Prompt, Stimulus, Turn

Conversation = Sequence[Turn]
WAYS = ("baked", "paper", "fine-tuned")
"""How a prompt is taught: with the product's defaults, the published settings, or plain fine-tuning on the same
answers."""


@dataclass(frozen=True)
class Lesson:
    """What the teacher said: to be trained on, and watched."""

    train: list[Answer]
    watched: list[Answer]


@dataclass(frozen=True)
class Taught:
    """An adapter that is attached to the lab's base: its id, and what the bake reported."""

    id: str
    baked: Baked


class Lab:
    """A base with whatever was baked into adapters beside it. `quick` cuts training to a few steps: not for figures.

    `kept` is the folder in which a unit of many bakes keeps what it has; it goes when the unit is done.
    """

    kept: Path | None = None

    def __init__(self, model: str = "starter", *, quick: bool = False) -> None:
        self.base: Base = load_base(str(STARTER) if model == "starter" else model)
        self.quick = quick
        self._count = 0

    def ask(
        self, conversations: Sequence[Conversation | str], *, adapter: str | None = None, prompt: str = "",
        strength: float = 1.0, temperature: float = 0.0, max_new_tokens: int = 64, seed: int = 0,
    ) -> list[str]:  # fmt: skip
        """The answer to each conversation (or bare question): of an adapter or the base, with or without a prompt."""
        asked = [prompted([Turn("user", c)] if isinstance(c, str) else c, prompt) for c in conversations]
        with self.base.adapters.active(adapter, strength) as model:
            made = generate(model, self.base.template, asked, max_new_tokens=max_new_tokens, temperature=temperature,
                            seed=seed)  # fmt: skip
        return [self.base.template.decode(ids) for ids in made]

    def settings(
        self, memories: Sequence[Memory], seed: int, way: str = "baked", fresh: frozenset[str] | None = None,
        **recipe: Any,
    ) -> Settings:  # fmt: skip
        """The product's settings for these memories, another way's, or with another recipe.

        The other ways have no further efforts, and the paper's takes all its steps.
        """
        made = settings_of(Config(seed=seed), self.base, memories, fresh=fresh)
        if way != "baked" or self.quick:
            made = replace(made, efforts=0, passed=None if way == "paper" else made.passed)
        changes = {**_recipe_of(way), **recipe}
        if self.quick:
            changes["steps"] = min(30, changes.get("steps", made.recipe.steps))
            made = replace(made, per_memory=8)
        return replace(made, recipe=replace(made.recipe, **changes))

    def prompts(self, memories: Sequence[Memory]) -> list[Prompt]:
        """The memory prompt u, in shards that the teacher reads one at a time."""
        return prompts_of(Config(), self.base, memories)

    def bake(
        self, memories: Sequence[Memory] = (), *, seed: int, way: str = "baked", prompt: str | None = None,
        stimuli: Stimuli | None = None, settings: Settings | None = None, start: str | None = None,
        fresh: frozenset[str] | None = None, progress: StageProgress | None = None, **recipe: Any,
    ) -> Taught:  # fmt: skip
        """Bake memories, or any prompt with given stimuli, and attach the adapter; its rank is at least `start`'s."""
        read = [Prompt(prompt, ())] if prompt is not None else self.prompts(memories)
        settings = settings or self.settings(memories, seed, way, fresh, **recipe)
        settings = replace(settings, recipe=self._at_least(settings.recipe, start))
        baked = bake(self.base.model, self.base.template, memories, read, settings, start=start, fresh=fresh,
                     stimuli=stimuli, lock=self.base.lock, progress=progress)  # fmt: skip
        return self.attach(baked)

    def attach(self, baked: Baked) -> Taught:
        """Put a baked adapter beside the others."""
        self._count += 1
        name = f"baked-{self._count}"
        with tempfile.TemporaryDirectory() as folder:
            baked.save(Path(folder))
            self.base.adapters.attach(name, Path(folder))
        return Taught(name, baked)

    def stimuli(
        self, memories: Sequence[Memory], settings: Settings, seed: int, fresh: frozenset[str] | None = None
    ) -> Stimuli:
        """What a bake of these memories asks, in the base's own words."""
        return stimulate(memories, lambda asked, temperature: self.ask(asked, temperature=temperature, seed=seed),
                         fresh=fresh, per_memory=settings.per_memory, rehearsal_questions=settings.rehearsal_questions,
                         shards=[p.memory_ids for p in self.prompts(memories)], seed=seed,
                         tool_results=self.base.template.writes_results)  # fmt: skip

    def _at_least(self, recipe: Recipe, start: str | None) -> Recipe:
        """The recipe with the rank of the adapter that it goes on from, if that is higher: a refused bake grows."""
        attached: Any = self.base.model.peft_config if start else {}
        grown = max(recipe.rank, attached[start].r if start else 0)
        return replace(recipe, rank=grown, alpha=recipe.alpha * grown // recipe.rank)

    @contextmanager
    def trained(
        self, answers: Sequence[Answer], recipe: Recipe, start: str | None = None, *, watched: Sequence[Answer] = (),
        passed: float | None = None,
    ) -> Iterator[int]:  # fmt: skip
        """Inside, an adapter trained on a teacher's answers is attached as `CANDIDATE`; the steps that it took.

        Nothing judges it. `watched` and `passed` are those of `bakemem.baking.train`.
        """
        with self.base.lock:
            head = output_head(self.base.model)
        steps = train(self.base.model, self.base.template, answers, head, self._at_least(recipe, start), start=start,
                      lock=self.base.lock, watched=watched, passed=passed)  # fmt: skip
        try:
            yield steps
        finally:
            self.base.adapters.detach(CANDIDATE)

    def reads(self, stimuli: Sequence[Stimulus], prompt: Prompt) -> list[str]:
        """What the product's teacher, of all this prompt, reads before each of the stimuli."""
        instead = spoiled(self.base.model, self.base.template, stimuli, [prompt], lock=self.base.lock)
        return prompts_for(stimuli, [prompt], frozenset(instead))

    def lesson(self, memories: Sequence[Memory], seed: int, fresh: frozenset[str] | None = None) -> Lesson:
        """What a bake of these memories, in one prompt, trains on and watches: for several trainings."""
        settings, prompt = self.settings(memories, seed, fresh=fresh), consolidate(memories)
        asked = self.stimuli(memories, settings, seed, fresh)

        def taught(stimuli: Sequence[Stimulus], temperature: float) -> list[Answer]:
            prompts = self.reads(stimuli, prompt)
            told = rollout(self.base.model, self.base.template, stimuli, prompts, lock=self.base.lock, seed=seed,
                           temperature=temperature, max_new_tokens=settings.max_new_tokens)  # fmt: skip
            return teach(self.base.model, self.base.template, told, prompts, lock=self.base.lock)

        return Lesson(taught(asked.train, settings.rollout_temperature), taught(asked.watched, 0.0))

    @contextmanager
    def taught(self, *args: Any, **kwargs: Any) -> Iterator[Taught]:
        """As `bake`; inside, the adapter is attached."""
        made = self.bake(*args, **kwargs)
        try:
            yield made
        finally:
            self.base.adapters.detach(made.id)


def prompted(turns: Conversation, prompt: str) -> list[Turn]:
    """The conversation with the prompt behind a system prompt of its own, if it has one."""
    return as_taught(Stimulus(tuple(turns), ""), prompt)


def memories_of(*made: Fact | Instruction, first: int = 0) -> list[Memory]:
    """Facts and instructions of the made-up world as pending memories, one minute after the other."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Memory(id=f"m{first + i}", namespace="lab", kind="fact" if isinstance(one, Fact) else "instruction",
               key=one.key, text=one.memory, status="pending", created=start + timedelta(minutes=first + i))
        for i, one in enumerate(made)
    ]  # fmt: skip


def rng_of(experiment: str, seed: int) -> random.Random:
    """The randomness of one experiment and seed."""
    return random.Random(f"science:{experiment}:{seed}")


def _recipe_of(way: str) -> dict[str, Any]:
    if way == "paper":  # arXiv 2409.13697's published code; 480 steps, not its 40 epochs (see the ablations)
        return {"rank": 32, "alpha": 1, "learning_rate": 3e-4, "steps": 480, "trajectories_per_step": 16,
                "max_dialogue_turns": 1, "state_weight": 0.0, "read_weight": 0.0, "b_rate": 1.0, "temperatures": (1.0,),
                "targets": ("q_proj", "k_proj", "v_proj", "o_proj")}  # fmt: skip
    if way == "fine-tuned":  # the same answers, steps and layers; the loss knows no teacher
        return {"loss": "tokens", "state_weight": 0.0, "read_weight": 0.0, "temperatures": (1.0,)}
    if way != "baked":
        raise ValueError(f"{way!r} is not one of {WAYS}.")
    return {}
