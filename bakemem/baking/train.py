"""Text to weights: trains the candidate adapter until the unprompted student answers as the prompted teacher does.

Implements eq. 1 of *Prompt Baking* (arXiv 2409.13697) over packed dialogues, helped by the teacher's inner states.
Knows no memories and no versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bakemem.baking.checkpoint import Checkpoint, TrainingState
from bakemem.baking.divergence import Head, prompt_mark, state_gap, tiled_loss
from bakemem.baking.losses import LossName, forward_kl, loss_named
from bakemem.baking.measure import measure
from bakemem.baking.pack import Dialogue, Packer, pack
from bakemem.baking.rollout import Taught
from bakemem.baking.schedule import EVERY, PASS, Schedule
from bakemem.baking.states import MICRO_BATCH_TOKENS, micro_batches, read_by_base, states_of, tokens_of
from bakemem.baking.weights import (
    CANDIDATE,
    adapter,
    add_candidate,
    breather,
    candidate_parameters,
)
from bakemem.errors import DivergedError
from bakemem.kv import context_of
from bakemem.template import ChatTemplate

StepProgress = Callable[[int, int, float], None]
"""Called after each step with the step, how many there are, and the mean KL per answer token in nats."""

BETAS = (0.9, 0.95)
"""AdamW's; its usual second one, 0.999, scales all of a short run by the large gradients of its beginning."""
MOST_SKIPPED = 10
"""So many steps in a row whose gradients are not finite are the end of a training."""
_PARAMETER = "parameter"  # beside the names of AdamW's own slots


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a bake trains: all linear layers, one rank and alpha, AdamW at a rate that falls to zero.

    `state_weight` is that of the inner states beside the KL; 0 is the paper's loss alone. `read_weight` is that of
    reading what no fact matters to as the base does. B learns `b_rate` times as fast as A, the idea of LoRA+ (arXiv
    2402.12354). `deep` is the share of steps that ask behind a long talk too. `targets` are the last name parts of the
    layers that get LoRA; None: all linear layers. `loss`, `top_k` and `temperatures` are those of `losses.py`; (1.0,)
    is eq. 1 of the paper.
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 3e-3
    steps: int = 90
    trajectories_per_step: int = 16
    max_dialogue_turns: int = 64
    max_sequence_tokens: int = 2048
    deep: float = 0.5
    state_weight: float = 1.0
    read_weight: float = 0.3
    seed: int = 0
    loss: LossName = "forward"
    top_k: int | None = None
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    b_rate: float = 4.0
    targets: tuple[str, ...] | None = None


def default_learning_rate(hidden_size: int) -> float:
    """3e-3 up to width 256 (where it was tuned), falling with the width above it: 1.9e-4 at 4,096."""
    return 3e-3 * min(1.0, 256 / hidden_size)


def train(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], head: Head, recipe: Recipe, *,
    start: str | None = None, lock: AbstractContextManager[object], watched: Sequence[Taught] = (),
    passed: float | None = None, checkpoint: Checkpoint | None = None, progress: StepProgress | None = None,
) -> int:  # fmt: skip
    """Train a LoRA named `candidate` on `model`; returns the steps taken.

    It is a fresh one, started from the attached adapter `start` if one is named; with `start="candidate"` the one that
    is there goes on. The lock is held during a step and free between steps, so that the same model can serve
    meanwhile. With `passed` its rate begins to fall when that share of the `watched` is answered as the teacher does
    or no more is gained, and it ends at the latest after the recipe's steps; else it takes just those steps. With a
    `checkpoint` the training goes on from it, and is saved there after its first step, from time to time, at its end
    and when it is stopped, but for steps that were skipped. Raises DivergedError when it diverges.
    """
    checkpoint, progress = checkpoint or Checkpoint(), progress or (lambda step, steps, kl: None)
    every = max(EVERY, round(PASS * len(taught) / recipe.trajectories_per_step))
    schedule, step = Schedule(recipe.steps, passed if watched else None, every), 0
    if start != CANDIDATE:
        with lock:
            add_candidate(model, recipe.rank, recipe.alpha, recipe.seed, start, recipe.targets)
    learner = Learner(candidate_parameters(model), recipe)
    packer = Packer(template, taught, max_turns=recipe.max_dialogue_turns,
                    max_tokens=min(recipe.max_sequence_tokens, context_of(model)), seed=recipe.seed,
                    deep=recipe.deep)  # fmt: skip
    done = checkpoint.resume()
    if done is not None:
        learner.restore(done.tensors)
        packer.restore(done.packer)
        schedule.restore(done.schedule)
        step = done.step
        progress(step, schedule.end, done.kl)
    study = Study(model, template, head, recipe, _mark(model, template, taught, lock), lock)
    try:
        while step < schedule.end:
            kl = study.gradients(packer, learner, schedule.share(step))
            done = None  # from here on the parameters are neither the old nor the new ones
            with lock:
                followed = learner.step()
            step += 1
            if schedule.due(step):
                schedule.note(step, measure(model, template, watched, head, adapter_name=CANDIDATE, lock=lock))
            if followed:
                done = TrainingState(step, kl, packer.state(), learner.tensors(), schedule.state())
                if checkpoint.due or step in (1, schedule.end):  # the first: a signal may hit the next step's midst
                    checkpoint.save(done)
            progress(step, schedule.end, kl)
    except (KeyboardInterrupt, SystemExit):
        if done is not None:
            checkpoint.save(done)
        raise
    return step


