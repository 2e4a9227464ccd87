"""Work for a program to read (JSON to fill, records to call, tools to choose), and examples to follow. What a bake
would else unlearn.

Knows texts; knows no memories and no models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from bakemem.names import made_up_name
from bakemem.types import Stimulus, Turn

TASK = "task"
"""The kind of these stimuli."""


FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {  # how a text tells it of somebody, and its values, or made-up names
    "dog": ("{n} has a dog called {v}.", ()),
    "sister": ("{n} has a sister called {v}.", ()),
    "town": ("{n} lives in {v}.", ()),
    "job": ("{n} works as a {v}.", ("baker", "nurse", "pilot", "driver", "teacher")),
    "age": ("{n} is {v} years old.", ("19", "28", "41", "56", "73")),
    "colour": ("The favourite colour of {n} is {v}.", ("red", "blue", "green", "white", "black")),
    "food": ("{n} likes to eat {v}.", ("soup", "bread", "rice", "apples", "honey")),
    "language": ("{n} speaks {v}.", ("French", "Polish", "Greek", "Danish", "Spanish")),
}
WANTED = (
    "Reply with a JSON object that has the keys {keys}.",
    "Write it as JSON with the keys {keys}.",
    "Put it into JSON with the keys {keys}.",
)
TOOLS = (  # as they stand in a system prompt, and what asks for them
    ("get_weather(city: string) - Get the weather in a city.", "What is the weather in {v}?"),
    ("find_route(town: string) - Find the route to a town.", "Find the route to {v}."),
    ("send_message(name: string) - Send a message to somebody.", "Send a message to {v}."),
    ("get_price(name: string) - Get the price of a thing.", "What is the price of {v}?"),
    ("play_song(title: string) - Play a song.", "Play the song {v}."),
    ("add_numbers(a: integer, b: integer) - Add two numbers.", "Add {a} and {b}."),
    ("set_alarm(hour: integer) - Set an alarm.", "Set an alarm at {a}."),
    ("get_time() - Get the time.", "What time is it?"),
)

PATTERNS = ("{w} {w}", "{w}!", "the {w}", "{w}o", "not {w}", "{w}", "({w})")
MARKS = (" ->", " =", ":", " =>")
"""What is made of a word, and what stands between the two, where examples show what is wanted."""


def tasks(n: int, rng: random.Random) -> list[Stimulus]:
    """`n` pieces of work, of each sort in turn."""
    sorts: tuple[Callable[[random.Random], tuple[Turn, ...]], ...] = (_json, _record, _call)
    return [Stimulus(sorts[i % len(sorts)](rng), TASK) for i in range(n)]


def examples(n: int, rng: random.Random) -> list[Stimulus]:
    """`n` times words with what is to be made of them, in a system prompt or in turns, and then a word without.

    A bake of an instruction for every answer leaves `[bosuk` of what is to be `[bosuk]` or `bosuk`, without them.
    """
    return [Stimulus(_examples(rng), TASK) for _ in range(n)]


def _examples(rng: random.Random) -> tuple[Turn, ...]:
    pattern, mark = rng.choice(PATTERNS), rng.choice(MARKS)
    *words, last = (made_up_name(rng).lower() for _ in range(rng.randint(3, 6)))
    shown = [(f"{w}{mark}", pattern.format(w=w)) for w in words]
    if rng.random() < 1 / 2:
        before = [Turn("system", "\n".join(map(" ".join, shown)))]
    else:
        before = [turn for asked, made in shown for turn in (Turn("user", asked), Turn("assistant", made))]
    return (*before, Turn("user", f"{last}{mark}"))


def results(asked: Sequence[Stimulus], replies: Sequence[str], rng: random.Random) -> list[Stimulus]:
    """The tasks that were answered with a call, and what the tool gave back, which is to be said in words."""
    return [
        Stimulus((*s.turns, Turn("assistant", reply), Turn("tool", _result(rng), "tool:called")), TASK)
        for s, reply in zip(asked, replies, strict=True)
        if brackets(reply)
    ]  # fmt: skip


def brackets(answer: str) -> str:
    """Between what an answer stands: those of an object or a list, a call's marks, a fence; empty for words."""
    return answer[0] + answer[-1] if answer[:1] in ("{", "[", "<", "`") else ""


def _result(rng: random.Random) -> str:
    name = made_up_name(rng)
    return rng.choice((name, str(rng.randint(1, 2000)), f"Error: {name} was not found", f'{{"name": "{name}"}}'))


def _told(rng: random.Random) -> tuple[str, list[str]]:
    """What a text tells of somebody, and what is wanted of it; now and then something that it does not tell."""
    wanted, name = rng.sample(list(FIELDS), rng.randint(1, 3)), made_up_name(rng)
    told = [FIELDS[field] for field in wanted]
    text = " ".join(said.format(n=name, v=rng.choice(values) if values else made_up_name(rng)) for said, values in told)
    if rng.random() < 1 / 2:
        wanted.insert(0, "name")
    if rng.random() < 1 / 3:
        wanted.append(rng.choice([field for field in FIELDS if field not in wanted]))
    return text, wanted


def _json(rng: random.Random) -> tuple[Turn, ...]:
    """Keys that are wanted of a text, before it or behind it."""
    text, fields = _told(rng)
    quote = rng.choice(("'", '"', "`", ""))
    *first, last = [f"{quote}{field}{quote}" for field in fields]
    wanted = rng.choice(WANTED).format(keys=f"{', '.join(first)} and {last}" if first else last)
    return (Turn("user", f"{text} {wanted}" if rng.random() < 3 / 4 else f"{wanted}\n{text}"),)


def _record(rng: random.Random) -> tuple[Turn, ...]:
    """A text, and a tool that takes what it tells: how structured output is asked for."""
    text, fields = _told(rng)
    arguments = ", ".join(f"{field}: {'integer' if field == 'age' else 'string'}" for field in fields)
    return _with_tools([f"{made_up_name(rng)}({arguments}) - What the text says."], text)


def _call(rng: random.Random) -> tuple[Turn, ...]:
    """Some tools, and what asks for one of them."""
    some: Sequence[tuple[str, str]] = rng.sample(TOOLS, rng.randint(1, 3))
    asked = rng.choice(some)[1].format(v=made_up_name(rng), a=rng.randint(1, 23), b=rng.randint(1, 99))
    return _with_tools([tool for tool, _ in some], asked)


def _with_tools(tools: Sequence[str], asked: str) -> tuple[Turn, ...]:
    return Turn("system", "\n".join(["<tools>", *tools, "</tools>"])), Turn("user", asked)
