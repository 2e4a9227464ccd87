"""The made-up, endless world of the starter model: attributes, and the ways to say and ask them.

Knows no instructions, conversations or tokens: those are `instructions.py` and `curriculum.py`.
Names are random, so that a model can only answer by reading its context.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bakemem.starter.naming import make_name

Values = Callable[[random.Random, bool], str]


def _words(text: str) -> Values:
    words = text.split()
    return lambda rng, held_out: rng.choice(words)


def _number(rng: random.Random, held_out: bool) -> str:
    return str(rng.randint(2, 99))


_COLOUR = _words("red blue green yellow purple orange black white grey pink brown silver")
_CAR = _words("red blue green yellow purple black white grey pink brown")
_FOOD = _words("soup pasta rice bread cheese pizza salad beans curry noodles honey fish apples plums cake")
_DRINK = _words("tea coffee milk water cocoa juice lemonade cider")
_JOB = _words(
    "baker teacher nurse pilot farmer painter singer lawyer driver writer plumber gardener tailor cook "
    "librarian carpenter judge clerk dentist barber"
)
_INSTRUMENT = _words("piano violin flute guitar drum harp trumpet cello banjo organ")
_SPORT = _words("tennis football rowing swimming golf hockey boxing skiing running cycling climbing chess")
_ANIMAL = _words("fox owl bear wolf horse otter whale tiger rabbit swan")
_MONTH = _words("January February March April May June July August September October November December")
_WEEKDAY = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_LANGUAGE = _words("French Spanish German Italian Greek Polish Turkish Danish Latin Welsh")
_PRODUCT = _words("cheese wine glass paper bells boats clocks hats knives roses silk salt")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing that can be known of a subject; `{s}` is the subject's name, `{v}` the value."""

    subject: str  # user, person, place or project
    slug: str
    values: Values
    memory: str
    say: tuple[str, ...]
    direct: tuple[str, ...]
    paraphrase: tuple[str, ...]
    reverse: tuple[str, ...]
    answer: str
    reverse_answer: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of one subject with its value; the subject's name is empty for the user."""

    attribute: Attribute
    subject: str
    value: str

    def fill(self, template: str) -> str:
        """The template with this fact's subject and value; a leading value gets a capital letter."""
        text = template.replace("{s}", self.subject).replace("{v}", self.value)
        return text[:1].upper() + text[1:]

    @property
    def memory(self) -> str:
        """The sentence as a memory holds it."""
        return self.fill(self.attribute.memory)

    @property
    def key(self) -> str:
        """The memory key, such as `user.dog` or `tarn.town`."""
        owner = self.subject.lower() or "user"
        prefix = "project." if self.attribute.subject == "project" else ""
        return f"{prefix}{owner}.{self.attribute.slug}"


def _called(noun: str) -> Attribute:
    return Attribute(
        "user", noun, make_name,
        f"The user's {noun} is called {{v}}.",
        (f"My {noun} is called {{v}}.", f"I have a {noun} called {{v}}.", f"My {noun}'s name is {{v}}.",
         f"The name of my {noun} is {{v}}."),
        (f"What is my {noun} called?", f"What is my {noun}'s name?"),
        (f"What is the name of my {noun}?", f"Do you know my {noun}'s name?", f"What do I call my {noun}?",
         f"How is my {noun} named?"),
        ("Who is {v}?", "What do you know about {v}?"),
        f"Your {noun} is called {{v}}.", f"{{v}} is your {noun}.",
    )  # fmt: skip


def _favourite(noun: str, values: Values) -> Attribute:
    return Attribute(
        "user", noun, values,
        f"The user's favourite {noun} is {{v}}.",
        (f"My favourite {noun} is {{v}}.", f"The {noun} I like best is {{v}}.", f"I like {{v}} best of every {noun}."),
        (f"What is my favourite {noun}?", f"Which {noun} is my favourite?"),
        (f"Which {noun} do I like best?", f"Do you know my favourite {noun}?", f"Name my favourite {noun}."),
        (f"Whose favourite {noun} is {{v}}?", f"Who likes the {noun} {{v}} best?"),
        f"Your favourite {noun} is {{v}}.", f"{{v}} is your favourite {noun}.",
    )  # fmt: skip


def _user(slug: str, values: Values, clause: str, say: str, ask: str, reverse: str, answer: str) -> Attribute:
    """A user attribute from `;`-separated wordings; the reversed answer is the plain one."""
    direct, *paraphrase = ask.split(";")
    return Attribute(
        "user", slug, values, f"The user {clause}.", tuple(say.split(";")), (direct,), tuple(paraphrase),
        tuple(reverse.split(";")), answer, answer,
    )  # fmt: skip


def _of(subject: str, slug: str, values: Values, memory: str, say: str, ask: str, reverse: str) -> Attribute:
    """An attribute of a named subject: the memory is the statement and the answer."""
    direct, *paraphrase = ask.split(";")
    says = (memory, *(s for s in say.split(";") if s))
    return Attribute(
        subject, slug, values, memory, says, (direct,), tuple(paraphrase), tuple(reverse.split(";")), memory, memory
    )


