"""The main cycle, on one screen: consolidate → stimulate → rollout → bake → gate → commit → swap.

Nothing outside changes before the journal's one transaction in `_commit`: an error or Ctrl-C anywhere leaves the old
version live and every memory pending, and the next call goes on with the bake that was stopped. Knows the stages by
their public names only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from bakemem.baking import Baked, Recipe, Settings, StageProgress, Thresholds, bake, default_learning_rate
from bakemem.config import Config
from bakemem.errors import BakeError, HomeError
from bakemem.memory import LIVE, Journal, consolidate, shards
from bakemem.serving import Base, ServingModel
from bakemem.types import Leak, Memory, Prompt, Secret, Version
from bakemem.versions import Manifest, VersionStore, check_adapter


def run_cycle(
    journal: Journal, store: VersionStore, serving: ServingModel, config: Config, *, from_base: bool = False,
    secrets: Sequence[Secret] = (), progress: StageProgress | None = None,
) -> tuple[Version, tuple[Leak, ...]]:  # fmt: skip
    """Bake all pending and baked memories into a new version; it serves at once if the gate accepts it.

    Training starts from the live adapter, or cold with `from_base`. The gate refuses what tells one of the `secrets`,
    and how often that was is returned too. Raises BakeError when nothing is new.
    """
    memories = journal.memories(LIVE)
    fresh = frozenset(m.id for m in memories if m.status == "pending")
    if not fresh and not (from_base and memories):
        raise BakeError("There is nothing new to bake: no memory is pending. Remember something, or bake from_base.")
    prompt = consolidate(memories)
    base, live = serving.base, None if from_base else journal.live()
    parent = journal.version(live) if live else None
    start = parent.id if parent and _same_shape(parent, config) else None
    baked = bake(
        base.model, base.template, memories, shards(memories, base.template.count, base.shard_tokens(config)),
        settings_of(config, base, memories), start=start, fresh=fresh if start else None,
        secrets=secrets, lock=base.lock, progress=progress, checkpoint=store.scratch(), fingerprint=base.fingerprint,
    )  # fmt: skip
    version = _commit(journal, store, serving, config, baked, prompt, live)
    if version.report.accepted:
        serving.swap(version.id)
    with contextlib.suppress(HomeError):  # the next bake, or a forget, finds it again
        store.destroy_scratch()
    return version, baked.leaks


def settings_of(config: Config, base: Base, memories: Sequence[Memory]) -> Settings:
    """The bake's settings from the user's; what is unset follows the model's width and the memories.

    An instruction, which changes every answer, needs as many steps as five facts.
    """
    needed = sum(50 if memory.kind == "instruction" else 10 for memory in memories)
    recipe = Recipe(
        rank=config.rank, alpha=config.alpha, learning_rate=config.learning_rate or default_learning_rate(base.width),
        steps=config.steps or min(600, max(100, needed)), max_dialogue_turns=config.max_dialogue_turns,
        max_sequence_tokens=config.max_sequence_tokens, state_weight=config.state_weight, seed=config.seed,
    )  # fmt: skip
    thresholds = Thresholds(config.min_agreement, config.min_abstention, config.max_drift, config.min_each,
                            config.max_mention, config.max_disfluency)  # fmt: skip
    return Settings(recipe, thresholds, config.questions_per_memory, config.rehearsal_share,
                    min(64, config.max_new_tokens), efforts=config.efforts)  # fmt: skip


def _same_shape(parent: Version, config: Config) -> bool:
    """A warm start needs the parent's rank and alpha; with others the bake starts from the base."""
    return (parent.settings.get("rank"), parent.settings.get("alpha")) == (config.rank, config.alpha)


def _commit(
    journal: Journal, store: VersionStore, serving: ServingModel, config: Config, baked: Baked, prompt: Prompt,
    parent: str | None,
) -> Version:  # fmt: skip
    """Folder first, then attached beside the running ones, then the one transaction that makes it true."""
    known = journal.some(prompt.memory_ids).values()
    if gone := [memory.id for memory in known if memory.status == "forgotten"]:
        store.destroy_scratch()
        raise BakeError(f"Memory {gone[0]} was forgotten during the bake: nothing of it is kept. Bake again.")
    name = journal.next_version_name(store.names())
    manifest = Manifest(
        name=name, namespace=journal.namespace, parent=parent, created=datetime.now(UTC), prompt=prompt,
        base_fingerprint=serving.base.fingerprint, report=baked.report, seed=config.seed,
        data_sha256=baked.data_sha256, settings={
            "model": config.model, "rank": config.rank, "alpha": config.alpha,
            "dtype": str(serving.base.model.dtype).removeprefix("torch."),
        },
    )  # fmt: skip
    with store.room() as folder:
        baked.save(folder)
        manifest = store.stage(folder, manifest)
    folder = store.folder(name)
    version = manifest.version(folder)
    try:
        check_adapter(folder, base_fingerprint=serving.base.fingerprint)
        if version.report.accepted:
            serving.attach(version.id, folder)
        journal.commit_version(version, accepted=version.report.accepted)
    except BaseException:
        # Ctrl-C can land between the commit and here: what the journal names is never discarded.
        if name not in {v.name for v in journal.versions()}:
            serving.detach(version.id)
            store.destroy(name)
        raise
    return version
