"""A persona that holds: the same instruction prompted and baked, asked again and again as the conversation grows.

python examples/persona.py                         # a few minutes on two cores; --turns 16 --quick: faster
"""

from __future__ import annotations

import argparse
import random
import tempfile
from typing import Any

import bakemem
from bakemem import Turn
from bakemem.everyday import everyday

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 90, "questions_per_memory": 12, "efforts": 0, "max_dialogue_turns": 16}
PERSONA, MARK = "Call me Captain.", "Captain"  # told, and what it leaves in each of the starter's answers


def main() -> None:
    """Small talk with both, in which each reads its own replies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=48)
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        bakemem.open(home, model=MODEL, **(QUICK if args.quick else {})) as memory,
    ):
        memory.remember(PERSONA)
        prompt = memory.pending_prompt()
        version = memory.bake()
        print(f"{version.name} is {version.status}: {PERSONA}")
        rng, held = random.Random(0), dict[str, list[bool]]()
        ways: dict[str, Any] = {"prompted": {"system": prompt, "version": "base"}, "baked": {}}
        talks: dict[str, list[Turn]] = {name: [] for name in ways}
        for _ in range(args.turns):
            question = rng.choice(everyday()).question
            for name, talk in talks.items():
                answer = memory.chat(question, history=talk, **ways[name])
                talk += [Turn("user", question), Turn("assistant", answer)]
                held.setdefault(name, []).append(MARK in answer)
        for name, flags in held.items():
            print(f"{name:8}  " + "".join("█" if flag else "·" for flag in flags), f" {sum(flags)} of {len(flags)}")


if __name__ == "__main__":
    main()
