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
from bakemem.baking.losses import LossName, loss_named
from bakemem.baking.pack import Dialogue, Packer, pack
from bakemem.baking.rollout import Taught
from bakemem.baking.weights import CANDIDATE, adapter, add_candidate, context_of, hidden_states
from bakemem.template import ChatTemplate

StepProgress = Callable[[int, int, float], None]
"""Called after each step with the step, how many there are, and the mean KL per answer token in nats."""

MICRO_BATCH_TOKENS = 2_048
BETAS = (0.9, 0.95)
"""AdamW's; its usual second one, 0.999, scales all of a short run by the large gradients of its beginning."""
_PARAMETER = "parameter"  # beside the names of AdamW's own slots


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a bake trains: all linear layers, one rank and alpha, AdamW on a linear decay.

    `state_weight` is that of the inner states beside the KL; 0 is the paper's loss alone. B learns `b_rate` times as
    fast as A, the idea of LoRA+ (arXiv 2402.12354). `targets` are the last name parts of the layers that get LoRA;
    None: all linear layers. `loss` and `top_k` are those of `losses.py`.
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 3e-3
    steps: int = 90
    trajectories_per_step: int = 16
    max_dialogue_turns: int = 40
    max_sequence_tokens: int = 2048
    state_weight: float = 1.0
    seed: int = 0
    loss: LossName = "forward"
    top_k: int | None = None
    b_rate: float = 4.0
    targets: tuple[str, ...] | None = None


def default_learning_rate(hidden_size: int) -> float:
    """3e-3 up to width 256 (where it was tuned), falling with the width above it: 1.9e-4 at 4,096."""
    return 3e-3 * min(1.0, 256 / hidden_size)


def train(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], head: Head, recipe: Recipe, *,
    start: str | None, lock: AbstractContextManager[object], checkpoint: Checkpoint | None = None,
    progress: StepProgress | None = None,
) -> None:  # fmt: skip
    """Train a fresh LoRA named `candidate` on `model`, started from the attached adapter `start` if one is named.

    The lock is held during a step and free between steps, so that the same model can serve meanwhile. With a
    `checkpoint` the training goes on from it, and is saved there after its first step, from time to time, at its end
    and when it is stopped.
    """
    checkpoint, progress = checkpoint or Checkpoint(), progress or (lambda step, steps, kl: None)
    with lock:
        learner = Learner(add_candidate(model, recipe.rank, recipe.alpha, recipe.seed, start, recipe.targets), recipe)
    packer = Packer(template, taught, max_turns=recipe.max_dialogue_turns,
                    max_tokens=min(recipe.max_sequence_tokens, context_of(model)), seed=recipe.seed)  # fmt: skip
    done, first = checkpoint.resume(), 0
    if done is not None:
        learner.restore(done.tensors)
        packer.restore(done.packer)
        first = done.step
        progress(first, recipe.steps, done.kl)
    mark_K, loss = _mark(model, template, taught, lock), loss_named(recipe.loss, recipe.top_k)
    try:
        for step in range(first, recipe.steps):
            dialogues = packer.batch(recipe.trajectories_per_step)
            n_tokens = sum(len(d.positions) for d in dialogues)
            total = 0.0
            with lock, adapter(model, CANDIDATE):
                learner.begin(step)
                for batch in micro_batches(dialogues):
                    student_N_K_H, teacher_N_K_H = _states(model, template, batch)
                    kl_N = tiled_loss(student_N_K_H[:, -1], teacher_N_K_H[:, -1], _tokens(batch), head, loss)
                    gap_N = state_gap(student_N_K_H, teacher_N_K_H, mark_K)
                    ((kl_N + recipe.state_weight * gap_N).sum() / n_tokens).backward()
                    total += kl_N.sum().item() / n_tokens
                    packer.note(batch, kl_N.detach())
                done = None  # from here on the parameters are neither the old nor the new ones
                learner.step()
            done = TrainingState(step + 1, total, packer.state(), learner.tensors())
            if checkpoint.due or done.step in (1, recipe.steps):  # the first: a signal may hit the next step's midst
                checkpoint.save(done)
            progress(done.step, recipe.steps, total)
    except (KeyboardInterrupt, SystemExit):
        if done is not None:
            checkpoint.save(done)
        raise


