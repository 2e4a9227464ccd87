"""Trajectories packed into dialogues, so that the student must answer at every depth of a long conversation.

Knows token ids and positions; knows no models and no losses.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bakemem.baking.rollout import Taught
from bakemem.template import ChatTemplate
from bakemem.types import Turn


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One training sequence: its ids, the positions that predict answer tokens, and the teacher's states there.

    `items` are the trajectories in it, in the order of their answers.
    """

    ids: tuple[int, ...]
    positions: Tensor
    teacher_N_H: Tensor
    items: tuple[Taught, ...]


def pack(template: ChatTemplate, taught: Sequence[Taught], max_tokens: int) -> Dialogue:
    """The trajectories one after the other under their common caller prompt, loss on every answer.

    The first token of an answer is predicted from the position before it, so it is trained; no token of the context
    is. Trajectories that would pass `max_tokens` are left out, but for the first.
    """
    turns: list[Turn] = []
    answers: dict[int, Taught] = {}
    length = 0
    for item in taught:
        own = list(item.trajectory.stimulus.turns)
        if turns and own[0].role == "system":
            own = own[1:]
        added = len(item.trajectory.token_ids) + sum(template.count(t.content) + 6 for t in own)
        if turns and length + added > max_tokens:
            continue
        length += added
        turns += own
        answers[len(turns)] = item
        turns.append(Turn("assistant", item.trajectory.answer))
    ids, starts = template.dialogue_ids(turns, {i: t.trajectory.token_ids for i, t in answers.items()})
    positions = [torch.arange(starts[i] - 1, starts[i] - 1 + len(t.trajectory.token_ids)) for i, t in answers.items()]
    return Dialogue(tuple(ids), torch.cat(positions), torch.cat([t.hidden_N_H for t in answers.values()]),
                    tuple(answers.values()))  # fmt: skip


SELDOM = 0.2  # how often a trajectory that the student answers well comes again, of the passes over all


class Packer:
    """Draws dialogues of 1 to `max_turns` trajectories, all under one caller prompt; one in six is long.

    Every trajectory is drawn once; after that, those come again in a pass that the student did worse on than the mean
    when it last met them, and of the others the better the fewer. The minimum of the loss stays where it is.
    """

    def __init__(self, template: ChatTemplate, taught: Sequence[Taught], *, max_turns: int, max_tokens: int,
                 seed: int) -> None:  # fmt: skip
        self._template, self._max_turns, self._max_tokens = template, max_turns, max_tokens
        self._rng = random.Random(f"pack:{seed}")
        self._groups: dict[str, list[Taught]] = {}
        for item in taught:
            first = item.trajectory.stimulus.turns[0]
            self._groups.setdefault(first.content if first.role == "system" else "", []).append(item)
        self._queues: dict[str, list[Taught]] = {caller: [] for caller in self._groups}
        self._kl: dict[int, float] = {}

    def batch(self, n_trajectories: int) -> list[Dialogue]:
        """Dialogues that hold about `n_trajectories` trajectories."""
        dialogues: list[Dialogue] = []
        left = n_trajectories
        while left > 0:
            caller = self._rng.choices(list(self._groups), [len(g) for g in self._groups.values()])[0]
            long = self._rng.random() < 1 / 6
            n = self._rng.randint(4, max(4, self._max_turns)) if long else self._rng.randint(1, 3)
            n = min(n, len(self._groups[caller]))
            drawn = [self._draw(caller) for _ in range(n if long else min(n, left))]
            # An answer that stands in the dialogue twice would teach copying.
            once = list({id(item): item for item in drawn}.values())
            dialogues.append(pack(self._template, once, self._max_tokens))
            left -= n
        return dialogues

    def note(self, dialogues: Sequence[Dialogue], kl_N: Tensor) -> None:
        """Remember how well the student answered: `kl_N` are the divergences at all the dialogues' positions."""
        items = [item for dialogue in dialogues for item in dialogue.items]
        for item, kl in zip(items, kl_N.cpu().split([len(item.hidden_N_H) for item in items]), strict=True):
            self._kl[id(item)] = float(kl.sum())

    def _draw(self, caller: str) -> Taught:
        queue = self._queues[caller]
        while not queue:
            group = self._groups[caller]
            mean = sum(self._kl.values()) / max(1, len(self._kl))
            kept = [t for t in group if self._rng.random() < max(SELDOM, self._kl.get(id(t), mean) / (mean or 1.0))]
            queue += self._rng.sample(kept, len(kept))
        return queue.pop()
