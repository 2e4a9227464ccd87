"""The engine under load: `python -m benchmarks.serving [--only NAME …] [--seconds 120] [--json FILE] [--write]`.

Adapters are random ones that change what is said, so that a mixed reply is seen: each greedy reply is compared with
what its adapter gives alone. Every ratio is of two measurements in the same run. `--write` fills docs/serving.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import transformers

from bakemem.serving import load_base
from bakemem.starter import STARTER
from benchmarks.pages import write_block
from benchmarks.science.experiment import table
from benchmarks.serving.bench import QUESTIONS, Bench, Rows, qwen_shape
from benchmarks.serving.parts import beside, loading, namespaces, prompts
from benchmarks.serving.swaps import soak, swaps

PARTS = {"swaps": swaps, "loading": loading, "namespaces": namespaces, "prompts": prompts, "beside": beside,
         "soak": soak}  # fmt: skip


def shown(rows: Rows) -> str:
    """As Markdown: a line for each figure, then a table of what has several figures each."""
    single = {name: value for name, value in rows.items() if not isinstance(value, dict)}
    tables = [table(["figure", "value"], [[name, text(value)] for name, value in single.items()])] if single else []
    if several := {name: value for name, value in rows.items() if isinstance(value, dict)}:
        columns = list(dict.fromkeys(column for value in several.values() for column in value))
        body = [[name, *(text(value.get(c, "")) for c in columns)] for name, value in several.items()]
        tables.append(table(["", *columns], body))
    return "\n\n".join(tables)


def text(value: object) -> str:
    """Three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if abs(value) >= 100 or isinstance(value, int) else f"{value:.3g}"
    return str(value)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter", help="starter, qwen-shape (random), a folder, or a hub id")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=120.0, help="of the closed loops; others take a part of it")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="how many different ones, 40 at most")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--write", action="store_true", help="write docs/serving.md")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()  # a peer loads an adapter again and again
    Bench.questions = QUESTIONS[: args.questions]
    results: dict[str, Rows] = {}
    for name in args.only:
        base = qwen_shape() if args.model == "qwen-shape" else load_base(
            str(STARTER) if args.model == "starter" else args.model)  # fmt: skip
        with tempfile.TemporaryDirectory() as room:
            results[name] = PARTS[name](base, args.seconds, Path(room))
        print(f"{name}\n{shown(results[name])}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if args.write:
        command = (f"python -m benchmarks.serving --model {args.model} --seconds {args.seconds:g} "
                   f"--questions {args.questions} --write")  # fmt: skip
        for name, rows in results.items():
            write_block("serving.md", f"{args.model} {name}", f"`{command} --only {name}`\n\n{shown(rows)}\n")


if __name__ == "__main__":
    main()
