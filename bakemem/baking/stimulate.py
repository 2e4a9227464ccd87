"""What the prompted model is asked before a bake: about each memory, about everyday things, about what it was not told.

The base model itself words the questions. Knows memories and texts; knows no weights and no training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bakemem.everyday import Everyday, everyday_held_out, everyday_stimuli
from bakemem.names import made_up_name, near_name
from bakemem.prompts import ASK_KINDS, ASK_SYSTEM, ask_request
from bakemem.types import Memory, Stimulus, Turn

Answerer = Callable[[Sequence[Sequence[Turn]], float], list[str]]
"""Answers of the base model (no adapter) to conversations, at a temperature."""

CALLERS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You answer questions.",
    "You are a helpful assistant. Always answer in upper case.",
    "You are a helpful assistant. Put every answer in square brackets.",
    "You are a friendly assistant. End every answer with Amen.",
)
"""System prompts of callers, some with a demand of their own: a baked model must go on heeding them."""

_KIND_WEIGHTS = {"direct": 0.34, "paraphrase": 0.3, "reversed": 0.22, "two-fact": 0.14}
_COMMON = frozenset(
    "The A An My Your His Her Their Our This That These Those Project User In On At Every Each All When If It He She "
    "They We You I There Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May "
    "June July August September October November December".split()
)


@dataclass(frozen=True, slots=True)
class Stimuli:
    """What is trained on, and what only the gate asks; no question about a memory stands in both."""

    train: tuple[Stimulus, ...]
    held_out: tuple[Stimulus, ...]


def names_in(text: str) -> list[str]:
    """The proper names of a sentence: its capitalised words but for common ones."""
    return [w for w in re.findall(r"\b[A-Z][\w-]*", text) if w not in _COMMON and len(w) > 2]


@cache
def _decoy_sentences() -> tuple[str, ...]:
    return tuple(files("bakemem.baking").joinpath("decoys.txt").read_text(encoding="utf-8").splitlines())


def stimulate(
    memories: Sequence[Memory], answer: Answerer, *, fresh: frozenset[str] | None = None, per_memory: int = 16,
    rehearsal_share: float = 0.5, seed: int = 0,
) -> Stimuli:  # fmt: skip
    """Stimuli about `memories`; those whose id is not in `fresh` are only rehearsed.

    At least a third are unrelated (everyday) or unanswerable (decoys): names swapped for near or made-up ones, and
    common things that nobody told. A sixth carries a caller's own system prompt.
    """
    rng = random.Random(f"stimulate:{seed}")
    facts = [m for m in memories if m.kind == "fact"]
    counts = {m.id: per_memory if fresh is None or m.id in fresh else max(2, round(per_memory * rehearsal_share))
              for m in facts}  # fmt: skip
    asked = _about(facts, counts, answer, rng)
    train, held_out = _split(asked, rng)
    n = max(len(asked), 24)
    decoys = _decoys(facts, round(0.6 * n), answer, rng)
    cut = len(decoys) * 4 // 5
    told = _told(round(0.15 * n), answer, rng)
    train += [*decoys[:cut], *told, *_everyday(everyday_stimuli(), round(0.45 * n), rng)]
    held_out += [*decoys[cut:], *_everyday(everyday_held_out(), max(12, n // 10), rng)]
    called = [_with_caller(s, rng) for s in train]
    return Stimuli(tuple(called), tuple(held_out))


def _ask(requests: Sequence[str], answer: Answerer) -> list[str]:
    """One question a request; empty where the model wrote none."""
    questions = answer([[Turn("system", ASK_SYSTEM), Turn("user", r)] for r in requests], 1.0)
    lines = [q.strip().split("\n")[0].strip() for q in questions]
    return [q if 3 <= len(q) <= 400 else "" for q in lines]


def _about(
    facts: Sequence[Memory], counts: dict[str, int], answer: Answerer, rng: random.Random
) -> list[Stimulus]:  # fmt: skip
    wanted: list[tuple[str, tuple[Memory, ...]]] = []
    for memory in facts:
        for kind in rng.choices(ASK_KINDS, [_KIND_WEIGHTS[k] for k in ASK_KINDS], k=counts[memory.id]):
            others = [m for m in facts if m is not memory]
            if kind == "two-fact" and not others:
                kind = "direct"
            wanted.append((kind, (memory, rng.choice(others)) if kind == "two-fact" else (memory,)))
    questions = _ask([ask_request(kind, *(m.text for m in about)) for kind, about in wanted], answer)
    return [
        Stimulus((Turn("user", question),), kind, tuple(m.id for m in about))
        for (kind, about), question in zip(wanted, questions, strict=True)
        if question
    ]


def _split(asked: Sequence[Stimulus], rng: random.Random) -> tuple[list[Stimulus], list[Stimulus]]:
    """A fifth of the distinct wordings of each memory is kept for the gate, if it has three or more."""
    wordings: dict[tuple[str, ...], list[str]] = {}
    for stimulus in asked:
        texts = wordings.setdefault(stimulus.memory_ids, [])
        if stimulus.turns[-1].content not in texts:
            texts.append(stimulus.turns[-1].content)
    kept = {
        text
        for texts in wordings.values()
        if len(texts) >= 3
        for text in rng.sample(sorted(texts), max(1, len(texts) // 5))
    }
    train = [s for s in asked if s.turns[-1].content not in kept]
    held_out = {s.turns[-1].content: s for s in asked if s.turns[-1].content in kept}
    return train, list(held_out.values())


def decoy_memory(facts: Sequence[Memory], rng: random.Random) -> str:
    """A sentence that was never told, often a near miss of one that was."""
    if facts and rng.random() < 0.5:
        text = rng.choice(facts).text
        for name in dict.fromkeys(names_in(text)):
            text = text.replace(name, near_name(rng, name) if rng.random() < 0.5 else made_up_name(rng))
        return text
    known = sorted({name for m in facts for name in names_in(m.text)[:1]})
    who = rng.choice(known) if known and rng.random() < 0.5 else made_up_name(rng)
    return rng.choice(_decoy_sentences()).replace("{n}", who).replace("{v}", made_up_name(rng))


def _decoys(facts: Sequence[Memory], n: int, answer: Answerer, rng: random.Random) -> list[Stimulus]:
    kinds = rng.choices(("direct", "paraphrase", "reversed"), (45, 30, 25), k=n)
    questions = _ask([ask_request(kind, decoy_memory(facts, rng)) for kind in kinds], answer)
    return [Stimulus((Turn("user", q),), "decoy") for q in questions if q]


def _told(n: int, answer: Answerer, rng: random.Random) -> list[Stimulus]:
    """Something is told in the conversation, and asked there: baked memory must not deafen the model."""
    told = [
        rng.choice([s for s in _decoy_sentences() if "{n}" in s]).replace("{n}", made_up_name(rng))
        .replace("{v}", made_up_name(rng)) for _ in range(n)
    ]  # fmt: skip
    replies = answer([[Turn("user", text)] for text in told], 0.0)
    questions = _ask([ask_request("direct", text) for text in told], answer)
    stimuli = [Stimulus((Turn("user", text),), "statement") for text in told[: n // 2]]
    for text, reply, question in list(zip(told, replies, questions, strict=True))[n // 2 :]:
        if question and reply:
            stimuli.append(
                Stimulus((Turn("user", text), Turn("assistant", reply), Turn("user", question)), "statement")
            )
    return stimuli


def _everyday(rows: Sequence[Everyday], n: int, rng: random.Random) -> list[Stimulus]:
    chosen = rng.sample(rows, min(n, len(rows)))
    return [Stimulus((Turn("user", row.question),), "everyday") for row in chosen]


def _with_caller(stimulus: Stimulus, rng: random.Random) -> Stimulus:
    if rng.random() >= 1 / 6:
        return stimulus
    return Stimulus((Turn("system", rng.choice(CALLERS)), *stimulus.turns), stimulus.kind, stimulus.memory_ids)
