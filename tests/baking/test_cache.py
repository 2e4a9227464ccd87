"""Rows that share a beginning are answered and taught as each is alone, on every family, sliding windows too."""

from __future__ import annotations

import copy
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3TextConfig,
    GPTNeoConfig,
    Llama4TextConfig,
    MistralConfig,
    MptConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen3NextConfig,
)

from bakemem.baking.cache import SHARED, batches, shared_length
from bakemem.baking.generate import generate
from bakemem.baking.rollout import rollout, teach
from bakemem.kv import attends, roomy_cache
from bakemem.serving import Base, wrap_base
from bakemem.types import Stimulus, Turn
from tests.baking.test_architectures import CONFIGS, SPECIAL, make_base
from tests.tiny import TINY, loud

PROMPT = "Remember these facts: " + " ".join(f"The user's dog number {i} is called Bosuk." for i in range(12))
SLIDING = {
    "Mistral, window of 24": MistralConfig(**TINY, num_key_value_heads=2, sliding_window=24, **SPECIAL),
    "Gemma3, window of 24": Gemma3TextConfig(**TINY, num_key_value_heads=2, head_dim=16, sliding_window=24, **SPECIAL),
}  # fmt: skip


@pytest.fixture(params=[*CONFIGS, *SLIDING])
def base(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerBase) -> Base:
    """A small random model of each family."""
    if request.param in CONFIGS:
        return make_base(request.param, tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(SLIDING[request.param]))
    return wrap_base(request.param, loud(model), copy.deepcopy(tokenizer))


