"""`AgentMemory`, the object that a user holds: remember, observe, bake, chat, compare, roll back.

Ties the stages together and adds nothing of its own. Knows no backend by name: `opening.py` gives it what it uses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from types import TracebackType
from typing import Unpack

from bakemem.asked import ChatOptions, sampling_of
from bakemem.asking import Bisected, Blame, Verified, bisect, judged, verify
from bakemem.baking import StageProgress, answers, blame, breather, generate, leaks
from bakemem.config import Config
from bakemem.cycle import run_cycle
from bakemem.erasure import Receipt, finish, secrets_of, sweep_gone
from bakemem.errors import AdapterError, BakeError, InputError
from bakemem.memory import LIVE, Extractor, HomeLock, Index, Journal, ModelExtractor, Observed, consolidate, shards
from bakemem.prompts import system_text
from bakemem.serving import Base, Cut, Reply, ServingModel
from bakemem.types import Leak, Memory, Probe, Secret, Turn, Version
from bakemem.versioned import Versioned
from bakemem.versions import VersionStore, check_adapter

_MOST_BLAMED = 32


class AgentMemory(Versioned):
    """The memory of one namespace in one home; open it with `bakemem.open` and close it, or use `with`.

    The base model and the meaning index are loaded when they are first needed.
    """

    def __init__(
        self, config: Config, lock: HomeLock, journal: Journal, store: VersionStore, *,
        load_serving: Callable[[], ServingModel], open_index: Callable[[], Index], extractor: Extractor | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__(config, journal, store, open_index=open_index, redact=redact,
                         make_extractor=lambda: extractor or self._model_extractor())  # fmt: skip
        self._lock, self._load_serving = lock, load_serving
        self._loading = threading.RLock()
        self._keeping_attached = ExitStack()
        self._closed = False

    # ---- bake, compare, roll back

    def bake(self, *, from_base: bool = False, pursue: int = 0, progress: StageProgress | None = None) -> Version:
        """Bake what is pending, with what is baked, into a new version; it serves at once if the gate accepts it.

        What was observed before is read first. A bake that was stopped goes on where it was, if nothing has changed. If
        versions learned what was forgotten since, the gate asks for that too, and they are destroyed when it accepts.
        `pursue` is how many rounds of Prompt Pursuit follow, at most: for instructions that the model follows weakly
        even when they stand in its prompt.
        Raises BakeError when nothing is new or a bake is running, and the old version stays live; HomeError also when
        the new one is live, but a folder of those that are to be destroyed cannot be removed.
        """
        with self._one_change():
            self.flush()
            self._attach_live()
            tainted = self._journal.tainted()
            secrets = secrets_of(self._journal, self._store, tainted)
            version, leaked = run_cycle(self._journal, self._store, self._serving, self.config, from_base=from_base,
                                        pursue=pursue, secrets=secrets, progress=progress)  # fmt: skip
            if version.status == "accepted" and tainted:
                finish(self._journal, self._store, tainted, secrets, leaked)
                self._let_go(tainted)
        return version

    def erase(self, *, bake: bool = True, progress: StageProgress | None = None) -> Receipt:
        """Destroy the versions that learned what was forgotten, after a bake without it whose answers do not tell it.

        With `bake=False` they are destroyed at once, and what waits in the prompt stays there. Where nothing waits, the
        live version, which never knew it, is asked. Raises InputError when nothing is to be erased, HomeError when a
        folder cannot be removed, and BakeError when the gate refuses: then they are still there, and serve no more.
        """
        with self._one_change():
            self.flush()
            sweep_gone(self._journal, self._store)  # of an erasure that was cut short
            tainted = self._journal.tainted()
            if not tainted:
                raise InputError("There is nothing to erase: no version that is there learned what was forgotten.")
            secrets, leaked = secrets_of(self._journal, self._store, tainted), tuple[Leak, ...]()
            if bake and self._journal.memories("pending"):
                self._attach_live()
                version, leaked = run_cycle(self._journal, self._store, self._serving, self.config, secrets=secrets,
                                            progress=progress)  # fmt: skip
                if version.status != "accepted":
                    reasons = "; ".join(version.report.reasons)
                    raise BakeError(
                        f"The gate refused {version.name} ({reasons}): nothing was destroyed yet. Try again with "
                        "another seed, or destroy without a bake (bake=False, --no-bake)."
                    )
            elif bake and self._journal.live():
                leaked = self._leaks_of_live(secrets)
            receipt = finish(self._journal, self._store, tainted, secrets, leaked)
            self._let_go(tainted)
        return receipt

    def _let_go(self, destroyed: Sequence[Version]) -> None:
        for version in destroyed:
            if self._started and version.id != self._serving.live:
                self._serving.detach(version.id)

    def _leaks_of_live(self, secrets: Sequence[Secret]) -> tuple[Leak, ...]:
        self._attach_live()
        base = self._serving.base
        known = shards(self._journal.memories(LIVE), base.template.count, base.shard_tokens(self.config))
        return tuple(leaks(base.model, base.template, secrets, [shard.text for shard in known], lock=base.lock,
                           adapter_name=self._serving.live, seed=self.config.seed,
                           max_new_tokens=min(64, self.config.max_new_tokens)))  # fmt: skip

    def rollback(self, version: str) -> None:
        """Serve another version, or `base`; memories that only the left one holds become held. Destroys nothing.

        Raises NotFoundError, InputError for a rejected version, and BakeError while a bake runs (it would undo this).
        """
        with self._one_change():
            target = self._journal.servable(version) if version != "base" else None
            with self._held(target) if self._started else nullcontext():
                self._journal.set_live(version)
                if self._started:
                    self._attach_live()

    # ---- ask versions

    def verify(self, version: str = "live") -> Verified:
        """Ask the held-out questions of a version's gate again, greedily; `candidate` may be asked too.

        Raises NotFoundError, InputError when it has none or learned what was forgotten, HomeCorruptError.
        """
        found = self._journal.version(version)
        if found.gone or found.name in {v.name for v in self._journal.tainted()}:
            raise InputError(f"Version {found.name} is destroyed, or learned what was forgotten: it is not asked.")

        def answer(probes: Sequence[Probe]) -> list[str]:
            base = self._serving.base
            with self._held(found):
                return answers(base.model, base.template, [p.turns for p in probes], adapter_name=found.id,
                               lock=base.lock, max_new_tokens=min(64, self.config.max_new_tokens))  # fmt: skip

        return verify(found.name, self._store.probes(found.name), answer)

    def bisect(
        self, question: str, *, bad: str | None = None, expected: str | None = None, newest: str = "live"
    ) -> Bisected:
        """Which version first gave a wrong answer: one that holds `bad`, or lacks `expected` (in any case).

        Looks at `newest` and the versions that it goes back to, and at the base. Raises NotFoundError, and InputError
        when `newest` answers rightly.
        """
        wrong, known = judged(question, bad=bad, expected=expected), {v.name: v for v in self._journal.versions()}
        path, name = list[str](), self._journal.servable(newest).name
        unusable = {v.name for v in self._journal.tainted()} | {v.name for v in known.values() if v.gone}
        while name:
            path += [name] if name not in unusable else []
            name = known[name].parent or ""
        return bisect(["base", *reversed(path)], lambda v: self.chat(question, version=v, temperature=0.0), wrong)

    def blame(self, question: str, *, answer: str | None = None) -> list[Blame]:
        """Which memories an answer rests on: by how many nats the base finds it less likely without each in its prompt,
        which holds the 32 nearest in meaning and as many instructions. Without `answer`, what the live version says.

        Raises InputError when nothing is known, or there is no answer.
        """
        known = self._journal.memories(LIVE)
        if not known:
            raise InputError("No memory is pending or baked: no answer rests on one.")
        near = {m.id for m in self.recall(question, _MOST_BLAMED)}
        near |= {m.id for m in [m for m in known if m.kind == "instruction"][-_MOST_BLAMED:]}
        some = [m for m in known if m.id in near]
        said, base = answer if answer is not None else self.chat(question, temperature=0.0), self._serving.base
        found = blame(base.model, base.template, some, question, said, consolidate, lock=base.lock)
        return [Blame(memory, nats) for memory, nats in found]

    # ---- chat

    def chat(self, text: str, **options: Unpack[ChatOptions]) -> str:
        """One reply; options and errors as those of `stream`."""
        return self.stream(text, **options).text()

    def stream(self, text: str, **options: Unpack[ChatOptions]) -> Reply:
        """One reply in pieces, from one version from its first token to its last; threads and asyncio may read it.

        Without `version` the live one answers, with pending memories in its prompt; a named one (or `base`) answers
        alone. `reply.ending` tells tokens, why it ended, and what was asked for. Raises InputError, NotFoundError,
        BusyError when too many requests wait, and while it is read ServingError when it cannot go on.
        """
        version, strength = options.get("version"), options.get("strength", 1.0)
        system, history = options.get("system"), options.get("history", ())
        sampling = sampling_of(options, self.config)
        cut: Cut = "window" if options.get("window") else "refuse"
        while True:
            with self._now() if version is None else self._named(version) as (waiting, chosen):
                full = system_text(system, waiting)
                turns = [*([Turn("system", full)] if full else []), *history, Turn("user", text)]
                try:
                    return self._serving.reply(turns, adapter_id=chosen, strength=strength, sampling=sampling,
                                               too_long=cut)  # fmt: skip
                except AdapterError:
                    if version is not None or chosen in self._serving.base.adapters.ids():
                        raise  # else it was destroyed just now, and another version is live

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
        if version.id not in base.adapters.ids():
            check_adapter(folder, base_fingerprint=base.fingerprint, base_name=base.name, version_id=version.id,
                          dtype=str(base.model.dtype).removeprefix("torch."))  # fmt: skip
        with self._serving.held(version.id, folder):
            yield version.id

    def _attach_live(self) -> None:
        """Make the serving model serve what the journal says is live."""
        name = self._journal.live()
        with self._held(self._journal.version(name) if name else None) as adapter_id:
            if adapter_id != self._serving.live:
                self._serving.swap(adapter_id)

    def _forget(
        self, memory_ids: Sequence[str] = (), *, conversation: str | None = None, source: str | None = None,
        everything: bool = False, heard: Observed | None = None,
    ) -> list[Memory]:  # fmt: skip
        for memory_id in memory_ids:
            self._journal.get(memory_id)  # an unknown one changes nothing
        self._store.destroy_scratch()  # before the journal forgets: an unfinished bake holds its text
        try:
            gone = super()._forget(memory_ids, conversation=conversation, source=source, everything=everything,
                                   heard=heard)  # fmt: skip
            self._store.destroy_scratch()  # one that began meanwhile
            return gone
        finally:
            if self._started:
                self._attach_live()  # what learned it serves no more

    def close(self) -> None:
        """Let go of the home; what was observed and is not read yet stays in the queue.

        Replies that are still made have five seconds to end. A second call does nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._close()
        self._keeping_attached.close()
        if self._started:
            self._serving.close()
        self._lock.release()

    def __enter__(self) -> AgentMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
