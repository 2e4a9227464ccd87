"""Trains the starter model from scratch, or a finished one further: `python -m bakemem.starter.train --out DIR`.

Seeded and resumable: a checkpoint is written every few minutes and picked up again. Loss on assistant tokens only.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bakemem.starter.curriculum import Sample, mixture
from bakemem.starter.induction import seed_induction
from bakemem.starter.tokenizer import CHAT_TEMPLATE, END, VOCABULARY, train_tokenizer

TOKENS_PER_STEP = 6_000
TOKENS_PER_MICRO_BATCH = 2_048
SHARD_TOKENS = 64  # a prompt of five facts, or two beside two instructions: longer ones it reads less well
Encoded = tuple[list[int], list[bool]]


def starter_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """A Llama of 3.9 million parameters with tied embeddings and a context of 2,048 tokens."""
    advice: dict[str, Any] = {"bakemem": {"shard_tokens": SHARD_TOKENS}}
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=2048, tie_word_embeddings=True, attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        **advice,
    )  # fmt: skip


class Encoder:
    """Turns samples into token ids and a mask of the tokens that the loss counts: every answer and its end."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        ids: dict[str, int] = tokenizer.get_vocab()
        self._end = ids[END]
        self._roles = {r: ids[f"<|{r}|>"] for r in ("system", "user", "assistant", "tool")}

    def __call__(self, sample: Sample) -> Encoded:
        """The ids of the conversation, laid out as the chat template does, and which of them are answers."""
        contents = self._tokenizer([turn.content for turn in sample], add_special_tokens=False).input_ids
        ids: list[int] = []
        answer: list[bool] = []
        for turn, content in zip(sample, contents, strict=True):
            ids += [self._roles[turn.role], *content, self._end]
            answer += [False, *[turn.role == "assistant"] * (len(content) + 1)]
        return ids, answer


