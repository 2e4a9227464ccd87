"""Loading, many namespaces, prompts against baked memory, and work beside replies."""

from __future__ import annotations

import copy
import statistics
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bakemem.baking import bake
from bakemem.config import Config
from bakemem.cycle import prompts_of, settings_of
from bakemem.serving import Base, Limits, LocalEngine, Request, ServingModel
from bakemem.types import Memory, Turn
from benchmarks.serving.bench import QUESTIONS, Bench, Rows
from benchmarks.serving.clients import Load, clients


def loading(base: Base, seconds: float, room: Path) -> Rows:
    """How long an adapter takes to be read and put into place, to go live, and to leave after its last reply."""
    bench, took = Bench(base, room / "loading"), dict[str, list[float]](load=[], publish=[], drain=[])
    serving = ServingModel(bench.engine)
    folder = bench.folders["a0"]
    for i in range(20):
        reply = bench.engine.submit(bench.request(i, "a1"))
        started = time.monotonic()
        bench.engine.attach(f"n{i}", folder)
        took["load"].append(time.monotonic() - started)
        started = time.monotonic()
        serving.swap(f"n{i}")
        took["publish"].append(time.monotonic() - started)
        serving.swap(None)
        reply.text()
        started = time.monotonic()
        bench.engine.detach(f"n{i}")
        took["drain"].append(time.monotonic() - started)
    return {f"{name} p50, ms": 1e3 * statistics.median(values) for name, values in took.items()}


def namespaces(base: Base, seconds: float, room: Path) -> Rows:
    """1 to 64 namespaces with an adapter and a client each: bytes for each, and tokens a second; and two models."""
    rows: Rows = {"bytes of the base": sum(p.numel() * p.element_size() for p in base.model.parameters())}
    separate = [Base(f"model {i}", copy.deepcopy(base.model), base.template, base.fingerprint) for i in (0, 1)]
    for n in (1, 2, 8, 64):
        bench = Bench(base, room / f"namespaces-{n}", n)
        load = clients(partial(one_of, [bench] * n, list(bench.folders)), seconds / 8, n)
        rows[f"{n} namespaces"] = {"bytes each": base.adapters.bytes / n, "tokens/s": load.rate,
                                   "errors": len(load.errors)}  # fmt: skip
        for name in bench.folders:
            bench.engine.detach(name)
    models = [Bench(one, room / one.name, 1) for one in separate]
    load = clients(partial(one_of, models, ["a0", "a0"]), seconds / 8, 2)
    rows["2 models with an adapter each"] = {"tokens/s": load.rate, "errors": len(load.errors)}
    return rows


def one_of(benches: Sequence[Bench], adapter_ids: Sequence[str], i: int, load: Load) -> None:
    """A reply of the i-th namespace."""
    k = i % len(benches)
    benches[k].ask(i, load, adapter_ids[k], f"n{k}")


def prompts(base: Base, seconds: float, room: Path) -> Rows:
    """A memory of so many tokens in the prompt against the same baked, where prompts are read anew and where kept."""
    bench, rows = Bench(base, room / "prompts", 1), dict[str, Any]()
    word = "The user's dog is called Bosuk. "
    for tokens in (0, 200, 500, 1000):
        memory = word * (tokens // max(1, base.template.count(word)))
        figures: Rows = {}
        for what, kept in (("read", 0), ("kept", 256 << 20)):
            engine = LocalEngine(base, Limits(prefix_bytes=kept, adapter_bytes=1 << 32))
            load = clients(partial(ask_with, engine, bench, memory), seconds / 16, 1)
            figures |= {
                f"first token, prefixes {what}, ms": 1e3 * statistics.median(load.first),
                f"tokens/s, prefixes {what}": load.rate, "prompt tokens": statistics.mean(load.gaps),
                "errors": len(load.errors),
            }  # fmt: skip
        rows[f"{tokens} tokens in the prompt" if tokens else "baked"] = figures
    return rows


def ask_with(engine: LocalEngine, bench: Bench, memory: str, i: int, load: Load) -> None:
    """A reply with a memory in its prompt, or of the adapter; `gaps` takes the prompt's tokens."""
    system = [Turn("system", memory)] if memory else []
    turns = (*system, Turn("user", f"{i} {QUESTIONS[i % len(QUESTIONS)]}"))
    started = time.monotonic()
    reply = engine.submit(Request(turns, None if memory else "a0", sampling=bench.sampling))
    next(reply, "")
    load.first.append(time.monotonic() - started)
    reply.text()
    load.tokens += reply.ending.completion_tokens
    load.gaps.append(float(reply.ending.prompt_tokens))


def beside(base: Base, seconds: float, room: Path) -> Rows:
    """Two clients beside a bake of two facts, at two shares: what each costs the other, and what changes."""
    bench, rows = Bench(base, room / "beside"), dict[str, Any]()
    bench.learn(["a0"])
    ask = partial(ask_first, bench)
    alone = clients(ask, seconds / 4, 2)
    weights, took = short_bake(base)
    for share in (0.5, 0.25):
        base.lock.share, over, made = share, threading.Event(), list[tuple[dict[str, torch.Tensor], float]]()

        def run(over: threading.Event = over, made: list[tuple[dict[str, torch.Tensor], float]] = made) -> None:
            made.append(short_bake(base))
            over.set()

        baker = threading.Thread(target=run)
        baker.start()
        load = clients(ask, 3600.0, 2, over)
        baker.join()
        [(tensors, seconds_beside)] = made
        rows[f"share {share}"] = {
            "chat, tokens/s ÷ alone": load.rate / alone.rate, "bake, seconds ÷ alone": seconds_beside / took,
            "changed replies": load.mixed, "same weights": all(tensors[n].equal(t) for n, t in weights.items()),
            "longest gap, ms": 1e3 * max(load.gaps), "p99 gap, ms": 1e3 * statistics.quantiles(load.gaps, n=100)[-1],
            "errors": len(load.errors),
        }  # fmt: skip
    base.lock.share = 0.5
    return {"bake alone, s": took, "chat alone, tokens/s": alone.rate, "longest gap alone, ms": 1e3 * max(alone.gaps),
            **rows}  # fmt: skip


def ask_first(bench: Bench, i: int, load: Load) -> None:
    """A reply of the first adapter."""
    bench.ask(i, load, "a0")


def short_bake(base: Base) -> tuple[dict[str, torch.Tensor], float]:
    """The weights of a short bake, and its seconds."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    texts = ("The user's dog is called Bosuk.", "The user lives in Plinth.")
    memories = [Memory(f"m{i}", "default", "fact", f"k{i}", text, "pending", start) for i, text in enumerate(texts)]
    config = Config(questions_per_memory=8, steps=60, efforts=0)
    started = time.monotonic()
    baked = bake(base.model, base.template, memories, prompts_of(config, base, memories),
                 settings_of(config, base, memories), lock=base.lock)  # fmt: skip
    return baked.tensors, time.monotonic() - started
