"""Tool calls and structured output of the starter through `BakedChatModel`: `python benchmarks/calls.py [--write]`.

The samples of the exam's rows (bakemem/starter/REPORT.md), with the tools given as tools and the fields as a schema;
as the model writes them freely, and held to their schemas. `--write` puts the table into docs/agents.md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from pages import write_block

import bakemem
from bakemem.agents.chat_model import BakedChatModel
from bakemem.starter import tool_talk
from bakemem.starter.curriculum import Sample
from bakemem.starter.tools import Parameter, Tool

LINE = re.compile(r"(?P<name>\S+?)\((?P<arguments>.*?)\)(?: - (?P<about>.*))?")
KINDS = {str: "string", bool: "boolean", int: "integer", float: "number"}


def tools_of(system: str) -> tuple[str, list[Tool]]:
    """What stands in the system prompt before its tools, and the tools."""
    before, _, listed = system.partition("<tools>\n")
    tools = []
    for line in listed.removesuffix("\n</tools>").split("\n"):
        found = LINE.fullmatch(line)
        assert found, line
        arguments = [a.split(": ") for a in found["arguments"].split(", ") if a]
        parameters = [Parameter(name.lstrip("?"), kind, not name.startswith("?")) for name, kind in arguments]
        tools.append(Tool(found["name"], found["about"] or "", tuple(parameters)))
        assert tools[-1].line == line
    return before.strip(), tools


def asked(sample: Sample) -> list[BaseMessage]:
    """The conversation up to the answer, without the tools."""
    kinds: dict[str, Callable[..., BaseMessage]] = {
        "system": SystemMessage, "user": HumanMessage, "assistant": AIMessage
    }  # fmt: skip
    texts = [(turn.role, tools_of(turn.content)[0] if "<tools>" in turn.content else turn.content)
             for turn in sample[:-1]]  # fmt: skip
    return [kinds[role](text) for role, text in texts if text]


def calls(model: BakedChatModel, samples: Sequence[Sample], choice: str) -> list[bool]:
    """Whether just the wanted calls were made, to the letter."""

    def bound(sample: Sample) -> Runnable[Any, AIMessage]:
        return model.bind_tools([tool.schema for tool in tools_of(sample[0].content)[1]], tool_choice=choice)

    def wanted(sample: Sample) -> list[dict[str, Any]]:
        return [json.loads(text) for text in re.findall(r"<tool_call>\n(.*)\n", sample[-1].content)]

    replies = [bound(sample).invoke(asked(sample)) for sample in samples]
    made = [[{"name": c["name"], "arguments": c["args"]} for c in reply.tool_calls] for reply in replies]
    return [m == wanted(sample) for m, sample in zip(made, samples, strict=True)]


def in_json(model: BakedChatModel, samples: Sequence[Sample]) -> list[bool]:
    """Whether the JSON is the wanted one."""
    right = []
    for sample in samples:
        wanted = json.loads(sample[-1].content)
        properties = {name: {"type": KINDS[type(value)]} for name, value in wanted.items()}
        schema = {"title": "Wanted", "type": "object", "properties": properties, "required": list(properties)}
        reply = model.with_structured_output(schema, method="json_mode", include_raw=True).invoke(asked(sample))
        right.append(reply["parsed"] == wanted)
    return right


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=500, help="samples a row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/agents.md")
    args = parser.parse_args()
    rows: list[tuple[str, Any, Callable[[BakedChatModel, Sequence[Sample]], list[bool]]]] = [
        ("call tools", tool_talk.tool_call, lambda model, samples: calls(model, samples, "auto")),
        ("structured output", tool_talk.structured, lambda model, samples: calls(model, samples, "any")),
        ("JSON mode", tool_talk.json_mode, in_json),
    ]
    lines = [f"Right to the letter, of {args.n} each (`python benchmarks/calls.py -n {args.n} --write`):", "",
             "| | written freely | held to the schema | goal |", "|---|---|---|---|"]  # fmt: skip
    with tempfile.TemporaryDirectory() as home, bakemem.open(home, model="starter") as memory:
        models = [BakedChatModel(memory=memory, temperature=0, strict=strict) for strict in (False, True)]
        for name, sample, judge in rows:
            rng = random.Random(f"evaluate:{name}:{args.seed}")
            samples = [sample(rng, True) for _ in range(args.n)]
            free, held = (sum(judge(model, samples)) / args.n for model in models)
            lines.append(f"| {name} | {free:.1%} | {held:.1%} | 95% |")
            print(lines[-1], flush=True)
    if args.write:
        write_block("agents.md", "calls", "\n".join(lines))


if __name__ == "__main__":
    main()
