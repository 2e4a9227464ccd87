"""What one namespace serves: which adapter its new replies begin with, over an engine that others may share.

Knows adapters by id; knows no memories, prompts or journals.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from bakemem.errors import CLOSED, AdapterError, ServingError
from bakemem.rendering import Tool
from bakemem.serving.base import Base
from bakemem.serving.contract import GREEDY, Cut, Request, Sampling
from bakemem.serving.engine import LocalEngine
from bakemem.serving.reply import Reply
from bakemem.types import Turn

PATIENCE = 5.0
"""Seconds that running replies have to end when their memory is closed."""


class ServingModel:
    """The live adapter of one namespace. Two of them never share a queue, whatever they are called.

    `release` is called once, when it is closed.
    """

    def __init__(
        self, engine: LocalEngine, namespace: str = "default", *, release: Callable[[], None] = lambda: None
    ) -> None:
        self.engine, self._release = engine, release
        self._namespace = f"{namespace} {secrets.token_hex(4)}"
        self._live: str | None = None
        self._closed = False

    @property
    def base(self) -> Base:
        """The base model."""
        return self.engine.base

    @property
    def live(self) -> str | None:
        """The id of the adapter that answers new requests; None is the base."""
        return self._live

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Read an adapter that was checked before into place beside the others. Raises AdapterError."""
        self.engine.attach(adapter_id, folder)

    def swap(self, adapter_id: str | None) -> None:
        """From the next request on, this adapter answers (None: the base); running replies keep theirs."""
        if adapter_id is not None:
            self.engine.adapters.pin(adapter_id)
        before, self._live = self._live, adapter_id
        if before is not None:
            self.engine.adapters.unpin(before)

    def detach(self, adapter_id: str) -> None:
        """No new reply begins with it; it is freed when its last one ends. Raises AdapterError for the live one."""
        if adapter_id == self._live:
            raise AdapterError(f"Adapter {adapter_id} is live; swap to another first.")
        self.engine.detach(adapter_id)

    def active(self, adapter_id: str | None, strength: float = 1.0) -> AbstractContextManager[PreTrainedModel]:
        """The model with exactly this adapter at this strength, for one step of other work than replies."""
        return self.engine.adapters.active(adapter_id, strength)

    @contextmanager
    def held(self, adapter_id: str, folder: Path) -> Iterator[None]:
        """Inside, the adapter is attached, and stays so whatever else is."""
        while True:
            self.engine.attach(adapter_id, folder)
            try:
                self.engine.adapters.pin(adapter_id)
                break
            except AdapterError:  # others took its place in between
                continue
        try:
            yield
        finally:
            self.engine.adapters.unpin(adapter_id)

    def reply(
        self, turns: Sequence[Turn], *, adapter_id: str | None, strength: float = 1.0, sampling: Sampling = GREEDY,
        too_long: Cut = "refuse", tools: Sequence[Tool] = (), prefix: str = "", grammar: str = "",
    ) -> Reply:  # fmt: skip
        """A reply of this adapter, whatever is live. Raises as `LocalEngine.submit`."""
        if self._closed:
            raise ServingError(CLOSED)
        asked = Request(tuple(turns), adapter_id, strength, sampling, self._namespace, too_long, tuple(tools), prefix,
                        grammar)  # fmt: skip
        return self.engine.submit(asked)

    def close(self) -> None:
        """No reply begins any more; running ones have `PATIENCE` seconds to end."""
        self._closed = True
        self.engine.drain(self._namespace, PATIENCE)
        self.swap(None)
        release, self._release = self._release, lambda: None
        release()
