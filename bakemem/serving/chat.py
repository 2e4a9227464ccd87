"""One reply, token by token: pinned to one adapter and strength from its first token to its last.

Knows a serving model and turns; knows no memories. The lock is free between tokens, so that replies can interleave.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from bakemem.errors import InputError
from bakemem.serving.model import ServingModel
from bakemem.types import Turn


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn; temperature 0 takes the likeliest token."""

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int | None = None


def stream(
    serving: ServingModel, turns: Sequence[Turn], *, adapter_id: str | None, strength: float = 1.0,
    sampling: Sampling = Sampling(),
) -> Iterator[str]:  # fmt: skip
    """The reply in pieces of text. Raises InputError when the conversation is empty or longer than the model reads."""
    template, context = serving.base.template, serving.base.context
    if not turns or turns[-1].role not in ("user", "tool") or not turns[-1].content.strip():
        raise InputError("There is nothing to answer: the last turn must be a user's and hold text.")
    if not 0.0 <= strength <= 4.0:
        raise InputError(f"Strength {strength} is out of range: 0 is the base, 1 the baked memory, at most 4.")
    if not 0.0 <= sampling.temperature <= 10.0:
        raise InputError(
            f"Temperature {sampling.temperature} is out of range: 0 takes the likeliest token, at most 10."
        )
    ids = template.prompt_ids(turns)
    if len(ids) >= context:
        raise InputError(f"The conversation has {len(ids)} tokens, the model reads {context}: drop its oldest turns.")
    room = min(sampling.max_new_tokens, context - len(ids))
    return _decode(serving, ids, adapter_id, strength, sampling, room)


def _decode(
    serving: ServingModel, ids: list[int], adapter_id: str | None, strength: float, sampling: Sampling, room: int
) -> Iterator[str]:  # fmt: skip
    template, device = serving.base.template, serving.base.model.device
    generator = torch.Generator().manual_seed(secrets.randbits(63) if sampling.seed is None else sampling.seed)
    cache = DynamicCache()
    made: list[int] = []
    said = ""
    step = torch.tensor([ids], device=device)
    for _ in range(room):
        with serving.active(adapter_id, strength) as model, torch.no_grad():
            logits_V = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        token = _draw(logits_V.float().cpu(), sampling.temperature, generator)
        if token in template.stop_ids:
            break
        made.append(token)
        step = torch.tensor([[token]], device=device)
        text = template.decode(made)
        if text.startswith(said) and len(text) > len(said) and not text.endswith("\ufffd"):
            yield text[len(said) :]
            said = text
    rest = template.decode(made)
    if rest.startswith(said) and len(rest) > len(said):
        yield rest[len(said) :]


def _draw(logits_V: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0.0:
        return int(logits_V.argmax())
    return int(torch.multinomial(torch.softmax(logits_V / temperature, -1), 1, generator=generator))
