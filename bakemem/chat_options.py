"""What can be asked of a reply beside its text: the options of `chat` and `stream`.

Knows their names and defaults; knows no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from bakemem.config import Config
from bakemem.errors import InputError
from bakemem.serving import Sampling
from bakemem.types import Turn


class ChatOptions(TypedDict, total=False):
    """All may be left out.

    `system` is a prompt of the caller's own, and `history` the conversation before. `strength` scales the baked memory:
    0 is the base, 1 all of it. `temperature` and `max_new_tokens` are as configured if unset; `seed` makes sampling
    repeatable, `top_p` keeps the likeliest tokens, and `stop` is a text that ends the reply, or several. With
    `logprobs` the reply's ending holds each token's. With `window` the oldest turns are left out of what is too long
    for the model.
    """

    history: Sequence[Turn]
    system: str | None
    version: str | None
    strength: float
    temperature: float | None
    max_new_tokens: int | None
    seed: int | None
    top_p: float
    stop: str | Sequence[str]
    logprobs: bool
    window: bool


def sampling_of(options: ChatOptions, config: Config) -> Sampling:
    """How the reply is drawn. Raises InputError for an option that there is not."""
    if unknown := sorted(options.keys() - ChatOptions.__annotations__.keys()):
        raise InputError(f"There is no option {unknown[0]!r}: use {', '.join(ChatOptions.__annotations__)}.")
    temperature, longest = options.get("temperature"), options.get("max_new_tokens")
    stop = options.get("stop", ())
    return Sampling(
        config.temperature if temperature is None else temperature,
        config.max_new_tokens if longest is None else longest, options.get("seed"), options.get("top_p", 1.0),
        (stop,) if isinstance(stop, str) else tuple(stop), options.get("logprobs", False),
    )  # fmt: skip
