"""A bake that is stopped goes on where it was and ends as if nothing had been; a doubtful checkpoint is thrown away."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

import bakemem.baking.checkpoint as module
from bakemem.baking import Baked, Recipe, Settings, bake
from bakemem.baking.checkpoint import CHECKPOINT_FILE, Checkpoint, TrainingState, key_of
from bakemem.baking.pack import Packer
from bakemem.baking.schedule import Schedule
from bakemem.baking.train import MOST_SKIPPED, Learner
from bakemem.disk import destroy
from bakemem.errors import BakeError
from bakemem.serving import Base, wrap_base
from bakemem.template import ChatTemplate
from bakemem.types import Memory, Prompt
from tests.tiny import PROMPT, TINY, MakeTaught, OpenMemory, count_unended, loud

STEPS = 6
SETTINGS = Settings(Recipe(rank=2, alpha=4, learning_rate=0.01, steps=STEPS, max_sequence_tokens=128,
                           trajectories_per_step=4), per_memory=2, max_new_tokens=4, efforts=0)  # fmt: skip
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEMORIES = [Memory("m1", "default", "fact", "user.dog", "The user's dog is called Bosuk.", "pending", NOW)]
Oven = Callable[..., Baked]
Seen = list[tuple[str, int, int]]


class Stopper:
    """Stops the bake at its n-th word about a stage, and writes down what it is told."""

    def __init__(self, stage: str = "", n: int = 0, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.seen: Seen = []
        self._stage, self._n, self._error = stage, n, error

    def __call__(self, stage: str, done: int, total: int, kl: float | None) -> None:
        """One word of progress."""
        self.seen.append((stage, done, total))
        if stage == self._stage and sum(s == stage for s, _, _ in self.seen) == self._n:
            raise self._error


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerBase) -> Iterator[Base]:
    """One random model for all bakes here: each leaves it as it was. Its questions count, unended."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        count_unended(patch)
        model = loud(LlamaForCausalLM(LlamaConfig(**TINY, max_position_embeddings=2048)))
        yield wrap_base("tiny", model, tokenizer)


@pytest.fixture(scope="module")
def oven(base: Base) -> Oven:
    """Bakes one memory in six steps, with its checkpoint in a folder."""

    def run(
        folder: Path | None, progress: Callable[..., None] | None = None, memories: list[Memory] = MEMORIES
    ) -> Baked:
        return bake(base.model, base.template, memories, [Prompt(PROMPT, ("m1",))], SETTINGS,
                    progress=progress, checkpoint=folder, fingerprint="tiny")  # fmt: skip

    return run


@pytest.fixture(scope="module")
def reference(oven: Oven) -> tuple[Baked, Seen]:
    """The bake that is never stopped and never saved, and what it told."""
    watcher = Stopper()
    return oven(None, watcher), watcher.seen


@pytest.fixture(scope="module")
def whole(reference: tuple[Baked, Seen]) -> Baked:
    """The bake that is never stopped and never saved."""
    return reference[0]


@pytest.fixture(scope="module")
def half(oven: Oven, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a bake left that was stopped after step 3."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(KeyboardInterrupt):
        oven(folder, Stopper("bake", 3))
    return folder


@pytest.fixture
def stopped(half: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(half, tmp_path / "stopped"))


def assert_same(one: Baked, other: Baked) -> None:
    """Weights to float tolerance, and the same report, questions and data."""
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, other.tensors[name], rtol=1e-4, atol=1e-6)
    rounded = [replace(b.report, seconds=0, kl_after=round(b.report.kl_after, 4)) for b in (one, other)]
    assert rounded[0] == rounded[1]
    assert (one.data_sha256, one.probes) == (other.data_sha256, other.probes)


