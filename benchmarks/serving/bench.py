"""A base with random adapters that change what is said, and an engine. Knows no figures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from bakemem.serving import Base, Limits, LocalEngine, Request, Sampling, ServingModel, wrap_base
from bakemem.starter import STARTER
from bakemem.types import Turn
from benchmarks.serving.clients import Load

TOKENS, RANK = 32, 16
QUESTIONS = [f"Question {i}: what do you know of boats, tea and {'songs ' * (i % 5)}?" for i in range(40)]
Rows = dict[str, Any]
"""Figures by name."""


def qwen_shape() -> Base:
    """A random model of the shape of Qwen2.5 0.5B, with the starter's tokenizer."""
    torch.manual_seed(0)
    config = Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                         num_key_value_heads=2, vocab_size=151_936, max_position_embeddings=4096,
                         tie_word_embeddings=True)  # fmt: skip
    model = Qwen2ForCausalLM(config).eval().requires_grad_(False)
    return wrap_base("a random Qwen2.5 0.5B", model, AutoTokenizer.from_pretrained(STARTER))


def random_adapter(base: Base, folder: Path, seed: int) -> Path:
    """The files of an adapter that changes what the base says."""
    folder.mkdir(parents=True)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with base.lock:
        base.model.add_adapter(config, adapter_name="made")
        torch.manual_seed(seed)
        state = get_peft_model_state_dict(base.model, adapter_name="made")
        made = {f"base_model.model.{name}": 0.02 * torch.randn_like(tensor) for name, tensor in state.items()}
        layers = {name.split(".")[-3] for name in state}
        written = {**config.to_dict(), "target_modules": sorted(layers)}
        base.model.delete_adapter("made")
    save_file(made, folder / "adapter_model.safetensors")
    kept = ("peft_type", "r", "lora_alpha", "target_modules", "fan_in_fan_out", "bias", "task_type")
    (folder / "adapter_config.json").write_text(json.dumps({k: written[k] for k in kept}))
    return folder


class Bench:
    """A base with some adapters, an engine, and what each adapter says alone."""

    questions = QUESTIONS
    """Fewer for a model that takes long to say what it says alone."""

    def __init__(self, base: Base, room: Path, n_adapters: int = 2) -> None:
        self.base, self.engine = base, LocalEngine(base, Limits(waiting=256, adapter_bytes=1 << 32))
        self.folders = {f"a{i}": random_adapter(base, room / f"a{i}", i) for i in range(n_adapters)}
        for name, folder in self.folders.items():
            self.engine.attach(name, folder)
        self.sampling = Sampling(max_new_tokens=TOKENS)
        self._alone: dict[tuple[str | None, int], str] = {}

    def request(self, i: int, adapter_id: str | None, namespace: str = "default") -> Request:
        """The i-th question."""
        return Request(
            (Turn("user", self.questions[i % len(self.questions)]),), adapter_id, 1.0, self.sampling, namespace
        )

    def learn(self, adapter_ids: Sequence[str | None]) -> None:
        """Note what each says alone."""
        for name in adapter_ids:
            for i in range(len(self.questions)):
                self._alone[name, i] = self.engine.submit(self.request(i, name)).text()

    def ask(self, i: int, load: Load, adapter_id: str | None, namespace: str = "default") -> None:
        """One reply, compared with what its adapter says alone."""
        last = time.monotonic()
        reply, said = self.engine.submit(self.request(i, adapter_id, namespace)), ""
        for piece in reply:
            now = time.monotonic()
            (load.gaps if said else load.first).append(now - last)
            said, last = said + piece, now
        load.tokens += reply.ending.completion_tokens
        load.mixed += said != self._alone.get((adapter_id, i % len(self.questions)), said)

    @contextmanager
    def swapping(self, serving: ServingModel, every: float) -> Iterator[list[float]]:
        """Inside, the two adapters take turns being live; how long each swap took."""
        stop, took = threading.Event(), list[float]()

        def run() -> None:
            names = list(self.folders)
            while not stop.wait(every):
                old = serving.live
                new = names[(names.index(old or names[0]) + 1) % 2]
                started = time.monotonic()
                with serving.held(new, self.folders[new]):
                    serving.swap(new)
                if old:
                    self.engine.detach(old)  # unloaded when its last reply ends: the next swap reads it anew
                took.append(time.monotonic() - started)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield took
        finally:
            stop.set()
            thread.join()
