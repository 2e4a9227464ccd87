"""Trajectories packed into dialogues, so that the student must answer at every depth of a long conversation.

Knows token ids and positions; knows no models and no losses.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from bakemem.baking.reading import WITHOUT_FACTS
from bakemem.baking.rollout import Taught
from bakemem.baking.untold import TOLD, may_answer
from bakemem.template import ChatTemplate
from bakemem.types import Turn


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One training sequence: its ids, the indices that predict answer tokens, and the teacher's states there.

    `items` are the trajectories in it, in the order of their answers; `position_ids` place each token. Its first
    `n_before` ids are a talk that is read and not trained. At `read` stands what no fact matters to and is to be read
    as the base reads it.
    """

    ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    positions: Tensor
    teacher_N_K_H: Tensor
    items: tuple[Taught, ...]
    n_before: int
    read: Tensor


Telling = tuple[Turn, ...]
"""Turns in which something is told and answered, which are read and not trained."""


def pack(
    template: ChatTemplate, taught: Sequence[Taught | Telling], max_tokens: int, before: Sequence[Taught] = ()
) -> Dialogue:  # fmt: skip
    """The trajectories one after the other, behind the turns that the first has before its question.

    The loss is on every answer. Its first token is predicted from the position before it, so it is trained; no token of
    the context is, nor of what was talked about `before`. One that has other turns before its question comes in
    wherever those were told. What would pass `max_tokens` is left out, but for the first.
    """
    fitting = _fitting(template, (*taught, *before), max_tokens)
    context = {id(item) for item in before}
    dialogue = _joined(template, fitting, context)
    while len(dialogue.ids) > max_tokens and len(fitting) > 1:  # tokens merge, and some templates say more at first
        fitting.pop()
        dialogue = _joined(template, fitting, context)
    return dialogue


def _fitting(template: ChatTemplate, pieces: Sequence[Taught | Telling], max_tokens: int) -> list[Taught | Telling]:
    """The first, and of the others those that still fit, by what each adds, and that ask for nothing left out."""
    fitting: list[Taught | Telling] = []
    told: set[Telling] = set()
    length, frame = 0, _frame(template)
    for piece in pieces:
        if fitting and isinstance(piece, Taught) and context_of(piece) not in told:
            continue
        added = _length(template, piece, frame, first=not fitting)
        if not fitting or length + added <= max_tokens:
            length += added
            fitting.append(piece)
            told |= {(), context_of(piece)} if isinstance(piece, Taught) else {(), piece}
    return fitting


def context_of(item: Taught) -> Telling:
    """The turns before its question."""
    return item.trajectory.stimulus.turns[:-1]


def _length(template: ChatTemplate, piece: Taught | Telling, frame: int, first: bool) -> int:
    """About how many tokens a piece adds to a dialogue."""
    if isinstance(piece, Taught):
        turns = piece.trajectory.stimulus.turns
        return len(piece.trajectory.token_ids) + _length(template, turns if first else turns[-1:], frame, first)
    return sum(template.count(turn.content) + frame for turn in piece)


@lru_cache(maxsize=1)
def _frame(template: ChatTemplate) -> int:
    """How many tokens the template puts around a question and before its answer, counted as 6 at least."""
    return max(6, len(template.next_ids("x")) - template.count("x"))


def _joined(template: ChatTemplate, fitting: Sequence[Taught | Telling], context: Set[int]) -> Dialogue:
    """All of these in one dialogue, those of the `context` first."""
    turns: list[Turn] = []
    said: dict[int, Taught] = {}
    for piece in sorted(fitting, key=lambda piece: id(piece) not in context):
        if not isinstance(piece, Taught):
            turns += piece
            continue
        turns += piece.trajectory.stimulus.turns[-1:] if turns else piece.trajectory.stimulus.turns
        said[len(turns)] = piece
        turns.append(Turn("assistant", piece.trajectory.answer))
    past = {i for i, item in said.items() if id(item) in context}
    ids, starts = template.dialogue_ids(turns, {i: t.trajectory.token_ids for i, t in said.items()}, past)
    answers = {i: item for i, item in said.items() if id(item) not in context}
    positions = [torch.arange(starts[i] - 1, starts[i] - 1 + len(t.trajectory.token_ids)) for i, t in answers.items()]
    teacher_N_K_H = torch.cat([item.hidden_N_K_H for item in answers.values()])
    n_before = max((starts[i] + len(t.trajectory.token_ids) for i, t in said.items() if i not in answers), default=0)
    read = torch.zeros(len(ids), dtype=torch.bool)
    read[n_before:] = all(item.trajectory.stimulus.kind in WITHOUT_FACTS for item in answers.values())
    read[torch.cat(positions)] = False
    return Dialogue(tuple(ids), tuple(range(len(ids))), torch.cat(positions), teacher_N_K_H, tuple(answers.values()),
                    n_before, read.nonzero()[:, 0])  # fmt: skip