def micro_batches(samples: list[Encoded], pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Length-sorted micro-batches `(ids_B_T, answer_B_T)` of about 2,048 tokens; padding stands on the right."""
    batch: list[Encoded] = []
    for sample in sorted(samples, key=lambda s: len(s[0])):
        if batch and len(sample[0]) * (len(batch) + 1) > TOKENS_PER_MICRO_BATCH:
            yield _pad(batch, pad)
            batch = []
        batch.append(sample)
    if batch:
        yield _pad(batch, pad)


def _pad(batch: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = math.ceil(max(len(ids) for ids, _ in batch) / 16) * 16
    ids_B_T = torch.full((len(batch), longest), pad)
    answer_B_T = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, (ids, answer) in enumerate(batch):
        ids_B_T[row, : len(ids)] = torch.tensor(ids)
        answer_B_T[row, : len(ids)] = torch.tensor(answer)
    return ids_B_T, answer_B_T


def answer_loss(model: LlamaForCausalLM, ids_B_T: torch.Tensor, answer_B_T: torch.Tensor) -> torch.Tensor:
    """Sum of the cross entropies of the answer tokens, each predicted from the position before it."""
    hidden_B_T_H = model.model(input_ids=ids_B_T[:, :-1], use_cache=False).last_hidden_state
    target = answer_B_T[:, 1:]
    logits_N_V = model.lm_head(hidden_B_T_H[target])
    return functional.cross_entropy(logits_N_V.float(), ids_B_T[:, 1:][target], reduction="sum")


class Optimizer:
    """AdamW on a cosine; the attention of the first two layers, which begins as a circuit, learns more slowly."""

    def __init__(self, model: LlamaForCausalLM, learning_rate: float = 2e-3) -> None:
        circuit = [p for n, p in model.named_parameters() if re.search(r"layers\.[01]\.self_attn", n)]
        rest = [p for n, p in model.named_parameters() if not re.search(r"layers\.[01]\.self_attn", n)]
        self._learning_rate = learning_rate
        self._adamw = torch.optim.AdamW([{"params": rest}, {"params": circuit}], betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, progress: float, grown: float) -> None:
        """One update; the rate warms up over 1 % of the run and falls on a cosine to nearly zero.

        `grown` is the progress of the model over all its runs: the circuit is held back only while it is young.
        """
        warm = min(1.0, progress / 0.01 + 0.05)
        rate = self._learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        rest, circuit = self._adamw.param_groups
        rest["lr"], circuit["lr"] = rate, rate * (0.05 + 0.45 * min(1.0, grown / 0.3))
        self._adamw.step()
        self._adamw.zero_grad()

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state as named tensors, for safetensors."""
        states = self._adamw.state_dict()["state"]
        return {f"{n}.{key}": value.contiguous() for n, state in states.items() for key, value in state.items()}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave."""
        saved = self._adamw.state_dict()
        for name, value in tensors.items():
            n, key = name.split(".", 1)
            saved["state"].setdefault(int(n), {})[key] = value
        self._adamw.load_state_dict(saved)


class Checkpoint:
    """A run that can stop: weights and optimizer state as safetensors, and how far it came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, model: LlamaForCausalLM, optimizer: Optimizer, state: dict[str, float]) -> None:
        """Write everything aside, then swap it in."""
        fresh = self._folder.with_suffix(".tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file({n: p.detach().clone() for n, p in model.named_parameters()}, fresh / "model.safetensors")
        save_file(optimizer.tensors(), fresh / "optimizer.safetensors")
        (fresh / "state.json").write_text(json.dumps(state))
        shutil.rmtree(self._folder, ignore_errors=True)
        fresh.rename(self._folder)

    def load(self, model: LlamaForCausalLM, optimizer: Optimizer) -> dict[str, float]:
        """The state of the last save, put back into model and optimizers; a fresh state when there is none."""
        if not (self._folder / "state.json").exists():
            return {"step": 0, "tokens": 0, "seconds": 0.0}
        model.load_state_dict(load_file(self._folder / "model.safetensors"), strict=False)
        optimizer.load(load_file(self._folder / "optimizer.safetensors"))
        state: dict[str, float] = json.loads((self._folder / "state.json").read_text())
        return state


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: how many tokens it reads, with which seed, and the finished starter that it goes on from, if any."""

    out: Path
    tokens: int
    seed: int = 0
    init: Path | None = None
    learning_rate: float = 2e-3
    compiled: bool = True


def train(plan: Plan, save_every: int = 200) -> None:
    """Train until `plan.tokens` tokens were read, going on from the checkpoint in `plan.out` if there is one."""
    out, tokens, seed = plan.out, plan.tokens, plan.seed
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(plan.init) if plan.init else train_tokenizer(seed)
    tokenizer.chat_template = CHAT_TEMPLATE
    encode, pad = Encoder(tokenizer), int(tokenizer.pad_token_id)
    config = starter_config(tokenizer)
    config._attn_implementation = "eager"  # 2.5 times faster than SDPA's CPU backward in bfloat16
    model = LlamaForCausalLM(config)
    if plan.init:
        model.load_state_dict(load_file(plan.init / "model.safetensors"), strict=False)
    else:
        seed_induction(model, seed)
    optimizer, checkpoint = Optimizer(model, plan.learning_rate), Checkpoint(out / "checkpoint")
    state = checkpoint.load(model, optimizer)
    tokenizer.save_pretrained(out)
    if plan.compiled:
        model.model.compile(dynamic=True)
    while state["tokens"] < tokens:
        started, progress = time.monotonic(), state["tokens"] / tokens
        grown = 1.0 if plan.init else progress
        loss, n_read = _step(model, _samples(encode, f"{seed}:{int(state['step'])}", grown), pad)
        optimizer.step(progress, grown)
        state["step"] += 1
        state["tokens"] += n_read
        state["seconds"] += time.monotonic() - started
        if state["step"] % 50 == 0:
            print(f"step {state['step']:.0f}  {state['tokens'] / 1e6:.2f} M tokens  loss {loss:.4f}  "
                  f"{state['seconds'] / 60:.1f} min", flush=True)  # fmt: skip
        if state["step"] % save_every == 0 or state["tokens"] >= tokens:
            checkpoint.save(model, optimizer, state)
    before = json.loads((plan.init / "run.json").read_text())["runs"] if plan.init else []
    this = {"tokens": state["tokens"], "seconds": state["seconds"], "seed": seed, "learning_rate": plan.learning_rate}
    save_starter(model, tokenizer, out, {"runs": [*before, this]})


def _samples(encode: Encoder, key: str, progress: float) -> list[Encoded]:
    rng = random.Random(key)
    samples: list[Encoded] = []
    while sum(len(ids) for ids, _ in samples) < TOKENS_PER_STEP:
        samples.append(encode(mixture(rng, progress)))
    return samples


def _step(model: LlamaForCausalLM, samples: list[Encoded], pad: int) -> tuple[float, int]:
    n_answer = sum(sum(answer) for _, answer in samples)
    total = 0.0
    for ids_B_T, answer_B_T in micro_batches(samples, pad):
        with torch.autocast("cpu", torch.bfloat16):
            loss = answer_loss(model, ids_B_T, answer_B_T) / n_answer
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return total, sum(len(ids) for ids, _ in samples)


def save_starter(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, run: dict[str, Any]) -> None:
    """Write the model in bfloat16, its tokenizer, its template and how it was made, as a hub model is laid out."""
    copy = LlamaForCausalLM(model.config).bfloat16()
    copy.load_state_dict({n: p.detach().to(torch.bfloat16) for n, p in model.named_parameters()}, strict=False)
    copy.save_pretrained(out)
    for trace in ("is_local", "local_files_only"):  # of where it was loaded from
        tokenizer.init_kwargs.pop(trace, None)
    tokenizer.save_pretrained(out)
    (out / "run.json").write_text(json.dumps(run, indent=1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bakemem.starter.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/starter"), help="folder of the model and its checkpoint")
    parser.add_argument("--tokens", type=float, default=16e6, help="tokens to read (16e6: about 50 minutes)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="a finished starter to train further, instead of one from scratch")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest of the run")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile (needs a C++ compiler)")
    args = parser.parse_args()
    train(Plan(args.out, int(args.tokens), args.seed, args.init, args.learning_rate, not args.no_compile))


if __name__ == "__main__":
    main()