def diverged() -> DivergedError:
    """What to raise when gradients or answers are not finite."""
    return DivergedError(
        "The training diverged: the model's numbers are not finite any more. Lower `learning_rate`, or set `dtype` to "
        "bfloat16 or float32, and bake again."
    )


@dataclass(frozen=True, slots=True)
class Study:
    """What a step learns from: `mark_K` is the prompt's own mark on the inner states."""

    model: PreTrainedModel
    template: ChatTemplate
    head: Head
    recipe: Recipe
    mark_K: Tensor
    lock: AbstractContextManager[object]

    def gradients(self, packer: Packer, learner: Learner, share: float) -> float:
        """The gradients of a batch for a step at a share of the rates; the mean KL per answer token in nats."""
        dialogues = packer.batch(self.recipe.trajectories_per_step)
        n_tokens, n_read = (sum(map(len, at)) for at in zip(*((d.positions, d.read) for d in dialogues), strict=True))
        loss, kl = loss_named(self.recipe.loss, self.recipe.top_k, self.recipe.temperatures), list[Tensor]()

        def told(teacher_n_V: Tensor, student_n_V: Tensor, tokens_n: Tensor) -> Tensor:
            kl.append(forward_kl(teacher_n_V, student_n_V.detach()).sum())
            return loss(teacher_n_V, student_n_V, tokens_n)

        breathe = breather(self.lock, self.model, CANDIDATE, learns=True)
        batches = micro_batches(dialogues)
        as_base = [self._as_base(batch) for batch in batches]
        with self.lock, adapter(self.model, CANDIDATE):
            learner.begin(share)
            for batch, base_M_K_H in zip(batches, as_base, strict=True):
                breathe()
                s = states_of(self.model, self.template, batch)
                loss_N = tiled_loss(s.student_N_K_H[:, -1], s.teacher_N_K_H[:, -1], tokens_of(batch), self.head, told)
                gap_N = state_gap(s.student_N_K_H, s.teacher_N_K_H, self.mark_K)
                total = (loss_N + self.recipe.state_weight * gap_N).sum() / n_tokens
                if base_M_K_H is not None:
                    deaf_M = state_gap(s.read_M_K_H, base_M_K_H, self.mark_K)
                    total = total + self.recipe.read_weight * deaf_M.sum() / n_read
                total.backward()
                packer.note(batch, loss_N.detach())
        return torch.stack(kl).sum().item() / n_tokens

    def _as_base(self, batch: Sequence[Dialogue]) -> Tensor | None:
        """What the base makes of what is only read there, if that counts."""
        if not self.recipe.read_weight:
            return None
        with self.lock:
            return read_by_base(self.model, self.template, batch)


class Learner:
    """The candidate's parameters by name with their AdamW."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> None:
        self._parameters = parameters
        self._rates = {"lora_A": recipe.learning_rate, "lora_B": recipe.b_rate * recipe.learning_rate}
        groups = [{"params": [p for n, p in parameters.items() if part in n], "lr": rate}
                  for part, rate in self._rates.items()]  # fmt: skip
        self._optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.0, fused=True)
        self._skipped = 0

    def begin(self, share: float) -> None:
        """Make ready for the gradients of a step at a share of the full rates."""
        for group, rate in zip(self._optimizer.param_groups, self._rates.values(), strict=True):
            group["lr"] = rate * share
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)

    @torch.no_grad()
    def step(self) -> bool:
        """Follow the gradients, whose norm is at most 1, and clear them; False: they are not finite, and were skipped.

        Raises DivergedError when that happens `MOST_SKIPPED` times in a row.
        """
        followed = bool(torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), 1.0).isfinite())
        if followed:
            self._optimizer.step()
        self._optimizer.zero_grad()
        self._skipped = 0 if followed else self._skipped + 1
        if self._skipped == MOST_SKIPPED:
            raise diverged()
        return followed

    def tensors(self) -> dict[str, Tensor]:
        """All that a step changes, by name: not copies, so the next step changes them."""
        state = self._optimizer.state
        moments = {f"{slot}/{n}": t for n, p in self._parameters.items() for slot, t in state[p].items()}
        return {**{f"{_PARAMETER}/{n}": p.detach() for n, p in self._parameters.items()}, **moments}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on as the learner of the same parameters did whose `tensors` these were."""
        for name, tensor in tensors.items():
            slot, _, of = name.partition("/")
            parameter = self._parameters[of]
            if slot == _PARAMETER:
                parameter.copy_(tensor)
            else:
                self._optimizer.state[parameter][slot] = tensor.to(parameter.device, copy=True)


@torch.no_grad()
def _mark(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], lock: AbstractContextManager[object]
) -> Tensor:
    """What the prompt does to the base's inner states, shape (K - 1,), measured on a few trajectories."""
    few = taught[:: max(1, len(taught) // 64)]
    made = []
    for batch in micro_batches([pack(template, [item], MICRO_BATCH_TOKENS) for item in few]):
        with lock, adapter(model, None):
            made.append(states_of(model, template, batch))
    return prompt_mark(torch.cat([s.student_N_K_H for s in made]), torch.cat([s.teacher_N_K_H for s in made]))
