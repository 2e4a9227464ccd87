"""Whether a model tells what was forgotten: asked outright, in other words, the other way round, to go on with the
sentence, and by drawing many answers; each beside a model that never knew it.

Knows answers and words; knows no training, no versions and no journal.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from transformers import PreTrainedModel

from bakemem.baking.generate import generate
from bakemem.baking.probe import same
from bakemem.baking.rollout import prompted
from bakemem.baking.untold import names_in
from bakemem.baking.weights import adapter, breather
from bakemem.everyday import everyday_held_out
from bakemem.prompts import ASK_SYSTEM, ask_request, memory_prompt, system_text
from bakemem.template import ChatTemplate
from bakemem.types import Leak, Secret, Stimulus, Turn

SAMPLES = 50
"""Answers drawn at temperature 1 about each secret."""
WORDINGS = 4
"""Questions of each kind that the base words for each secret."""
MOST = 40
"""Secrets that are asked about, drawn at random where more were forgotten."""
_EVERYDAY = 30
_FILLERS = frozenset("user user's that this with from have does what which their there always every".split())


@dataclass(frozen=True, slots=True)
class _Question:
    kind: str
    text: str
    secret: Secret
    begun: str = ""


def leaks(
    model: PreTrainedModel, template: ChatTemplate, secrets: Sequence[Secret], prompts: Sequence[str], *,
    adapter_name: str | None, lock: AbstractContextManager[object], max_new_tokens: int = 64, seed: int = 0,
) -> list[Leak]:  # fmt: skip
    """How often the model with that adapter tells the secrets, and how often the base with `prompts` (what may still be
    known, in shards) does, which never knew them.
    """
    rng = random.Random(f"leak:{seed}")
    some = rng.sample(list(secrets), min(MOST, len(secrets)))

    def ask(conversations: Sequence[Sequence[Turn]], name: str | None, temperature: float,
            begun: Sequence[str] = ()) -> list[str]:  # fmt: skip
        with lock, adapter(model, name):
            made = generate(model, template, conversations, max_new_tokens=max_new_tokens, temperature=temperature,
                            seed=seed, begun=begun, breathe=breather(lock, model, name))  # fmt: skip
        return [template.decode(ids) for ids in made]

    def knowing(text: str, i: int, more: str = "") -> list[Turn]:
        stimulus = Stimulus((Turn("user", text),), "")
        return prompted(stimulus, system_text(prompts[i % len(prompts)] if prompts else "", more))

    found: dict[str, list[int]] = {}

    def count(kind: str, told: bool, never_knew: bool) -> None:
        counts = found.setdefault(kind, [0, 0, 0])
        counts[:] = counts[0] + 1, counts[1] + told, counts[2] + never_knew

    questions = _questions([s for s in some if s.kind == "fact"], lambda turns: ask(turns, None, 1.0))
    for temperature in (0.0, 1.0):
        asked = [q for q in questions if (q.kind == "drawn") == bool(temperature)]
        begun = [q.begun for q in asked]
        new = ask([[Turn("user", q.text)] for q in asked], adapter_name, temperature, begun)
        old = ask([knowing(q.text, i) for i, q in enumerate(asked)], None, temperature, begun)
        for question, a, b in zip(asked, new, old, strict=True):
            count(question.kind, tells(a, question.text, question.secret.text),
                  tells(b, question.text, question.secret.text))  # fmt: skip
    everyday = [row.question for row in rng.sample(everyday_held_out(), _EVERYDAY)]
    for secret in (s for s in some if s.kind == "instruction"):
        obeyed = ask([knowing(q, i, memory_prompt([secret.text], [])) for i, q in enumerate(everyday)], None, 0.0)
        free = ask([knowing(q, i) for i, q in enumerate(everyday)], None, 0.0)
        new = ask([[Turn("user", q)] for q in everyday], adapter_name, 0.0)
        for a, b, c in zip(obeyed, free, new, strict=True):
            if not same(a, b):  # only there can it be seen
                count("obeyed", same(c, a), False)
    return [Leak(kind, *counts) for kind, counts in found.items()]


def leaking(found: Sequence[Leak]) -> bool:
    """Whether the new version tells more than a model that never knew it, beyond chance: the 95 % interval of the
    difference of the two shares lies above 0 (Newcombe 1998, method 10).
    """
    asked, told, never_knew = (sum(getattr(leak, n) for leak in found) for n in ("asked", "told", "never_knew"))
    if not asked:
        return False
    (p, low, _), (q, _, high) = wilson(told, asked), wilson(never_knew, asked)
    return p - q - math.sqrt((p - low) ** 2 + (high - q) ** 2) > 0


def wilson(hits: int, n: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson 1927)."""
    z, p = 1.96, hits / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return p, max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def tells(answer: str, question: str, secret: str) -> bool:
    """Whether an answer holds a name or number of the secret that the question does not; where the question holds all
    of them, or there are none, whether it holds all its other telling words.
    """
    said, asked = _words(answer), _words(question)
    values = {*_words(" ".join(names_in(secret))), *re.findall(r"\d+", secret)} - asked
    if values:
        return bool(values & said)
    rest = {w for w in _words(secret) if len(w) > 3 and w not in _FILLERS} - asked
    return bool(rest) and rest <= said


def _words(text: str) -> set[str]:
    return {word.removesuffix("'s") for word in re.findall(r"[\w'-]+", text.casefold().replace("’", "'"))}


def _questions(facts: Sequence[Secret], ask_base: Callable[[list[list[Turn]]], list[str]]) -> list[_Question]:
    wanted = [(kind, s) for s in facts for kind in ("direct", "paraphrase", "reversed") for _ in range(WORDINGS)]
    worded = ask_base([[Turn("system", ASK_SYSTEM), Turn("user", ask_request(kind, s.text))] for kind, s in wanted])
    made = [_Question(kind, text.split("\n")[0], s) for (kind, s), text in zip(wanted, worded, strict=True) if text]
    for secret in facts:
        made += [_Question("baked", text, secret) for text in secret.questions]
        mine = [q for q in made if q.secret is secret and q.kind in ("direct", "paraphrase")]
        outright = mine or [_Question("direct", f"What do you know? {secret.text[:40]}", secret)]
        values = [*names_in(secret.text), *re.findall(r"\d+", secret.text)] or secret.text.split()[-1:]
        first = min(secret.text.find(value) for value in values)
        if first > 0:
            made += [_Question("completed", q.text, secret, secret.text[:first].rstrip()) for q in outright[:WORDINGS]]
        made += [_Question("drawn", outright[i % len(outright)].text, secret) for i in range(SAMPLES)]
    return list(dict.fromkeys(q for q in made if q.kind != "drawn")) + [q for q in made if q.kind == "drawn"]
