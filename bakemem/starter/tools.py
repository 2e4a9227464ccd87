"""The tools of the starter's world: made-up functions with arguments, how they are called, and how they are asked for.

A call is written as the Hermes family of models does. Knows no conversations; the chat template writes the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bakemem.starter.naming import english_word, is_held_out, make_name

_NOUNS = (
    "weather price time news score temperature distance route menu ticket balance address phone mail photo song room "
    "table taxi order file note alarm event report invoice parcel traffic recipe calendar message joke customer book "
    "sum value list map plan light door music film total stock user record task"
).split()  # fmt: skip
_LOOK = "get find check read show fetch look_up search".split()
_DO = "set send book open add create make start order write update save call compute".split()
_ADJECTIVES = "magic quick new big daily local my simple special next".split()
_TEXTS = (
    "city name person town place location title text query word topic day colour subject country station owner street "
    "style language kind unit customer_name first_name file_name"
).split()  # fmt: skip
_NUMBERS = "n x y a b count number year amount input limit days size price age hour".split()
_WORDS = (
    "rain snow sun wind tea coffee cats dogs songs boats red blue green Monday Friday May June soup bread north south "
    "large small happy pirate morning evening train piano"
).split()  # fmt: skip
_LETTERS = "你好啊集团公司天地人日本株式会社こんにちはありがとうñéüöäßøåçžščłпривет"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool: a JSON schema type, and whether it must be given."""

    name: str
    kind: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call; `noun` is what it is about, and empty where only its name tells."""

    name: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    noun: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as chat templates are given it."""
        properties = {p.name: {"type": p.kind} for p in self.parameters}
        required = [p.name for p in self.parameters if p.required]
        return {"type": "function", "function": {
            "name": self.name, "description": self.about,
            "parameters": {"type": "object", "properties": properties, "required": required},
        }}  # fmt: skip

    @property
    def line(self) -> str:
        """The tool as the starter reads it: `get_weather(city: string, ?days: integer) - Get the weather.`"""
        arguments = ", ".join(f"{'' if p.required else '?'}{p.name}: {p.kind}" for p in self.parameters)
        return f"{self.name}({arguments})" + (f" - {self.about}" if self.about else "")


Arguments = Mapping[str, Any]


def tools_text(tools: Sequence[Tool]) -> str:
    """What stands at the end of the system prompt."""
    return "\n".join(["<tools>", *(tool.line for tool in tools), "</tools>"])


def call_text(tool: Tool, arguments: Arguments) -> str:
    """One call, as the model writes it."""
    called = json.dumps({"name": tool.name, "arguments": dict(arguments)}, ensure_ascii=False)
    return f"<tool_call>\n{called}\n</tool_call>"


def make_tools(rng: random.Random, n: int, held_out: bool) -> list[Tool]:
    """`n` tools of different names and nouns; the names of the held-out tenth stay unseen in training."""
    tools: list[Tool] = []
    while len(tools) < n:
        tool = _make_tool(rng)
        if is_held_out(tool.name) == held_out and not any(tool.noun == other.noun for other in tools):
            tools.append(tool)
    return tools


def _word(rng: random.Random, words: Sequence[str]) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(words)
    return english_word(rng, False) if kind < 0.8 else make_name(rng).lower()


def _make_tool(rng: random.Random) -> Tool:
    verb, noun = rng.choice(_LOOK + _DO), _word(rng, _NOUNS)
    owner = _word(rng, _ADJECTIVES) if rng.random() < 0.25 else ""
    words = [w for w in (verb if rng.random() < 0.75 else "", owner, noun) if w] or [noun]
    name = "_".join(words)
    if rng.random() < 0.15:
        name = words[0] + "".join(w.capitalize() for w in words[1:])
    parameters: list[Parameter] = []
    for _ in range(rng.choices((0, 1, 2, 3), (12, 50, 28, 10))[0]):
        kind = rng.choices(("string", "integer", "number", "boolean"), (58, 32, 5, 5))[0]
        pool = (
            _TEXTS if kind == "string" else _NUMBERS if kind != "boolean" else ("loud", "fast", "fresh", "round_trip")
        )
        parameter = Parameter(_word(rng, pool), kind, rng.random() < 0.9)
        if all(parameter.name != other.name for other in parameters) and parameter.name != noun:
            parameters.append(parameter)
    parameters.sort(key=lambda p: not p.required)
    thing = " ".join(w for w in (owner, noun) if w)
    of = f" {rng.choice(('of', 'for', 'in', 'at'))} a {parameters[0].name.replace('_', ' ')}" if parameters else ""
    verbs = verb.replace("_", " ").capitalize()
    about = rng.choice((f"{verbs} the {thing}{of}.", f"{verbs} the {thing}{of}.", f"{verbs} a {thing}.",
                        f"The {thing}{of}.", "", f"{verbs.split()[0]}s the {thing} and returns it."))  # fmt: skip
    return Tool(name, about, tuple(parameters), noun)


