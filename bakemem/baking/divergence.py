"""The baking loss in tiles, from the last hidden states of teacher and student, and how far their inner states differ.

Knows tensors and an output head; knows no models, prompts or adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch import Tensor

from bakemem.baking.losses import Loss

Head = Callable[[Tensor], Tensor]
"""Hidden states (…, H) to logits (…, V); frozen, the same for teacher and student."""

TILE = 512
SEEN = 1e-4
"""The mark of a prompt at a level, as a share of the states' own size, from which on the level counts."""


class _Tiled(torch.autograd.Function):
    """Tile by tile, so that no more than `TILE` rows of logits exist at once; the head gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any, student_N_H: Tensor, teacher_N_H: Tensor, tokens_N: Tensor, head: Head, loss: Loss
    ) -> Tensor:  # fmt: skip
        loss_N = student_N_H.new_empty(len(student_N_H), dtype=torch.promote_types(student_N_H.dtype, torch.float32))
        gradient_N_H = torch.empty_like(student_N_H)
        for start in range(0, len(student_N_H), TILE):
            rows = slice(start, start + TILE)
            with torch.enable_grad():
                student_n_H = student_N_H[rows].detach().requires_grad_()
                with torch.no_grad():
                    teacher_n_V = head(teacher_N_H[rows].to(student_n_H.dtype))
                loss_n = loss(teacher_n_V, head(student_n_H), tokens_N[rows].to(student_n_H.device))
            if ctx.needs_input_grad[0]:
                (gradient_N_H[rows],) = torch.autograd.grad(loss_n, student_n_H, torch.ones_like(loss_n))
            loss_N[rows] = loss_n.detach()
        ctx.save_for_backward(gradient_N_H)
        return loss_N

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None, None, None]:
        (gradient_N_H,) = ctx.saved_tensors
        return gradient_N_H * grad_outputs[0].to(gradient_N_H.dtype)[:, None], None, None, None, None


def tiled_loss(student_N_H: Tensor, teacher_N_H: Tensor, tokens_N: Tensor, head: Head, loss: Loss) -> Tensor:
    """The loss between head(student_n) and head(teacher_n) in nats, shape (N,), differentiable in the student.

    Both are last hidden states of shape (N, H); `tokens_N` are the answers' own tokens.
    """
    loss_N: Tensor = _Tiled.apply(student_N_H, teacher_N_H, tokens_N, head, loss)  # type: ignore[no-untyped-call]
    return loss_N


def state_gap(student_N_K_H: Tensor, teacher_N_K_H: Tensor, mark_K: Tensor) -> Tensor:
    """Squared distance of the inner states as a share of the prompt's own mark on them, shape (N,), mean over levels.

    The last of the K levels is left out: the KL sees to it. `mark_K` is `prompt_mark` of the same teacher, so that
    the unprompted base has a gap of 1 on average. Matching inner states in distillation: Patient Knowledge
    Distillation (arXiv 1908.09355). Levels that the prompt hardly marks add nothing; zero where there are no others.
    """
    apart_N_K = (student_N_K_H - teacher_N_K_H)[:, :-1].float().square().sum(-1)
    return (apart_N_K / mark_K).sum(-1) / max(1, int(mark_K.isfinite().sum()))


def prompt_mark(base_N_K_H: Tensor, teacher_N_K_H: Tensor) -> Tensor:
    """Mean squared distance between the base with and without the prompt at each inner level, shape (K - 1,).

    Infinite where the prompt is hardly seen, as before the first attention of a hybrid: any change there would outweigh
    all others.
    """
    apart_N_K = (base_N_K_H - teacher_N_K_H)[:, :-1].float().square().sum(-1)
    mark_K, size_K = apart_N_K.mean(0), teacher_N_K_H[:, :-1].float().square().sum(-1).mean(0)
    return mark_K.masked_fill(mark_K <= SEEN * size_K, inf)