def names(folder: Path) -> list[str]:
    """The files of a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("step", "error"), [(1, KeyboardInterrupt), (3, SystemExit), (STEPS, KeyboardInterrupt)])
def test_a_stopped_training_ends_as_if_it_had_not_been_stopped(
    oven: Oven, whole: Baked, tmp_path: Path, step: int, error: type[BaseException]
) -> None:
    """It goes on at its step with weights, optimizer and batches; nothing is asked or answered again."""
    with pytest.raises(error):
        oven(tmp_path, Stopper("bake", step, error))
    again = Stopper()
    assert_same(oven(tmp_path, again), whole)
    told = [(stage, done == total) for stage, done, total in again.seen[:4]]
    assert told == [("stimulate", True), ("rollout", True), ("rollout", True), ("rollout", True)]
    assert [(s, done) for s, done, _ in again.seen[4:] if s == "bake"] == [("bake", n) for n in range(step, STEPS + 1)]


@pytest.mark.parametrize(("stage", "share"), [("stimulate", 0.9), ("rollout", 1.0), ("gate", 1.0)])
def test_a_bake_can_be_stopped_in_any_stage(
    oven: Oven, reference: tuple[Baked, Seen], tmp_path: Path, stage: str, share: float
) -> None:
    """What was finished before is not made again, what was not is, and the end is the same."""
    whole, seen = reference
    words = Counter(s for s, _, _ in seen)
    with pytest.raises(KeyboardInterrupt):
        oven(tmp_path, Stopper(stage, max(1, round(share * words[stage]))))
    again = Stopper()
    assert_same(oven(tmp_path, again), whole)
    told = Counter(s for s, _, _ in again.seen)
    assert told["stimulate"] == (words["stimulate"] if stage == "stimulate" else 1)
    assert told["bake"] == (1 if stage == "gate" else STEPS)
    if stage == "rollout":  # those of the training were finished, those of the gate were not
        assert 1 < told["rollout"] < words["rollout"]


DATED = "{{ strftime_now('%d %b %Y') }}{% if brief %}Be brief.{% endif %}"


@pytest.mark.parametrize(
    ("written", "arguments", "kept"), [(DATED, {}, True), (f"{DATED}\n", {}, False), (DATED, {"brief": True}, False)]
)
def test_a_bake_goes_on_the_day_after_but_not_under_another_template(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, arguments: dict[str, Any], kept: bool
) -> None:
    """Some templates write today's date: what they are counts, and what they are given, not what they write today."""

    class Evening(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return NOW

    def stop(start: str, **given: Any) -> int:
        own = copy.deepcopy(base.template.tokenizer)
        own.chat_template = start + own.chat_template
        seen = Stopper("rollout", 1)
        with pytest.raises(KeyboardInterrupt):
            bake(base.model, ChatTemplate(own, given), MEMORIES, [Prompt(PROMPT, ("m1",))], SETTINGS, progress=seen,
                 checkpoint=tmp_path)  # fmt: skip
        return sum(stage == "stimulate" for stage, _, _ in seen.seen)

    with monkeypatch.context() as patch:
        patch.setattr("transformers.utils.chat_template_utils.datetime", Evening)
        assert stop(DATED) > 1
    assert (stop(written, **arguments) == 1) is kept


def test_a_bake_may_be_stopped_again_and_again(oven: Oven, whole: Baked, stopped: Path) -> None:
    """Each time it comes one step further, and the time that it took adds up."""
    seconds = [_body(stopped)["seconds"]]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            oven(stopped, Stopper("bake", 2))
        seconds.append(_body(stopped)["seconds"])
    assert _body(stopped)["training"]["step"] == 5
    ended = oven(stopped)
    assert_same(ended, whole)
    assert seconds[0] < seconds[1] < seconds[2] < ended.report.seconds


@pytest.mark.parametrize(("owner", "name", "left"), [(Learner, "begin", 3), (torch.optim.AdamW, "zero_grad", 2)])
def test_a_stop_within_a_step_falls_back_to_the_end_of_one_before(
    oven: Oven, whole: Baked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str,
    left: int,
) -> None:  # fmt: skip
    """Before the optimizer's step the last one is saved; while weights may be half changed, an earlier one stays."""
    real, calls = getattr(owner, name), 0

    def stop(*given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*given, **options)

    due = iter([False, True, False, False, False, False])
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "due", property(lambda self: next(due)))
        patch.setattr(owner, name, stop)
        with pytest.raises(KeyboardInterrupt):
            oven(tmp_path)
    assert _body(tmp_path)["training"]["step"] == left
    assert_same(oven(tmp_path), whole)


def test_the_optimizer_is_part_of_it(oven: Oven, whole: Baked, stopped: Path) -> None:
    """Without its moments the same bake ends with other weights: the comparison would see them missing."""
    [file] = stopped.glob("*.safetensors")
    tensors = load_file(file)
    assert {name.partition("/")[0] for name in tensors} == {"parameter", "step", "exp_avg", "exp_avg_sq"}
    save_file({name: t if name.startswith("parameter") else torch.zeros_like(t) for name, t in tensors.items()}, file)
    body = _body(stopped)
    body["training"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (stopped / CHECKPOINT_FILE).write_bytes(module._sealed(body))
    with pytest.raises(AssertionError, match="not close"):
        assert_same(oven(stopped), whole)


def _body(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / CHECKPOINT_FILE).read_bytes())["body"])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_training_whose_numbers_grow_too_large_is_a_clear_error_and_begins_anew(base: Base, tmp_path: Path) -> None:
    """Nothing of it is kept, so that the next bake does not go on with it."""
    wild = replace(SETTINGS, recipe=replace(SETTINGS.recipe, learning_rate=1e6, steps=20))
    for _ in range(2):
        watcher = Stopper()
        with pytest.raises(BakeError, match=r"diverged.*Lower `learning_rate`, or set `dtype`"):
            bake(base.model, base.template, MEMORIES, [Prompt(PROMPT, ("m1",))], wild, progress=watcher,
                 checkpoint=tmp_path, fingerprint="tiny")  # fmt: skip
        assert ("bake", 1, 20) in watcher.seen
        assert names(tmp_path) == [CHECKPOINT_FILE]
        assert "training" not in _body(tmp_path)


