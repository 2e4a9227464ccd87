"""The starter's tokenizer: byte-level BPE that cuts made-up names into whole syllables, and its chat template.

Knows the world's wordings; knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from bakemem.names import CONSONANTS, VOWELS
from bakemem.starter.curriculum import mixture

VOCABULARY = 2048
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
END, PAD = "<|end|>", "<|pad|>"
CHAT_TEMPLATE = """\
{%- macro signature(tool) -%}
{%- set given = tool.parameters or {} -%}
{{ tool.name }}(
{%- for name, kind in (given.properties or {}).items() -%}
{{ ', ' if not loop.first }}{{ '?' if name not in (given.required or []) }}{{ name }}: \
{{ kind.type or (kind.anyOf[0].type if kind.anyOf) or 'any' }}
{%- endfor -%}
){{ ' - ' + tool.description if tool.description }}
{%- endmacro -%}
{%- macro listed(tools) -%}
{{ '<tools>\n' }}{% for tool in tools %}{{ signature(tool.function or tool) + '\n' }}{% endfor %}{{ '</tools>' }}
{%- endmacro -%}
{%- macro call(function) -%}
{{ '<tool_call>\n{"name": ' + function.name | tojson + ', "arguments": ' }}
{{- function.arguments if function.arguments is string else function.arguments | tojson }}
{{- '}\n</tool_call>' }}
{%- endmacro -%}
{%- if tools and messages[0].role != 'system' %}{{ '<|system|>' + listed(tools) + '<|end|>' }}{% endif -%}
{%- for message in messages -%}
{{ '<|' + message.role + '|>' + (message.content or '') }}
{%- if loop.first and tools and message.role == 'system' %}{{ '\n\n' + listed(tools) }}{% endif -%}
{%- for made in message.tool_calls or [] -%}
{{ '\n' if message.content or not loop.first }}{{ call(made.function or made) }}
{%- endfor -%}
{{ '<|end|>' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
"""
"""Tools stand at the end of the system prompt, a signature a line; calls are written as Hermes models write them."""


def _syllables() -> Iterator[str]:
    """Every syllable in each place and case it can stand in, so often that its merge comes before any word's."""
    for c in CONSONANTS:
        for v in VOWELS:
            low, high = c + v, c.upper() + v
            for form in (low, high, f" {low}", f" {high}", low.upper(), f" {low.upper()}"):
                yield from ["\n".join([form] * 100)] * 80


def _samples(seed: int, n: int = 2000) -> Iterator[str]:
    """What the model will read: names are random there, so no merge joins two of their syllables."""
    rng = random.Random(seed)
    return (turn.content for _ in range(n) for turn in mixture(rng, 1.0))


def train_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 2,048 pieces: any text tokenizes, names fall into syllables, digits stand alone."""
    tokenizer = Tokenizer(models.BPE())
    pattern = r"'s| ?[A-Za-z]+| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, END, *ROLES], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(chain(_syllables(), _samples(seed)), trainer)
    options: dict[str, Any] = {"additional_special_tokens": list(ROLES), "clean_up_tokenization_spaces": False}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, model_max_length=2048, **options
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
