"""The main cycle, on one screen: consolidate → stimulate → rollout → bake → gate → commit → swap.

Nothing outside changes before the journal's one transaction in `_commit`: an error or Ctrl-C anywhere leaves the old
version live and every memory pending, and the next call goes on with the bake that was stopped. Knows the stages by
their public names only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bakemem.baking import (
    EFFORTS,
    Baked,
    Pursuit,
    Recipe,
    Settings,
    StageProgress,
    Thresholds,
    bake,
    default_learning_rate,
    leaking,
)  # fmt: skip
from bakemem.config import Config
from bakemem.errors import BakeError, DivergedError, HomeError, InputError, TransitionError
from bakemem.memory import LIVE, Journal, consolidate, shards
from bakemem.serving import Base, ServingModel
from bakemem.types import Leak, Memory, Prompt, Secret, Version
from bakemem.versions import Manifest, VersionStore, check_adapter


def run_cycle(
    journal: Journal, store: VersionStore, serving: ServingModel, config: Config, *, from_base: bool = False,
    pursue: int = 0, secrets: Sequence[Secret] = (), progress: StageProgress | None = None,
) -> tuple[Version, tuple[Leak, ...]]:  # fmt: skip
    """Bake all pending and baked memories into a new version; it serves at once if the gate accepts it.

    Training starts from the live adapter, or cold with `from_base`, and goes on in up to `pursue` rounds of Prompt
    Pursuit. The gate refuses what tells one of the `secrets`,
    and how often that was is returned too. Raises BakeError when nothing is new.
    """
    memories = journal.memories(LIVE)
    fresh = frozenset(m.id for m in memories if m.status == "pending")
    if not fresh and not (from_base and memories):
        raise BakeError(
            "There is nothing new to bake: no memory is pending. Remember something, or bake anew from the base "
            "(`from_base`, `--from-base`)."
        )
    live = None if from_base else journal.live()
    parent = journal.version(live) if live else None
    warm = parent if parent and _same_scale(parent, config) else None
    oven = _Oven(journal, store, serving, config, secrets, warm, pursue, progress)
    baked = oven.bake(memories, fresh)
    if not baked.report.accepted and config.efforts == len(EFFORTS) and not leaking(baked.leaks):
        memories, baked = oven.split(memories, fresh, baked)
    version = _commit(journal, store, serving, config, baked, memories, live)
    with contextlib.suppress(HomeError):  # the next bake, or a forget, finds it again
        store.destroy_scratch()
    return version, baked.leaks


@dataclass(frozen=True, slots=True)
class _Oven:
    """What all bakes of one cycle share; `parent` is the version that they go on from, or None when cold."""

    journal: Journal
    store: VersionStore
    serving: ServingModel
    config: Config
    secrets: Sequence[Secret]
    parent: Version | None
    pursue: int
    progress: StageProgress | None

    def bake(self, memories: Sequence[Memory], fresh: frozenset[str], room: str = "") -> Baked:
        """Bake these memories, when nobody else does on this base.

        An unfinished bake is kept in a `room` of its own in the scratch folder.
        """
        base, new = self.serving.base, fresh if self.parent else None
        settings = settings_of(self.config, base, memories, self.parent, new)
        read = prompts_of(self.config, base, memories)
        with _turn(base, self.progress):
            scratch = self.store.scratch(room)
            # Now that a later forget finds the folder and destroys it.
            _check_known(self.journal, self.store, memories, self.parent.name if self.parent else None)
            return bake(
                base.model, base.template, memories, read, replace(settings, pursuit=Pursuit(self.pursue)),
                start=self.parent.id if self.parent else None, fresh=new, secrets=self.secrets, lock=base.lock,
                progress=self.progress, checkpoint=scratch, fingerprint=base.fingerprint,
            )  # fmt: skip

    def split(self, memories: list[Memory], fresh: frozenset[str], refused: Baked) -> tuple[list[Memory], Baked]:
        """Bake without the new memories that failed, or the newer half: they stay in the prompt.

        What the gate accepts of that; else all memories, and the bake that was refused.
        """
        new = [m.id for m in memories if m.id in fresh]
        left = [i for i in new if i in refused.report.failed]
        if not left or len(left) == len(new):
            left = new[(len(new) + 1) // 2 :]
        kept = [m for m in memories if m.id not in left]
        if left and any(m.id in fresh for m in kept):
            tried = (*refused.report.efforts, EFFORTS[-1])
            refused = replace(refused, report=replace(refused.report, efforts=tried))
            with contextlib.suppress(DivergedError):  # as if the gate had refused it
                baked = self.bake(kept, fresh - frozenset(left), "split")
                if baked.report.accepted:
                    return kept, replace(baked, report=replace(baked.report, efforts=tried, failed=tuple(left)))
        return memories, refused


@contextlib.contextmanager
def _turn(base: Base, progress: StageProgress | None) -> Iterator[None]:
    """Inside, nobody else bakes on this base; whoever follows the progress may stop the wait."""
    while not base.baking.acquire(timeout=0.2):
        if progress:
            progress("wait", 0, 1, None)
    try:
        yield
    finally:
        base.baking.release()


def prompts_of(config: Config, base: Base, memories: Sequence[Memory]) -> list[Prompt]:
    """What the teacher reads, one prompt at a time: all instructions in each, every fact in one.

    Raises InputError when a memory leaves no room for talk.
    """
    return shards(memories, base.template.count, base.shard_tokens(config), base.most_prompt)


def settings_of(
    config: Config, base: Base, memories: Sequence[Memory], parent: Version | None = None,
    fresh: frozenset[str] | None = None,
) -> Settings:  # fmt: skip
    """The bake's settings from the user's; what is unset follows the model's width and the `fresh` memories, or all.

    A bake that goes on from a `parent` has at least its rank. An instruction, which changes every answer, may take as
    many steps as five facts; a cold bake has more to learn besides than a warm one, which has the more to rehearse.
    """
    most = sum(75 if memory.kind == "instruction" else 15 for memory in memories
               if fresh is None or memory.id in fresh)  # fmt: skip
    least = 240 if fresh is None else 180 + min(120, len(memories) - len(fresh))
    rank = max(config.rank, parent.settings["rank"] if parent else 0)
    recipe = Recipe(
        rank=rank, alpha=config.alpha * rank // config.rank,
        learning_rate=config.learning_rate or default_learning_rate(base.width),
        steps=config.steps or min(4000, max(least, most)), max_dialogue_turns=config.max_dialogue_turns,
        max_sequence_tokens=config.max_sequence_tokens, state_weight=config.state_weight,
        read_weight=config.read_weight, seed=config.seed,
    )  # fmt: skip
    thresholds = Thresholds(config.min_agreement, config.min_abstention, config.max_drift, config.min_each,
                            config.max_mention, config.max_disfluency)  # fmt: skip
    return Settings(recipe, thresholds, config.questions_per_memory, config.rehearsal_questions,
                    min(64, config.max_new_tokens), efforts=config.efforts)  # fmt: skip


def _same_scale(parent: Version, config: Config) -> bool:
    """A warm start needs the parent's scale alpha / rank; with another the bake starts from the base."""
    rank, alpha = parent.settings.get("rank"), parent.settings.get("alpha")
    return isinstance(rank, int) and isinstance(alpha, int) and alpha * config.rank == config.alpha * rank


