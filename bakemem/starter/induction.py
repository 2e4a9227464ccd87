"""Starts a tiny Mistral with an induction circuit in its first two layers, so that training need not discover copying.

The circuit is that of *In-context Learning and Induction Heads* (Olsson et al., 2022): heads of layer 0 write what the
previous token was, heads of layer 1 look for the place whose previous token is the current one, and copy what follows.
Found by gradient descent alone it takes a model of this size most of a training run. Training goes on from here freely.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import MistralForCausalLM

from bakemem.starter.lines import BEGINNING

EMBEDDING = 0.05  # standard deviation of the embeddings
CONSTANT = 4.0  # one component that every token has, in these units: what position alone can be read from
PREVIOUS_HEADS, COPY_HEADS = 3, 6
SHARPNESS, MATCH, COPY = 12.0, 3.0, 0.3  # in logits, in units of the norm, and in the residual stream
SLOW = 0.02  # radians a position: frequencies below it hardly turn within a conversation


def _orthonormal(n: int, width: int, generator: torch.Generator) -> Tensor:
    """`n` orthonormal rows that do not read component 0."""
    square = torch.randn(width - 1, n, generator=generator)
    rows = torch.linalg.qr(square).Q.T
    return torch.cat([torch.zeros(n, 1), rows], dim=1)


@torch.no_grad()
def seed_induction(model: MistralForCausalLM, seed: int) -> None:
    """Write the circuit into layers 0 and 1 of a freshly initialised model; all else stays random."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    width, size = int(config.hidden_size or 0), int(config.head_dim or 0)
    half = size // 2
    angles = 10_000.0 ** (-torch.arange(half) / half)
    embedding = model.model.embed_tokens.weight
    torch.nn.init.normal_(embedding, std=EMBEDDING, generator=generator)
    embedding[:, 0] = CONSTANT * EMBEDDING
    basis = _orthonormal(2 * PREVIOUS_HEADS * size, width, generator)
    read, written = basis[: PREVIOUS_HEADS * size], basis[PREVIOUS_HEADS * size :]

    first = model.model.layers[0].self_attn
    fast = angles > 0.05  # frequencies that tell neighbouring positions apart
    gap = (1 - torch.cos(angles[fast])).sum()
    weight = math.sqrt(SHARPNESS * math.sqrt(size) / float(gap)) / CONSTANT
    for head in range(PREVIOUS_HEADS):
        rows = slice(head * size, (head + 1) * size)
        for projection, turn in ((first.q_proj.weight, angles), (first.k_proj.weight, torch.zeros(half))):
            projection[rows] *= 0.1
            projection[rows, 0] = weight * torch.cat([torch.cos(turn) * fast, -torch.sin(turn) * fast])
        first.v_proj.weight[rows] = read[rows]
        first.o_proj.weight[:, rows] = EMBEDDING * written[rows].T

    for layer in model.model.layers:  # the guided heads (guide.py) say nothing before they are trained
        layer.self_attn.o_proj.weight[:, -BEGINNING * size :] = 0

    second = model.model.layers[1].self_attn
    slow = torch.nonzero(angles < SLOW).flatten()
    places = torch.cat([slow, slow + half])
    copied = _orthonormal(COPY_HEADS * size, width, generator)
    for head in range(COPY_HEADS):
        rows = slice(head * size, (head + 1) * size)
        mix = torch.linalg.qr(torch.randn(len(read), len(places), generator=generator)).Q.T
        for projection, source in ((second.q_proj.weight, read), (second.k_proj.weight, written)):
            projection[rows] *= 0.1
            projection[rows.start + places] = MATCH * (mix @ source)
        second.v_proj.weight[rows] = copied[rows]
        second.o_proj.weight[:, rows] = COPY * copied[rows].T
