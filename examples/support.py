"""A support agent with ten customers in one home: each has a memory of its own, and nobody is given another's.

pip install langchain
python examples/support.py                         # --bakes 2: bakes for two of them, some minutes each on two cores
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent

from bakemem.agents.chat_model import BakedChatModel
from bakemem.agents.middleware import BakedMemoryMiddleware
from bakemem.agents.namespaces import Namespaces

MODEL = "starter"  # the one line to change: a folder, or the hub id of a causal language model
QUICK: dict[str, Any] = {"steps": 90, "questions_per_memory": 12, "efforts": 0, "max_dialogue_turns": 16}
TOWNS = {"alma": "Ramel", "bero": "Vomek", "cadi": "Kadol", "demi": "Sodak", "eno": "Pelo", "fira": "Tulen",
         "gubo": "Nivar", "hano": "Mosit", "ilo": "Dakir", "juna": "Lobas"}  # fmt: skip


@dataclass
class Customer:
    """Whose run it is: the field `namespace` picks the memory."""

    namespace: str


def main() -> None:
    """Ten customers say where they live; some are baked; each asks where that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bakes", type=int, default=2, help="customers whose memory is baked")
    parser.add_argument("--quick", action="store_true", help="smaller bakes, which recall less")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        Namespaces(home, model=MODEL, **(QUICK if args.quick else {})) as memories,
    ):
        agent = create_agent(
            BakedChatModel(memory=memories("default"), temperature=0.0), system_prompt="You work for Zaro.",
            middleware=[BakedMemoryMiddleware(memories)], context_schema=Customer,
        )  # fmt: skip

        def say(name: str, text: str) -> str:
            state = agent.invoke({"messages": [{"role": "user", "content": text}]}, context=Customer(name))
            return str(state["messages"][-1].text)

        for name, town in TOWNS.items():
            say(name, f"I live in {town}.")
        for name in list(TOWNS)[: args.bakes]:
            memories(name).flush()
            version = memories(name).bake()
            print(f"{name}: {version.name} is {version.status}")
        right = leaked = 0
        for name, town in TOWNS.items():
            memories(name).flush()
            answer = say(name, "Where do I live?")
            right += town in answer
            leaked += any(other in answer for other in TOWNS.values() if other != town)
            print(f"{name:5} {memories(name).live or 'base':>4}  {answer}")
        print(f"{right} of {len(TOWNS)} know where they live, {leaked} were told of another")


if __name__ == "__main__":
    main()