def test_the_live_version_answers_on_after_a_training_that_diverged(open_memory: OpenMemory) -> None:
    """As before it, and a bake at another rate begins anew."""
    memory = open_memory()
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    live = memory.bake()
    said = memory.chat("Who?", version=live.name)
    memory.close()
    memory = open_memory(learning_rate=1e6)
    memory.remember("The user's cat is called Tarin.", key="user.cat")
    with pytest.raises(BakeError, match="diverged"):
        memory.bake()
    assert memory.versions()[-1] == live
    assert memory.chat("Who?", version=live.name) == said
    memory.close()
    assert open_memory(learning_rate=3e-3).bake().name != live.name


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink, lambda p: p.write_bytes(b""),
                                    lambda p: p.write_bytes(b"[" * 100_000)])  # fmt: skip
@pytest.mark.parametrize("pattern", ["*.json", "*.safetensors"])
def test_a_damaged_checkpoint_is_thrown_away(
    stopped: Path, caplog: pytest.LogCaptureFixture, pattern: str, damage: Callable[[Path], object]
) -> None:
    """Whichever file is changed, cut, emptied or gone: a warning says so, and nothing of it is used, or left."""
    key = _body(stopped)["key"]
    assert Checkpoint(stopped, key).resume() is not None
    [file] = stopped.glob(pattern)
    damage(file)
    with caplog.at_level(logging.WARNING, "bakemem"):
        opened = Checkpoint(stopped, key)
    assert "thrown away" in caplog.text
    assert opened.resume() is None
    assert not opened.found("stimuli")
    assert names(stopped) == []


def test_a_bake_after_a_damaged_checkpoint_begins_anew(oven: Oven, whole: Baked, stopped: Path) -> None:
    """It ends as the one that was never stopped."""
    _cut(next(stopped.glob("*.safetensors")))
    again = Stopper()
    assert_same(oven(stopped, again), whole)
    assert [done for stage, done, _ in again.seen if stage == "bake"] == list(range(1, STEPS + 1))


