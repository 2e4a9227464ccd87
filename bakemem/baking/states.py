"""Training dialogues in batches, and the hidden states of student and teacher at their answer tokens.

Knows dialogues and a model; knows no losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bakemem.baking.cache import prefilled
from bakemem.baking.pack import Dialogue
from bakemem.baking.weights import adapter, hidden_states
from bakemem.kv import attends
from bakemem.template import ChatTemplate

MICRO_BATCH_TOKENS = 2_048


def micro_batches(dialogues: Sequence[Dialogue]) -> list[list[Dialogue]]:
    """Length-sorted groups of about 2,048 tokens, a third of them padding at most: on a CPU larger ones are slower.

    A dialogue with a talk before it is alone.
    """
    groups: list[list[Dialogue]] = []
    held = 0
    for dialogue in sorted((d for d in dialogues if not d.n_before), key=lambda d: len(d.ids)):
        padded = len(dialogue.ids) * (len(groups[-1]) + 1) if groups else 0
        held += len(dialogue.ids)
        if not groups or padded > min(MICRO_BATCH_TOKENS, 1.5 * held):
            groups.append([])
            held = len(dialogue.ids)
        groups[-1].append(dialogue)
    return [*groups, *([d] for d in dialogues if d.n_before)]


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of student and teacher at the answer tokens of dialogues in their order, both (N, K, H), and those
    of the student where they are only `read`, (M, K, H).
    """

    student_N_K_H: Tensor
    teacher_N_K_H: Tensor
    read_M_K_H: Tensor


def states_of(model: PreTrainedModel, template: ChatTemplate, batch: Sequence[Dialogue]) -> States:
    """What the model, as the student, makes of the dialogues.

    Padding stands behind what counts. A talk before it is read without gradients, where the model's cache allows it.
    """
    if batch[0].n_before and attends(model):
        return _states_behind(model, batch[0])
    gaps = [max(len(d.ids) for d in batch) - len(d.ids) for d in batch]
    ids = [[*d.ids, *[template.end_id] * gap] for d, gap in zip(batch, gaps, strict=True)]
    position_ids = [[*d.position_ids, *[0] * gap] for d, gap in zip(batch, gaps, strict=True)]
    ids_B_T, position_ids_B_T = (torch.tensor(rows, device=model.device) for rows in (ids, position_ids))
    hidden_B_T_K_H = hidden_states(model, ids_B_T, position_ids_B_T)
    student_N_K_H = torch.cat([hidden_B_T_K_H[row, d.positions] for row, d in enumerate(batch)])
    read_M_K_H = torch.cat([hidden_B_T_K_H[row, d.read] for row, d in enumerate(batch)])
    return States(student_N_K_H, torch.cat([d.teacher_N_K_H for d in batch]).to(student_N_K_H), read_M_K_H)


def _states_behind(model: PreTrainedModel, dialogue: Dialogue) -> States:
    """As `states_of`, of one dialogue behind the talk that was before it."""
    n_before = dialogue.n_before
    with torch.no_grad():
        cache = prefilled(model, dialogue.ids[:n_before], 1)
    ids_1_T = torch.tensor([dialogue.ids[n_before:]], device=model.device)
    hidden_T_K_H = hidden_states(model, ids_1_T, cache=cache)[0]
    student_N_K_H = hidden_T_K_H[dialogue.positions - n_before]
    return States(student_N_K_H, dialogue.teacher_N_K_H.to(student_N_K_H), hidden_T_K_H[dialogue.read - n_before])


def read_by_base(model: PreTrainedModel, template: ChatTemplate, batch: Sequence[Dialogue]) -> Tensor | None:
    """The base's hidden states (M, K, H) where `states_of` has the student's; None where nothing is only read.

    The adapter is off afterwards.
    """
    read = [d for d in batch if len(d.read)]
    if not read:
        return None
    with torch.no_grad(), adapter(model, None):
        return states_of(model, template, read).read_M_K_H


def tokens_of(batch: Sequence[Dialogue]) -> Tensor:
    """The answers' own tokens (N,) at the positions of `states_of`."""
    return torch.tensor([token for d in batch for item in d.items for token in item.trajectory.token_ids])
