"""A training run can stop and go on, and trains on answers alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bakemem.starter import STARTER
from bakemem.starter import train as training
from bakemem.starter.average import average
from bakemem.starter.curriculum import conversation
from bakemem.starter.encode import Encoder, micro_batches
from bakemem.starter.grow import load_grown
from bakemem.starter.induction import seed_induction
from bakemem.starter.naming import make_name
from bakemem.starter.train import save_starter, starter_config
from bakemem.types import Turn


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
    small = MistralConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=4, head_dim=8, num_attention_heads=4,
        num_key_value_heads=4, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    monkeypatch.setattr(training, "starter_config", lambda tokenizer: small)
    monkeypatch.setattr(training, "seed_induction", lambda model, seed: None)
    monkeypatch.setattr(training, "train_tokenizer", lambda seed: tokenizer)
    monkeypatch.setattr(training, "TOKENS_PER_STEP", 200)
    training.train(training.Plan(tmp_path / "whole", 2_000), save_every=1)
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
            training.train(training.Plan(tmp_path / "broken", 2_000), save_every=1)
    training.train(training.Plan(tmp_path / "broken", 2_000), save_every=1)
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken
    further = training.Plan(tmp_path / "further", 400, seed=1, init=tmp_path / "whole", guidance=0.0)
    training.train(further)
    runs = json.loads((tmp_path / "further" / "run.json").read_text())["runs"]
    assert [(run["seed"], run["tokens"] >= least) for run, least in zip(runs, (2_000, 400), strict=True)] == [
        (0, True), (1, True)
    ]  # fmt: skip
    assert (tmp_path / "further" / "model.safetensors").read_bytes() != whole


def test_two_processes_train_one_model(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Each reads samples of its own, all are counted, and one model is written."""
    script = (
        "from pathlib import Path; from bakemem.starter import train as t\n"
        "if __name__ == '__main__':\n"
        f"    t.train(t.Plan(Path({str(tmp_path)!r}), 12_000, init=Path({str(STARTER)!r}), processes=2))"
    )
    (tmp_path / "run.py").write_text(script)
    subprocess.run([sys.executable, tmp_path / "run.py"], check=True, timeout=300)
    [*_, run] = json.loads((tmp_path / "run.json").read_text())["runs"]
    assert run["processes"] == 2
    assert 12_000 <= run["tokens"] < 20_000
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert state["step"] == 2
    assert (tmp_path / "model.safetensors").read_bytes() != (STARTER / "model.safetensors").read_bytes()


def test_no_process_trains_on_when_the_first_is_killed(tmp_path: Path) -> None:
    """Or it would save over what a later run saves; with Ctrl-C ignored, too, as it is under nohup."""
    script = (
        "import signal, time; from pathlib import Path; from bakemem.starter.parallel import run\n"
        f"def work(rank):\n    Path({str(tmp_path)!r}, f'{{rank}}').touch()\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    run(work, 2)"
    )
    (tmp_path / "run.py").write_text(script)
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py"], stdout=subprocess.PIPE)
    begun = time.monotonic()
    while not all((tmp_path / str(rank)).exists() for rank in range(2)):
        assert time.monotonic() - begun < 120
        time.sleep(0.1)
    parent.kill()
    parent.communicate(timeout=30)  # ends when nobody holds the other end of its output any more


def test_the_circuit_copies_before_any_training(tokenizer: PreTrainedTokenizerBase) -> None:
    """It says half of the names back; a random model none."""
    encode = Encoder(tokenizer)
    rng = random.Random(5)
    texts = [" ".join(make_name(rng) for _ in range(rng.randint(2, 10))) for _ in range(40)]
    samples = [encode([Turn("user", f"Repeat: {text}"), Turn("assistant", text)]) for text in texts]

    def copied(model: MistralForCausalLM) -> float:
        right = counted = 0
        for ids_B_T, answer_B_T in micro_batches(samples, int(tokenizer.pad_token_id)):
            inner = answer_B_T[:, 1:] & answer_B_T[:, :-1] & (ids_B_T[:, 1:] != tokenizer.eos_token_id)
            with torch.no_grad():
                guess = model(ids_B_T).logits[:, :-1].argmax(-1)
            right += int((guess == ids_B_T[:, 1:])[inner].sum())
            counted += int(inner.sum())
        return right / counted

    torch.manual_seed(0)
    model = MistralForCausalLM(starter_config(tokenizer))
    assert copied(model) < 0.05
    seed_induction(model, 0)
    assert copied(model) > 0.4


def test_a_model_that_gets_more_heads_says_the_same(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """The new heads add nothing to the stream until they are trained."""
    few = MistralConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, head_dim=8,
                        num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True)  # fmt: skip
    torch.manual_seed(0)
    small = MistralForCausalLM(few).eval()
    save_file({n: p.detach() for n, p in small.named_parameters()}, tmp_path / "model.safetensors")
    more = MistralConfig(**{**few.to_dict(), "num_attention_heads": 6, "num_key_value_heads": 6})
    large = MistralForCausalLM(more).eval()
    load_grown(large, tmp_path / "model.safetensors", seed=0)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(large(ids).logits, small(ids).logits)
    assert large.model.layers[0].self_attn.q_proj.weight[32:].std() > 0


def test_the_mean_of_two_runs_lies_between_them(fast: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """The second counts by its share in every weight, and the history says which two they were."""
    for seed, name in enumerate(("7", "8")):
        torch.manual_seed(seed)
        save_starter(MistralForCausalLM(starter_config(fast)), fast, tmp_path / name, {"runs": [seed]})
    average(tmp_path / "7", tmp_path / "8", tmp_path / "9", share=0.25)
    first, second, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("7", "8", "9"))
    assert mean.keys() == first.keys()
    assert all(torch.equal(mean[n], (0.75 * first[n].float() + 0.25 * second[n].float()).bfloat16()) for n in mean)
    runs = json.loads((tmp_path / "9" / "run.json").read_text())["runs"]
    assert runs == [1, {"tokens": 0, "seconds": 0, "averaged": ["7", "8"], "share": 0.25}]
