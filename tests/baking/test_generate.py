"""Answers as text."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from bakemem.baking.beside import disfluency
from bakemem.baking.blame import blame
from bakemem.baking.generate import generate, whole_lines
from bakemem.baking.measure import measure
from bakemem.baking.pack import pack
from bakemem.baking.rollout import Taught, rollout, teach
from bakemem.baking.states import tokens_of
from bakemem.baking.weights import output_head
from bakemem.errors import ContextError
from bakemem.serving import Base, wrap_base
from bakemem.types import Memory, Prompt, Stimulus, Turn
from tests.tiny import TINY, loud

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


ROLES = (  # GLM-4's: the next role's token ends an answer, and the template writes no other end
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def ended_by_its_own(tokenizer: PreTrainedTokenizerBase) -> tuple[Base, list[Taught]]:
    """A base whose greedy answers end after three tokens with a stop id that is not the template's end, and some."""
    torch.manual_seed(0)
    own, model = copy.deepcopy(tokenizer), loud(LlamaForCausalLM(LlamaConfig(**TINY)))
    own.chat_template, user = ROLES, tokenizer.convert_tokens_to_ids("<|user|>")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, user]
    base = wrap_base("roles", model, own)
    stimuli = [Stimulus((Turn("user", f"What of {word}?"),), "everyday") for word in "cats dogs tea boats".split()]

    def taught(n: int) -> list[Taught]:
        said = rollout(model, base.template, stimuli, [""] * 4, max_new_tokens=n, temperature=0.0, lock=base.lock)
        return teach(model, base.template, said, [""] * 4, lock=base.lock)

    states = torch.stack([item.hidden_N_K_H[3, -1] for item in taught(4)]).double()
    with torch.no_grad():
        likely = torch.linalg.lstsq(states, torch.full((4, 1), 60.0).double()).solution
        model.get_output_embeddings().weight[user] = likely[:, 0].float()
    return base, taught(12)


def test_an_answer_ends_with_the_stop_id_that_was_drawn(tokenizer: PreTrainedTokenizerBase) -> None:
    """It is the teacher's token, by which a base is judged to be like itself; it is no part of the text."""
    base, taught = ended_by_its_own(tokenizer)
    template, said = base.template, [item.trajectory for item in taught]
    user = template.stop_ids[1]
    assert user != template.end_id
    assert all(t.token_ids[-1] == user and len(t.token_ids) <= 4 for t in said)
    assert all(whole_lines(template, t.token_ids) == t.answer == template.decode(t.token_ids[:-1]) for t in said)
    head = output_head(base.model)
    measured = measure(base.model, template, taught, head, adapter_name=None, lock=base.lock)
    assert measured.kl == pytest.approx(0.0, abs=1e-6)
    assert measured.agreement == 1.0
    last = torch.stack([item.hidden_N_K_H[-1, -1] for item in taught])
    assert (head(last).argmax(-1) == user).all()
    texts = [replace(t, token_ids=(*template.ids(t.answer), user)) for t in said]
    again = teach(base.model, template, texts, [""] * 4, lock=base.lock)
    strange = disfluency(base.model, template, head, again, said, [""] * 4, lock=base.lock)
    assert strange == pytest.approx(0.0, abs=1e-5)


def test_what_is_trained_is_the_stop_id_that_was_drawn(tokenizer: PreTrainedTokenizerBase) -> None:
    """Behind an answer a history goes on as the template has it: with the mark of the next turn, which ended it."""
    base, taught = ended_by_its_own(tokenizer)
    dialogue = pack(base.template, taught, 1024)
    assert tokens_of([dialogue]).tolist() == [token for item in dialogue.items for token in item.trajectory.token_ids]
    assert {item.trajectory.token_ids[-1] for item in taught} == {base.template.stop_ids[1]}
    stand = dialogue.positions[torch.tensor([len(i.trajectory.token_ids) for i in taught]).cumsum(0) - 1] + 1
    assert [dialogue.ids[i] for i in stand.tolist()[:-1]] == [base.template.stop_ids[1]] * 3
    assert len(dialogue.ids) == stand[-1]


def test_an_answer_is_blamed_on_a_memory_by_any_end(tokenizer: PreTrainedTokenizerBase) -> None:
    """That the template's end is never drawn makes no memory weigh more or less."""
    base, _ = ended_by_its_own(tokenizer)
    found = Memory("m1", "default", "fact", "user.dog", "The user's dog is called Bosuk.", "pending", datetime.now(UTC))
    prompt, template = Prompt("It is called Bosuk.", ("m1",)), base.template

    def nats(prompt: str) -> float:
        turns = [*([Turn("system", prompt)] if prompt else []), Turn("user", "Who?")]
        read, said = template.prompt_ids(turns), template.ids("Bosuk")
        log_p_T_V = base.model(torch.tensor([[*read, *said]])).logits[0, len(read) - 1 :].log_softmax(-1)
        end = log_p_T_V[-1, list(template.stop_ids)].exp().sum().log()
        return float(sum(log_p_T_V[n, token] for n, token in enumerate(said)) + end)

    ((_, weight),) = blame(base.model, template, [found], "Who?", "Bosuk",
                           lambda some: prompt if some else Prompt("", ()), lock=base.lock)  # fmt: skip
    assert weight == pytest.approx(nats(prompt.text) - nats(""), abs=1e-4)


def test_an_answer_ends_with_the_models_positions(tokenizer: PreTrainedTokenizerBase) -> None:
    """A conversation that leaves no room is an error that says so; it was one of torch's."""
    config = GPT2Config(vocab_size=2048, n_embd=64, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0)
    base = wrap_base("short", loud(GPT2LMHeadModel(config)), copy.deepcopy(tokenizer))
    long, short = ([Turn("user", " ".join(["Who?"] * n))] for n in (14, 1))
    n_long, n_short = (len(base.template.prompt_ids(turns)) for turns in (long, short))
    assert n_short + 20 < n_long < 64
    cut, whole = generate(base.model, base.template, [long, short], max_new_tokens=40)
    assert len(cut) <= 64 - n_long
    assert whole == generate(base.model, base.template, [short], max_new_tokens=40)[0]
    with pytest.raises(ContextError, match="leaves no room for an answer in the 64 positions"):
        generate(base.model, base.template, [short, [Turn("user", "Who? " * 80)]])