def stretched(dialogue: Dialogue, max_tokens: int, rng: random.Random) -> Dialogue:
    """The same dialogue as if more had been said between its turns: after answers, positions are skipped.

    The idea of PoSE (arXiv 2309.10400): far positions are learned at the price of short sequences.
    """
    n_ids, lengths = len(dialogue.ids), (len(item.trajectory.token_ids) for item in dialogue.items)
    last = [int(dialogue.positions[n - 1]) + 1 for n in accumulate(lengths)]  # of each answer
    most = rng.randint(0, max(0, max_tokens - n_ids))
    skipped = [0, *sorted(rng.randint(0, most) for _ in last)]  # after so many answers
    return replace(dialogue, position_ids=tuple(i + skipped[bisect_left(last, i)] for i in range(n_ids)))


STRETCH = 0.5  # the share of dialogues that are stretched
TOLD_DEEP = 2  # conversations that tell something of their own, in a deep dialogue
SELDOM = 0.2  # how often a trajectory that the student answers well comes again, of the passes over all


class Packer:
    """Draws batches: half of the trajectories alone, half in dialogues of up to `max_turns`; some have a deep one too.

    In a dialogue are those that have the same turns before their questions, be it a caller's prompt, something told, or
    nothing: what was told in one conversation would be a wrong answer in another.

    No memory is asked about twice in a dialogue: the second answer could be copied from the first, and what stands far
    from the beginning would be learned by copying alone. So few dialogues grow long; a share `deep` of the batches has
    one of `max_turns` beside, of which the last quarter is trained and the others, about nothing that is remembered,
    stand before it.

    Half of the other dialogues are longer than the 0.7th power of `max_turns`, a quarter shorter than its root, and
    half are stretched over up to `max_tokens` positions. The first pass, when nothing is noted yet, draws a fifth of
    all trajectories; after that, those come in a pass that the student did worse on than the mean when it last met
    them, those that it has not met, and of the others the better the fewer.
    The minimum of the loss stays where it is.
    """

    def __init__(self, template: ChatTemplate, taught: Sequence[Taught], *, max_turns: int, max_tokens: int,
                 seed: int, deep: float = 0.5) -> None:  # fmt: skip
        self._template, self._max_turns, self._max_tokens, self._deep_share = template, max_turns, max_tokens, deep
        self._rng = random.Random(f"pack:{seed}")
        # A trajectory is known by its place among all, which another process counts alike.
        self._taught, self._places = list(taught), {id(item): i for i, item in enumerate(taught)}
        groups: dict[tuple[Turn, ...], list[int]] = {}
        for i, item in enumerate(taught):
            groups.setdefault(context_of(item), []).append(i)
        self._groups = list(groups.values())
        told = {context_of(item) for item in taught if item.trajectory.stimulus.kind == TOLD}
        self._told = [groups[context] for context in groups if context in told and context[0].role == "user"]
        self._queues: list[list[int]] = [[] for _ in self._groups]
        self._kl: dict[int, float] = {}

    def state(self) -> dict[str, Any]:
        """What decides the batches to come, as JSON values; whatever the packer does later does not change it."""
        version, numbers, gauss = self._rng.getstate()
        queues = [list(queue) for queue in self._queues]
        kl = [[i, value] for i, value in self._kl.items()]  # in this order: a sum of floats depends on it
        return {"random": [version, list(numbers), gauss], "queues": queues, "kl": kl}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as the packer of the same trajectories did whose `state` this was."""
        version, numbers, gauss = state["random"]
        self._rng.setstate((version, tuple(numbers), gauss))
        self._queues = [list(queue) for queue in state["queues"]]
        self._kl = dict(state["kl"])

    def batch(self, n_trajectories: int) -> list[Dialogue]:
        """Dialogues that hold about `n_trajectories` trajectories, and perhaps a deep one beside."""
        alone = n_trajectories // 2
        dialogues = [self._dialogue(1) for _ in range(alone)]
        if self._rng.random() < self._deep_share:
            dialogues += self._deep()
        left = n_trajectories - alone
        while left > 0:
            dialogues.append(self._dialogue(round(self._max_turns ** self._rng.random() ** 0.5)))
            left -= len(dialogues[-1].items)
        return dialogues

    def _dialogue(self, n_turns: int) -> Dialogue:
        [group] = self._rng.choices(range(len(self._groups)), [len(g) for g in self._groups])
        dialogue = pack(self._template, self._once(group, n_turns), self._max_tokens)
        return stretched(dialogue, self._max_tokens, self._rng) if self._rng.random() < STRETCH else dialogue

    def _deep(self) -> list[Dialogue]:
        """Questions behind a long talk about other things, of those that have the same turns before them as most do.

        None where there is no more than is asked.
        """
        n_asked = max(1, self._max_turns // 4)
        group = max(range(len(self._groups)), key=lambda group: len(self._groups[group]))
        if len(self._groups[group]) <= n_asked:
            return []
        asked = self._once(group, n_asked)
        trained = {id(item) for item in asked}
        others = [item for item in map(self._taught.__getitem__, self._groups[group])
                  if not item.trajectory.stimulus.memory_ids and id(item) not in trained]  # fmt: skip
        before = self._rng.sample(others, min(len(others), self._max_turns - len(asked)))
        return [pack(self._template, self._with_told(asked), self._max_tokens, before)]

    def _with_told(self, asked: Sequence[Taught]) -> list[Taught | Telling]:
        """The same, and behind the first what some conversations tell of their own, and are asked about later.

        Nobody is asked there for something untold that was just told, nor twice about a memory.
        """
        pieces: list[Taught | Telling] = list(asked)
        about = {memory for item in asked for memory in item.trajectory.stimulus.memory_ids}
        n_talks = min(TOLD_DEEP, self._max_turns // 8, len(self._told))  # they are long themselves
        for group in self._rng.sample(self._told, n_talks):
            told = context_of(self._taught[group[0]])
            texts = [turn.content for turn in told if turn.role == "user"]
            pieces[1:] = [p for p in pieces[1:] if not isinstance(p, Taught) or p.trajectory.stimulus.memory_ids
                          or not may_answer(texts, p.trajectory.stimulus.turns[-1].content)]  # fmt: skip
            own: list[Taught | Telling] = [told]
            for item in map(self._taught.__getitem__, self._rng.sample(group, len(group))):
                if about.isdisjoint(item.trajectory.stimulus.memory_ids):
                    own.append(item)
                    about.update(item.trajectory.stimulus.memory_ids)
            places = sorted(self._rng.randint(1, len(pieces)) for _ in own)
            for place, piece in reversed(list(zip(places, own, strict=True))):
                pieces.insert(place, piece)
        return pieces

    def _once(self, group: int, n_turns: int) -> list[Taught]:
        """The next trajectories of a group, no memory asked about twice."""
        drawn = [self._draw(group) for _ in range(min(n_turns, len(self._groups[group])))]
        once: list[Taught] = []
        told: set[str] = set()
        for i in dict.fromkeys(drawn):  # no answer twice: that too would teach copying
            about = set(self._taught[i].trajectory.stimulus.memory_ids)
            if told & about:
                self._queues[group].insert(0, i)  # for another dialogue
            else:
                told |= about
                once.append(self._taught[i])
        return once

    def note(self, dialogues: Sequence[Dialogue], kl_N: Tensor) -> None:
        """Remember how well the student answered: `kl_N` are the divergences at all the dialogues' positions.

        Those of a trajectory that are not finite say nothing.
        """
        items = [item for dialogue in dialogues for item in dialogue.items]
        for item, kl in zip(items, kl_N.cpu().split([len(item.hidden_N_K_H) for item in items]), strict=True):
            if isfinite(total := float(kl.sum())):
                self._kl[self._places[id(item)]] = total

    def _draw(self, group: int) -> int:
        queue = self._queues[group]
        while not queue:
            mean = sum(self._kl.values()) / max(1, len(self._kl))
            kept = [
                i
                for i in self._groups[group]
                if self._rng.random() < max(SELDOM, self._kl.get(i, mean) / (mean or 1.0))
            ]
            queue += self._rng.sample(kept, len(kept))
        return queue.pop()
