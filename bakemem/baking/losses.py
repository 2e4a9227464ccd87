"""What a student may be trained on, position by position; the paper's eq. 1 is `forward_kl`.

Knows logits and tokens; knows no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

LossName = Literal["forward", "reverse", "jsd", "tokens"]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (N, V) of teacher and student and the answer's own tokens (N,) to nats at every position, shape (N,)."""


def forward_kl(teacher_logits_N_V: Tensor, student_logits_N_V: Tensor) -> Tensor:
    """KL( P_teacher ‖ P_student ) of every position in nats, shape (N,): the inner sum of the paper's eq. 1."""
    return _kl(*_log_shares(teacher_logits_N_V, student_logits_N_V))


def loss_named(name: LossName, top_k: int | None = None, temperatures: Sequence[float] = (1.0,)) -> Loss:
    """The loss of a recipe. `top_k` cuts the teacher's distribution to its likeliest tokens (forward KL only).

    `forward` is the paper's; `reverse` is KL( P_student ‖ P_teacher ); `jsd` the Jensen-Shannon divergence; `tokens`
    the negative log-likelihood of the answer's own tokens, which is plain fine-tuning. With `temperatures` it is the
    mean of the loss between the distributions at each, times its square (Hinton et al., arXiv 1503.02531): above 1 the
    unlikely tokens count too, and its minimum stays where it is. Raises ValueError.
    """
    if top_k is not None and (name != "forward" or top_k < 1):
        raise ValueError(f"top_k = {top_k} goes with the loss `forward` alone, and is at least 1.")
    if not temperatures or min(temperatures) <= 0 or (name == "tokens" and set(temperatures) != {1.0}):
        raise ValueError(f"Temperatures {tuple(temperatures)}: some above 0; the loss `tokens` has 1 alone.")
    losses: dict[LossName, Loss] = {
        "forward": partial(_forward, top_k=top_k), "reverse": _reverse, "jsd": _jsd, "tokens": _tokens
    }  # fmt: skip
    return partial(_tempered, loss=losses[name], temperatures=tuple(temperatures))


def _tempered(
    teacher_N_V: Tensor, student_N_V: Tensor, tokens_N: Tensor, loss: Loss, temperatures: tuple[float, ...]
) -> Tensor:  # fmt: skip
    losses = [t**2 * loss(teacher_N_V / t, student_N_V / t, tokens_N) for t in temperatures]
    return torch.stack(losses).mean(0)


def _log_shares(*logits_N_V: Tensor) -> list[Tensor]:
    """Log-probabilities in float32, or in float64 for float64 input."""
    wide = torch.promote_types(logits_N_V[-1].dtype, torch.float32)
    return [torch.log_softmax(one.to(wide), dim=-1) for one in logits_N_V]


def _kl(log_p_N_V: Tensor, log_q_N_V: Tensor) -> Tensor:
    return (log_p_N_V.exp() * (log_p_N_V - log_q_N_V)).sum(-1)


def _forward(teacher_N_V: Tensor, student_N_V: Tensor, tokens_N: Tensor, top_k: int | None) -> Tensor:
    log_p_N_V, log_q_N_V = _log_shares(teacher_N_V, student_N_V)
    if top_k is not None and top_k < log_p_N_V.shape[-1]:
        log_p_N_K, kept_N_K = log_p_N_V.topk(top_k, dim=-1)
        log_p_N_V, log_q_N_V = torch.log_softmax(log_p_N_K, dim=-1), log_q_N_V.gather(-1, kept_N_K)
    return _kl(log_p_N_V, log_q_N_V)


def _reverse(teacher_N_V: Tensor, student_N_V: Tensor, tokens_N: Tensor) -> Tensor:
    log_p_N_V, log_q_N_V = _log_shares(teacher_N_V, student_N_V)
    return _kl(log_q_N_V, log_p_N_V)


def _jsd(teacher_N_V: Tensor, student_N_V: Tensor, tokens_N: Tensor) -> Tensor:
    log_p_N_V, log_q_N_V = _log_shares(teacher_N_V, student_N_V)
    log_m_N_V = torch.logaddexp(log_p_N_V, log_q_N_V) - torch.log(torch.tensor(2.0))
    return (_kl(log_p_N_V, log_m_N_V) + _kl(log_q_N_V, log_m_N_V)) / 2


def _tokens(teacher_N_V: Tensor, student_N_V: Tensor, tokens_N: Tensor) -> Tensor:
    (log_q_N_V,) = _log_shares(student_N_V)
    return -log_q_N_V.gather(-1, tokens_N[:, None])[:, 0]