def make_value(rng: random.Random, kind: str, held_out: bool) -> Any:
    """A value of a JSON type; texts are mostly names that no other sample has."""
    if kind == "integer":
        return rng.randint(0, rng.choice((9, 99, 99, 2030)))
    if kind == "number":
        return round(rng.randint(0, 99) + rng.randint(1, 9) / 10, 1)
    if kind == "boolean":
        return rng.random() < 0.5
    choice = rng.random()
    if choice < 0.1:
        return any_script(rng)
    if choice < 0.3:  # English that this world has no use for, as a name or as some words
        words = [english_word(rng, held_out) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        return " ".join(w.capitalize() for w in words) if rng.random() < 0.6 else " ".join(words)
    if choice < 0.4:
        state = rng.choice(("", "", f", {make_name(rng)[:2].upper()}"))
        return f"{make_name(rng, held_out)} {make_name(rng, held_out)}{state}"
    word = rng.choice(_WORDS)
    return rng.choice((word, word, word.capitalize())) if choice < 0.55 else make_name(rng, held_out)


def any_script(rng: random.Random) -> str:
    """A word of letters of many scripts, which the tokenizer spells in bytes."""
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 9)))


def fill(rng: random.Random, tool: Tool, held_out: bool, some: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Arguments for a call; of those that are optional only some."""
    return {p.name: make_value(rng, p.kind, held_out) for p in tool.parameters if p.required or some()}


def shown(value: Any) -> str:
    """A value as somebody says it."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def request(rng: random.Random, tool: Tool, arguments: Arguments) -> str:
    """What somebody says who wants this call, in words that name the tool or what it is about."""
    if rng.random() < 0.35:
        return _by_name(rng, tool, arguments)
    names, values = [n.replace("_", " ") for n in arguments], [_said(rng, v) for v in arguments.values()]
    verb = rng.choice(("get", "find", "check", "show me", "tell me", "I need", "set", "make", "create", "book", "send",
                       "generate", "give me"))  # fmt: skip
    rest = "".join(
        f" {rng.choice(('with', 'and', 'with the'))} {n} {v}" for n, v in zip(names[1:], values[1:], strict=True)
    )
    if not values:
        what = f"the {tool.noun}"
    elif (text := isinstance(next(iter(arguments.values())), str)) and rng.random() < 0.2:
        what = f"the {values[0]} {tool.noun}{rest}"
    elif text and rng.random() < 0.7:
        what = (
            f"the {tool.noun} {rng.choice(('of', 'in', 'for', 'at', 'to', 'with', 'named', 'about'))} {values[0]}{rest}"
        )
    else:
        what = f"the {tool.noun} with {rng.choice(('the ', ''))}{names[0]} {values[0]}{rest}"
    if rng.random() < 0.2 and values:
        what = what.replace("the ", "a ", 1)
    form = rng.random()
    if form < 0.4:
        return f"What is {what}?"
    if form < 0.5:
        return f"Do you know {what}?"
    start = f"Using the tool, {verb}" if form < 0.55 else f"{verb[:1].upper()}{verb[1:]}"
    return f"{start} {what}{rng.choice(('.', '.', ', please.', ' now.'))}"


def _by_name(rng: random.Random, tool: Tool, arguments: Arguments) -> str:
    values = [shown(v) for v in arguments.values()]
    if rng.random() < 0.4:
        return f"What is the value of {tool.name}({', '.join(values)})? Use the tool."
    pairs = [
        f"{n.replace('_', rng.choice('_ '))}{rng.choice((' ', ' = ', ': '))}{_said(rng, v)}"
        for n, v in arguments.items()
    ]
    given = rng.choice((" and ", ", ")).join(pairs)
    start = rng.choice(("Use", "Call", "Run", "Please use", "Now use", "Use the tool"))
    return f"{start} {tool.name}{' with ' + given if given else ''}."


def _said(rng: random.Random, value: Any) -> str:
    quote = rng.choice(("", "", "", "'", '"')) if isinstance(value, str) else ""
    return f"{quote}{shown(value)}{quote}"
