"""What a base is known by: adapters must match its weights and words, not the advice that comes with it."""

from __future__ import annotations

from bakemem.config import Config
from bakemem.serving import Base, fingerprint


def test_advice_is_no_part_of_the_fingerprint(tiny_base: Base) -> None:
    """A model that says otherwise how much it reads at once is the same base, with the same adapters."""
    model, tokenizer = tiny_base.model, tiny_base.template.tokenizer
    before = fingerprint(model, tokenizer)
    model.config.bakemem = {"shard_tokens": 96}
    assert tiny_base.shard_tokens(Config()) == 96
    assert fingerprint(model, tokenizer) == before


def test_another_architecture_is_another_base(tiny_base: Base) -> None:
    """What the weights depend on counts."""
    model, tokenizer = tiny_base.model, tiny_base.template.tokenizer
    before = fingerprint(model, tokenizer)
    model.config.rms_norm_eps *= 2
    assert fingerprint(model, tokenizer) != before
