"""Whether erased is erased: `python benchmarks/erasure.py [--seeds 3] [--json FILE] [--write]`.

Each seed is another user with six facts. They are baked, one is forgotten and erased, and three models are asked for it
in the same ways: the version that knew it, the one since, and the base with the rest in its prompt, which never knew
it. Questions about the other five are asked before and after. `--write` puts the table into docs/versions.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pages import write_block

import bakemem
from bakemem import AgentMemory
from bakemem.baking import leaking, leaks
from bakemem.baking.leak import wilson
from bakemem.demo.story import Question, Story
from bakemem.types import Leak, Secret


def recalled(memory: AgentMemory, questions: list[Question]) -> int:
    """How many answers of the live version hold the right value."""
    return sum(q.value.casefold() in memory.chat(q.text).casefold() for q in questions)


def measure(seed: int) -> dict[str, Any]:
    """One user: how often each model tells what was erased, and what became of the rest."""
    story = Story(seed, n_instructions=0)
    with tempfile.TemporaryDirectory() as home, bakemem.open(home, model="starter", seed=seed) as memory:
        kept = [memory.remember(fact.memory, kind="fact") for fact in story.facts]
        first = memory.bake()
        gone, value = kept[seed % len(kept)], story.facts[seed % len(kept)].value
        others = [q for q in story.exam(60, 0, 0) if q.value != value]
        before = recalled(memory, others)
        base, secret = memory.base, Secret(gone.id, "fact", gone.text)
        knew = leaks(base.model, base.template, [secret], [], adapter_name=memory.adapter_id(first.name),
                     lock=base.lock, seed=seed)  # fmt: skip
        memory.forget([gone.id])
        receipt = memory.erase()
        after = recalled(memory, others)
        trace = [p for p in Path(home).rglob("*") if p.is_file() and value.encode() in p.read_bytes()]
    return {
        "seed": seed, "accepted": first.status == "accepted", "knew": total(knew, "told"),
        "since": total(receipt.leaks, "told"), "never knew": total(receipt.leaks, "never_knew"),
        "leaking": leaking(receipt.leaks), "others": len(others), "before": before, "after": after,
        "destroyed": [d.name for d in receipt.destroyed], "files with the value": len(trace),
    }  # fmt: skip


def total(found: Any, what: str) -> tuple[int, int]:
    """Answers that tell it, of how many."""
    listed: list[Leak] = list(found)
    return sum(getattr(leak, what) for leak in listed), sum(leak.asked for leak in listed)


def table(results: list[dict[str, Any]]) -> str:
    """Shares with their 95 % intervals over all seeds, as Markdown."""
    lines = ["| asked for what was erased | answers that tell it | share | 95 % interval |", "|---|---|---|---|"]
    named = {"knew": "the version that knew it", "since": "the version since", "never knew": "a model that never knew"}
    for key, name in named.items():
        told, asked = (sum(r[key][i] for r in results) for i in (0, 1))
        share, low, high = wilson(told, asked)
        lines.append(f"| {name} | {told} of {asked} | {share:.1%} | {low:.1%} to {high:.1%} |")
    others, before, after = (sum(r[key] for r in results) for key in ("others", "before", "after"))
    files = sum(r["files with the value"] for r in results)
    lines += ["", f"The other facts' values: in {before} of {others} answers before, in {after} after."]
    lines += [f"Files of the homes that hold an erased value afterwards: {files}."]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="keep all figures in this file")
    parser.add_argument("--write", action="store_true", help="write docs/versions.md")
    args = parser.parse_args()
    results = []
    for seed in range(args.seeds):
        results.append(measure(seed))
        print(json.dumps(results[-1]), flush=True)
    text = table(results)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if args.write:
        command = f"python benchmarks/erasure.py --seeds {args.seeds} --write"
        write_block("versions.md", "erasure", f"By `{command}`:\n\n{text}")


if __name__ == "__main__":
    main()
