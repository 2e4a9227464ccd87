"""`AgentMemory`, the object that a user holds: remember, observe, bake, chat, compare, roll back.

Ties the stages together and adds nothing of its own. Knows no backend by name: `opening.py` gives it what it uses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType

from bakemem.baking import StageProgress, generate
from bakemem.config import Config
from bakemem.cycle import run_cycle
from bakemem.errors import BakeError
from bakemem.memory import Extractor, HomeLock, Index, Journal, ModelExtractor, Observed, consolidate
from bakemem.prompts import system_text
from bakemem.serving import Base, Sampling, ServingModel, stream
from bakemem.types import Memory, Turn, Version
from bakemem.versioned import Versioned
from bakemem.versions import VersionStore, check_adapter


class AgentMemory(Versioned):
    """The memory of one namespace in one home; open it with `bakemem.open` and close it, or use `with`.

    The base model and the meaning index are loaded when they are first needed.
    """

    def __init__(
        self, config: Config, lock: HomeLock, journal: Journal, store: VersionStore, *,
        load_base: Callable[[], Base], open_index: Callable[[], Index], extractor: Extractor | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__(config, journal, store, open_index=open_index, redact=redact,
                         make_extractor=lambda: extractor or self._model_extractor())  # fmt: skip
        self._lock, self._load_base = lock, load_base
        self._baking, self._loading = threading.Lock(), threading.RLock()

    # ---- bake, compare, roll back

    def bake(self, *, from_base: bool = False, progress: StageProgress | None = None) -> Version:
        """Bake what is pending, with what is baked, into a new version; it serves at once if the gate accepts it.

        What was observed before is read first. A bake that was stopped goes on where it was, if nothing has changed.
        Raises BakeError when nothing is new or a bake is running; whatever is raised, the old version stays live.
        """
        with self._one_change():
            self.flush()
            self._attach_live()
            return run_cycle(self._journal, self._store, self._serving, self.config, from_base=from_base,
                             progress=progress)  # fmt: skip

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """What moves the live pointer does so one at a time."""
        if not self._baking.acquire(blocking=False):
            raise BakeError("A bake is running on this memory; wait for it.")
        try:
            yield
        finally:
            self._baking.release()

    def rollback(self, version: str) -> None:
        """Serve another version, or `base`; memories that only the left one holds become held. Destroys nothing.

        Raises NotFoundError, InputError for a rejected version, and BakeError while a bake runs (it would undo this).
        """
        with self._one_change():
            if version != "base" and self._started:
                self._attach(self._journal.version(version))
            self._journal.set_live(version)
            if self._started:
                self._attach_live()

    # ---- chat

    def chat(
        self, text: str, *, history: Sequence[Turn] = (), system: str | None = None, version: str | None = None,
        strength: float = 1.0, temperature: float | None = None, max_new_tokens: int | None = None,
    ) -> str:  # fmt: skip
        """One reply; arguments as those of `stream`."""
        return "".join(self.stream(text, history=history, system=system, version=version, strength=strength,
                                   temperature=temperature, max_new_tokens=max_new_tokens))  # fmt: skip

    def stream(
        self, text: str, *, history: Sequence[Turn] = (), system: str | None = None, version: str | None = None,
        strength: float = 1.0, temperature: float | None = None, max_new_tokens: int | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """One reply in pieces, from one version from its first token to its last.

        Without `version` the live one answers, with pending memories in its prompt; a named one (or `base`) answers
        alone. `strength` scales the baked memory: 0 is the base, 1 all of it. Raises InputError, NotFoundError.
        """
        # Read first: a bake that commits in between leaves a memory in both places for one reply, never in neither.
        waiting = self.pending_prompt() if version is None else ""
        chosen = self._chosen(version)
        full = system_text(system, waiting)
        turns = [*([Turn("system", full)] if full else []), *history, Turn("user", text)]
        sampling = Sampling(
            self.config.temperature if temperature is None else temperature,
            max_new_tokens or self.config.max_new_tokens,
        )  # fmt: skip
        return stream(self._serving, turns, adapter_id=chosen, strength=strength, sampling=sampling)

    def pending_prompt(self) -> str:
        """The memory prompt of what is not baked yet: it rides along with every request to the live version."""
        return consolidate(self._journal.memories("pending")).text

    def _chosen(self, version: str | None) -> str | None:
        if version is None:
            self._attach_live()
            return self._serving.live
        if version == "base":
            return None
        found = self._journal.servable(version)
        self._attach(found)
        return found.id

    # ---- the parts

    @property
    def _serving(self) -> ServingModel:
        with self._loading:  # the thread that reads what was observed may come first
            return self._served

    @cached_property
    def _served(self) -> ServingModel:
        return ServingModel(self._load_base())

    @property
    def _started(self) -> bool:
        return "_served" in self.__dict__

    @property
    def base(self) -> Base:
        """The base model, loaded on first use."""
        return self._serving.base

    def adapter_id(self, version: str | None) -> str | None:
        """The id under which a version's adapter is attached to the base model (after attaching it); None: the base."""
        return self._chosen(version or "base")

    def _model_extractor(self) -> Extractor:
        def answer(conversations: Sequence[Sequence[Turn]]) -> list[str]:
            base = self._serving.base
            with self._serving.active(None) as model:
                made = generate(model, base.template, conversations, max_new_tokens=256)
            return [base.template.decode(ids) for ids in made]

        return ModelExtractor(answer)

    def _attach(self, version: Version) -> None:
        folder = self._store.folder(version.name)
        check_adapter(folder, base_fingerprint=self._serving.base.fingerprint)
        self._serving.attach(version.id, folder)

    def _attach_live(self) -> None:
        """Make the serving model serve what the journal says is live."""
        name = self._journal.live()
        version = self._journal.version(name) if name else None
        if (version.id if version else None) != self._serving.live:
            if version:
                self._attach(version)
            self._serving.swap(version.id if version else None)

    def _forget(
        self, memory_ids: Sequence[str] = (), *, conversation: str | None = None, source: str | None = None,
        everything: bool = False, heard: Observed | None = None,
    ) -> list[Memory]:  # fmt: skip
        self._store.destroy_scratch()  # before the journal forgets: an unfinished bake holds its text
        try:
            return super()._forget(memory_ids, conversation=conversation, source=source, everything=everything,
                                   heard=heard)  # fmt: skip
        finally:
            if self._started:
                self._attach_live()  # what learned it serves no more

    def close(self) -> None:
        """Let go of the home; what was observed and is not read yet stays in the queue."""
        self._close()
        self._lock.release()

    def __enter__(self) -> AgentMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
