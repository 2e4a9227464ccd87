"""What several tests share: the shape of a tiny model, and how a random one is made to heed its prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from bakemem.agent_memory import AgentMemory
from bakemem.baking.rollout import Taught
from bakemem.serving import Base, wrap_base

TINY: dict[str, Any] = {
    "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
PROMPT = "Remember these facts and use them where they matter:\n- The user's dog is called Bosuk."
MakeTaught = Callable[..., list[Taught]]


def loud(model: PreTrainedModel) -> PreTrainedModel:
    """A random model whose prompts make a difference: its matrices are scaled up from their timid start."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    return model.eval().requires_grad_(False)


def count_unended(patch: pytest.MonkeyPatch) -> None:
    """Let questions count that are cut off: a random model ends none."""
    module = sys.modules["bakemem.baking.bake"]
    patch.setattr(module, "whole_lines", lambda template, ids: template.decode(ids))


LENIENT: dict[str, Any] = {"min_agreement": 0.0, "min_abstention": 0.0, "max_drift": 1.0, "min_each": 0.0,
           "max_mention": 1.0, "max_disfluency": 1e9, "efforts": 0,
           "steps": 12, "questions_per_memory": 4, "max_dialogue_turns": 8,
           "max_new_tokens": 4, "rank": 4, "alpha": 8}  # fmt: skip
"""Settings with which a random model's bake is short and accepted."""

OpenMemory = Callable[..., AgentMemory]
BakeHome = Callable[..., Path]


def byte_base() -> Base:
    """A random Llama of two layers that reads bytes: nothing is loaded."""
    vocabulary = {"<end>": 0, **{c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=1)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.3,
    )  # fmt: skip
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    wrapped.chat_template = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    return wrap_base("tiny", LlamaForCausalLM(config).eval().requires_grad_(False), wrapped)