def test_a_checkpoint_of_another_bake_is_thrown_away(
    oven: Oven, stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other words in the same memory: nothing of the old bake is used, or left."""
    again = Stopper("bake", 1)
    with caplog.at_level(logging.WARNING, "bakemem"), pytest.raises(KeyboardInterrupt):
        oven(stopped, again, [replace(MEMORIES[0], text="The user's dog is called Tobit.")])
    assert "another bake" in caplog.text
    assert again.seen[-1] == ("bake", 1, STEPS)
    assert names(stopped) == [CHECKPOINT_FILE, "step-1.safetensors"]


def test_the_key_depends_on_every_part() -> None:
    """A changed setting, however deep, is another bake, and equal parts are the same one."""
    deeper = replace(SETTINGS, recipe=replace(SETTINGS.recipe, seed=1))
    keys = {key_of(SETTINGS, None), key_of(deeper, None), key_of(SETTINGS, "v1"), key_of(SETTINGS)}
    assert len(keys) == 4
    assert key_of(replace(deeper, recipe=SETTINGS.recipe), None) in keys


def test_nothing_is_a_pickle(stopped: Path) -> None:
    """One file is JSON and one is safetensors, by their content; nothing half-written is beside them."""
    assert names(stopped) == [CHECKPOINT_FILE, "step-3.safetensors"]
    assert _body(stopped)["training"]["step"] == 3
    assert load_file(stopped / "step-3.safetensors")
    for path in stopped.iterdir():
        assert path.read_bytes()[:2] not in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_full_disk_keeps_the_checkpoint_before_and_does_not_stop_the_bake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str, n: int
) -> None:
    """Tensors or JSON cannot be written: what is on the disk is the earlier one, whole, and a warning says it."""
    first = TrainingState(1, 0.5, {}, {"parameter/a": torch.ones(3)})
    checkpoint = Checkpoint(tmp_path, "key")
    checkpoint.save(first)
    real, calls = getattr(os, call), 0

    def fail(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == {"replace": n, "fsync": 2 * n - 1}[call]:
            raise OSError(28, "No space left on device")
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        checkpoint.save(replace(first, step=2))
    assert "No space left" in caplog.text
    found = Checkpoint(tmp_path, "key").resume()
    assert found is not None
    assert (found.step, found.tensors["parameter/a"].tolist()) == (1, [1.0, 1.0, 1.0])
    assert names(tmp_path) == [CHECKPOINT_FILE, "step-1.safetensors"]


@pytest.mark.parametrize("n", [1, 2])
def test_a_save_that_is_stopped_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Ctrl-C while tensors or JSON are written leaves the earlier step whole, and the last word is the later one."""
    first = TrainingState(1, 0.5, {}, {"parameter/a": torch.ones(3)})
    checkpoint, second = Checkpoint(tmp_path, "key"), replace(first, step=2)
    checkpoint.save(first)
    real, calls = os.replace, 0

    def stop(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == n:
            raise KeyboardInterrupt
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(second)
    left = Checkpoint(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-killed")), "key").resume()
    assert left is not None
    assert left.step == 1
    checkpoint.save(second)
    found = Checkpoint(tmp_path, "key").resume()
    assert found is not None
    assert found.step == 2
    assert names(tmp_path) == [CHECKPOINT_FILE, "step-2.safetensors"]


def test_what_was_destroyed_during_a_bake_does_not_come_back(oven: Oven, tmp_path: Path) -> None:
    """The folder is removed (a memory was forgotten): the bake runs on, and writes nothing of it down again."""
    folder = tmp_path / "inner"
    folder.mkdir()

    def progress(stage: str, done: int, total: int, kl: float | None) -> None:
        if (stage, done) == ("bake", 2):
            destroy(folder)

    oven(folder, progress)
    assert not folder.exists()


def test_saving_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due 20 seconds after the last one, and later where saving is slow."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    checkpoint, state = Checkpoint(tmp_path, "key"), TrainingState(1, 0.5, {}, {"parameter/a": torch.ones(3)})
    clock[0] = 19.0
    assert not checkpoint.due
    clock[0] = 21.0
    assert checkpoint.due
    real = module.write_whole

    def slow(path: Path, content: bytes) -> None:
        clock[0] += 1.0
        real(path, content)

    monkeypatch.setattr(module, "write_whole", slow)
    checkpoint.save(state)  # two seconds
    clock[0] += 39.0
    assert not checkpoint.due
    clock[0] += 2.0
    assert checkpoint.due
    assert not Checkpoint().due


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(0, 8), after=st.integers(1, 6), n=st.integers(2, 9), seed=st.integers(0, 99))
def test_a_packer_goes_on_from_its_state(
    base: Base, make_taught: MakeTaught, before: int, after: int, n: int, seed: int
) -> None:
    """Through JSON and over the same trajectories in other objects, it draws what the first one would have drawn."""
    first, second = (Packer(base.template, make_taught(base, 9), max_turns=6, max_tokens=256, seed=seed)
                     for _ in range(2))  # fmt: skip

    def batch(packer: Packer) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        dialogues = packer.batch(n)
        packer.note(dialogues, torch.linspace(0.1, 3.7, sum(len(d.positions) for d in dialogues)))
        return [(d.ids, d.position_ids) for d in dialogues]

    for _ in range(before):
        batch(first)
    second.restore(json.loads(json.dumps(first.state())))
    assert [batch(first) for _ in range(after)] == [batch(second) for _ in range(after)]


def test_the_rates_rise_and_fall() -> None:
    """A twentieth of the steps up to the full rate, then straight down; B's rate is four times A's."""
    schedule = Schedule(40)
    a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    learner = Learner({"x.lora_A": a, "x.lora_B": b}, Recipe(learning_rate=1.0, steps=40))
    rates = []
    for step in (0, 1, 20, 39):
        learner.begin(schedule.share(step))
        rates.append([group["lr"] for group in learner._optimizer.param_groups])
    assert rates == [pytest.approx([x, 4 * x]) for x in (0.5, 1 - 1 / 40, 0.5, 1 / 40)]


def test_a_gradient_that_is_not_finite_is_skipped() -> None:
    """The parameters stay what they were and learn on from the next one; too many in a row are the end."""
    a, b = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    learner = Learner({"x.lora_A": a, "x.lora_B": b}, Recipe(learning_rate=0.1))

    def step(gradient: float) -> bool:
        learner.begin(1.0)
        (a.sum() + gradient * b.sum()).backward()
        return learner.step()

    assert step(1.0)
    before = [a.clone(), b.clone()]
    assert not step(float("nan"))
    assert all(torch.equal(x, y) for x, y in zip(before, (a, b), strict=True))
    assert step(1.0)
    assert a[0] < before[0][0]
    assert all(tensor.isfinite().all() for tensor in learner.tensors().values())
    for _ in range(MOST_SKIPPED - 1):
        assert not step(float("inf"))
    with pytest.raises(BakeError, match="diverged"):
        step(float("nan"))
