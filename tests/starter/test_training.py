"""A training run can stop and go on, and trains on answers alone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from bakemem.starter import train as training
from bakemem.starter.curriculum import conversation, repeat
from bakemem.starter.induction import seed_induction
from bakemem.starter.train import Encoder, answer_loss, micro_batches, starter_config


def test_only_answers_and_their_ends_count(tokenizer: PreTrainedTokenizerBase) -> None:
    """The ids are those of the chat template."""
    sample = conversation(random.Random(0), False)
    ids, answer = Encoder(tokenizer)(sample)
    messages = [{"role": t.role, "content": t.content} for t in sample]
    assert ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    trained = tokenizer.decode([i for i, flag in zip(ids, answer, strict=True) if flag])
    assert trained == "".join(f"{t.content}<|end|>" for t in sample if t.role == "assistant")


def test_a_stopped_run_ends_where_an_unbroken_one_does(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and optimizer state come back from safetensors, and the samples follow the step."""
    small = LlamaConfig(vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=2, head_dim=8,
                        num_attention_heads=4, tie_word_embeddings=True)  # fmt: skip
    monkeypatch.setattr(training, "starter_config", lambda tokenizer: small)
    monkeypatch.setattr(training, "seed_induction", lambda model, seed: None)
    monkeypatch.setattr(training, "train_tokenizer", lambda seed: tokenizer)
    monkeypatch.setattr(training, "TOKENS_PER_STEP", 200)
    training.train(training.Plan(tmp_path / "whole", 2_000, compiled=False), save_every=1)
    real = training.Checkpoint.save
    saves = []

    def stop(self: training.Checkpoint, *args: object) -> None:
        real(self, *args)  # type: ignore[arg-type]
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoint, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(training.Plan(tmp_path / "broken", 2_000, compiled=False), save_every=1)
    training.train(training.Plan(tmp_path / "broken", 2_000, compiled=False), save_every=1)
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken
    further = training.Plan(tmp_path / "further", 400, seed=1, init=tmp_path / "whole", compiled=False)
    training.train(further)
    runs = json.loads((tmp_path / "further" / "run.json").read_text())["runs"]
    assert [(run["seed"], run["tokens"] >= least) for run, least in zip(runs, (2_000, 400), strict=True)] == [
        (0, True), (1, True)
    ]  # fmt: skip
    assert (tmp_path / "further" / "model.safetensors").read_bytes() != whole


def test_the_circuit_copies_before_any_training(tokenizer: PreTrainedTokenizerBase) -> None:
    """It says half of the names back; a random model none."""
    encode = Encoder(tokenizer)
    rng = random.Random(5)
    samples = [encode(repeat(rng)) for _ in range(40)]

    def copied(model: LlamaForCausalLM) -> float:
        right = counted = 0
        for ids_B_T, answer_B_T in micro_batches(samples, int(tokenizer.pad_token_id)):
            inner = answer_B_T[:, 1:] & answer_B_T[:, :-1] & (ids_B_T[:, 1:] != tokenizer.eos_token_id)
            with torch.no_grad():
                guess = model(ids_B_T).logits[:, :-1].argmax(-1)
            right += int((guess == ids_B_T[:, 1:])[inner].sum())
            counted += int(inner.sum())
        return right / counted

    torch.manual_seed(0)
    model = LlamaForCausalLM(starter_config(tokenizer))
    assert copied(model) < 0.05
    seed_induction(model, 0)
    assert copied(model) > 0.4
    assert answer_loss(model, *next(micro_batches(samples, int(tokenizer.pad_token_id)))).item() > 0
