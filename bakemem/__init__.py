"""bakemem: memory for language-model agents that lives in the weights, not in the prompt.

Holds the public names. Importing it loads no model library and no database; what needs them is loaded on first use.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from bakemem.errors import BakememError
from bakemem.types import Memory, Report, Turn, Version

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.config import Config

__version__ = "0.1.0"

__all__ = ["AgentMemory", "BakememError", "Config", "Memory", "Report", "Turn", "Version", "__version__", "open"]


def open(
    home: str | PathLike[str], *, model: str | None = None, namespace: str = "default", device: str | None = None,
    seed: int | None = None, **config: Any,
) -> AgentMemory:  # fmt: skip
    """Open the memory home in the folder `home`, made if it is missing, and hold it for writing until it is closed.

    `model` is `starter`, a folder, or the hub id of a causal language model; `namespace` keeps one user's memories
    apart from another's; `config` takes any other setting of `Config`, an `extractor` that reads memories in the base
    model's place, and a client `chroma` of your own for the meaning index. What is None here comes from `BAKEMEM_*`
    variables, then from `config.toml` in the home, then from the defaults (model starter, device auto, seed 0).

    The base model is loaded when it is first needed, and raises ModelError then if it cannot be.

    Raises ConfigError for a bad setting, InputError for a bad `namespace`, HomeLockedError when this namespace of the
    home is open already, in this process or another, HomeCorruptError when a file in it is damaged, and HomeError when
    the folder cannot be used.
    """
    from bakemem.opening import open_memory  # here, so that `import bakemem` stays light

    return open_memory(home, model=model, namespace=namespace, device=device, seed=seed, **config)


if not TYPE_CHECKING:  # hidden from type checkers, for which it would make every misspelt name valid

    def __getattr__(name: str) -> object:
        """Load the public names that need heavy libraries when they are first asked for (PEP 562)."""
        if name == "AgentMemory":
            from bakemem.agent_memory import AgentMemory

            return AgentMemory
        if name == "Config":
            from bakemem.config import Config

            return Config
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
