"""What the engine in this process does beside the contract: batches, prefixes, windows, limits, and bakes beside it."""

from __future__ import annotations

import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    Lfm2Config,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen3_5TextConfig,
)

from bakemem.baking import Recipe, answers
from bakemem.baking.train import train
from bakemem.baking.weights import output_head, remove_candidate
from bakemem.errors import AdapterError, InputError, ModelError, ServingError
from bakemem.serving import Base, Limits, LocalEngine, Request, Sampling, ServingModel, load_base, wrap_base
from bakemem.serving.batch import Batch
from bakemem.serving.row import draw
from bakemem.types import Turn
from tests.baking.test_architectures import CONFIGS, SPECIAL, make_base
from tests.tiny import TINY, MakeTaught, loud

ASKED = (Turn("user", "Question 1 about cats?"),)
SHORT = Sampling(max_new_tokens=12)
LONG = Sampling(max_new_tokens=150)


def talk(n: int) -> list[Turn]:
    """A conversation of so many exchanges before the question."""
    told = [Turn(role, f"We speak of {i} boats and of tea.") for i in range(n) for role in ("user", "assistant")]
    return [Turn("system", "You are kind."), *told, *ASKED]  # type: ignore[list-item]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_answers_in_a_batch_as_alone(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Conversations of different lengths that come and go, with what was read before; as the bake's own decoding."""
    base = make_base(name, tokenizer)
    engine = LocalEngine(base, Limits(running=4, chunk=16))
    asked = [talk(i % 4)[-1 - 2 * (i % 4) :] for i in range(10)]
    alone = answers(base.model, base.template, asked, adapter_name=None, lock=base.lock, max_new_tokens=9)
    for _ in range(2):
        replies = [engine.submit(Request(turns, sampling=Sampling(max_new_tokens=9))) for turns in asked]
        assert [reply.text() for reply in replies] == alone
    engine.close()


MIXED = {"layer_types": ["linear_attention", "full_attention"], "num_key_value_heads": 2, "head_dim": 16}


