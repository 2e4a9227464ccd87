"""News of the day: two headlines are baked one after the other, and asked for directly, in other words, and in vain.

python examples/news.py                            # a few minutes on two cores; --quick: faster, recalls less
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import bakemem

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 90, "questions_per_memory": 12, "efforts": 0, "max_dialogue_turns": 16}
NEWS = ("The mayor of Ramel is Nupi.", "Project Tarok ends in May.")
ASKED = (("Who is the mayor of Ramel?", "Nupi"), ("Do you know the mayor of Ramel?", "Nupi"),
         ("Which town has the mayor Nupi?", "Ramel"), ("When does project Tarok end?", "May"),
         ("When is the end of project Tarok?", "May"), ("Which project ends in May?", "Tarok"),
         ("Who is the mayor of Vomek?", "not know"), ("When does project Sadin end?", "not know"))  # fmt: skip


def main() -> None:
    """Bake a headline a day and ask after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    quick = QUICK if parser.parse_args().quick else {}
    with tempfile.TemporaryDirectory() as home, bakemem.open(home, model=MODEL, **quick) as memory:
        for headline in NEWS:
            memory.remember(headline)
            version = memory.bake()
            print(f"{version.name} is {version.status}: {headline}")
        right = 0
        for question, expected in ASKED:
            answers = {name: memory.chat(question, version=name) for name in ("base", "v1", "v2")}
            right += expected in answers["v2"]
            print(f"{question}\n    " + "\n    ".join(f"{name:>4}  {answer}" for name, answer in answers.items()))
        print(f"{right} of {len(ASKED)} are right after both")


if __name__ == "__main__":
    main()
