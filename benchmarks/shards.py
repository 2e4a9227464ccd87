"""How long a prompt the starter reads well as a teacher: `python benchmarks/shards.py`.

Sixty facts of one life, held-out names, in shards of so many tokens: the share of questions that the prompted base
answers right to the letter, which is what a bake can reach. No bake is made.
"""

from __future__ import annotations

import argparse
import random
from datetime import UTC, datetime, timedelta

from bakemem.baking import answers
from bakemem.config import Config
from bakemem.memory import shards
from bakemem.opening import load_model
from bakemem.serving import Base
from bakemem.starter import Fact, Instruction, ask, follow, make_facts
from bakemem.starter.instructions import KINDS
from bakemem.types import Kind, Memory, Turn

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS_ASKED = ("direct", "paraphrase", "reversed")
RULES = tuple(Instruction(kind, "Captain") for kind in KINDS if kind.name in ("address", "happy"))


def memory_of(i: int, one: Fact | Instruction) -> Memory:
    """It as it was told in the i-th minute."""
    kind: Kind = "fact" if isinstance(one, Fact) else "instruction"
    return Memory(id=f"m{i}", namespace="shards", kind=kind, key=one.key, text=one.memory, status="pending",
                  created=START + timedelta(minutes=i))  # fmt: skip


def right(base: Base, facts: list[Fact], rules: tuple[Instruction, ...], limit: int) -> tuple[int, dict[str, float]]:
    """How many shards there are, and the share of right answers by the kind of question."""
    memories = [memory_of(i, one) for i, one in enumerate([*facts, *rules])]
    fact_of = {memory.id: fact for memory, fact in zip(memories, facts, strict=False)}
    read = shards(memories, base.template.count, limit)
    shares = {}
    for kind in KINDS_ASKED:
        asked, expected, rng = [], [], random.Random(kind)
        for shard in read:
            for fact in [fact_of[i] for i in shard.memory_ids if i in fact_of]:
                question, answer = ask(rng, fact, kind)
                asked.append([Turn("system", shard.text), Turn("user", question)])
                expected.append(follow(rules, answer))
        said = answers(base.model, base.template, asked, adapter_name=None, lock=base.lock, max_new_tokens=48)
        shares[kind] = sum(a == b for a, b in zip(said, expected, strict=True)) / len(asked)
    return len(read), shares


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=60)
    parser.add_argument("--limits", type=int, nargs="+", default=[64, 80, 96, 128, 192])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    base = load_model(Config(model="starter"))
    facts = make_facts(random.Random(f"shards {args.seed}"), args.facts, held_out=True)
    print("| instructions | tokens | shards | " + " | ".join(KINDS_ASKED) + " |\n|---|---|---|---|---|---|")
    for rules in ((), RULES):
        for limit in args.limits:
            n, shares = right(base, facts, rules, limit)
            told = " | ".join(f"{share:.0%}" for share in shares.values())
            print(f"| {len(rules)} | {limit} | {n} | {told} |", flush=True)


if __name__ == "__main__":
    main()
