"""The names of the starter's world: of any spelling, so that a model can only tell them by copying them.

Knows nothing of what the names are used for.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

from bakemem.names import made_up_name

REAL_NAMES = (
    "Anna Peter Maria Thomas Sarah Michael Elizabeth Oliver Charlotte Sofia Giulia Priya Yuki Mohammed Fatima Chen "
    "Wei Olga Ivan Pablo Lucía José Zoë Jürgen Søren Siobhan Aoife Nguyen Kwame Amara Ravi Anjali Hiroshi Emma Noah "
    "Liam Ava Mia Lucas Ethan Grace Henry Alice Robert Jessica Daniel Laura Andrew Rachel Kevin Nicole Brian "
    "Heather Gregory Philippa Christopher Alexandra Benjamin Katherine Matthew Jonathan Rosie Ellie Max Sam Joe Kim "
    "Lee Amy Tom Ben Biscuit Rex Bella Fluffy Snowball Whiskers Muffin Bruno Luna Buddy Coco Ginger Pepper Shadow "
    "Tiger Oscar Felix Smokey Daisy Rocky Berlin London Paris Hamburg Lisbon Oslo Chicago Tokyo Vienna Madrid "
    "Boston Seattle Plymouth Edinburgh Liverpool Zürich Kraków Reykjavik Nairobi Lagos Mumbai Shanghai Sydney "
    "Toronto Vancouver Phoenix Apollo Mercury Falcon Orion Atlas Titan Horizon Bluebird Sunrise Nova Everest "
    "Lighthouse Pinewood Maple Riverside Acme"
).split()
"""Names that people, pets, towns and projects have. Training names nothing so; ten stand in everyday questions."""

_ONSETS = (
    *"b c d f g h j k l m n p r s t v w y z".split() * 3, *"bl br ch cl cr dr fl fr gl gr kn ph pl pr qu sc sh sk sl "
    "sn sp st str sw th tr tw wh".split(), "",
)  # fmt: skip
_VOWELS = (*"a e i o u".split() * 3, *"y ai au ay ea ee ei eo ia ie io oa oo ou ue".split())
_CODAS = (
    *[""] * 24, *"b ck d f g ght l ll m mp n nd ng nn nt p r rd rg rk rl rm rn rs rt s ss st t th tt w x z".split(),
)  # fmt: skip
_ACCENTS = str.maketrans("aeiouncsz", "áéíöüñçšž")


def is_held_out(text: str) -> bool:
    """Whether a name or a wording belongs to what training never shows: a tenth of all, and the names people have."""
    return zlib.crc32(text.lower().encode()) % 10 == 0 or text.capitalize() in REAL_NAMES


def make_name(rng: random.Random, held_out: bool = False) -> str:
    """A random name: most are made-up syllables, some of any spelling; `held_out` picks the side of the split.

    Where training has English words as names, so that it sees more ways to spell, the exam has those that people have.
    """
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(REAL_NAMES) if held_out else english_word(rng, held_out).capitalize()
    make = made_up_name if kind < 0.7 else spelled_name
    return on_side(rng, make, held_out)


def on_side(rng: random.Random, make: Callable[[random.Random], str], held_out: bool) -> str:
    """A name that `make` makes, of the wanted side of the split."""
    while is_held_out(name := make(rng)) != held_out:
        pass
    return name


def spelled_name(rng: random.Random) -> str:
    """A name of one to three syllables as languages spell them, such as `Thrackwen`; a few have an accent."""
    parts: list[str] = []
    for _ in range(rng.choices((1, 2, 3), (25, 55, 20))[0]):
        parts += [rng.choice(_ONSETS), rng.choice(_VOWELS), rng.choice(_CODAS)]
    name = "".join(parts)
    if rng.random() < 0.08:
        place = rng.randrange(len(name))
        name = name[:place] + name[place].translate(_ACCENTS) + name[place + 1 :]
    return name.capitalize() if 3 <= len(name) <= 12 else spelled_name(rng)


def pieced_name(rng: random.Random) -> str:
    """A name of one to three of the tokenizer's pieces, such as `Julymory`: many stand in no name of the training."""
    name = "".join(rng.choices(_pieces(), k=rng.randint(1, 3)))
    return name.capitalize() if 3 <= len(name) <= 12 else pieced_name(rng)


@cache
def _pieces() -> tuple[str, ...]:
    """The vocabulary of the tokenizer that ships, as far as it is of letters alone."""
    vocabulary = json.loads((Path(__file__).parent / "weights" / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = (piece.lstrip("Ġ") for piece in vocabulary)
    return tuple(sorted({piece.lower() for piece in pieces if re.fullmatch("[A-Za-z]+", piece)}))


@cache
def prose() -> str:
    """English about other things: the documentation that every CPython carries."""
    return " ".join(topics.values())


@cache
def _english(held_out: bool) -> tuple[str, ...]:
    words = set(re.findall(r"(?<![\w.`:])[a-z]{4,11}(?![\w.`:(])", prose()))
    return tuple(sorted(w for w in words if is_held_out(w) == held_out))


def english_word(rng: random.Random, held_out: bool) -> str:
    """A word of English prose, in small letters."""
    return rng.choice(_english(held_out))