@pytest.mark.parametrize("config", [
    BambaConfig(**TINY, num_key_value_heads=2, attn_layer_indices=[1], mamba_d_state=8, mamba_expand=1,
                mamba_n_heads=4, mamba_d_head=16, mamba_chunk_size=16, **SPECIAL),
    Lfm2Config(**TINY, num_key_value_heads=2, layer_types=["conv", "full_attention"], **SPECIAL),
    Qwen3_5TextConfig(**TINY, **MIXED, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=16,
                      linear_value_head_dim=16, **SPECIAL),
], ids=lambda config: config.model_type)  # fmt: skip
def test_every_hybrid_answers_beside_others_as_alone(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Token by token at the places behind its prompt; as the bake's own decoding."""
    torch.manual_seed(0)
    base = wrap_base("hybrid", loud(AutoModelForCausalLM.from_config(config)), tokenizer)
    engine, asked = LocalEngine(base), [talk(n) for n in (0, 2, 1)]
    alone = [answers(base.model, base.template, [turns], adapter_name=None, lock=base.lock, max_new_tokens=24)[0]
             for turns in asked]  # fmt: skip
    replies = [engine.submit(Request(turns, sampling=Sampling(max_new_tokens=24))) for turns in asked]
    assert [reply.text() for reply in replies] == alone
    engine.close()


def test_a_long_row_changes_no_other_with_longrope(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its factors go by the longest row of a batch, so that no row outgrows the context that they begin at."""
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "original_max_position_embeddings": 256}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **factors}
    config = Phi3Config(**TINY, num_key_value_heads=2, max_position_embeddings=4096, rope_parameters=rope,
                        original_max_position_embeddings=256, **SPECIAL)  # fmt: skip
    torch.manual_seed(0)
    base = wrap_base("long", loud(AutoModelForCausalLM.from_config(config)), tokenizer)
    assert base.context == 256
    engine, sampling = LocalEngine(base), Sampling(max_new_tokens=40)
    alone = engine.submit(Request(ASKED, sampling=sampling)).text()
    with engine.base.lock:
        beside = [engine.submit(Request(turns, sampling=sampling, too_long="window")) for turns in (talk(60), ASKED)]
    assert [reply.text() for reply in beside][1] == alone
    engine.close()


def test_replies_of_one_adapter_run_in_one_batch(engine: LocalEngine) -> None:
    """Four that begin together take about as many steps as one."""
    with mock.patch.object(Batch, "step", autospec=True, side_effect=Batch.step) as step:
        with engine.base.lock:  # or the first could be far ahead when the last begins
            replies = [engine.submit(Request(ASKED, "one", sampling=LONG)) for _ in range(4)]
        assert len({reply.text() for reply in replies}) == 1
    assert step.call_count < 2 * LONG.max_new_tokens


def test_the_next_turn_of_a_chat_goes_on_with_what_was_read(engine: LocalEngine) -> None:
    """It says what it would say anyway; another adapter, or strength, reads everything itself."""
    first = engine.submit(Request(talk(8), "one", sampling=SHORT))
    turns = [*talk(8), Turn("assistant", first.text()), *ASKED]
    fresh = LocalEngine(engine.base, Limits(prefix_bytes=0)).submit(Request(turns, "one", sampling=SHORT))
    again = engine.submit(Request(turns, "one", sampling=SHORT))
    assert again.text() == fresh.text()
    assert fresh.ending.cached_tokens == 0
    assert first.ending.prompt_tokens - 8 <= again.ending.cached_tokens < again.ending.prompt_tokens
    for adapter_id, strength in (("two", 1.0), (None, 1.0), ("one", 0.5)):
        other = engine.submit(Request(turns, adapter_id, strength, SHORT))
        other.text()
        assert other.ending.cached_tokens == 0


def test_nothing_is_kept_of_an_adapter_that_was_detached(engine: LocalEngine, folders: dict[str, Path]) -> None:
    """Also of a reply that ended after that."""
    running = engine.submit(Request(talk(8), "one", sampling=LONG))
    next(running)
    engine.detach("one")
    running.text()
    engine.drain("default")
    engine.attach("one", folders["one"])
    again = engine.submit(Request(talk(8), "one", sampling=SHORT))
    again.text()
    assert again.ending.cached_tokens == 0


def test_a_conversation_too_long_is_refused_or_loses_its_oldest_turns(engine: LocalEngine) -> None:
    """The error names the limit; a window keeps the system turn, whole exchanges, and room for the reply."""
    turns = talk(200)
    with pytest.raises(InputError, match="2048"):
        engine.submit(Request(turns, sampling=SHORT))
    reply = engine.submit(Request(turns, sampling=SHORT, too_long="window"))
    text = reply.text()
    dropped = reply.ending.dropped_turns
    assert 0 < dropped < 400
    assert dropped % 2 == 0
    assert engine.submit(Request([turns[0], *turns[1 + dropped :]], sampling=SHORT)).text() == text
    with pytest.raises(InputError, match="2048: drop its oldest turns"):
        engine.submit(Request(talk(200), sampling=SHORT))
    for way in ("window", "refuse"):  # there is nothing to drop
        with pytest.raises(InputError, match="2048: shorten it"):
            engine.submit(Request([Turn("user", "word " * 3000)], too_long=way))
    with pytest.raises(InputError, match="2048: shorten it"):
        engine.submit(Request([*talk(3), Turn("user", "word " * 3000)], too_long="window"))


def test_a_failure_of_the_model_ends_its_replies_and_no_others(engine: LocalEngine) -> None:
    """Their readers are told, and the engine goes on."""
    alone = engine.submit(Request(ASKED, "two", sampling=LONG)).text()
    other = engine.submit(Request(ASKED, "two", sampling=LONG))
    real = Batch.step

    def failing(batch: Batch, model: object) -> torch.Tensor:
        if batch.rows[0].request.adapter_id == "one":
            raise RuntimeError("out of memory")
        return real(batch, model)  # type: ignore[arg-type]

    with mock.patch.object(Batch, "step", failing):
        failed = engine.submit(Request(ASKED, "one", sampling=LONG))
        with pytest.raises(ServingError, match="out of memory"):
            failed.text()
    assert other.text() == alone
    assert engine.submit(Request(ASKED, "one", sampling=SHORT)).text()


def test_a_row_that_cannot_be_drawn_ends_alone(engine: LocalEngine) -> None:
    """The others of its batch go on, and its place is free."""
    real = Batch.step

    def broken(batch: Batch, model: object) -> torch.Tensor:
        logits_B_V = real(batch, model)  # type: ignore[arg-type]
        for i, row in enumerate(batch.rows):
            if row.request.sampling.temperature:
                logits_B_V[i] = float("nan")
        return logits_B_V

    alone = engine.submit(Request(ASKED, "one", sampling=SHORT)).text()
    with mock.patch.object(Batch, "step", broken):
        good = engine.submit(Request(ASKED, "one", sampling=SHORT))
        bad = engine.submit(Request(ASKED, "one", sampling=Sampling(1.0, 12)))
        assert good.text() == alone
        with pytest.raises(ServingError, match="failed"):
            bad.text()
    engine.drain("default", 10)
    engine.detach("one")
    assert "one" not in engine.base.model.peft_config


def test_adapters_beyond_the_budget_leave_the_least_used_first(tiny_base: Base, folders: dict[str, Path]) -> None:
    """Never one that is live or that answers."""
    engine = LocalEngine(tiny_base)
    engine.attach("one", folders["one"])
    tiny_base.adapters.most_bytes = int(2.5 * tiny_base.adapters.bytes)
    serving = ServingModel(engine)
    serving.swap("one")
    for name in "abc":
        engine.attach(name, folders["two"])
    assert engine.attached() == {"one", "c"}
    with serving.held("d", folders["two"]):
        engine.attach("e", folders["two"])
        assert engine.attached() == {"one", "d", "e"}
    serving.swap(None)
    engine.attach("f", folders["two"])
    assert engine.attached() == {"e", "f"}
    assert not any(".one." in name for name, _ in tiny_base.model.named_parameters())


def test_an_adapter_of_another_shape_leaves_nothing_behind(
    engine: LocalEngine, tokenizer: PreTrainedTokenizerBase, folders: dict[str, Path]
) -> None:
    """A base of another width refuses it, and serves on."""
    other = LocalEngine(make_base("Llama", tokenizer))
    (folders["one"] / "adapter_config.json").write_text(
        (folders["one"] / "adapter_config.json").read_text().replace('"r": 8', '"r": 4')
    )
    with pytest.raises(AdapterError, match="does not fit"):
        other.attach("one", folders["one"])
    assert not other.attached()
    assert not any(".one." in name for name, _ in other.base.model.named_parameters())
    assert other.submit(Request(ASKED, sampling=SHORT)).text()


def test_a_live_adapter_is_not_detached(serving: ServingModel) -> None:
    """Another may be; then it is gone."""
    serving.swap("one")
    with pytest.raises(AdapterError, match="live"):
        serving.detach("one")
    serving.detach("two")
    with pytest.raises(AdapterError, match="not attached"):
        serving.swap("two")
    assert serving.live == "one"


def test_swaps_under_load_mix_no_reply(engine: LocalEngine, folders: dict[str, Path]) -> None:
    """Four clients ask whoever is live while the live adapter changes and old ones leave."""
    serving, stop = ServingModel(engine), threading.Event()
    alone = {name: engine.submit(Request(ASKED, name, sampling=SHORT)).text() for name in ("one", "two")}
    serving.swap("one")

    told = list[str]()

    def chat() -> None:
        while not stop.is_set():
            name = serving.live
            assert name is not None
            try:
                reply = serving.reply(ASKED, adapter_id=name, sampling=SHORT)
            except AdapterError:  # it was detached just now: another is live
                assert serving.live != name
                continue
            assert reply.text() == alone[name]
            told.append(name)

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(chat) for _ in range(4)]
        try:
            for name, old in [("two", "one"), ("one", "two")] * 5:
                with serving.held(name, folders[name]):
                    serving.swap(name)
                engine.detach(old)
                n = len(told)
                while len(told) < n + 4 and not any(client.done() for client in clients):
                    time.sleep(0.01)
        finally:
            stop.set()  # or an error would leave the clients at it for ever
        for client in clients:
            client.result()
    assert set(told) == {"one", "two"}


def test_a_bake_beside_changes_no_answer(engine: LocalEngine, make_taught: MakeTaught) -> None:
    """Nor do the answers change what is learned: the same weights as without them."""
    base = engine.base
    taught, head = make_taught(base, 6), output_head(base.model)
    recipe = Recipe(rank=8, alpha=16, learning_rate=1e-2, steps=25, trajectories_per_step=6)

    def trained() -> dict[str, torch.Tensor]:
        train(base.model, base.template, taught, head, recipe, lock=base.lock)
        kept = {n: p.detach().clone() for n, p in base.model.named_parameters() if ".candidate." in n}
        remove_candidate(base.model)
        return kept

    quiet = trained()
    wanted = [Request(ASKED, name, sampling=SHORT) for name in (None, "one", "two")]
    alone = [engine.submit(request).text() for request in wanted]
    baking = ThreadPoolExecutor(1).submit(trained)
    rounds = 0
    while not baking.done() or not rounds:
        assert [reply.text() for reply in map(engine.submit, wanted)] == alone
        rounds += 1
    for name, weights in baking.result().items():
        assert torch.equal(weights, quiet[name])


def test_an_idle_engine_has_no_thread(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins again with the next request."""
    others = set(threading.enumerate())  # engines of other tests may still wait for their time to be over
    monkeypatch.setattr("bakemem.serving.engine._IDLE", 0.05)
    for _ in range(2):
        assert engine.submit(Request(ASKED, sampling=SHORT)).text()
        deadline = time.monotonic() + 5
        while any(thread.name == "bakemem-engine" and thread not in others for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_thread_that_cannot_be_started_is_a_clear_error_and_started_for_the_next_request(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request leaves nothing behind: no place is taken, and its adapter can go."""

    def no_more_threads(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(ServingError, match="ask again"):
            engine.submit(Request(ASKED, "one", sampling=SHORT))
    assert not engine._of("default")
    engine.detach("one")
    assert not engine.adapters._pins["one"]
    assert engine.submit(Request(ASKED, "two", sampling=SHORT)).text()


def test_logprobs_are_those_of_the_tokens(engine: LocalEngine) -> None:
    """Greedy ones are the highest there are; their texts are the reply."""
    reply = engine.submit(Request(ASKED, "one", sampling=Sampling(max_new_tokens=6, logprobs=True)))
    text = reply.text()
    told = reply.ending.logprobs
    assert len(told) == reply.ending.completion_tokens == 6
    assert all(one.logprob <= 0 for one in told)
    assert engine.base.template.decode([one.token for one in told]) == text


def test_sampling_follows_its_seed(engine: LocalEngine) -> None:
    """Whatever runs beside it; another seed gives another reply."""
    warm = [Request(ASKED, "one", sampling=Sampling(1.5, 12, seed)) for seed in (4, 4, 5)]
    first, second, other = [reply.text() for reply in map(engine.submit, warm)]
    assert first == second != other


def test_top_p_keeps_the_likeliest() -> None:
    """At least one, and as many as are needed."""
    logits_V = torch.log(torch.tensor([0.1, 0.5, 0.3, 0.1]))
    generator = torch.Generator().manual_seed(0)

    def drawn(top_p: float) -> set[int]:
        return {draw(logits_V, Sampling(1.0, top_p=top_p), generator) for _ in range(300)}

    assert drawn(0.01) == {1}
    assert drawn(0.5) == {1}
    assert drawn(0.7) == {1, 2}
    assert drawn(1.0) == {0, 1, 2, 3}


def test_replies_let_go_of_leave_no_rows(engine: LocalEngine) -> None:
    """Many that were begun and forgotten: their adapters can be freed."""
    rng = random.Random(0)
    for _ in range(30):
        reply = engine.submit(Request(ASKED, rng.choice(["one", "two"]), sampling=LONG))
        if rng.random() < 0.5:
            next(reply)
    del reply
    gc.collect()
    engine.drain("default", 10)
    for name in ("one", "two"):
        engine.detach(name)
    assert engine.base.adapters.bytes == 0


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    """It says what may be given."""
    with pytest.raises(ModelError, match="starter"):
        load_base(str(tmp_path / "nothing"))


def test_a_narrow_model_replies_on_one_thread_and_others_keep_theirs(engine: LocalEngine) -> None:
    """Two teams of threads on the same cores slow each other, so a bake beside replies has the only one."""
    before, seen = torch.get_num_threads(), set[int]()
    hook = engine.base.model.register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        engine.submit(Request(ASKED, sampling=SHORT)).text()
        assert seen == {1}
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(before)
