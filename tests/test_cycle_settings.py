"""How long a bake may take follows from what is new and what is known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bakemem.config import Config
from bakemem.cycle import settings_of
from bakemem.serving import Base
from bakemem.types import Memory


@pytest.mark.parametrize(
    ("known", "new", "steps"), [(8, None, 240), (8, 8, 180), (50, 4, 226), (500, 4, 300), (100, 40, 600)]
)
def test_steps_follow_what_is_new_and_what_is_rehearsed(
    tiny_base: Base, known: int, new: int | None, steps: int
) -> None:
    """A bake from the base has its least; one that goes on has more the more is known, up to a bound."""
    day = datetime(2026, 1, 1, tzinfo=UTC)
    memories = [Memory(f"m{i}", "default", "fact", f"k{i}", f"Fact {i}.", "baked", day) for i in range(known)]
    fresh = None if new is None else frozenset(m.id for m in memories[-new:])
    assert settings_of(Config(), tiny_base, memories, fresh=fresh).recipe.steps == steps
