"""One bake from memories to a judged candidate adapter: stimulate, rollout, train, gate.

The stand-alone entry of this room: it needs torch, transformers and peft, and nothing else of ours but values.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from bakemem.baking.attempts import Attempts, Lesson, StageProgress
from bakemem.baking.checkpoint import Checkpoint, key_of, stimulus_of, trajectory_of
from bakemem.baking.gate import ABOUT
from bakemem.baking.generate import generate, whole_lines
from bakemem.baking.probe import answers, same
from bakemem.baking.reading import prompts_for, shard_for, spoiled
from bakemem.baking.rollout import Taught, prompted, rollout, teach
from bakemem.baking.settings import Settings
from bakemem.baking.stimulate import Stimuli, stimulate
from bakemem.baking.untold import names_lost
from bakemem.baking.weights import adapter, breather, candidate_state, check_adaptable, output_head, remove_candidate
from bakemem.errors import BakeError
from bakemem.template import ChatTemplate
from bakemem.types import Leak, Memory, Probe, Prompt, Report, Secret, Stimulus, Trajectory, Turn

TRIED = 7
"""Questions about a memory by which the teacher shows that it takes it in: a single one may be worded badly."""


@dataclass(frozen=True, slots=True)
class Baked:
    """A judged candidate: LoRA tensors by PEFT's names, its `adapter_config.json`, the gate's questions with both
    answers, and the hash of what it learned.
    """

    tensors: dict[str, Tensor]
    adapter_config: dict[str, object]
    report: Report
    data_sha256: str
    probes: tuple[Probe, ...] = ()
    leaks: tuple[Leak, ...] = ()

    def save(self, folder: Path) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json`, as PEFT lays them out, and `probes.json`."""
        save_file(self.tensors, folder / "adapter_model.safetensors")
        text = json.dumps(self.adapter_config, indent=2, sort_keys=True)
        (folder / "adapter_config.json").write_text(text, encoding="utf-8")
        probes = json.dumps([asdict(probe) for probe in self.probes], indent=1, ensure_ascii=False)
        (folder / "probes.json").write_text(probes, encoding="utf-8", errors="backslashreplace")


def bake(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], shards: Sequence[Prompt],
    settings: Settings, *, start: str | None = None, fresh: frozenset[str] | None = None,
    stimuli: Stimuli | None = None, secrets: Sequence[Secret] = (), lock: AbstractContextManager[object] | None = None,
    progress: StageProgress | None = None, checkpoint: Path | None = None, fingerprint: str = "",
) -> Baked:  # fmt: skip
    """Bake the prompts into a LoRA adapter of `model` and judge it; the model is left as it was.

    `shards` are prompts that the teacher reads one at a time and that hold all `memories` between them; `start` names
    an attached adapter to go on from; `fresh` are the ids of new memories, the others are rehearsed. Any prompt can be
    baked without memories if `stimuli` say what is asked. A candidate that tells one of the `secrets` is refused. In
    the folder `checkpoint` the bake keeps how far it is, and goes on from there when the same bake was stopped before,
    on a model of the same `fingerprint`; whoever calls removes the folder.
    Raises BakeError when there is nothing to bake, and when the model cannot be baked.
    """
    if not shards or not (memories or stimuli):
        raise BakeError("There is nothing to bake: no memory is pending or baked. Remember something first.")
    lock = lock or threading.RLock()
    tell = progress or (lambda stage, done, total, kl: None)
    kept = Checkpoint(checkpoint, key_of(
        [(m.id, m.kind, m.text) for m in memories], shards, settings, start,
        None if fresh is None else sorted(fresh), stimuli, fingerprint, str(model.dtype),
        template.source, template.stop_ids,
    ))  # fmt: skip
    with lock:
        head = output_head(model)
        check_adaptable(model)
    stimuli = stimuli or _ask(model, template, memories, shards, settings, fresh, lock, tell, kept)
    try:
        lesson = _teach(model, template, memories, stimuli, shards, settings, lock, tell, kept)
        attempts = Attempts(model, template, head, lesson, [m for m in memories if m.kind == "fact"],
                            [shard.text for shard in shards], secrets, settings, lock, tell)  # fmt: skip
        judged = attempts.run(kept, start)
        tensors, adapter_config = candidate_state(model)
    finally:
        with lock:
            remove_candidate(model)
    return Baked(tensors, adapter_config, judged.report, _data_hash(lesson.train), judged.probes, judged.leaks)