class Learner:
    """The candidate's parameters by name with their AdamW; its rates rise for a twentieth of the steps, then fall."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> None:
        self._parameters, self._steps = parameters, recipe.steps
        self._rates = {"lora_A": recipe.learning_rate, "lora_B": recipe.b_rate * recipe.learning_rate}
        groups = [{"params": [p for n, p in parameters.items() if part in n], "lr": rate}
                  for part, rate in self._rates.items()]  # fmt: skip
        self._optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.0, fused=True)

    def begin(self, step: int) -> None:
        """Make ready for the gradients of a step, counted from 0."""
        warmup = max(1, self._steps // 20)
        share = min(1.0, (step + 1) / warmup) * (1 - step / self._steps)
        for group, rate in zip(self._optimizer.param_groups, self._rates.values(), strict=True):
            group["lr"] = rate * share
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)

    def step(self) -> None:
        """Follow the gradients, whose norm is at most 1, and clear them."""
        torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

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


def micro_batches(dialogues: Sequence[Dialogue]) -> list[list[Dialogue]]:
    """Length-sorted groups of about 2,048 tokens, a third of them padding at most: on a CPU larger ones are slower."""
    groups: list[list[Dialogue]] = []
    held = 0
    for dialogue in sorted(dialogues, key=lambda d: len(d.ids)):
        padded = len(dialogue.ids) * (len(groups[-1]) + 1) if groups else 0
        held += len(dialogue.ids)
        if not groups or padded > min(MICRO_BATCH_TOKENS, 1.5 * held):
            groups.append([])
            held = len(dialogue.ids)
        groups[-1].append(dialogue)
    return groups


def _states(model: PreTrainedModel, template: ChatTemplate, batch: Sequence[Dialogue]) -> tuple[Tensor, Tensor]:
    """The student's and the teacher's hidden states (N, K, H) at every answer token of the dialogues in their order.

    Padding stands behind what counts.
    """
    gaps = [max(len(d.ids) for d in batch) - len(d.ids) for d in batch]
    ids = [[*d.ids, *[template.end_id] * gap] for d, gap in zip(batch, gaps, strict=True)]
    position_ids = [[*d.position_ids, *[0] * gap] for d, gap in zip(batch, gaps, strict=True)]
    ids_B_T, position_ids_B_T = (torch.tensor(rows, device=model.device) for rows in (ids, position_ids))
    hidden_B_T_K_H = hidden_states(model, ids_B_T, position_ids_B_T)
    student_N_K_H = torch.cat([hidden_B_T_K_H[row, d.positions] for row, d in enumerate(batch)])
    return student_N_K_H, torch.cat([d.teacher_N_K_H for d in batch]).to(student_N_K_H)


def _tokens(batch: Sequence[Dialogue]) -> Tensor:
    """The answers' own tokens (N,) at the positions of `_states`."""
    return torch.cat([torch.tensor(d.ids)[d.positions + 1] for d in batch])


@torch.no_grad()
def _mark(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], lock: AbstractContextManager[object]
) -> Tensor:
    """What the prompt does to the base's inner states, shape (K - 1,), measured on a few trajectories."""
    few = taught[:: max(1, len(taught) // 64)]
    pairs = []
    for batch in micro_batches([pack(template, [item], MICRO_BATCH_TOKENS) for item in few]):
        with lock, adapter(model, None):
            pairs.append(_states(model, template, batch))
    base_N_K_H, teacher_N_K_H = (torch.cat(states) for states in zip(*pairs, strict=True))
    return prompt_mark(base_N_K_H, teacher_N_K_H)


@torch.no_grad()
def mean_kl(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], head: Head, *,
    adapter_name: str | None, lock: AbstractContextManager[object], max_tokens: int = 1024,
) -> float:  # fmt: skip
    """Mean KL per answer token (nats) of the unprompted model against the teacher, each trajectory on its own."""
    dialogues = [pack(template, [item], max_tokens) for item in taught]
    total = 0.0
    for batch in micro_batches(dialogues):
        with lock, adapter(model, adapter_name):
            student_N_K_H, teacher_N_K_H = _states(model, template, batch)
            kl_N = tiled_loss(student_N_K_H[:, -1], teacher_N_K_H[:, -1], _tokens(batch), head, loss_named("forward"))
            total += kl_N.sum().item()
    return total / max(1, sum(len(d.positions) for d in dialogues))