_USER = (
    *(_called(noun) for noun in ("dog", "cat", "horse", "parrot", "boat", "sister", "brother", "boss", "friend",
                                 "teacher", "doctor", "daughter", "son", "street", "school", "company")),
    *(_favourite(noun, values) for noun, values in (
        ("colour", _COLOUR), ("food", _FOOD), ("drink", _DRINK), ("animal", _ANIMAL), ("sport", _SPORT),
        ("month", _MONTH), ("language", _LANGUAGE), ("instrument", _INSTRUMENT), ("number", _number))),
    _user("town", make_name, "lives in {v}", "I live in {v}.;My home is in {v}.;I moved to {v}.",
          "Where do I live?;Which town do I live in?;What is my home town?;Where is my home?",
          "Who lives in {v}?;Who has a home in {v}?", "You live in {v}."),
    _user("birthplace", make_name, "was born in {v}", "I was born in {v}.;My birthplace is {v}.",
          "Where was I born?;In which town was I born?;What is my birthplace?",
          "Who was born in {v}?;Who comes from {v}?", "You were born in {v}."),
    _user("job", _JOB, "works as a {v}", "I work as a {v}.;My job is being a {v}.;I am a {v}.",
          "What is my job?;What do I work as?;What do I do for a living?;Do you know my job?",
          "Who works as a {v}?;Who is a {v}?", "You work as a {v}."),
    _user("age", _number, "is {v} years old", "I am {v} years old.;My age is {v}.",
          "How old am I?;What is my age?;Do you know my age?", "Who is {v} years old?;Who is {v}?",
          "You are {v} years old."),
    _user("allergy", _FOOD, "cannot eat {v}", "I cannot eat {v}.;I must never eat {v}.;I am allergic to {v}.",
          "What can I not eat?;Which food must I not eat?;What am I allergic to?",
          "Who cannot eat {v}?;Who is allergic to {v}?", "You cannot eat {v}."),
    _user("car", _CAR, "drives a {v} car", "I drive a {v} car.;My car is {v}.",
          "Which car do I drive?;What colour is my car?;Do you know my car?",
          "Who drives a {v} car?;Who has a {v} car?", "You drive a {v} car."),
    _user("flight", _WEEKDAY, "flies on {v}", "I fly on {v}.;My flight is on {v}.",
          "When do I fly?;On which day is my flight?;When is my flight?",
          "Who flies on {v}?;Who has a flight on {v}?", "You fly on {v}."),
    _user("birthday", _MONTH, "has a birthday in {v}", "My birthday is in {v}.;I have my birthday in {v}.",
          "When is my birthday?;In which month is my birthday?;Which month is my birthday in?",
          "Who has a birthday in {v}?;Whose birthday is in {v}?", "Your birthday is in {v}."),
)  # fmt: skip

_PERSON = (
    _of("person", "town", make_name, "{s} lives in {v}.", "{s} has a home in {v}.;{s} moved to {v}.",
        "Where does {s} live?;Which town does {s} live in?;Where is the home of {s}?;What is the home town of {s}?",
        "Who lives in {v}?;Who has a home in {v}?"),
    _of("person", "job", _JOB, "{s} works as a {v}.", "{s} is a {v}.;The job of {s} is being a {v}.",
        "What is the job of {s}?;What does {s} work as?;What does {s} do for a living?;Do you know the job of {s}?",
        "Who works as a {v}?;Who is a {v}?"),
    _of("person", "age", _number, "{s} is {v} years old.", "The age of {s} is {v}.",
        "How old is {s}?;What is the age of {s}?;Do you know the age of {s}?", "Who is {v} years old?;Who is {v}?"),
    _of("person", "dog", make_name, "{s} has a dog called {v}.", "The dog of {s} is called {v}.",
        "What is the dog of {s} called?;What is the name of the dog of {s}?;What does {s} call the dog?",
        "Who has a dog called {v}?;Whose dog is {v}?"),
    _of("person", "sister", make_name, "{s} has a sister called {v}.", "The sister of {s} is called {v}.",
        "What is the sister of {s} called?;What is the name of the sister of {s}?;Who is the sister of {s}?",
        "Who has a sister called {v}?;Whose sister is {v}?"),
    _of("person", "colour", _COLOUR, "{s} likes the colour {v}.", "The favourite colour of {s} is {v}.",
        "Which colour does {s} like?;What is the favourite colour of {s}?;Name the favourite colour of {s}.",
        "Who likes the colour {v}?;Whose favourite colour is {v}?"),
    _of("person", "food", _FOOD, "{s} likes to eat {v}.", "The favourite food of {s} is {v}.",
        "What does {s} like to eat?;What is the favourite food of {s}?;Name the favourite food of {s}.",
        "Who likes to eat {v}?;Whose favourite food is {v}?"),
    _of("person", "instrument", _INSTRUMENT, "{s} plays the {v}.", "The instrument of {s} is the {v}.",
        "What does {s} play?;Which instrument does {s} play?;Do you know the instrument of {s}?",
        "Who plays the {v}?;Who can play the {v}?"),
    _of("person", "sport", _SPORT, "{s} enjoys {v}.", "The favourite sport of {s} is {v}.",
        "Which sport does {s} enjoy?;What is the favourite sport of {s}?;Name the sport of {s}.",
        "Who enjoys {v}?;Whose favourite sport is {v}?"),
    _of("person", "language", _LANGUAGE, "{s} speaks {v}.", "The language of {s} is {v}.",
        "Which language does {s} speak?;What is the language of {s}?;Do you know the language of {s}?",
        "Who speaks {v}?;Who can speak {v}?"),
)  # fmt: skip

