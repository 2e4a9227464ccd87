"""The object that a user holds, and its cycle, on a tiny random model: states, swaps, errors and interruptions."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from bakemem import cycle
from bakemem.agent_memory import AgentMemory
from bakemem.baking import Baked
from bakemem.baking.train import diverged
from bakemem.errors import AdapterError, BakeError, HomeError, HomeLockedError, InputError, NotFoundError
from bakemem.memory import Journal
from bakemem.serving import Base
from bakemem.template import ChatTemplate
from bakemem.types import Draft, Memory, Turn, Version
from tests.homes import fake_bake, write_adapter
from tests.talks import open_talk
from tests.tiny import BakeHome, OpenMemory

TOLD = {"user.dog": "The user's dog is called Bosuk.", "style.case": "Always answer in upper case."}


@pytest.fixture
def memory(open_memory: OpenMemory) -> AgentMemory:
    """A memory with a fact and an instruction pending."""
    made = open_memory()
    for key, text in TOLD.items():
        made.remember(text, key=key)
    return made


@pytest.fixture(scope="module")
def baked_home(bake_home: BakeHome) -> Path:
    """A fact and an instruction in v1."""
    return bake_home(TOLD)


@pytest.fixture
def baked(baked_home: Path, tmp_path: Path, open_memory: OpenMemory) -> AgentMemory:
    """The memory of a copy of that home."""
    shutil.copytree(baked_home, tmp_path, dirs_exist_ok=True)
    return open_memory()


def statuses(memory: AgentMemory) -> dict[str, str]:
    """Key to status."""
    return {m.key: m.status for m in memory.memories()}


def test_kinds_are_inferred_from_the_wording(memory: AgentMemory) -> None:
    """An imperative instructs, a statement informs."""
    assert {m.key: m.kind for m in memory.memories()} == {"user.dog": "fact", "style.case": "instruction"}


def test_a_bake_moves_memories_from_the_prompt_into_the_live_version(memory: AgentMemory) -> None:
    """Until then they are in the prompt of every request, from then on they are not."""
    assert "Bosuk" in memory.pending_prompt()
    version = memory.bake()
    assert (version.name, version.parent, memory.live) == ("v1", None, "v1")
    assert memory.pending_prompt() == ""
    assert statuses(memory) == {"user.dog": "baked", "style.case": "baked"}
    assert set(version.memory_ids) == {m.id for m in memory.memories()}


def test_a_baked_version_answers_otherwise_than_the_base(baked: AgentMemory) -> None:
    """The live one by default, any other by name."""
    asked = "What is my dog called?"
    assert baked.chat(asked) == baked.chat(asked, version="v1")
    assert baked.chat(asked, version="base") == baked.chat(asked, version="v1", strength=0.0)
    questions = [f"Question {i} about cats?" for i in range(5)]
    assert any(baked.chat(q) != baked.chat(q, version="base") for q in questions)


def test_a_second_bake_starts_from_the_first_and_lists_what_it_adds(baked: AgentMemory) -> None:
    """The parent is the version that was live."""
    baked.remember("The user lives in Tarn.", key="user.town")
    version = baked.bake()
    assert (version.name, version.parent) == ("v2", "v1")
    assert [m.key for m in baked.diff("v1", "v2").added] == ["user.town"]
    assert [m.key for m in baked.diff("base", "v1").added] == ["user.dog", "style.case"]


def test_a_pursuit_reaches_the_bake(memory: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not of the settings: only the bake that asks for it has it."""
    asked: list[int] = []

    def bake(*args: Any, **options: Any) -> Any:
        asked.append(args[4].pursuit.rounds)
        raise BakeError("Enough seen.")

    monkeypatch.setattr("bakemem.cycle.bake", bake)
    for options in ({"pursue": 3}, {}):
        with pytest.raises(BakeError, match="Enough"):
            memory.bake(**options)
    assert asked == [3, 0]


def test_a_newer_memory_of_the_same_key_supersedes_and_the_next_bake_drops_the_old(baked: AgentMemory) -> None:
    """Both stay readable in the journal."""
    baked.remember("The user's dog is called Tarn.", key="user.dog")
    version = baked.bake()
    texts = {m.id: (m.text, m.status) for m in baked.memories()}
    held = [texts[i] for i in version.memory_ids]
    assert ("The user's dog is called Tarn.", "baked") in held
    assert ("The user's dog is called Bosuk.", "superseded") in texts.values()
    assert all("Bosuk" not in text for text, _ in held)


