"""The memory side at growing sizes: `python benchmarks/memory.py [--sizes 1000 10000 100000] [--json FILE] [--write]`.

Made-up facts, no model: the extractor finds nothing, so that what is measured is the journal, the queue and the index.
`--write` puts the table into docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pages import write_block

from bakemem.config import load_config
from bakemem.gathering import NEAR
from bakemem.knowledge import Knowledge
from bakemem.memory import Journal
from bakemem.memory.embed import LexicalEmbedder
from bakemem.memory.index import ChromaIndex
from bakemem.memory.portable import FORMAT
from bakemem.names import made_up_name
from bakemem.testing import ScriptedExtractor
from bakemem.types import Turn

LIMITS = {"observe p95, ms": 5, "recall p95, ms": 25, "open, s": 1}


def fact(rng: random.Random) -> str:
    """A sentence with new names."""
    verb = rng.choice(("lives in", "works with", "has a sister called", "leads project", "has a dog called"))
    return f"{made_up_name(rng)} {verb} {made_up_name(rng)}."


def lines(n: int, rng: random.Random) -> list[str]:
    """`n` memories as `bakemem export` writes them."""
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    shared = {"format": FORMAT, "kind": "fact", "status": "pending", "created": at, "valid_from": at, "role": "user",
              "source": "user", "conversation": "c", "turn": "", "extractor": "explicit", "superseded_by": None,
              "reason": "", "history": []}  # fmt: skip
    return [json.dumps({**shared, "id": f"{i:016x}", "key": f"made.up.{i}", "text": fact(rng)}) for i in range(n)]


def opened(home: Path) -> Knowledge:
    """The memory side over a home, as `bakemem.open` puts it together."""
    return Knowledge(load_config(home), Journal(home / "journal.db"), redact=str,
                     open_index=lambda: ChromaIndex(home / "index", "default", LexicalEmbedder()),
                     make_extractor=lambda: ScriptedExtractor({}))  # fmt: skip


def milliseconds(action: Callable[[], object], times: int) -> list[float]:
    """How long each of so many calls took."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        took.append(1e3 * (time.perf_counter() - started))
    return took


def measure(n: int) -> dict[str, float]:
    """All figures of a home with `n` memories."""
    rng, figures = random.Random(n), dict[str, float]()

    def note(name: str, took: list[float]) -> None:
        figures[f"{name} p50, ms"] = statistics.median(took)
        figures[f"{name} p95, ms"] = statistics.quantiles(took, n=20)[-1]

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        known = opened(home)
        known.load(lines(n, rng))
        started = time.perf_counter()
        known.reindex()
        figures["reindex, memories a second"] = n / (time.perf_counter() - started)
        note("observe", milliseconds(lambda: known.observe([Turn("user", fact(rng))], "c"), 200))
        known.flush()
        note("remember", milliseconds(lambda: known.remember(fact(rng), kind="fact", key=f"k{rng.random()}"), 100))
        note("near-duplicate search", milliseconds(lambda: known._shadow.near(fact(rng), 3, NEAR), 200))
        note("recall", milliseconds(lambda: known.recall(fact(rng)), 200))
        known._close()
        figures["bytes a memory"] = sum(p.stat().st_size for p in home.rglob("*") if p.is_file()) / n
        started = time.perf_counter()
        known = opened(home)
        known.memories("quarantined")
        figures["open, s"] = time.perf_counter() - started
        started = time.perf_counter()
        known.recall(fact(rng))
        figures["first recall (index opened and checked), s"] = time.perf_counter() - started
        known._close()
    return figures


def table(results: dict[int, dict[str, float]]) -> str:
    """Figures by size, as Markdown."""
    sizes = list(results)
    rows = [f"| figure | {' | '.join(f'{n:,}' for n in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for name in results[sizes[0]]:
        limit = f" (at most {LIMITS[name]})" if name in LIMITS else ""
        rows.append(f"| {name}{limit} | {' | '.join(f'{results[n][name]:,.3g}' for n in sizes)} |")
    return "\n".join(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="memories")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--write", action="store_true", help="write docs/memory.md")
    args = parser.parse_args()
    results = {}
    for n in args.sizes:
        results[n] = measure(n)
        print(f"{n}: {json.dumps(results[n])}", flush=True)
    text = table(results)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if args.write:
        command = f"python benchmarks/memory.py --sizes {' '.join(map(str, args.sizes))} --write"
        write_block("memory.md", "figures", f"By `{command}`:\n\n{text}")


if __name__ == "__main__":
    main()
