"""`AgentMemory`, the object that a user holds: remember, observe, bake, chat, compare, roll back.

Ties the stages together and adds nothing of its own. Knows no backend by name: `opening.py` gives it what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from weakref import WeakMethod

from bakemem.asking import Bisected, Blame, Verified, bisect, judged, verify
from bakemem.baking import Adherence, StageProgress, adherence, answers, blame, leaks
from bakemem.config import Config
from bakemem.cycle import prompts_of, run_cycle
from bakemem.erasure import Receipt, finish, secrets_of, sweep_gone
from bakemem.errors import CLOSED, BakeError, HomeError, InputError
from bakemem.memory import LIVE, Extractor, HomeLock, Index, Journal, consolidate
from bakemem.prompts import system_text
from bakemem.schedule import Schedule
from bakemem.serving import ServingModel
from bakemem.talking import Talking
from bakemem.types import Leak, Probe, Secret, Turn, Version
from bakemem.versions import VersionStore, lineage

_MOST_BLAMED = 32


class AgentMemory(Talking):
    """The memory of one namespace in one home; open it with `bakemem.open` and close it, or use `with`.

    The base model and the meaning index are loaded when they are first needed.
    """

    def __init__(
        self, config: Config, lock: HomeLock, journal: Journal, store: VersionStore, *,
        load_serving: Callable[[], ServingModel], open_index: Callable[[], Index], extractor: Extractor | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__(config, journal, store, load_serving=load_serving, open_index=open_index, extractor=extractor,
                         redact=redact)  # fmt: skip
        self._lock, self._closed, self._at_close = lock, False, set[WeakMethod[Callable[[], object]]]()

    # ---- bake, compare, roll back

    def bake(
        self, *, from_base: bool = False, pursue: int = 0, seed: int | None = None,
        progress: StageProgress | None = None,
    ) -> Version:  # fmt: skip
        """Bake what is pending, with what is baked, into a new version; it serves at once if the gate accepts it.

        What was observed before is read first. A bake that was stopped goes on where it was, if nothing has changed. If
        versions learned what was forgotten since, the gate asks for that too, and they are destroyed when it accepts.
        `pursue` is how many rounds of Prompt Pursuit follow, at most: for instructions that the model follows weakly
        even when they stand in its prompt. `seed` takes the place of the configured one.
        Raises BakeError when nothing is new or a bake is running, and the old version stays live; HomeError also when
        the new one is live, but a folder of those that are to be destroyed cannot be removed.
        """
        progress = self._ending(progress)
        with self._one_change():
            self._read_all(progress)
            self._attach_live()
            tainted = self._journal.tainted()
            secrets = secrets_of(self._journal, self._store, tainted)
            version, leaked = run_cycle(
                self._journal, self._store, self._serving, self._seeded(seed), from_base=from_base, pursue=pursue,
                secrets=secrets, progress=progress,
            )  # fmt: skip
            if version.status == "accepted" and tainted:
                finish(self._journal, self._store, tainted, secrets, leaked)
                self._let_go(tainted)
        return version

    def _ending(self, progress: StageProgress | None) -> StageProgress:
        """The progress of a bake, which ends where this was closed meanwhile, and goes on there another time."""

        def tell(stage: str, done: int, total: int, kl: float | None) -> None:
            if self._no_changes.is_set():
                raise HomeError(CLOSED)
            if progress:
                progress(stage, done, total, kl)

        return tell

    def _seeded(self, seed: int | None) -> Config:
        return self.config if seed is None else self.config.model_copy(update={"seed": seed})

    def _read_all(self, progress: StageProgress | None) -> None:
        """Waits for what was observed until now to be read; whoever follows the progress may stop it."""
        self._gatherer.once_more()
        newest = self._gatherer.newest()
        while not self._gatherer.wait(0.2, newest):
            if progress:
                progress("read", 0, 1, None)

    def scheduled(self) -> Schedule:
        """Bakes and tidies up by itself when the settings say so: `with memory.scheduled(): …`, or `start` and `stop`.

        Raises ConfigError for a time zone or a cron time that there is not.
        """
        return Schedule(self)

    @property
    def busy(self) -> bool:
        """Whether a bake runs here or on the same base, or something else that moves the live version."""
        return super().busy or (self._started and self._serving.base.baking.locked())

    def erase(
        self, *, bake: bool = True, seed: int | None = None, progress: StageProgress | None = None
    ) -> Receipt:  # fmt: skip
        """Destroy the versions that learned what was forgotten, after a bake without it whose answers do not tell it.

        With `bake=False` they are destroyed at once, and what waits in the prompt stays there. Where nothing waits, the
        live version, which never knew it, is asked. `seed` takes the place of the configured one. Raises InputError
        when nothing is to be erased, HomeError when a folder cannot be removed, and BakeError when the gate refuses:
        then they are still there, and serve no more.
        """
        progress = self._ending(progress)
        with self._one_change():
            self._read_all(progress)
            sweep_gone(self._journal, self._store)  # of an erasure that was cut short
            tainted = self._journal.tainted()
            if not tainted:
                raise InputError("There is nothing to erase: no version that is there learned what was forgotten.")
            secrets, leaked = secrets_of(self._journal, self._store, tainted), tuple[Leak, ...]()
            if bake and self._journal.memories("pending"):
                self._attach_live()
                version, leaked = run_cycle(self._journal, self._store, self._serving, self._seeded(seed),
                                            secrets=secrets, progress=progress)  # fmt: skip
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
        known = prompts_of(self.config, base, self._journal.memories(LIVE))
        return tuple(leaks(base.model, base.template, secrets, [shard.text for shard in known], lock=base.lock,
                           adapter_name=self._serving.live, seed=self.config.seed,
                           max_new_tokens=min(64, self.config.max_new_tokens)))  # fmt: skip

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
        wrong, known = judged(question, bad=bad, expected=expected), self._journal.versions()
        tainted = {v.name for v in self._journal.tainted()}
        line = lineage(known, self._journal.servable(newest).name)
        path = [v.name for v in line if not v.gone and v.name not in tainted]
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

    def adherence(self, history: Sequence[Turn] | None = None, *, system: str | None = None) -> Adherence:
        """The forgetting meter: whether the memories in the prompt are still heeded after `history`.

        Without one, after the conversation of the last reply. A few of them are asked about, alone and there; `system`
        is the caller's own prompt.
        """
        turns, base = self.conversation if history is None else history, self._serving.base
        with self._now() as (prompt, chosen):
            return adherence(
                base.model, base.template, self._journal.memories("pending"), system_text(system, prompt), turns,
                adapter_name=chosen, lock=base.lock, seed=self.config.seed,
                max_new_tokens=min(64, self.config.max_new_tokens),
            )  # fmt: skip

    def at_close(self, method: Callable[[], object]) -> None:
        """Have a method called before this is closed, if its object is still there: the `stop` of who works on this."""
        self._at_close.add(WeakMethod(method, self._at_close.discard))

    @property
    def closed(self) -> bool:
        """Whether `close` was called: then every use is an error."""
        return self._closed

    def close(self) -> None:
        """Let go of the home; what was observed and is not read yet stays in the queue.

        A bake ends at its next step, and goes on there another time. A reply of an assistant ends and is logged as far
        as it came; others that are still made have five seconds to end. A second call does nothing, any other use is a
        HomeError or ServingError.
        """
        if self._closed:
            return
        self._closed = True
        with ExitStack() as ending:  # from the last to the first, and whatever fails, the rest is done
            ending.callback(self._lock.release)
            ending.callback(self._close)
            ending.callback(self._end_changes)
            for method in [known() for known in tuple(self._at_close)]:
                if method:
                    ending.callback(method)
            ending.callback(self._gatherer.close)  # whoever works on this may wait for it

    def __enter__(self) -> AgentMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
