"""Conversations with tools, and structured output: which call or which JSON is the one right answer.

Knows the tools' wordings; knows no mixtures or tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from bakemem.starter.instructions import Answer, follow, make_instructions
from bakemem.starter.naming import make_name
from bakemem.starter.talk import Talk, statement
from bakemem.starter.tools import (
    Arguments,
    Parameter,
    Tool,
    call_text,
    fill,
    make_tools,
    make_value,
    request,
    shown,
    tools_text,
)
from bakemem.starter.world import ATTRIBUTES, Fact, make_facts
from bakemem.types import Turn

FAILED = Answer("That did not work.", "Failed.")
Call = tuple[Tool, Arguments]


def result_answer(results: Sequence[str]) -> Answer:
    """What is said of what tools gave back."""
    if any(result.lower().startswith("error") for result in results):
        return FAILED
    if len(results) == 1:
        return Answer(f"The answer is {results[0]}.", f"{results[0]}.")
    listed = f"{', '.join(results[:-1])} and {results[-1]}"
    return Answer(f"The answers are {listed}.", f"{listed}.")


class ToolTalk:
    """A conversation in the making in which tools may be called; instructions hold for what is said in words."""

    def __init__(self, rng: random.Random, held_out: bool, n_facts: int, n_rules: int, n_tools: int) -> None:
        self.rng, self.held_out = rng, held_out
        self.talk = Talk(rng, held_out)
        self.talk.system(make_facts(rng, n_facts, held_out), make_instructions(rng, n_rules, held_out))
        self.tools = make_tools(rng, n_tools, held_out)
        self.turns = with_tools(self.talk.turns, self.tools)
        self.talk.turns = self.turns

    def call(self) -> None:
        """Something is asked that a tool can tell, or two things that two calls can."""
        rng = self.rng
        tool = rng.choice(self.tools)
        calls: list[Call] = [(tool, self._arguments(tool))]
        said = request(rng, *calls[0])
        if rng.random() < 0.2:
            calls.append(self._another(tool))
            again = request(rng, *calls[1])
            said = f"{said} And {again[:1].lower()}{again[1:]}"
        elif (fact := self._known_name(tool)) is not None:
            name, value = fact
            calls = [(tool, {name: value.value})]
            said = request(rng, tool, {name: f"my {value.attribute.slug}"}).replace("'", "").replace('"', "")
        self.turns += [Turn("user", said), Turn("assistant", "\n".join(call_text(*call) for call in calls))]
        self._results(len(calls))

    def _arguments(self, tool: Tool) -> dict[str, Any]:
        return fill(self.rng, tool, self.held_out, lambda: self.rng.random() < 0.5)

    def _another(self, tool: Tool) -> Call:
        other = self.rng.choice([tool, *self.tools])
        return other, self._arguments(other)

    def _known_name(self, tool: Tool) -> tuple[str, Fact] | None:
        """A fact of the user's whose value a tool of one text argument can be given: `the weather in my town`."""
        texts = [p for p in tool.parameters if p.kind == "string"]
        known = [f for f in self.talk.facts if f.attribute.subject == "user" and f.attribute.values is make_name]
        if len(tool.parameters) == 1 and texts and known and self.rng.random() < 0.5:
            return texts[0].name, self.rng.choice(known)
        return None

    def _results(self, n: int) -> None:
        results = [_result(self.rng, self.held_out) for _ in range(n)]
        self.turns += [Turn("tool", result) for result in results]
        self.turns.append(Turn("assistant", follow(self.talk.instructions, result_answer(results))))

    def other(self) -> None:
        """A turn that no tool is needed for."""
        step = self.rng.random()
        if step < 0.45 and self.talk.facts:
            self.talk.recall()
        elif step < 0.7:
            self.talk.abstain()
        elif step < 0.8:
            self.talk.tell()
        elif step < 0.93:
            self.talk.general()
        else:
            self.talk.strange()


def with_tools(turns: Sequence[Turn], tools: Sequence[Tool]) -> list[Turn]:
    """The turns with the tools at the end of the system prompt, as the chat template puts them there."""
    system, rest = (turns[:1], turns[1:]) if turns and turns[0].role == "system" else ((), turns)
    text = "\n\n".join([*(turn.content for turn in system), tools_text(tools)])
    return [Turn("system", text), *rest]


def _result(rng: random.Random, held_out: bool) -> str:
    choice = rng.random()
    if choice < 0.06:
        return f"Error: {make_name(rng, held_out).lower()} was not found"
    if choice < 0.2:
        pairs = {make_name(rng).lower(): make_value(rng, rng.choice(("string", "integer")), held_out)}
        return json.dumps({**pairs, "result": 3} if rng.random() < 0.1 else pairs, ensure_ascii=False)
    if choice < 0.3:
        return f"{make_name(rng, held_out)} is {rng.choice(('open', 'closed', 'sunny', 'late', 'ready'))}"
    return shown(make_value(rng, rng.choice(("string", "string", "integer", "number")), held_out))


def tool_conversation(rng: random.Random, held_out: bool, max_turns: int = 4) -> list[Turn]:
    """Some turns of which most want a tool, beside facts and an instruction."""
    made = ToolTalk(rng, held_out, rng.choice((0, 0, rng.randint(1, 6))), rng.choices((0, 1), (75, 25))[0],
                    rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0])  # fmt: skip
    for _ in range(rng.randint(1, max_turns)):
        (made.call if rng.random() < 0.65 else made.other)()
    return made.turns


