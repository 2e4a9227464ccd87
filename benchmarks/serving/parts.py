"""Loading, many namespaces, prompts against baked memory, and work beside replies."""

from __future__ import annotations

import copy
import statistics
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bakemem.serving import Base, Limits, LocalEngine, Request, ServingModel
from bakemem.types import Turn
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
    """1, 8 and 64 namespaces with an adapter each: bytes for each, and tokens a second of as many clients."""
    rows: Rows = {"bytes of the base": sum(p.numel() * p.element_size() for p in base.model.parameters())}
    for n in (1, 8, 64):
        before = base.adapters.bytes
        bench = Bench(base, room / f"namespaces-{n}", n)
        load = clients(lambda i, load, n=n, bench=bench: bench.ask(i, load, f"a{i % n}", f"n{i % n}"), seconds / 4, n)  # type: ignore[misc]
        rows[f"{n} namespaces"] = {"bytes each": (base.adapters.bytes - before) / n, "tokens/s": load.rate,
                                   "errors": len(load.errors)}  # fmt: skip
        for name in bench.folders:
            bench.engine.detach(name)
    model = copy.deepcopy(base.model)
    separate = LocalEngine(Base("another", model, base.template, base.fingerprint))
    half = Bench(base, room / "half", 1)
    both = clients(lambda i, load: one_of(half, separate, i, load), seconds / 4, 2)
    rows["2 separate models, tokens/s"] = both.rate
    return rows


def one_of(bench: Bench, other: LocalEngine, i: int, load: Load) -> None:
    """A reply of one of two models."""
    reply = (bench.engine, other)[i % 2].submit(bench.request(i, None))
    reply.text()
    load.tokens += reply.ending.completion_tokens


def prompts(base: Base, seconds: float, room: Path) -> Rows:
    """A memory of so many tokens in the prompt against the same baked: first token, tokens a second, prompt tokens."""
    bench, rows = Bench(base, room / "prompts", 1), dict[str, Any]()
    word = "The user's dog is called Bosuk. "
    for tokens in (0, 200, 500, 1000):
        memory = word * (tokens // max(1, base.template.count(word)))
        fresh = LocalEngine(base, Limits(prefix_bytes=0, adapter_bytes=1 << 32))
        load = clients(partial(ask_with, fresh, bench, memory), seconds / 8, 1)
        rows["baked" if not tokens else f"{tokens} tokens in the prompt"] = {
            "first token, ms": 1e3 * statistics.median(load.first), "tokens/s": load.rate,
            "prompt tokens": statistics.mean(load.gaps), "errors": len(load.errors),
        }  # fmt: skip
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
    """Chat beside other work that never pauses, at three shares: tokens a second of each, and no changed answer."""
    bench, rows = Bench(base, room / "beside"), dict[str, Any]()
    bench.learn(["a0"])
    alone = clients(lambda i, load: bench.ask(i, load, "a0"), seconds / 4, 2)
    ids = torch.zeros(16, 256, dtype=torch.long, device=base.model.device)
    for share in (0.25, 0.5, 0.75):
        base.lock.share, stop, steps = share, threading.Event(), [0]

        def bake(stop: threading.Event = stop, steps: list[int] = steps) -> None:
            while not stop.is_set():
                with base.adapters.active("a1") as model, torch.no_grad():
                    model(input_ids=ids, use_cache=False, logits_to_keep=1)
                steps[0] += 1

        other = threading.Thread(target=bake)
        other.start()
        load = clients(lambda i, load: bench.ask(i, load, "a0"), seconds / 4, 2)
        stop.set()
        other.join()
        rows[f"share {share}"] = {"tokens/s of alone": load.rate / alone.rate, "mixed": load.mixed, "steps": steps[0],
                                  "longest gap, ms": 1e3 * max(load.gaps), "errors": len(load.errors)}  # fmt: skip
    base.lock.share = 0.5
    return rows
