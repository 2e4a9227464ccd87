"""Replies while the live adapter changes, for minutes and for long, and ways to do without the engine."""

from __future__ import annotations

import gc
import os
import statistics
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bakemem.baking import generate
from bakemem.errors import AdapterError
from bakemem.serving import Base, ServingModel
from bakemem.types import Turn
from benchmarks.serving.bench import QUESTIONS, TOKENS, Bench, Rows
from benchmarks.serving.clients import Load, clients

ROUNDS = 12


def swaps(base: Base, seconds: float, room: Path) -> Rows:
    """Eight clients, without swaps and with one every two seconds by turns; and three ways to do without the engine."""
    bench = Bench(base, room / "swaps")
    bench.learn(["a0", "a1"])
    serving = ServingModel(bench.engine)
    serving.swap("a0")

    gc.collect()
    gc.freeze()  # as docs/serving.md advises: a full collection stops all threads for a third of a second

    still, moved, took = Load(), Load(), list[float]()
    for _ in range(ROUNDS):  # the machine may be busier now than then
        one = clients(partial(ask_live, bench, serving), seconds / ROUNDS)
        with bench.swapping(serving, 2.0) as some:
            other = clients(partial(ask_live, bench, serving), seconds / ROUNDS)
        took += some
        for load, part in ((still, one), (moved, other)):
            load.add(part)
            load.seconds += part.seconds
    rows = {
        "replies": moved.replies, "swaps": len(took), "errors": moved.errors[:3], "n_errors": len(moved.errors),
        "mixed": moved.mixed, "longest gap, with ÷ without": max(moved.gaps) / max(still.gaps),
        "longest gap, ms": 1e3 * max(moved.gaps), "longest gap without swaps, ms": 1e3 * max(still.gaps),
        "p99 gap, ms": 1e3 * statistics.quantiles(moved.gaps, n=100)[-1],
        "p99 gap without swaps, ms": 1e3 * statistics.quantiles(still.gaps, n=100)[-1],
        "p99.9 gap, ms": 1e3 * statistics.quantiles(moved.gaps, n=1000)[-1],
        "p99.9 gap without swaps, ms": 1e3 * statistics.quantiles(still.gaps, n=1000)[-1],
        "throughput, with ÷ without": moved.rate / still.rate, "tokens/s": moved.rate,
        "tokens/s without swaps": still.rate, "first token p95, ms": 1e3 * statistics.quantiles(moved.first, n=20)[-1],
        "swap p50, ms": 1e3 * statistics.median(took) if took else None,
    }  # fmt: skip
    for name, ask in peers(bench).items():
        load = clients(ask, seconds / 8)
        rows[f"tokens/s, {name}"] = load.errors[0] if load.errors else load.rate
    return rows


def peers(bench: Bench) -> dict[str, Callable[[int, Load], None]]:
    """One request at a time, under a lock: with `set_adapter`, with `hotswap_adapter` each other time, and plain."""
    base, lock = bench.base, threading.Lock()
    for name, folder in bench.folders.items():
        bench.engine.attach(name, folder)

    def one(i: int, load: Load, before: Callable[[], None]) -> None:
        with lock, base.lock:
            before()
            turns = [Turn("user", QUESTIONS[i % len(QUESTIONS)])]
            [ids] = generate(base.model, base.template, [turns], max_new_tokens=TOKENS)
        load.tokens += len(ids)

    def choose(i: int) -> None:
        base.model.set_adapter(f"a{i % 2}")
        base.model.enable_adapters()

    def hotswap(i: int) -> None:
        there = "hot" in base.model.peft_config
        base.model.load_adapter(str(bench.folders[f"a{i % 2}"]), adapter_name="hot", hotswap=there)
        base.model.set_adapter("hot")
        base.model.enable_adapters()

    return {
        "set_adapter under a lock": lambda i, load: one(i, load, lambda: choose(i)),
        "hotswap_adapter under a lock": lambda i, load: one(i, load, lambda: hotswap(i)),
        "generate without adapters": lambda i, load: one(i, load, base.model.disable_adapters),
    }


def soak(base: Base, seconds: float, room: Path) -> Rows:
    """Ten times the usual time with swaps: memory, threads and files in its first and last tenth."""
    bench = Bench(base, room / "soak")
    bench.learn(["a0", "a1"])
    serving = ServingModel(bench.engine)
    serving.swap("a0")
    seen: list[tuple[int, int, int]] = []

    with bench.swapping(serving, 10 * seconds / 400) as took:
        total = Load()
        for _ in range(10):
            load = clients(partial(ask_live, bench, serving), seconds)
            total.mixed += load.mixed
            total.errors += load.errors
            total.replies += load.replies
            seen.append((resident(), threading.active_count(), len(os.listdir("/proc/self/fd"))))
    return {"replies": total.replies, "swaps": len(took), "errors": len(total.errors), "mixed": total.mixed,
            "memory growth, MB": (seen[-1][0] - seen[0][0]) / 1e6, "threads": [seen[0][1], seen[-1][1]],
            "files": [seen[0][2], seen[-1][2]]}  # fmt: skip


def ask_live(bench: Bench, serving: ServingModel, i: int, load: Load) -> None:
    """A reply of whoever is live; one that was detached between the two looks is asked for again."""
    while True:
        name = serving.live
        try:
            return bench.ask(i, load, name)
        except AdapterError:
            if serving.live == name:
                raise


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
