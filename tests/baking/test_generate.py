"""Answers as text."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig

from bakemem.baking.generate import generate, whole_lines
from bakemem.serving import Base
from bakemem.types import Turn

ASKED = [[Turn("user", text)] for text in ("What is my dog called?", "Tell me about tea and boats.", "Who?")]


@pytest.mark.parametrize(
    ("text", "ends", "whole"),
    [
        ("Who is Tarn?", True, "Who is Tarn?"),
        ("What does Tarn do for a living living living", False, ""),
        ("Who is Tarn?\nThis asks for", False, "Who is Tarn?"),
        ("", False, ""),
    ],
)
def test_of_what_was_cut_off_only_whole_lines_count(tiny_base: Base, text: str, ends: bool, whole: str) -> None:
    """A question that the model did not end is none."""
    template = tiny_base.template
    assert whole_lines(template, [*template.ids(text), *[template.end_id] * ends]) == whole


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_cache", False), ("num_beams", 3), ("return_dict_in_generate", True), ("cache_implementation", "static"),
        ("stop_strings", ["a"]), ("num_return_sequences", 2), ("penalty_alpha", 0.6), ("guidance_scale", 1.5),
        ("encoder_repetition_penalty", 1.5), ("forced_eos_token_id", 5), ("temperature", 0.6), ("top_p", 0.8),
        ("exponential_decay_length_penalty", (2, 1.5)), ("repetition_penalty", 1.5), ("min_p", 0.5), ("max_length", 9),
    ],
)  # fmt: skip
def test_the_models_own_generation_config_bends_no_answer(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch, setting: str, value: object, temperature: float
) -> None:
    """Serving decodes without it, and the teacher must not answer otherwise; afterwards it is there again."""
    model, template = tiny_base.model, tiny_base.template
    plain = generate(model, template, ASKED, max_new_tokens=8, temperature=temperature)
    own = GenerationConfig()
    setattr(own, setting, value)
    monkeypatch.setattr(model, "generation_config", own)
    assert generate(model, template, ASKED, max_new_tokens=8, temperature=temperature) == plain
    assert model.generation_config is own


@pytest.mark.parametrize("setting", ["suppress_tokens", "bad_words_ids", "sequence_bias"])
def test_no_token_is_barred_from_an_answer(tiny_base: Base, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """The model's own generation config may name some that the teacher would say."""
    model, template = tiny_base.model, tiny_base.template
    plain = generate(model, template, ASKED, max_new_tokens=8)
    first = plain[0][0]
    own = GenerationConfig()
    setattr(own, setting, {"suppress_tokens": [first], "bad_words_ids": [[first]],
                           "sequence_bias": [[[first], -50.0]]}[setting])  # fmt: skip
    monkeypatch.setattr(model, "generation_config", own)
    assert generate(model, template, ASKED, max_new_tokens=8) == plain


def test_the_models_own_generation_config_is_back_after_an_answer_that_failed(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two tokens leaves the model as it was."""
    own = GenerationConfig(top_k=7)
    monkeypatch.setattr(tiny_base.model, "generation_config", own)
    inside = []

    def stop() -> None:
        inside.append(tiny_base.model.generation_config is not own)
        if inside[-1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tiny_base.model, tiny_base.template, ASKED, max_new_tokens=8, breathe=stop)
    assert inside[-1]
    assert tiny_base.model.generation_config is own
