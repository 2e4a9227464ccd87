"""Auxiliary losses that guide a few attention heads, without which the starter does not say what stands before a word.

Each layer but the first has a head for each token of a line's beginning. The second layer's carry the beginning to the
later words of the line, the third's fetch it where one of those words is read again, the last's say it. In a list of
keys the second layer's tell the key before, and one of the third's finds the next (`lists.py`). Their attention
is supervised (Liu et al., 2016, *Neural Machine Translation with Supervised Attention*) to be where each step of this
finds its token (`lines.py`); probes (*Deeply-Supervised Nets*, Lee et al., 2015) ask for the token in the residual
stream after the second and the third layer. Nothing of this is left in the trained model but its weights. By gradient
descent on answers alone, 60 million tokens did not find it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bakemem.starter.lines import BEGINNING, Lines, Pointer

STEPS = (0, 1, 2, 0, 1)  # layers behind the first that follow own, earlier, fetched, before and next
PER_BATCH = 400  # pointers of each sort that are looked at
SHARPNESS = 4.0  # of the probes' logits at their start
LEAST = 1e-6  # an attention weight that counts as none


class Guide(nn.Module):
    """The losses of one model with its probes: for two layers and each token of a beginning a linear map."""

    def __init__(self, width: int, n_heads: int, lines: Lines) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, BEGINNING * width, bias=False) for _ in range(2))
        self._first, self._lines = n_heads - BEGINNING, lines

    def loss(
        self, hidden: Sequence[Tensor], attentions: Sequence[Tensor], embedding_V_H: Tensor,
        ids: Sequence[Sequence[int]], rng: random.Random,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Mean cross entropies, in nats, of attention and of the probes, each summed over the sorts of pointers.

        `hidden` are the `(B, T, H)` streams before each layer, `attentions` each layer's `(B, N, T, T)` weights.
        """
        looked = probed = embedding_V_H.new_zeros(())
        pointers = [self._lines.pointers(one) for one in ids]
        for step, rows in zip(STEPS, zip(*pointers, strict=True), strict=True):
            known = [(row, pointer) for row, one in enumerate(rows) for pointer in one]
            some = rng.sample(known, min(PER_BATCH, len(known)))
            if some:
                looked = looked + self._attention(attentions[step + 1], some)
            if some and step < len(self.maps):
                probed = probed + self._probe(self.maps[step], hidden[step + 2], embedding_V_H, some)
        return looked, probed

    def _attention(self, weights_B_N_T_T: Tensor, pointers: Sequence[tuple[int, Pointer]]) -> Tensor:
        weights = weights_B_N_T_T[
            [row for row, _ in pointers], [self._first + p.nth for _, p in pointers],
            [p.place for _, p in pointers], [p.source for _, p in pointers],
        ]  # fmt: skip
        return -(weights.float() + LEAST).log().mean()

    def _probe(
        self, linear: nn.Module, hidden_B_T_H: Tensor, embedding_V_H: Tensor, pointers: Sequence[tuple[int, Pointer]]
    ) -> Tensor:
        rows, places = [row for row, _ in pointers], [p.place for _, p in pointers]
        stream_N_H = functional.rms_norm(hidden_B_T_H[rows, places].float(), hidden_B_T_H.shape[-1:])
        read_N_K_H = linear(stream_N_H).unflatten(1, (BEGINNING, -1))
        read_N_H = read_N_K_H[torch.arange(len(pointers)), [p.nth for _, p in pointers]]
        logits_N_V = SHARPNESS * read_N_H.float() @ embedding_V_H.detach().float().T
        return functional.cross_entropy(logits_N_V, torch.tensor([p.token for _, p in pointers]))
