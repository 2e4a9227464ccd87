"""Two tasks for lm-eval out of the starter's made-up world: a rule shown by examples, and facts to choose between.

    python -m benchmarks.science.tasks.made_up     # draws them anew: the same ones

`rules.prompt.txt` and `facts.prompt.txt` are the prompts to bake. Knows no model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
N_TRAIN, N_TEST, N_FACTS, N_CHOICES = 160, 100, 6, 4

Doc = dict[str, Any]


def rules(**_: object) -> dict[str, Any]:
    """The data of the task `made_up_rule`, as lm-eval wants it."""
    return _data("rules")


def facts(**_: object) -> dict[str, Any]:
    """The data of the task `made_up_facts`."""
    return _data("facts")


def _data(name: str) -> dict[str, Any]:
    from datasets import Dataset

    splits = {}
    for split in ("train", "test"):
        lines = (HERE / f"{name}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
        splits[split] = Dataset.from_list([json.loads(line) for line in lines])
    return splits


def draw_rule() -> tuple[str, list[Doc]]:
    """The first rule that is drawn for words enough: its prompt with examples, and words with what it makes of them."""
    from bakemem.starter import curriculum

    for seed in count():
        system, *turns = curriculum.few_shot(random.Random(f"rule:{seed}"), True, max_queries=400)
        docs = [{"word": asked.content.removesuffix(" ->"), "answer": answered.content}
                for asked, answered in zip(turns[::2], turns[1::2], strict=True)]  # fmt: skip
        if len(docs) >= N_TRAIN + N_TEST:
            break
    return system.content, docs


def draw_facts() -> tuple[str, list[Doc]]:
    """The memory prompt of some facts, and different questions about them, each with its right answer among others."""
    from bakemem.prompts import memory_prompt
    from bakemem.starter import make_facts

    rng = random.Random("facts")
    known = make_facts(rng, N_FACTS, held_out=True)
    docs: dict[str, Doc] = {}
    for doc in _questions(rng, known):
        docs.setdefault(doc["question"], doc)
        if len(docs) == N_TRAIN + N_TEST:
            break
    return memory_prompt([], [fact.memory for fact in known]), list(docs.values())


def _questions(rng: random.Random, known: list[Any]) -> Iterator[Doc]:
    from bakemem.starter import ask
    from bakemem.starter.talk import dress

    while True:
        fact = rng.choice(known)
        kind = rng.choice(("direct", "paraphrase"))
        question, answer = ask(rng, fact, kind)
        choices = {answer.text}
        while len(choices) < N_CHOICES:
            choices.add(ask(rng, replace(fact, value=fact.attribute.values(rng, True)), kind)[1].text)
        shown = sorted(choices)
        rng.shuffle(shown)
        yield {"question": dress(rng, question, True), "choices": shown, "right": shown.index(answer.text)}


def main() -> None:
    """Write the files beside this one."""
    for name, (prompt, docs) in (("rules", draw_rule()), ("facts", draw_facts())):
        (HERE / f"{name}.prompt.txt").write_text(prompt + "\n", encoding="utf-8")
        for split, some in (("train", docs[:N_TRAIN]), ("test", docs[N_TRAIN:][:N_TEST])):
            lines = [json.dumps(doc, ensure_ascii=False) + "\n" for doc in some]
            (HERE / f"{name}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
