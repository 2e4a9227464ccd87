"""Trains the starter model from scratch, or a finished one further: `python -m bakemem.starter.train --out DIR`.

Seeded and resumable: a checkpoint is written every few minutes and picked up again. Loss on assistant tokens only.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from bakemem.starter import parallel
from bakemem.starter.curriculum import mixture
from bakemem.starter.encode import Encoded, Encoder, micro_batches
from bakemem.starter.grow import load_grown
from bakemem.starter.guide import Guide
from bakemem.starter.induction import seed_induction
from bakemem.starter.lines import Lines
from bakemem.starter.optimize import Checkpoint, Optimizer
from bakemem.starter.tokenizer import CHAT_TEMPLATE, VOCABULARY, train_tokenizer

TOKENS_PER_STEP = 6_000
HALF = any(torch.cpu.get_capabilities().get(name) for name in ("amx_bf16", "avx512_bf16"))
"""Whether this CPU multiplies in bfloat16; where it does not, a step in float32 takes half as long."""
SHARD_TOKENS = 64  # a prompt of five facts, or two beside two instructions: longer ones it reads less well


def starter_config(tokenizer: PreTrainedTokenizerFast) -> MistralConfig:
    """A Mistral of 4.5 million parameters with tied embeddings and a context of 2,048 tokens, all of which it attends.

    Computed as a Llama is, whose configuration forbids twelve heads of 32 in a width of 256.
    """
    advice: dict[str, Any] = {"bakemem": {"shard_tokens": SHARD_TOKENS}}
    return MistralConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=12,
        num_key_value_heads=12, head_dim=32, max_position_embeddings=2048, sliding_window=None,
        tie_word_embeddings=True, attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        **advice,
    )  # fmt: skip


class Learner(nn.Module):
    """The model in training, and what guides some of its heads."""

    def __init__(self, model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        config = model.config
        self.model, self.pad = model, int(tokenizer.pad_token_id)
        self.guide = Guide(int(config.hidden_size or 0), int(config.num_attention_heads or 0), Lines(tokenizer))

    def losses(
        self, ids_B_T: Tensor, answer_B_T: Tensor, rng: random.Random, guided: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The answer tokens' cross entropies, each predicted from the place before it, as a sum; the guide's losses."""
        read_B_T = ids_B_T[:, :-1]
        made = self.model.model(
            input_ids=read_B_T, use_cache=False, output_hidden_states=guided, output_attentions=guided
        )
        target = answer_B_T[:, 1:]
        logits_N_V = self.model.lm_head(made.last_hidden_state[target])
        answers = functional.cross_entropy(logits_N_V.float(), ids_B_T[:, 1:][target], reduction="sum")
        if not guided:
            return answers, answers.new_zeros(()), answers.new_zeros(())
        read = [[i for i in row if i != self.pad] for row in read_B_T.tolist()]
        embedding = self.model.lm_head.weight
        return answers, *self.guide.loss(made.hidden_states, made.attentions, embedding, read, rng)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: how many tokens it reads, with which seed, and the finished starter that it goes on from, if any."""

    out: Path
    tokens: int
    seed: int = 0
    init: Path | None = None
    learning_rate: float = 2e-3
    processes: int = 1
    guidance: float = 0.3  # weight of the guide's losses beside the answers'; 0: no guide


def train(plan: Plan, save_every: int = 200) -> None:
    """Train until `plan.tokens` tokens were read, going on from the checkpoint in `plan.out` if there is one."""
    parallel.run(_train, plan.processes, plan, save_every)


def _train(rank: int, plan: Plan, save_every: int) -> None:
    torch.manual_seed(plan.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(plan.init) if plan.init else train_tokenizer(plan.seed)
    tokenizer.chat_template = CHAT_TEMPLATE
    learner = Learner(_begin(plan, tokenizer), tokenizer)
    optimizer, checkpoint = Optimizer(learner, plan.learning_rate), Checkpoint(plan.out / "checkpoint")
    state = checkpoint.load(learner, optimizer)
    encode = Encoder(tokenizer)
    while state["tokens"] < plan.tokens:
        started, progress = time.monotonic(), state["tokens"] / plan.tokens
        grown = 1.0 if plan.init else progress
        rng = random.Random(f"{plan.seed}:{int(state['step'])}:{rank}")
        samples = _samples(encode, rng, grown, TOKENS_PER_STEP // plan.processes)
        losses, n_read = _step(learner, samples, rng, plan.guidance)
        parallel.average(learner.parameters())
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step(progress, grown)
        state["step"] += 1
        state["tokens"] += parallel.total(n_read)
        state["seconds"] += time.monotonic() - started
        if rank == 0 and state["step"] % 50 == 0:
            print(f"step {state['step']:.0f}  {state['tokens'] / 1e6:.2f} M tokens  loss {losses[0]:.4f}  attention "
                  f"{losses[1]:.3f}  probes {losses[2]:.3f}  {state['seconds'] / 60:.1f} min", flush=True)  # fmt: skip
        if rank == 0 and (state["step"] % save_every == 0 or state["tokens"] >= plan.tokens):
            checkpoint.save(learner, optimizer, state)
    if rank == 0:
        before = json.loads((plan.init / "run.json").read_text())["runs"] if plan.init else []
        this = {
            "tokens": state["tokens"], "seconds": state["seconds"], "seed": plan.seed,
            "learning_rate": plan.learning_rate, "processes": plan.processes, "guidance": plan.guidance,
        }  # fmt: skip
        save_starter(learner.model, tokenizer, plan.out, {"runs": [*before, this]})


def _begin(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> MistralForCausalLM:
    config = starter_config(tokenizer)
    # The guide needs the attention weights; without it eager is a tenth faster in bfloat16, SDPA a quarter in float32.
    config._attn_implementation = "eager" if HALF or plan.guidance else "sdpa"
    model = MistralForCausalLM(config)
    if plan.init:
        load_grown(model, plan.init / "model.safetensors", plan.seed)
    else:
        seed_induction(model, plan.seed)
    return model


def _samples(encode: Encoder, rng: random.Random, progress: float, n_tokens: int) -> list[Encoded]:
    samples: list[Encoded] = []
    while sum(len(ids) for ids, _ in samples) < n_tokens:
        samples.append(encode(mixture(rng, progress)))
    return samples


def _step(learner: Learner, samples: list[Encoded], rng: random.Random, guidance: float) -> tuple[list[float], int]:
    """Gradients of one step; its losses (of answers, attention and probes), and how many tokens were read."""
    n_answer, batches = sum(sum(answer) for _, answer in samples), list(micro_batches(samples, learner.pad))
    total = torch.zeros(3)
    for ids_B_T, answer_B_T in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=HALF):
            answers, looked, probed = learner.losses(ids_B_T, answer_B_T, rng, guidance > 0)
        losses = torch.stack([answers / n_answer, looked / len(batches), probed / len(batches)])
        (losses[0] + guidance * (losses[1] + losses[2])).backward()
        total += losses.detach()
    return total.tolist(), sum(len(ids) for ids, _ in samples)


def save_starter(model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, run: dict[str, Any]) -> None:
    """Write the model in bfloat16, its tokenizer, its template and how it was made, as a hub model is laid out."""
    copy = MistralForCausalLM(model.config).bfloat16()
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
    parser.add_argument("--processes", type=int, default=2, help="of one core each, which share each step")
    parser.add_argument("--guidance", type=float, default=0.3, help="weight of what guides some heads; 0: none")
    args = parser.parse_args()
    train(Plan(args.out, int(args.tokens), args.seed, args.init, args.learning_rate, args.processes, args.guidance))


if __name__ == "__main__":
    main()