def _check_known(journal: Journal, store: VersionStore, memories: Sequence[Memory], parent: str | None) -> None:
    """Raises BakeError, and leaves nothing of the bake, when one of these, or what the parent learned, was forgotten
    since it was read.
    """
    known = journal.some(memory.id for memory in memories).values()
    gone = [f"Memory {memory.id}" for memory in known if memory.status == "forgotten"]
    gone += [f"What {version.name} learned" for version in journal.tainted() if version.name == parent]
    if gone:
        store.destroy_scratch()
        raise BakeError(f"{gone[0]} was forgotten during the bake: nothing of it is kept. Bake again.")


def _commit(
    journal: Journal, store: VersionStore, serving: ServingModel, config: Config, baked: Baked,
    memories: Sequence[Memory], parent: str | None,
) -> Version:  # fmt: skip
    """Folder first, then attached beside the running ones, the one transaction that makes it true, the swap."""
    _check_known(journal, store, memories, parent)
    prompt = consolidate(memories)
    name = journal.next_version_name(store.names())
    manifest = Manifest(
        name=name, namespace=journal.namespace, parent=parent, created=datetime.now(UTC), prompt=prompt,
        base_fingerprint=serving.base.fingerprint, report=baked.report, seed=config.seed,
        data_sha256=baked.data_sha256, settings={
            "model": config.model, "rank": baked.adapter_config["r"], "alpha": baked.adapter_config["lora_alpha"],
            "dtype": str(serving.base.model.dtype).removeprefix("torch."),
        },
    )  # fmt: skip
    version: Version | None = None
    try:
        with store.room() as room:
            baked.save(room)
            version = store.stage(room, manifest).version(store.folder(name))
        folder = version.adapter.folder
        check_adapter(folder, base_fingerprint=serving.base.fingerprint)
        with serving.held(version.id, folder) if version.report.accepted else contextlib.nullcontext():
            try:
                journal.commit_version(version, accepted=version.report.accepted)
            except (InputError, TransitionError):
                _check_known(journal, store, memories, parent)  # something was forgotten just now
                raise
            if version.report.accepted:
                serving.swap(version.id)
        return version
    finally:
        # Ctrl-C can land between the commit and here: what the journal names is never discarded.
        if name not in {v.name for v in journal.versions()}:
            if version is not None:
                serving.detach(version.id)
            store.destroy(name)
        store.settle(name)