def _ask(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], shards: Sequence[Prompt],
    settings: Settings, fresh: frozenset[str] | None, lock: AbstractContextManager[object], tell: StageProgress,
    kept: Checkpoint,
) -> Stimuli:  # fmt: skip
    """The stimuli, worded by the base itself, or those of the bake that was stopped."""
    seed = settings.recipe.seed

    def answer(conversations: Sequence[Sequence[Turn]], temperature: float) -> list[str]:
        with lock, adapter(model, None):
            made = generate(model, template, conversations, temperature=temperature, seed=seed,
                            max_new_tokens=settings.max_new_tokens, breathe=breather(lock, model, None),
                            progress=lambda n, total: tell("stimulate", n, total, None))  # fmt: skip
        return [whole_lines(template, ids) for ids in made]

    stimuli = kept.once("stimuli", _stimuli_of, lambda: stimulate(
        memories, answer, fresh=fresh, per_memory=settings.per_memory,
        rehearsal_questions=settings.rehearsal_questions, shards=[shard.memory_ids for shard in shards],
        tool_results=template.writes_results, seed=seed,
    ))  # fmt: skip
    if kept.found("stimuli"):
        n = len(stimuli.train) + len(stimuli.held_out) + len(stimuli.watched)
        tell("stimulate", n, n, None)
    return stimuli


def _stimuli_of(values: Mapping[str, Any]) -> Stimuli:
    return Stimuli(tuple(map(stimulus_of, values["train"])), tuple(map(stimulus_of, values["held_out"])),
                   tuple(map(stimulus_of, values["watched"])))  # fmt: skip


def _trajectories_of(values: Sequence[Mapping[str, Any]]) -> list[Trajectory]:
    return [trajectory_of(value) for value in values]


def _teach(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], stimuli: Stimuli,
    shards: Sequence[Prompt], settings: Settings, lock: AbstractContextManager[object], tell: StageProgress,
    kept: Checkpoint,
) -> Lesson:  # fmt: skip
    """The teacher's answers and states: sampled for training, the likeliest for the gate."""
    taught: dict[str, list[Taught]] = {}
    read: dict[str, list[str]] = {}
    for name, part, temperature in (
        ("train", stimuli.train, settings.rollout_temperature), ("watched", stimuli.watched, 0.0),
        ("held_out", stimuli.held_out, 0.0),
    ):  # fmt: skip
        find = partial(spoiled, model, template, part, shards, lock=lock, max_new_tokens=settings.max_new_tokens)
        prompts = read[name] = prompts_for(part, shards, frozenset(kept.once(f"{name} spoiled", list[int], find)))
        ask = partial(rollout, model, template, part, prompts, max_new_tokens=settings.max_new_tokens,
                      temperature=temperature, seed=settings.recipe.seed, lock=lock,
                      progress=lambda n, total: tell("rollout", n, total, None))  # fmt: skip
        trajectories = kept.once(name, _trajectories_of, ask)
        if kept.found(name):
            tell("rollout", len(part), len(part), None)
        taught[name] = teach(model, template, trajectories, prompts, lock=lock)
    unteachable = kept.once("unteachable", list[str], lambda: _unteachable(
        model, template, memories, stimuli, shards, settings, lock
    ))  # fmt: skip
    return Lesson(taught["train"], taught["held_out"], taught["watched"], read["held_out"], unteachable, read["train"])


def _unteachable(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], stimuli: Stimuli,
    shards: Sequence[Prompt], settings: Settings, lock: AbstractContextManager[object],
) -> list[str]:  # fmt: skip
    """Memories whose questions the teacher mostly answers as if there were no prompt, or with none of their names."""
    texts = {memory.id: memory.text for memory in memories}
    asked: dict[str, dict[tuple[Turn, ...], Stimulus]] = {}
    for stimulus in (*stimuli.train, *stimuli.held_out):
        if stimulus.kind in ABOUT and len(stimulus.memory_ids) == 1:
            some = asked.setdefault(stimulus.memory_ids[0], {})
            if len(some) < TRIED:
                some.setdefault(stimulus.turns, stimulus)
    tried = [(memory, stimulus) for memory, some in asked.items() for stimulus in some.values()]
    with_prompt = [prompted(s, shard_for(s, shards, 0)) for _, s in tried]
    replies = answers(model, template, [*with_prompt, *(s.turns for _, s in tried)], adapter_name=None, lock=lock,
                      max_new_tokens=settings.max_new_tokens)  # fmt: skip
    told, untold = replies[: len(tried)], replies[len(tried) :]
    failed = Counter(memory for (memory, s), a, b in zip(tried, told, untold, strict=True)
                     if same(a, b) or names_lost(texts[memory], s.turns[-1].content, a))  # fmt: skip
    return [memory for memory, some in asked.items() if failed[memory] > len(some) / 2]


def _data_hash(taught: Sequence[Taught]) -> str:
    digest = hashlib.sha256()
    for item in taught:
        digest.update(repr((item.trajectory.stimulus.turns, item.trajectory.token_ids)).encode())
    return digest.hexdigest()