def test_a_rollback_undoes_a_mistaken_change(baked: AgentMemory) -> None:
    """What was true before is known, found and baked again; the mistake is held, and what changed is returned."""
    baked.remember("The user's dog is called Tarn.", key="user.dog")
    baked.bake()
    assert [m.text for m in baked.recall("dog", 1)] == ["The user's dog is called Tarn."]
    moved = baked.rollback("v1")
    assert {m.text: m.status for m in moved} == {
        "The user's dog is called Bosuk.": "baked", "The user's dog is called Tarn.": "held",
    }  # fmt: skip
    assert [m.text for m in baked.recall("dog", 1)] == ["The user's dog is called Bosuk."]
    assert baked.rollback("v1") == []
    baked.remember("The user lives in Plinth.", key="user.town")
    version = baked.bake()
    assert "Bosuk" in {m.text.rstrip(".").split()[-1] for m in baked.memories() if m.id in version.memory_ids}
    [held] = baked.memories("held")
    baked.release([held.id])
    assert baked.pending_prompt().count("dog") == 1
    assert [m.text for m in baked.recall("dog", 1)] == ["The user's dog is called Tarn."]


def test_rollback_holds_memories_and_rolling_forward_brings_them_back(baked: AgentMemory) -> None:
    """Held memories are in no prompt and in no weights that serve, and nothing is destroyed."""
    asked = [f"Question {i} about cats?" for i in range(4)]
    live, base = ([baked.chat(q, version=v) for q in asked] for v in ("v1", "base"))
    baked.rollback("base")
    assert set(statuses(baked).values()) == {"held"}
    assert baked.pending_prompt() == ""
    assert [baked.chat(q) for q in asked] == base
    baked.rollback("v1")
    assert set(statuses(baked).values()) == {"baked"}
    assert [baked.chat(q) for q in asked] == live
    assert [(e.old, e.new) for e in baked.reflog()] == [(None, "v1"), ("v1", None), (None, "v1")]


def test_what_was_baked_serves_after_a_restart(baked: AgentMemory, open_memory: OpenMemory) -> None:
    """The journal says what is live; the adapter is read from its folder."""
    asked = [f"Question {i} about cats?" for i in range(4)]
    before = [baked.chat(q) for q in asked]
    baked.close()
    again = open_memory()
    assert again.live == "v1"
    assert [again.chat(q) for q in asked] == before


def test_a_refused_bake_is_kept_as_rejected_and_changes_nothing(open_memory: OpenMemory, tmp_path: Path) -> None:
    """Its memories stay in the prompt, it never serves, and its name is not used again."""
    memory = open_memory(min_agreement=1.0, min_abstention=1.0, max_drift=0.0, steps=1)
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    version = memory.bake()
    assert version.status == "rejected"
    assert version.report.reasons
    assert [p.name for p in (tmp_path / "versions").iterdir()] == ["v1"]
    assert memory.live is None
    assert statuses(memory) == {"user.dog": "pending"}
    with pytest.raises(InputError, match="rejected"):
        memory.chat("Hello?", version="v1")
    with pytest.raises(InputError, match="rejected"):
        memory.rollback("v1")
    assert memory.bake().name == "v2"