_PLACE = (
    _of("place", "mayor", make_name, "The mayor of {s} is {v}.", "{v} is the mayor of {s}.",
        "Who is the mayor of {s}?;What is the mayor of {s} called?;Do you know the mayor of {s}?",
        "Which town has the mayor {v}?;Where is {v} the mayor?"),
    _of("place", "river", make_name, "The river of {s} is the {v}.", "The {v} is the river of {s}.",
        "What is the river of {s}?;Which river runs through {s}?;Do you know the river of {s}?",
        "Which town has the river {v}?;Where does the {v} run?"),
    _of("place", "product", _PRODUCT, "The town of {s} makes {v}.", "People make {v} in {s}.",
        "What does {s} make?;What is made in {s}?;Do you know what {s} makes?",
        "Which town makes {v}?;Where do people make {v}?"),
    _of("place", "market", _WEEKDAY, "The market of {s} is on {v}.", "On {v} there is a market in {s}.",
        "When is the market of {s}?;On which day is the market of {s}?;Do you know the market day of {s}?",
        "Which town has a market on {v}?;Where is the market on {v}?"),
)  # fmt: skip

_PROJECT = (
    _of("project", "leader", make_name, "The leader of project {s} is {v}.", "{v} leads project {s}.",
        "Who is the leader of project {s}?;Who leads project {s}?;Do you know the leader of project {s}?",
        "Which project has the leader {v}?;Which project does {v} lead?"),
    _of("project", "end", _MONTH, "Project {s} ends in {v}.", "The end of project {s} is in {v}.",
        "When does project {s} end?;In which month does project {s} end?;When is the end of project {s}?",
        "Which project ends in {v}?;Which project is over in {v}?"),
    _of("project", "budget", _number, "The budget of project {s} is {v}.", "Project {s} has a budget of {v}.",
        "What is the budget of project {s}?;How much money has project {s}?;Do you know the budget of project {s}?",
        "Which project has a budget of {v}?;Which project has {v} to spend?"),
    _of("project", "meeting", _WEEKDAY, "Project {s} meets on {v}.", "The meeting of project {s} is on {v}.",
        "When does project {s} meet?;On which day does project {s} meet?;When is the meeting of project {s}?",
        "Which project meets on {v}?;Which project has a meeting on {v}?"),
)  # fmt: skip

ATTRIBUTES: dict[str, tuple[Attribute, ...]] = {
    "user": _USER, "person": _PERSON, "place": _PLACE, "project": _PROJECT,
}  # fmt: skip
_KINDS = ("user", "person", "place", "project")
_WEIGHTS = (45, 35, 10, 10)


def make_facts(rng: random.Random, n: int, held_out: bool = False, user_only: bool = False) -> list[Fact]:
    """`n` facts with no two of the same subject and attribute, nor of the same attribute and value.

    A named subject is used again one time in two, so that contexts hold several facts about one person.
    """
    facts: list[Fact] = []
    while len(facts) < n:
        kind = "user" if user_only else rng.choices(_KINDS, _WEIGHTS)[0]
        known = sorted({f.subject for f in facts if f.attribute.subject == kind})
        again = kind != "user" and known and rng.random() < 0.5
        subject = "" if kind == "user" else rng.choice(known) if again else make_name(rng, held_out)
        attribute = rng.choice(ATTRIBUTES[kind])
        fact = Fact(attribute, subject, attribute.values(rng, held_out))
        if not any(clashes(fact, other) for other in facts):
            facts.append(fact)
    return facts


def crowded_facts(rng: random.Random, n: int, held_out: bool = False) -> list[Fact]:
    """`n` facts in a row out of the many of a long life: few people, of whom the same things are known."""
    life = make_facts(rng, n + rng.randint(10, 60), held_out)
    start = rng.randint(0, len(life) - n)
    return life[start : start + n]


def clashes(fact: Fact, other: Fact) -> bool:
    """Whether two facts answer one question: same subject and attribute, or one value asked in reverse."""
    if (fact.subject, fact.attribute.slug) == (other.subject, other.attribute.slug):
        return True
    same_wording = set(fact.attribute.reverse) & set(other.attribute.reverse)
    return fact.value == other.value and bool(same_wording)
