"""Averages the weights of two runs, one of which went on from the other: `python -m bakemem.starter.average`.

Both lie in one basin of the loss, where the mean can do better than either (Izmailov et al., 2018, *Averaging Weights
Leads to Wider Optima and Better Generalization*); evaluate it before you believe it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import MistralForCausalLM, PreTrainedTokenizerFast

from bakemem.starter.train import save_starter


def average(first: Path, second: Path, out: Path, share: float = 0.5) -> None:
    """Write the mean of two starters, computed in float32, in which the second counts by `share`, 0 to 1.

    `second` has the tokenizer and the history of both.
    """
    models = [MistralForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (first, second)]
    with torch.no_grad():
        for one, other in zip(*(model.parameters() for model in models), strict=True):
            other.lerp_(one, 1 - share)
    before = json.loads((second / "run.json").read_text(encoding="utf-8"))["runs"]
    this = {"tokens": 0, "seconds": 0, "averaged": [first.name, second.name], "share": share}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(second)
    save_starter(models[1], tokenizer, out, {"runs": [*before, this]})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bakemem.starter.average", description=__doc__)
    parser.add_argument("first", type=Path, help="a finished run")
    parser.add_argument("second", type=Path, help="the run that went on from it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="how much the second counts, 0 to 1")
    args = parser.parse_args()
    average(args.first, args.second, args.out, args.share)


if __name__ == "__main__":
    main()