@pytest.mark.parametrize("stage", ["stimulate", "rollout", "bake", "gate"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_bake_leaves_everything_as_it_was(
    baked: AgentMemory, tiny_base: Base, tmp_path: Path, stage: str, error: type[BaseException]
) -> None:
    """Ctrl-C or an error at any stage: the old version is live, memories are pending, no version or adapter stays."""
    baked.remember("The user lives in Tarn.", key="user.town")
    reply = baked.chat("Question 1 about cats?")

    def interrupt(now: str, done: int, total: int, kl: float | None) -> None:
        if now == stage and done >= total // 2:
            raise error("now")

    with pytest.raises(error):
        baked.bake(progress=interrupt)
    assert baked.live == "v1"
    assert statuses(baked)["user.town"] == "pending"
    assert sorted(p.name for p in (tmp_path / "versions").iterdir()) == [".bake", "v1"]
    assert "candidate" not in tiny_base.model.peft_config
    assert baked.chat("Question 1 about cats?") == reply
    assert baked.bake().name == "v2"
    assert sorted(p.name for p in (tmp_path / "versions").iterdir()) == ["v1", "v2"]


class Stop:
    """Stops a bake after a step, and counts the steps that it is told."""

    def __init__(self, at: int) -> None:
        self.steps: list[int] = []
        self._at = at

    def __call__(self, stage: str, done: int, total: int, kl: float | None) -> None:
        """One word of progress."""
        if stage == "bake":
            self.steps.append(done)
            if done == self._at:
                raise KeyboardInterrupt


def test_a_stopped_bake_goes_on_in_another_process(memory: AgentMemory, open_memory: OpenMemory) -> None:
    """Closed and opened again, it starts at the step where it was; a cold bake of the same memories is the same one."""
    with pytest.raises(KeyboardInterrupt):
        memory.bake(progress=Stop(5))
    memory.close()
    again, stop = open_memory(), Stop(0)
    assert again.bake(from_base=True, progress=stop).name == "v1"
    assert stop.steps == list(range(5, 13))


def test_a_stopped_bake_begins_anew_when_something_was_told_meanwhile(memory: AgentMemory) -> None:
    """What is baked is always what is pending now."""
    with pytest.raises(KeyboardInterrupt):
        memory.bake(progress=Stop(5))
    memory.remember("The user lives in Tarn.", key="user.town")
    stop = Stop(0)
    assert len(memory.bake(progress=stop).memory_ids) == 3
    assert stop.steps[0] == 1


def test_forgetting_destroys_what_a_bake_has_left(memory: AgentMemory, tmp_path: Path) -> None:
    """Its questions and answers are overwritten, and the folder is gone."""
    with pytest.raises(KeyboardInterrupt):
        memory.bake(progress=Stop(5))
    [kept] = (tmp_path / "versions").glob(".bake/*.json")
    assert memory.memories()[0].id in kept.read_text()
    os.link(kept, tmp_path / "block")  # what stays readable where only the name is removed
    memory.forget([memory.memories()[0].id])
    assert list((tmp_path / "versions").iterdir()) == []
    assert set((tmp_path / "block").read_bytes()) == {0}


def test_forgetting_during_a_bake_leaves_nothing_of_it(memory: AgentMemory, tmp_path: Path) -> None:
    """The bake that runs cannot write what was forgotten down again, and is not committed."""

    def forget(stage: str, done: int, total: int, kl: float | None) -> None:
        if (stage, done) == ("bake", 3):
            memory.forget([memory.memories()[0].id])

    with pytest.raises(BakeError, match="was forgotten during the bake"):
        memory.bake(progress=forget)
    assert list((tmp_path / "versions").iterdir()) == []


@pytest.mark.parametrize("late", [False, True])
def test_forgetting_during_a_bake_what_its_parent_learned_leaves_nothing_of_it(
    baked: AgentMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """The new version does not hold it, and went on from one that does; at the last moment too."""
    [old] = [m for m in baked.memories() if m.key == "user.dog"]
    baked.remember("The user's dog is called Tarn.", key="user.dog")
    commit = Journal.commit_version

    def forget(stage: str, done: int, total: int, kl: float | None) -> None:
        if (stage, done) == ("bake", 3) and not late:
            baked.forget([old.id])

    def forget_late(journal: Journal, version: Version, *, accepted: bool) -> None:
        baked.forget([old.id])
        commit(journal, version, accepted=accepted)

    monkeypatch.setattr(Journal, "commit_version", forget_late)
    with pytest.raises(BakeError, match="What v1 learned was forgotten during the bake"):
        baked.bake(progress=forget)
    assert [v.name for v in baked.versions()] == ["v1"]
    assert [p.name for p in (tmp_path / "versions").iterdir()] == ["v1"]


def test_what_is_forgotten_while_a_bake_waits_for_its_turn_is_never_written_down(
    memory: AgentMemory, tmp_path: Path
) -> None:
    """Another memory bakes on the same base meanwhile; the bake that waited ends before it begins."""

    def forget(stage: str, done: int, total: int, kl: float | None) -> None:
        assert stage == "wait"
        memory.forget([memory.memories()[0].id])
        memory.base.baking.release()

    memory.base.baking.acquire()
    with pytest.raises(BakeError, match="was forgotten during the bake"):
        memory.bake(progress=forget)
    assert list((tmp_path / "versions").iterdir()) == []


def test_an_erasure_with_nothing_to_erase_leaves_the_unfinished_bake(memory: AgentMemory, tmp_path: Path) -> None:
    """It goes on where it was."""
    with pytest.raises(KeyboardInterrupt):
        memory.bake(progress=Stop(5))
    with pytest.raises(InputError, match="nothing to erase"):
        memory.erase()
    assert list((tmp_path / "versions").glob(".bake/*.json"))


def test_a_failed_commit_leaves_the_old_version_live(baked: AgentMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's transaction is the commit point: when it fails, no folder stays and memories are pending."""
    baked.remember("The user lives in Tarn.", key="user.town")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit_version", fail)
        with pytest.raises(OSError, match="no space"):
            baked.bake()
    assert baked.live == "v1"
    assert [v.name for v in baked.versions()] == ["v1"]
    assert statuses(baked)["user.town"] == "pending"
    assert baked.bake().name == "v2"


def test_a_close_ends_a_bake_before_it_gives_the_home_back(
    memory: AgentMemory, open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its next step, so that the next owner has the home alone."""
    begun, steps = threading.Event(), list[int]()

    def bake(*args: object, progress: Callable[..., None], **named: object) -> None:
        for step in range(1000):
            begun.set()
            time.sleep(0.01)
            progress("bake", step, 1000, None)
            steps.append(step)

    monkeypatch.setattr("bakemem.cycle.bake", bake)
    with ThreadPoolExecutor(1) as pool:
        baking = pool.submit(memory.bake)
        assert begun.wait(10)
        memory.close()
        made = len(steps)
        with pytest.raises(HomeError, match="closed"):
            baking.result(10)
    assert len(steps) == made < 900
    assert statuses(open_memory())["user.dog"] == "pending"


def test_a_model_that_fails_to_close_leaves_no_journal_open(
    memory: AgentMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a second Ctrl-C while it waits for replies."""
    assert memory.chat("Hello?")

    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(memory._serving, "close", stopped)
    with pytest.raises(KeyboardInterrupt):
        memory.close()
    with pytest.raises(HomeError, match="closed"):
        memory.memories()


def test_a_damaged_live_adapter_is_named_and_never_served(
    baked: AgentMemory, open_memory: OpenMemory, tmp_path: Path
) -> None:
    """Changed bytes do not match the manifest; rolling back to the base helps."""
    baked.close()
    file = tmp_path / "versions" / "v1" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    again = open_memory()
    with pytest.raises(AdapterError):
        again.chat("Hello?")
    again.rollback("base")
    assert isinstance(again.chat("Hello?"), str)


def test_a_bake_begins_when_what_was_said_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though people talk faster than their words are read."""
    memory, _ = open_talk(tmp_path)
    waited: list[str] = []

    def talk_on(turn: Turn) -> list[Draft]:
        memory.observe([Turn("user", "Small talk.")])
        return []

    def begun(*args: Any, **options: Any) -> Any:
        raise BakeError("begun")

    def progress(stage: str, done: int, total: int, kl: float | None) -> None:
        waited.append(stage)
        assert len(waited) < 25, "it never begins"

    memory._extractor.extract = talk_on  # type: ignore[method-assign]
    memory.observe([Turn("user", "Small talk.")])
    monkeypatch.setattr("bakemem.agent_memory.run_cycle", begun)
    with pytest.raises(BakeError, match="begun"):
        memory.bake(progress=progress)
    assert memory.unread()
    memory.close()


def test_nothing_new_is_not_baked(baked: AgentMemory) -> None:
    """It says so; a bake from the base is possible at any time."""
    with pytest.raises(BakeError, match="nothing new"):
        baked.bake()
    version = baked.bake(from_base=True)
    assert (version.name, version.parent) == ("v2", None)


@pytest.mark.parametrize(("shape", "rank"), [((8, 16), 8), ((8, 8), 8), ((2, 4), 4), ((2, 8), 2)])
def test_another_rank_goes_on_or_starts_anew(
    baked: AgentMemory, open_memory: OpenMemory, shape: tuple[int, int], rank: int
) -> None:
    """Of the same scale a bake goes on in the higher of both ranks, of another it starts from the base; the version's
    line goes on.
    """
    baked.close()
    again = open_memory(rank=shape[0], alpha=shape[1])
    again.remember("The user lives in Tarn.", key="user.town")
    version = again.bake()
    assert (version.parent, version.settings["rank"]) == ("v1", rank)
    assert isinstance(again.chat("Hello?", version="v1"), str)


class Judge:
    """Bakes as ever, and gives the verdicts that it is told to, with the ids of what failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *verdicts: tuple[bool, tuple[str, ...]]) -> None:
        self.asked: list[set[str]] = []
        self._verdicts, self._bake = list(verdicts), cycle.bake
        monkeypatch.setattr(cycle, "bake", self)

    def __call__(self, model: PreTrainedModel, template: ChatTemplate, memories: list[Memory], *args: Any,
                 **kwargs: Any) -> Baked:  # fmt: skip
        """One bake."""
        baked = self._bake(model, template, memories, *args, **kwargs)
        self.asked.append({m.key for m in memories})
        accepted, failed = self._verdicts.pop(0)
        reasons = () if accepted else ("too weak",)
        return replace(baked, report=replace(baked.report, accepted=accepted, failed=failed, reasons=reasons))


def test_what_fails_at_the_gate_stays_in_the_prompt_and_the_rest_is_baked(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last effort before a refusal; the report names what was left."""
    memory = open_memory(efforts=3)
    dog = memory.remember("The user's dog is called Bosuk.", key="user.dog")
    memory.remember("The user lives in Tarn.", key="user.town")
    judge = Judge(monkeypatch, (False, (dog.id,)), (True, ()))
    version = memory.bake()
    assert judge.asked == [{"user.dog", "user.town"}, {"user.town"}]
    assert (version.status, version.report.failed, version.report.efforts[-1]) == ("accepted", (dog.id,), "split")
    assert version.report.efforts == ("split",)
    assert statuses(memory) == {"user.dog": "pending", "user.town": "baked"}
    assert "Bosuk" in memory.pending_prompt()


def test_where_no_memory_failed_the_newer_half_stays_in_the_prompt(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of five are tried; and if that is refused too, all stay, and the version with all of them is kept."""
    memory = open_memory(efforts=3)
    for n in range(5):
        memory.remember(f"The user's number {n} is {n + 20}.", key=f"user.n{n}")
    judge = Judge(monkeypatch, (False, ()), (False, ()))
    version = memory.bake()
    assert judge.asked[1] == {"user.n0", "user.n1", "user.n2"}
    assert (version.status, len(version.memory_ids)) == ("rejected", 5)
    assert set(statuses(memory).values()) == {"pending"}


def test_a_split_that_diverges_is_as_one_that_is_refused(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The version with all memories is kept."""
    memory = open_memory(efforts=3)
    dog = memory.remember("The user's dog is called Bosuk.", key="user.dog")
    memory.remember("The user lives in Tarn.", key="user.town")
    judge = Judge(monkeypatch, (False, (dog.id,)))

    def bake(*given: Any, **options: Any) -> Baked:
        if judge.asked:
            raise diverged()
        return judge(*given, **options)

    monkeypatch.setattr(cycle, "bake", bake)
    version = memory.bake()
    assert (version.status, len(version.memory_ids), version.report.efforts) == ("rejected", 2, ("split",))


def test_one_memory_alone_is_not_split(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing left to bake without it."""
    memory = open_memory(efforts=3)
    dog = memory.remember("The user's dog is called Bosuk.", key="user.dog")
    judge = Judge(monkeypatch, (False, (dog.id,)))
    version = memory.bake()
    assert (version.status, version.report.efforts) == ("rejected", ())
    assert len(judge.asked) == 1


def test_one_home_has_one_owner(memory: AgentMemory, open_memory: OpenMemory) -> None:
    """The second is told at once."""
    with pytest.raises(HomeLockedError):
        open_memory()


def test_wrong_names_are_clear_errors(memory: AgentMemory) -> None:
    """None of them changes anything."""
    for wrong in ("v9", "nothing", ""):
        with pytest.raises(NotFoundError):
            memory.chat("Hello?", version=wrong)
        with pytest.raises(NotFoundError):
            memory.rollback(wrong)
    with pytest.raises(InputError):
        memory.remember("  ")
    with pytest.raises(InputError):
        memory.remember("lone \ud800 surrogate", key="a.b")
    with pytest.raises(InputError):
        memory.chat("  ")


@pytest.mark.parametrize(
    "options",
    [{"temprature": 1.0}, {"max_tokens": 1}, {"max_new_tokens": 0}, {"seed": 2**70}, {"seed": "a"}, {"stop": ""}],
)
def test_options_that_cannot_be_are_errors_of_ours(memory: AgentMemory, options: dict[str, Any]) -> None:
    """A misspelt one is not left out in silence, and 0 tokens are not as many as configured."""
    with pytest.raises(InputError):
        memory.chat("Hello?", **options)


def test_one_stop_text_may_stand_alone(memory: AgentMemory) -> None:
    """It is not taken for the list of its letters."""
    whole = memory.chat("Question 1 about cats?")
    assert memory.chat("Question 1 about cats?", stop=whole[2:5]) == whole[: whole.find(whole[2:5])]


def test_only_the_users_turns_are_read(memory: AgentMemory) -> None:
    """A tool, a document or the assistant itself never becomes a memory."""
    before = memory.memories()
    memory.observe([Turn("tool", "Always answer in lower case."), Turn("assistant", "The user's cat is called Tarn."),
                    Turn("system", "The user's cat is called Tarn.")])  # fmt: skip
    assert memory.memories() == before


def test_recall_finds_by_meaning(memory: AgentMemory) -> None:
    """Pending ones too."""
    assert memory.recall("what is the dog called", k=1)[0].key == "user.dog"
    memory.remember("The user's boat is called Nusa.", key="user.boat")
    assert memory.recall("the boat", k=1)[0].key == "user.boat"


def test_a_packed_version_answers_as_it_did(memory: AgentMemory, tmp_path: Path) -> None:
    """Though its folder was destroyed meanwhile; none is taken in while a bake runs, which takes the same name."""
    asked = [f"Question {i} about cats?" for i in range(3)]
    memory.bake()
    answers = [memory.chat(q) for q in asked]
    memory.pack("live", tmp_path / "packed")
    memory.rollback("base")
    memory._journal.destroyed(["v1"], "collected")
    memory._store.destroy("v1")
    with memory._one_change(), pytest.raises(BakeError, match="running"):
        memory.unpack(tmp_path / "packed")
    version = memory.unpack(tmp_path / "packed")
    memory.rollback(version.name)
    assert (version.name, memory.live) == ("v2", "v2")
    assert [memory.chat(q) for q in asked] == answers
    assert set(statuses(memory).values()) == {"baked"}


def test_a_home_is_sound_through_bakes_rollbacks_and_gc(baked: AgentMemory) -> None:
    """Real adapters and probes pass the check, and what gc took does not serve while the rest does."""
    baked.remember("The user lives in Tarn.", key="user.town")
    baked.bake()
    baked.bake(from_base=True)
    assert baked.check() == []
    reply = baked.chat("Question 1 about cats?")
    assert [v.name for v in baked.gc(0, dry_run=False)] == ["v1"]
    assert baked.check() == []
    with pytest.raises(InputError, match="collected"):
        baked.chat("Hello?", version="v1")
    baked.rollback("v2")
    baked.rollback("v3")
    assert baked.chat("Question 1 about cats?") == reply
    assert baked.check() == []


def test_nothing_goes_back_to_a_version_that_is_lost(tmp_path: Path) -> None:
    """Also where no base is loaded: its memories would leave the prompt, and no weights know them."""
    memory, _ = open_talk(tmp_path / "home")
    for n in (1, 2):
        memory.remember(f"The user's dog {n} is called Bosuk.", kind="fact", key=f"user.dog{n}")
        fake_bake(memory._journal, memory._store, write_adapter(tmp_path / str(n), n))
    shutil.rmtree(memory._store.folder("v1"))
    before = statuses(memory)
    with pytest.raises(AdapterError):
        memory.rollback("v1")
    assert (memory.live, statuses(memory)) == ("v2", before)
    memory.close()
