"""How well the starter reads memories out of turns: `python benchmarks/extraction.py [--write]`.

Turns in names and wordings that its training never showed, and turns of no world of its own, through the same extractor
and checks as `observe`.
`--write` puts the figures into docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import random

from pages import write_block

from bakemem.baking import generate
from bakemem.config import Config
from bakemem.memory import ModelExtractor
from bakemem.opening import load_model
from bakemem.prompts import EXTRACT_SYSTEM
from bakemem.starter import curriculum
from bakemem.types import Draft, Turn

EVERYDAY = """\
Tell me about my dog. | Keep it. | Tell me everything. | Tell me all. | List all. | Let me think. | Never mind. |
Go on. | Thanks, that is all. | I do not understand. | That was not what I meant. | Could you say it again? |
Wait a second. | I had a long day at work. | I am going to the shops. | It was raining when I got up. |
My coffee is cold. | Stop it. | Make it shorter. | Read that to me. | I will be back later. | Not now. |
Try once more. | Show me the last one. | Maybe. | We could meet tomorrow. | I forgot what I wanted to say. |
Look at this. | That is funny. | Open the window. | You are right. | What do you think of it? | I need a break. |
Let us talk about something else. | I do not care. | Of course not. | Good. | Write it down for the others. |
The bus was late again. | I was in a hurry this morning. | Explain it to me. | Call them. | Say something nice. |
I saw a film last night. | It is too loud here. | I am almost done. | Nothing works today. | Count to ten. |
Tell him that I am late. | Give me a second one. | I do not remember. | Turn off the light. | Is that all? |
Help me with this. | The answer was wrong. | Start from the beginning. | I should sleep more. |
It smells like bread. | Keep your voice down. | Whatever.
""".split("|")
"""What people say, in words that the starter's world lacks: nothing of it is to be remembered."""


def turns(n: int, empty: bool, seed: int) -> list[tuple[Turn, list[Draft]]]:
    """`n` turns of a user with the memories in them; with `empty` those that hold none."""
    rng, found = random.Random(f"extraction:{seed}:{empty}"), list[tuple[Turn, list[Draft]]]()
    while len(found) < n:
        _, said, right = curriculum.extract(rng, held_out=True)
        drafts = [] if right.content == "none" else [Draft(**json.loads(line)) for line in right.content.split("\n")]
        if (not drafts) == empty:
            found.append((said, drafts))
    return found


def measure(n: int, empty: int, seed: int) -> dict[str, float]:
    """Precision and recall on turns with memories, and how many were made up from turns without any."""
    base = load_model(Config(model="starter"))
    told = [*turns(n, False, seed), *turns(empty, True, seed), *((Turn("user", text.strip()), []) for text in EVERYDAY)]
    asked = [[Turn("system", EXTRACT_SYSTEM), said] for said, _ in told]
    outputs = [base.template.decode(ids) for ids in generate(base.model, base.template, asked, max_new_tokens=256)]
    extractor = ModelExtractor(lambda conversations: [])
    found = [extractor.parse(output, said) for output, (said, _) in zip(outputs, told, strict=True)]
    hits = sum(len(set(f) & set(right)) for f, (_, right) in zip(found, told, strict=True))
    return {
        "precision": hits / max(1, sum(map(len, found[:n]))), "recall": hits / sum(len(right) for _, right in told),
        "from turns without any": float(sum(map(len, found[n : n + empty]))),
        "everyday": float(sum(map(len, found[n + empty :]))), "rejected": float(extractor.rejected.total()),
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=300, help="turns with memories")
    parser.add_argument("--empty", type=int, default=100, help="turns without any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write docs/memory.md")
    args = parser.parse_args()
    figures = measure(args.n, args.empty, args.seed)
    text = (
        f"Extraction by the starter, by `python benchmarks/extraction.py -n {args.n} --empty {args.empty} --write`: on "
        f"{args.n} unseen turns\nprecision {figures['precision']:.1%} (at least 98%), recall {figures['recall']:.1%} "
        f"(at least 95%), kind, key and text to the letter;\n{figures['from turns without any']:.0f} memories from "
        f"{args.empty} turns that hold none (at most 0),\nand {figures['everyday']:.0f} from {len(EVERYDAY)} everyday "
        f"turns of no world that it learned, such as “Keep it.”\nThe checks turned {figures['rejected']:.0f} proposals "
        "away."
    )
    print(text)
    if args.write:
        write_block("memory.md", "extraction", text)


if __name__ == "__main__":
    main()
