"""Talking with a memory: which version answers, what stands in its prompt, and the model that is loaded for it.

The part of `AgentMemory` that chats. Ties the journal's versions to the serving model; knows no bakes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Unpack

from bakemem.baking import breather, generate
from bakemem.chat_options import ChatOptions, sampling_of
from bakemem.config import Config
from bakemem.errors import CLOSED, AdapterError, ServingError
from bakemem.memory import Extractor, Index, Journal, ModelExtractor, consolidate
from bakemem.prompts import system_text
from bakemem.rendering import Tool
from bakemem.serving import Base, Cut, Reply, ServingModel
from bakemem.types import Turn, Version
from bakemem.versioned import Versioned
from bakemem.versions import VersionStore, check_adapter


class Talking(Versioned):
    """The memories of one namespace, with the model that answers from them; it is loaded when it is first needed."""

    def __init__(
        self, config: Config, journal: Journal, store: VersionStore, *, load_serving: Callable[[], ServingModel],
        open_index: Callable[[], Index], extractor: Extractor | None, redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        super().__init__(config, journal, store, open_index=open_index, redact=redact,
                         make_extractor=lambda: extractor or self._model_extractor())  # fmt: skip
        self._load_serving = load_serving
        self._loading, self._shut = threading.RLock(), False
        self._keeping_attached = ExitStack()
        self._checked: set[str] = set()
        self.conversation: Sequence[Turn] = ()  # of the last reply: the forgetting meter asks at its length

    def chat(self, text: str, **options: Unpack[ChatOptions]) -> str:
        """One reply; options and errors as those of `stream`."""
        return self.stream(text, **options).text()

    def stream(self, text: str, **options: Unpack[ChatOptions]) -> Reply:
        """One reply in pieces, from one version from its first token to its last; threads and asyncio may read it.

        Without `version` the live one answers, with pending memories in its prompt; a named one (or `base`) answers
        alone. `reply.ending` tells tokens, why it ended, and what was asked for. Raises InputError, NotFoundError,
        ModelError when the model cannot be loaded, AdapterError when the version's adapter cannot be used, BusyError
        when too many requests wait, and while it is read ServingError when it cannot go on.
        """
        return self.respond([*options.get("history", ()), Turn("user", text)], **options)

    def respond(
        self, turns: Sequence[Turn], *, tools: Sequence[Tool] = (), prefix: str = "", grammar: str = "",
        **options: Unpack[ChatOptions],
    ) -> Reply:  # fmt: skip
        """As `stream`, to a whole conversation, which ends with a user's turn or a tool's; `history` is not read.

        `tools` are JSON schemas of functions, as Hugging Face templates take them; `prefix` is how the reply begins,
        and is not repeated in it. What comes behind it is in the language of the `grammar` (llguidance's variant of
        Lark's; empty: any), unless it is cut short.
        """
        version, strength = options.get("version"), options.get("strength", 1.0)
        sampling = sampling_of(options, self.config)
        if version is None:
            self.talked, self.conversation = datetime.now(UTC), tuple(turns[:-1])
        cut: Cut = "window" if options.get("window") else "refuse"
        while True:
            with self._now() if version is None else self._named(version) as (waiting, chosen):
                full = system_text(options.get("system"), waiting)
                asked = [*([Turn("system", full)] if full else []), *turns]
                try:
                    return self._serving.reply(asked, adapter_id=chosen, strength=strength, sampling=sampling,
                                               too_long=cut, tools=tools, prefix=prefix, grammar=grammar)  # fmt: skip
                except AdapterError:
                    if version is not None or chosen in self._serving.base.adapters.ids():
                        raise  # else it was destroyed just now, and another version is live

    def moment(self) -> str:
        """A name for what is remembered and what serves: another one after each change, and never one of before."""
        return self._journal.moment()

    def pending_prompt(self) -> str:
        """The memory prompt of what is not baked yet: it rides along with every request to the live version."""
        return consolidate(self._journal.memories("pending")).text

    @contextmanager
    def _now(self) -> Iterator[tuple[str, str | None]]:
        """The prompt of what is pending and the id of the live version, of one moment: a memory is in one of them."""
        while True:
            live, pending = self._journal.serving()
            with self._held(live) as adapter_id:
                if self._journal.live() == (live.name if live else None):  # no forget came in between
                    yield consolidate(pending).text, adapter_id
                    return

    @contextmanager
    def _named(self, version: str) -> Iterator[tuple[str, str | None]]:
        with self._held(None if version == "base" else self._journal.servable(version)) as adapter_id:
            yield "", adapter_id

    # ---- the parts

    @property
    def _serving(self) -> ServingModel:
        with self._loading:  # the thread that reads what was observed may come first
            if self._shut and not self._started:
                raise ServingError(CLOSED)
            return self._served

    @cached_property
    def _served(self) -> ServingModel:
        return self._load_serving()

    @property
    def _started(self) -> bool:
        return "_served" in self.__dict__

    @property
    def base(self) -> Base:
        """The base model, loaded on first use."""
        return self._serving.base

    def adapter_id(self, version: str | None) -> str | None:
        """The id under which a version's adapter is attached to the base model (after attaching it); None: the base.

        It stays attached until the memory is closed.
        """
        return self._keeping_attached.enter_context(self._named(version or "base"))[1]

    def _model_extractor(self) -> Extractor:
        def answer(conversations: Sequence[Sequence[Turn]]) -> list[str]:
            base = self._serving.base
            with self._serving.active(None) as model:
                made = generate(model, base.template, conversations, max_new_tokens=256,
                                breathe=breather(base.lock, model, None))  # fmt: skip
            return [base.template.decode(ids) for ids in made]

        return ModelExtractor(answer)

    @contextmanager
    def _held(self, version: Version | None) -> Iterator[str | None]:
        """Inside, a version's adapter is attached under this id, which is checked first; None: the base."""
        if version is None:
            yield None
            return
        folder, base = self._store.folder(version.name), self._serving.base
        if version.id not in self._checked & base.adapters.ids():  # what another memory attached is checked here too
            check_adapter(folder, base_fingerprint=base.fingerprint, base_name=base.name, version_id=version.id,
                          dtype=str(base.model.dtype).removeprefix("torch."))  # fmt: skip
            self._checked.add(version.id)
        with self._serving.held(version.id, folder):
            yield version.id

    def _drop_traces(self) -> None:
        self.conversation = ()  # it may tell what is to be forgotten
        super()._drop_traces()

    @contextmanager
    def _ready(self, version: Version | None) -> Iterator[None]:
        with self._held(version) if self._started else super()._ready(version):
            yield

    def _serve_live(self) -> None:
        if self._started:
            self._attach_live()

    def _attach_live(self) -> None:
        """Make the serving model serve what the journal says is live."""
        name = self._journal.live()
        with self._held(self._journal.version(name) if name else None) as adapter_id:
            if adapter_id != self._serving.live:
                self._serving.swap(adapter_id)

    def _close(self) -> None:
        with self._loading:
            self._shut = True
        with ExitStack() as ending:  # from the last to the first, and whatever fails, the rest is done
            ending.callback(super()._close)
            if self._started:
                ending.callback(self._serving.close)  # before: who reads a reply may log it
            ending.callback(self._keeping_attached.close)
