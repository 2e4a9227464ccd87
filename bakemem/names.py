"""Made-up names: random syllables that no model has seen, for decoys and for the starter's world.

Knows nothing of what the names are used for.
"""

from __future__ import annotations

import random

CONSONANTS = "bdfghklmnprstvz"
VOWELS = "aeiou"
FINALS = "klmnrs"


def made_up_name(rng: random.Random) -> str:
    """A name of two or three syllables, such as `Bosuk`."""
    n_syllables = 2 if rng.random() < 0.6 else 3
    name = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(n_syllables))
    if rng.random() < 0.4:
        name += rng.choice(FINALS)
    return name.capitalize()


def near_name(rng: random.Random, name: str) -> str:
    """The same name with one letter changed: the nearest miss there is."""
    place = rng.randrange(len(name))
    letter = name[place].lower()
    pool = VOWELS if letter in VOWELS else (FINALS if place == len(name) - 1 else CONSONANTS)
    other = rng.choice([c for c in pool if c != letter])
    return (name[:place] + other + name[place + 1 :]).capitalize()
