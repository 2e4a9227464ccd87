"""What is asked of an engine, and what every engine promises. `tests/serving/test_contract.py` holds each one to it.

Knows turns; knows no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bakemem.errors import InputError
from bakemem.rendering import Tool
from bakemem.serving.reply import Reply
from bakemem.types import Turn

MOST_STOPS, LONGEST_STOP = 64, 256  # texts, and characters of each
ROLES = ("system", "user", "assistant", "tool")
MOST_STRENGTH = 4.0
_SEEDS = range(-(2**63), 2**64)  # that torch takes
Cut = Literal["refuse", "window"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn; temperature 0 takes the likeliest token.

    `top_p` keeps the likeliest tokens that together have at least that probability. `stop` are texts that end the
    reply and are not part of it. `logprobs` asks for the log-probability of each token, at temperature 1, in nats.
    """

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int | None = None
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    logprobs: bool = False


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """One reply that is wanted: of which adapter (None: the base), at which strength, to which conversation.

    A conversation that does not fit the model's context is refused, or with `too_long="window"` loses its oldest turns.
    `namespace` is who asks: an engine is fair between them. `tools` stand in the prompt as the model's template writes
    them, and `prefix` is how the reply begins: it goes on from there, and does not repeat it. A `grammar` (llguidance's
    variant of Lark's) holds for all that comes behind the prefix, unless the reply is cut short.
    """

    turns: Sequence[Turn]
    adapter_id: str | None = None
    strength: float = 1.0
    sampling: Sampling = GREEDY
    namespace: str = "default"
    too_long: Cut = "refuse"
    tools: Sequence[Tool] = ()
    prefix: str = ""
    grammar: str = ""


class Engine(Protocol):
    """One base model in memory, adapters beside it, and replies that are each pinned to one of them."""

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Put an adapter beside the running ones; an id names its content. Raises AdapterError, and nothing changed."""

    def detach(self, adapter_id: str) -> None:
        """No new reply begins with it; it is unloaded when its last reply ends. Unknown ids are no error."""

    def attached(self) -> set[str]:
        """The adapters that new replies may begin with."""

    def submit(self, request: Request) -> Reply:
        """Begin a reply. Raises InputError, AdapterError (not attached), BusyError, ServingError (closed)."""

    def close(self, timeout: float = 5.0) -> None:
        """Begin no more replies; those that have not ended after `timeout` seconds end with ServingError."""


def check_strength(strength: float) -> None:
    """Raises InputError for one that no version is served at."""
    if not 0.0 <= strength <= MOST_STRENGTH:
        raise InputError(
            f"Strength {strength} is out of range: 0 is the base, 1 the baked memory, at most {MOST_STRENGTH:g}."
        )


def check(request: Request) -> None:
    """Raises InputError for a request that no engine can answer."""
    turns, sampling = request.turns, request.sampling
    if unknown := [turn.role for turn in turns if turn.role not in ROLES]:
        raise InputError(f"Role {unknown[0]!r} is not one of {', '.join(ROLES)}.")
    if not turns or not (turns[-1].role == "tool" or (turns[-1].role == "user" and turns[-1].content.strip())):
        raise InputError("There is nothing to answer: the last turn must be a user's and hold text, or a tool's.")
    check_strength(request.strength)
    if not 0.0 <= sampling.temperature <= 10.0:
        raise InputError(
            f"Temperature {sampling.temperature} is out of range: 0 takes the likeliest token, at most 10."
        )
    if not 0.0 < sampling.top_p <= 1.0:
        raise InputError(f"top_p {sampling.top_p} is out of range: above 0, and 1 keeps every token.")
    if sampling.seed is not None and (type(sampling.seed) is not int or sampling.seed not in _SEEDS):
        raise InputError(f"{sampling.seed!r} is no seed: give a whole number of at most 64 bits.")
    if sampling.max_new_tokens < 1:
        raise InputError(f"max_new_tokens {sampling.max_new_tokens} leaves no room for a reply: at least 1.")
    if len(sampling.stop) > MOST_STOPS or any(not 0 < len(text) <= LONGEST_STOP for text in sampling.stop):
        raise InputError(
            f"There are {len(sampling.stop)} stop texts: give at most {MOST_STOPS}, of 1 to {LONGEST_STOP} characters."
        )