@pytest.mark.parametrize("config", [
    Llama4TextConfig(**{**TINY, "intermediate_size": 32}, num_key_value_heads=2, head_dim=16, intermediate_size_mlp=96,
                     num_local_experts=2, attention_chunk_size=64, **SPECIAL),
    MptConfig(vocab_size=2048, d_model=64, n_layers=2, n_heads=4, max_seq_len=2048, use_cache=True, **SPECIAL),
    GPTNeoConfig(vocab_size=2048, hidden_size=64, num_layers=2, num_heads=4, intermediate_size=96, window_size=64,
                 attention_types=[[["global", "local"], 1]], **SPECIAL),
], ids=lambda config: config.model_type)  # fmt: skip
def test_gaps_are_no_distance_where_places_count(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Chunked and local attention and MPT's biases go by the place in the row: each answers as it does alone."""
    torch.manual_seed(0)
    base = wrap_base("places", loud(AutoModelForCausalLM.from_config(config)), copy.deepcopy(tokenizer))
    asked = [[Turn("system", PROMPT), Turn("user", f"What of {'tea and ' * n}songs?")] for n in (0, 3, 9, 27)]
    alone = [generate(base.model, base.template, [turns], max_new_tokens=8)[0] for turns in asked]
    assert generate(base.model, base.template, asked, max_new_tokens=8) == alone


def test_answers_go_on_where_a_pass_left_them(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy answers are the same in one pass and in several, up to the same length, and none is lost."""
    asked = [[Turn("user", f"What of {word}?")] for word in "dogs cats towns boats".split()]
    seen: list[tuple[int, int]] = []
    module = sys.modules[generate.__module__]  # the package shows the function under the same name
    monkeypatch.setattr(module, "FIRST_PASS", 2)
    passes = generate(base.model, base.template, asked, max_new_tokens=21, progress=lambda *n: seen.append(n))
    monkeypatch.setattr(module, "FIRST_PASS", 21)
    assert passes == generate(base.model, base.template, asked, max_new_tokens=21)
    assert all(len(ids) == 21 or ids[-1] == base.template.end_id for ids in passes)
    assert seen == sorted(seen)
    assert seen[-1] == (4, 4)


@pytest.mark.parametrize("prompt", ["", PROMPT])
def test_prompts_read_in_pieces_change_no_answer(base: Base, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits may pass between two pieces."""
    asked = [[Turn("system", prompt + "Be kind."), Turn("user", f"What of {'tea and ' * n}songs?")] for n in (1, 3, 9)]
    module = sys.modules[generate.__module__]
    passed: list[int] = []
    whole = generate(base.model, base.template, asked, max_new_tokens=8, breathe=lambda: passed.append(0))
    monkeypatch.setattr(module, "PIECE_TOKENS", 12)  # four of each row
    pieces = generate(base.model, base.template, asked, max_new_tokens=8, breathe=lambda: passed.append(1))
    assert pieces == whole
    assert passed.count(1) - passed.count(0) >= (3 if attends(base.model) else 0)


def test_a_shared_prompt_changes_no_answer_and_no_state(base: Base) -> None:
    """Greedy answers and the teacher's states, in one batch and one by one."""
    words = "dogs cats towns boats songs and also tea".split()
    stimuli = [Stimulus((Turn("user", f"What of {' '.join(words[: i + 1])}?"),), "direct") for i in range(7)]
    asked = [[Turn("system", PROMPT), *s.turns] for s in stimuli]
    assert shared_length([base.template.prompt_ids(turns) for turns in asked]) > SHARED
    together = generate(base.model, base.template, asked, max_new_tokens=8)
    assert together == [generate(base.model, base.template, [turns], max_new_tokens=8)[0] for turns in asked]
    prompts = [PROMPT] * len(stimuli)
    trajectories = rollout(base.model, base.template, stimuli, prompts, max_new_tokens=8, lock=base.lock)
    taught = teach(base.model, base.template, trajectories, prompts, lock=base.lock)
    for trajectory, item in zip(trajectories, taught, strict=True):
        (alone,) = teach(base.model, base.template, [trajectory], [PROMPT], lock=base.lock)
        assert torch.allclose(item.hidden_N_K_H, alone.hidden_N_K_H, atol=1e-3)


def test_a_cache_that_outgrows_its_room_reads_as_the_librarys_own(tiny_base: Base) -> None:
    """The same logits, over several growths, and after a probe was cropped away."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = roomy_cache(), DynamicCache()
    for width, kept in ((5, True), (300, False), (1, True), (700, True), (1, False), (2, True)):
        ids = torch.randint(6, 2000, (2, width), generator=generator)
        logits = [tiny_base.model(ids, past_key_values=cache, use_cache=True).logits for cache in (ours, theirs)]
        assert torch.allclose(*logits, atol=1e-4)
        if not kept:
            for cache in (ours, theirs):
                cache.crop(-width)


def test_a_model_with_linear_attention_keeps_its_own_cache(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its layers hold more than keys and values: it answers and teaches without a shared prompt."""
    torch.manual_seed(0)
    config = Qwen3NextConfig(**{**TINY, **SPECIAL}, num_key_value_heads=2, head_dim=16, num_experts=2,
                             layer_types=["linear_attention", "full_attention"], linear_num_value_heads=2,
                             linear_num_key_heads=2, linear_key_head_dim=16, linear_value_head_dim=16,
                             num_experts_per_tok=1, moe_intermediate_size=32,
                             shared_expert_intermediate_size=32)  # fmt: skip
    base = wrap_base("hybrid", loud(AutoModelForCausalLM.from_config(config)), copy.deepcopy(tokenizer))
    assert not attends(base.model)
    stimuli = [Stimulus((Turn("user", f"Question {i}?"),), "direct") for i in range(5)]
    prompts = [PROMPT] * 5
    trajectories = rollout(base.model, base.template, stimuli, prompts, max_new_tokens=4, lock=base.lock)
    taught = teach(base.model, base.template, trajectories, prompts, lock=base.lock)
    assert [len(item.hidden_N_K_H) for item in taught] == [len(t.token_ids) for t in trajectories]


@given(st.lists(st.integers(0, 3).flatmap(lambda k: st.integers(1, 90).map(lambda n: [k] * n)), max_size=40))
def test_batches_hold_every_row_once_within_their_room(rows: list[list[int]]) -> None:
    """In order of length behind each beginning, and never a mixed beginning beside a shared one."""
    made = batches(rows, room=10, batch_tokens=300)
    assert sorted(i for batch in made for i in batch) == list(range(len(rows)))
    for batch in made:
        lengths = [len(rows[i]) for i in batch]
        assert all(a <= b for a, b in pairwise(lengths))
        assert len(batch) == 1 or len(batch) * (lengths[-1] + 10) <= 300
        shared = shared_length([rows[i] for i in batch])
        assert shared == 0 or all(rows[i][:shared] == rows[batch[0]][:shared] for i in batch)