def tool_call(rng: random.Random, held_out: bool) -> list[Turn]:
    """One request, and the call or the calls that it wants."""
    made = ToolTalk(rng, held_out, rng.choice((0, rng.randint(1, 6))), 0, rng.randint(1, 4))
    made.call()
    return made.turns[: 1 + next(i for i, turn in enumerate(made.turns) if turn.role == "assistant")]


def tool_result(rng: random.Random, held_out: bool) -> list[Turn]:
    """What tools gave back, said in words."""
    made = ToolTalk(rng, held_out, rng.choice((0, rng.randint(1, 6))), rng.choice((0, 1)), rng.randint(1, 4))
    made.call()
    return made.turns


def no_call(rng: random.Random, held_out: bool) -> list[Turn]:
    """A turn that no tool is needed for, beside tools."""
    made = ToolTalk(rng, held_out, rng.randint(1, 6), 0, rng.randint(1, 4))
    made.other()
    return made.turns


# ---- structured output


def record(rng: random.Random, held_out: bool) -> tuple[str, list[Parameter], dict[str, Any]]:
    """A text, the fields that are to be read out of it, and their values; what it does not say is `unknown` or 0."""
    if rng.random() < 0.4:
        text, values = _about_somebody(rng, held_out)
        fields = [Parameter(n, "integer" if isinstance(v, int) else "string") for n, v in values.items()]
    else:
        [tool] = make_tools(rng, 1, held_out)
        fields = list(tool.parameters) or [Parameter("name", "string")]
        values = {p.name: make_value(rng, p.kind, held_out) for p in fields}
        text = _listed(rng, values)
    if rng.random() < 0.3:
        extra = Parameter(rng.choice(("setup", "punchline", "reason", "note", make_name(rng).lower())), "string",
                          rng.random() < 0.7)  # fmt: skip
        if extra.name not in values:
            fields.append(extra)
            values |= {extra.name: "unknown"} if extra.required else {}
    if rng.random() < 0.1:
        topic = rng.choice(("cats", "dogs", "boats", make_name(rng, held_out)))
        fields = [p for p in fields if p.kind in ("string", "integer")] or [Parameter("name", "string")]
        values = {p.name: "unknown" if p.kind == "string" else 0 for p in fields if p.required}
        text = f"{rng.choice(('Tell me a joke', 'Give me a story', 'Write a song'))} about {topic}."
    return text, fields, values


def _about_somebody(rng: random.Random, held_out: bool) -> tuple[str, dict[str, Any]]:
    name = make_name(rng, held_out)
    attributes = rng.sample(ATTRIBUTES[rng.choice(("person", "place", "project"))], rng.randint(1, 3))
    facts = [Fact(a, name, a.values(rng, held_out)) for a in attributes]
    values: dict[str, Any] = {"name": name} if rng.random() < 0.7 else {}
    values |= {f.attribute.slug: int(f.value) if f.value.isdigit() else f.value for f in facts}
    return " ".join(statement(rng, f) for f in facts), values


def _listed(rng: random.Random, values: Arguments) -> str:
    said = {n.replace("_", " "): shown(v) for n, v in values.items()}
    form = rng.choice(("{n}: {v}", "the {n} is {v}", "{n} = {v}", "its {n} is {v}"))
    parts = [form.replace("{n}", n).replace("{v}", v) for n, v in said.items()]
    text = rng.choice((", ", " and ", "; ")).join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def structured(rng: random.Random, held_out: bool) -> list[Turn]:
    """A text whose fields a tool takes: the one call that holds them."""
    text, fields, values = record(rng, held_out)
    name = rng.choice(("Person", "Record", "Joke", "Answer", "Event", make_name(rng, held_out)))
    ordered = sorted(fields, key=lambda p: not p.required)
    tool = Tool(
        name, rng.choice((f"A {name.lower()}.", f"{name} to tell the user.", "What the text says.")), tuple(ordered)
    )
    values = {p.name: values[p.name] for p in ordered if p.name in values}
    return with_tools([Turn("user", text), Turn("assistant", call_text(tool, values))], [tool])


def json_mode(rng: random.Random, held_out: bool) -> list[Turn]:
    """A text and the keys that are wanted of it: JSON and nothing else."""
    text, fields, values = record(rng, held_out)
    if not (fields := [p for p in fields if p.required]):
        return json_mode(rng, held_out)
    quote = rng.choice(("'", "`", '"', ""))
    keys = [f"{quote}{p.name}{quote}" for p in fields]
    listed = f"{', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else keys[0]
    want = rng.choice((
        f"Return the result as a JSON with {listed} keys. Return nothing other than JSON.",
        f"Answer in JSON with the keys {listed}.", f"Give me JSON with the keys {listed}.",
        f"Return the result as JSON with {listed}.",
    ))  # fmt: skip
    answer = json.dumps({p.name: values[p.name] for p in fields}, ensure_ascii=False)
    system = [Turn("system", "Answer in JSON.")] if rng.random() < 0.2 else []
    asked = f"{text} {want}" if rng.random() < 0.85 else f"{want}\n{text}"
    return [*system, Turn("user", asked), Turn("assistant", answer)]
